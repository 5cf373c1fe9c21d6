"""Trees removed at a real server: all of it, nothing else, and what cannot go is told."""

import asyncio
import os
from pathlib import Path

import pytest

from plugins.sessions import OpenSession, opener
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client import removal
from towpath.gridftp.client.removal import Failure, Keep, Remover
from towpath.gridftp.errors import GridFTPError, Kind

NAMES = [" blank", "end ", "-f", "a*", "?[x]", "ü", "\udce9", '"', "\\", "..x", "%2f", "x\ty"]


class Count:
    """What was told to be gone."""

    def __init__(self) -> None:
        self.files = self.directories = 0

    def __call__(self, files: int, directories: int) -> None:
        self.files += files
        self.directories += directories


async def remove(
    open_session: OpenSession,
    *trees: Path,
    keep: Keep | None = None,
    files: list[str] | None = None,
) -> tuple[list[Failure], Count]:
    count = Count()
    remover = Remover(open_session, keep=keep, tell=count)
    try:
        return await remover.remove(files or [], [str(tree) for tree in trees]), count
    finally:
        assert await remover.close()


def touch(directory: Path, *names: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        (directory / name).touch()


def names(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def keep_nothing(_path: str, _is_directory: bool) -> bool:
    return False


@pytest.mark.parametrize("keep", [None, keep_nothing])
async def test_every_kind_of_name_and_entry(
    open_a: OpenSession, tmp_path: Path, keep: Keep | None
) -> None:
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    touch(elsewhere, "stays")
    for name in NAMES:
        touch(tree / name / name, *NAMES)
    touch(tree / "empty")
    os.mkfifo(tree / "pipe")
    (tree / "to-directory").symlink_to(elsewhere)
    (tree / "to-file").symlink_to(elsewhere / "stays")
    touch(tree / "links")
    (tree / "links" / "to-directory").symlink_to(elsewhere)
    failed, count = await remove(open_a, tree, keep=keep)
    assert failed == []
    assert not tree.exists()
    assert names(elsewhere) == ["stays"]
    assert (count.files, count.directories) == (len(NAMES) ** 2 + 4, 2 * len(NAMES) + 3)


async def test_what_a_listing_does_not_show_goes_too(open_a: OpenSession, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    touch(tree / "a" / "b", "f")
    (tree / "a" / "b" / "dangling").symlink_to("nowhere")
    (tree / "only dangling" / "x").mkdir(parents=True)
    (tree / "only dangling" / "x" / "l").symlink_to("nowhere")
    touch(tree / "line break" / "x", "a\r\n250 End.\r\nb", "f")
    failed, _ = await remove(open_a, tree)
    assert failed == []
    assert not tree.exists()


async def test_a_deep_and_a_wide_tree(
    open_a: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More directories than are remembered, and a directory whose listing comes in parts."""
    monkeypatch.setattr(removal, "REMEMBERED", 60)
    tree = tmp_path / "tree"
    touch(tree.joinpath(*["d"] * 70), "f")
    for number in range(60):
        (tree / "wide" / f"{number}" / "below").mkdir(parents=True)
    touch(tree / "large", *(f"{number}" for number in range(4100)))
    failed, count = await remove(open_a, tree)
    assert failed == []
    assert not tree.exists()
    assert (count.files, count.directories) == (4101, 70 + 121 + 2)


async def test_several_trees_and_files_and_some_that_are_gone(
    open_a: OpenSession, tmp_path: Path
) -> None:
    touch(tmp_path / "a" / "in", "f", "g")
    touch(tmp_path / "b", "f")
    touch(tmp_path / "c", "f", "g")
    files = [f"{tmp_path}/c/{name}" for name in ("f", "none")]
    trees = [tmp_path / name for name in ("a", "none", "b")]
    failed, count = await remove(open_a, *trees, files=files)
    assert failed == []
    assert names(tmp_path) == ["c"]
    assert names(tmp_path / "c") == ["g"]
    assert (count.files, count.directories) == (4, 3)


async def test_what_is_to_stay_stays(open_a: OpenSession, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    touch(tree / "a", "f", "f.keep")
    touch(tree / "b.keep" / "c", "f")
    touch(tree / "d" / "e", "f")

    def keep(path: str, is_directory: bool) -> bool:
        return ".keep" in path

    failed, _ = await remove(open_a, tree, keep=keep)
    assert failed == []
    left = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
    assert left == ["a", "a/f.keep", "b.keep", "b.keep/c", "b.keep/c/f"]


async def test_what_cannot_go_is_told_and_holds_up_nothing(
    domain_a: Domain, unprivileged_server: GctServer, open_tmp_path: Path
) -> None:
    tree = open_tmp_path / "tree"
    touch(tree / "open" / "x", "f")
    touch(tree / "closed" / "x", "f", "g")
    touch(tree / "unreadable" / "in", "f")
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o777)
    (tree / "closed" / "x").chmod(0o755)
    (tree / "unreadable").chmod(0o333)
    async with opener(domain_a, unprivileged_server) as open_session:
        if os.getuid() != 0:
            (tree / "closed" / "x").chmod(0o555)
        failed, count = await remove(open_session, tree)
    (tree / "unreadable").chmod(0o777)
    (tree / "closed" / "x").chmod(0o777)
    assert {(failure.path, failure.error.kind) for failure in failed} == {
        (f"{tree}/closed/x/f", Kind.PERMISSION_DENIED),
        (f"{tree}/closed/x/g", Kind.PERMISSION_DENIED),
        (f"{tree}/unreadable", Kind.PERMISSION_DENIED),
    }
    assert not (tree / "open").exists()
    assert (count.files, count.directories) == (1, 2)


async def test_looking(open_a: OpenSession, tmp_path: Path) -> None:
    touch(tmp_path, "f")
    (tmp_path / "l").symlink_to(tmp_path)
    remover = Remover(open_a)
    file, link, none, odd = await remover.look([f"{tmp_path}/{n}" for n in ("f", "l", "n", "a\nb")])
    await remover.close()
    assert not isinstance(file, GridFTPError)
    assert not isinstance(link, GridFTPError)
    assert link.link_target == str(tmp_path)
    assert isinstance(none, GridFTPError)
    assert none.kind is Kind.NOT_FOUND
    assert isinstance(odd, GridFTPError)
    assert odd.kind is Kind.INVALID_NAME


async def test_a_lost_session_ends_it(
    domain_a: Domain, open_tmp_path: Path, unprivileged_server: GctServer
) -> None:
    touch(open_tmp_path / "tree", *(f"{number}" for number in range(4_500)))
    async with opener(domain_a, unprivileged_server) as open_session:
        count = Count()

        def kill_at_first(files: int, directories: int) -> None:
            if not count.files:
                unprivileged_server.kill_sessions()
            count(files, directories)

        (open_tmp_path / "tree").chmod(0o777)
        remover = Remover(open_session, tell=kill_at_first)
        with pytest.raises(GridFTPError) as caught:
            async with asyncio.timeout(20):
                await remover.remove(trees=[f"{open_tmp_path}/tree"])
        await remover.close()
    assert caught.value.kind is Kind.CONNECTION_LOST
    assert count.files
    assert (open_tmp_path / "tree").exists()


async def test_little_is_under_way_that_goes_on_when_nobody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Directories go with one command each, and may be full."""
    monkeypatch.setattr(removal, "FILES_AT_ONCE", 10)
    queue = removal._Queue()
    for number in range(removal.QUEUED * 3):
        await queue.put_all([removal._whole(f"/{number}", 4)])
    batches = [await queue.get() for _ in range(removal.QUEUED)]
    assert [sum(command.files for command in batch) for batch in batches[1:]] == [12, 12, 12]
