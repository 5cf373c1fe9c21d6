"""globus-url-copy against our own server: what is not in the matrix (`test_own_server`)."""

import filecmp
import os
from pathlib import Path

import pytest

from plugins.own_server import OwnServer, guc
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer

OPTIONS = {
    "safe": ("-dcsafe",),
    "performance": ("-vb", "-fast", "-p", "2"),
    "striped": ("-stripe", "-fast"),
    "block size": ("-bs", "65536", "-fast"),
    "TCP buffers": ("-tcp-bs", "262144"),
    "delayed passive": ("-dp", "-fast"),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(os.urandom(5_000_000))
    return path


@pytest.mark.parametrize("how", OPTIONS)
def test_one_file_up_and_down(
    own_a: OwnServer, domain_a: Domain, source: Path, tmp_path: Path, how: str
) -> None:
    up, down = tmp_path / "up", tmp_path / "down"
    guc(domain_a, *OPTIONS[how], source.as_uri(), own_a.url(up))
    assert filecmp.cmp(source, up, shallow=False)
    guc(domain_a, *OPTIONS[how], own_a.url(up), down.as_uri())
    assert filecmp.cmp(source, down, shallow=False)


@pytest.mark.parametrize(
    "options",
    [("-dp", "-fast"), ("-stripe",)],
    ids=" ".join,
)
def test_third_party(
    own_a: OwnServer,
    server_a: GctServer,
    domain_a: Domain,
    source: Path,
    tmp_path: Path,
    options: tuple[str, ...],
) -> None:
    """From GCT to us, from us to GCT, and from us to us."""
    one, two, three = tmp_path / "one", tmp_path / "two", tmp_path / "three"
    guc(domain_a, *options, server_a.url(source), own_a.url(one))
    guc(domain_a, *options, own_a.url(one), server_a.url(two))
    guc(domain_a, *options, own_a.url(two), own_a.url(three))
    assert filecmp.cmp(source, three, shallow=False)


def contents(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
    }


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for number in range(60):
        path = root / f"d{number % 3}" / f"e {number % 2}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number * 37))
    (root / "empty").mkdir()
    return root


@pytest.mark.parametrize("level", range(4))
def test_synchronization(
    own_a: OwnServer, domain_a: Domain, tree: Path, tmp_path: Path, level: int
) -> None:
    """What is there already is not sent again."""
    up = tmp_path / "up"
    sync = ("-r", "-cd", "-fast", "-sync", "-sync-level", str(level))
    guc(domain_a, *sync, f"{tree.as_uri()}/", own_a.url(up) + "/")
    assert contents(up) == contents(tree)
    (up / "d0" / "e 0" / "file 0").unlink()
    before = len(own_a.events)
    guc(domain_a, *sync, f"{tree.as_uri()}/", own_a.url(up) + "/")
    assert contents(up) == contents(tree)
    stored = [event.path for event in own_a.events[before:] if getattr(event, "verb", "") == "STOR"]
    assert os.fsencode(up / "d0" / "e 0" / "file 0") in stored
    assert len(stored) == 1


def test_a_part_of_a_file(
    own_a: OwnServer, server_a: GctServer, domain_a: Domain, source: Path, tmp_path: Path
) -> None:
    """With guc -off the part goes to the same offset of the destination."""
    down, across = tmp_path / "down", tmp_path / "across"
    guc(domain_a, "-off", "1000", "-len", "5000", own_a.url(source), down.as_uri())
    guc(domain_a, "-off", "1000", "-len", "5000", own_a.url(source), server_a.url(across))
    expected = tmp_path / "expected"
    guc(domain_a, "-off", "1000", "-len", "5000", server_a.url(source), expected.as_uri())
    assert down.read_bytes() == expected.read_bytes()
    guc(domain_a, "-off", "1000", "-len", "5000", server_a.url(source), server_a.url(expected))
    assert across.read_bytes() == expected.read_bytes()
