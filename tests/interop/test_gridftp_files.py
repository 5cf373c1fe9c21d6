"""Files and directories on real servers: what is listed, every command, every kind of name."""

import asyncio
import grp
import hashlib
import os
import random
import shutil
import socket
import stat
import tempfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plugins.lanes import finish, wrong
from plugins.pairs import fetch, tell
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import Copy, download, upload
from towpath.gridftp.client.lane import Lane, Piece
from towpath.gridftp.client.session import Server, Session, Timeouts
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.commands import LONGEST_PATH_BYTES
from towpath.gridftp.wire.listings import Entry, EntryType, parse_fact_line
from towpath.gridftp.wire.ranges import ByteRange

THEN = 1577934245  # 2020-01-02 03:04:05


@pytest.fixture
async def session(open_a) -> Session:
    """At a server that may do everything."""
    return await open_a()


@pytest.fixture(scope="module")
def modest_server(
    domain_a: Domain, unprivileged_account: str | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GctServer]:
    """One that file permissions apply to."""
    workdir = Path(tempfile.mkdtemp(prefix="towpath-test-"))  # pytest's own are closed to others
    workdir.chmod(0o755)
    try:
        with GctServer.start(domain_a, workdir / "server", account=unprivileged_account) as server:
            yield server
    finally:
        shutil.rmtree(workdir)


@pytest.fixture
async def modest(domain_a: Domain, modest_server: GctServer) -> AsyncIterator[Session]:
    """At a server whose account may do little."""
    opened = await Session.open(
        Server("localhost", modest_server.port),
        credential=domain_a.credential,
        trust=domain_a.trust,
    )
    yield opened
    await opened.close()


async def listed(session: Session, path: Path) -> dict[str, Entry]:
    return {entry.name: entry async for batch in session.list(str(path)) for entry in batch}


async def listed_by_data(session: Session, path: Path, *, recursive: bool) -> dict[str, Entry]:
    """By MLSD, or a whole tree by MLSR, over a data channel."""
    builder = commands.mlsr if recursive else commands.mlsd
    data, _, told = await fetch(session, builder(str(path)))
    assert told.final is not None
    session.require(told.final, str(path))
    found = [parse_fact_line(line, relative_paths=recursive) for line in data.split(b"\r\n")[:-1]]
    kinds = (EntryType.LISTED_DIRECTORY, EntryType.PARENT_DIRECTORY)
    return {entry.name: entry for entry in found if entry.type not in kinds}


async def failure(awaitable) -> GridFTPError:
    with pytest.raises(GridFTPError) as caught:
        await awaitable
    return caught.value


# -- facts


async def test_facts_of_a_file(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 1475)
    path.chmod(0o640)
    os.utime(path, (THEN, THEN))
    told = await session.stat(str(path))
    found = path.stat()
    assert (told.name, told.type, told.size) == (str(path), EntryType.FILE, 1475)
    assert (told.modified, told.mode) == (THEN, 0o640)
    assert told.owner == path.owner()
    assert told.group == path.group()
    assert set(told.perm) >= set("r")
    assert told.unique == f"{found.st_dev:x}-{found.st_ino:x}"
    assert told.link_target is None
    assert (await listed(session, tmp_path))["f"] == told._replace(name="f")


async def test_facts_of_a_directory(session: Session, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    told = await session.stat(f"{tmp_path}/d")
    assert told.is_directory
    assert set(told.perm) == set("cfmpel")
    assert await session.size(f"{tmp_path}/d") == (tmp_path / "d").stat().st_size


async def test_facts_can_be_fewer(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    await session.command("OPTS MLST Type;Size;")
    assert (await listed(session, tmp_path))["f"] == Entry("f", EntryType.FILE, 1)


async def test_two_names_of_one_file(session: Session, tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    found = await listed(session, tmp_path)
    assert found["one"].unique == found["two"].unique


def make_links(root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "in").touch()
    (root / "f").write_bytes(b"hello")
    (root / "to-file").symlink_to("f")
    (root / "to-dir").symlink_to(root / "d")
    (root / "dangling").symlink_to("none")
    (root / "loop").symlink_to("loop")
    (root / "self").symlink_to(".")
    (root / "a; b=%20").mkdir()
    (root / "to-odd").symlink_to("a; b=%20")


async def test_links_are_told_as_what_they_point_to(session: Session, tmp_path: Path) -> None:
    make_links(tmp_path)
    found = await listed(session, tmp_path)
    assert found.keys() == {"d", "f", "to-file", "to-dir", "self", "a; b=%20", "to-odd"}
    targets = {name: entry.link_target for name, entry in found.items() if entry.link_target}
    assert targets == {
        "to-file": f"{tmp_path}/f",
        "to-dir": f"{tmp_path}/d",
        "self": str(tmp_path),
        "to-odd": f"{tmp_path}/a; b=%20",
    }
    assert (found["to-file"].type, found["to-file"].size) == (EntryType.FILE, 5)
    assert found["to-dir"].is_directory
    assert (await session.stat(f"{tmp_path}/to-dir")).link_target == f"{tmp_path}/d"


@pytest.mark.parametrize("name", ["dangling", "loop"])
async def test_links_that_lead_nowhere(session: Session, tmp_path: Path, name: str) -> None:
    make_links(tmp_path)
    for call in (session.stat, session.size, session.modified):
        assert (await failure(call(f"{tmp_path}/{name}"))).kind is Kind.NOT_FOUND
    await session.delete_file(f"{tmp_path}/{name}")
    assert not (tmp_path / name).is_symlink()


async def test_a_tree_listing_follows_no_links(session: Session, tmp_path: Path) -> None:
    make_links(tmp_path)
    found = await listed_by_data(session, tmp_path, recursive=True)
    assert found.keys() >= {"d/in", "f", "to-file", "to-dir", "self"}
    assert not [name for name in found if name.startswith(("to-dir/", "self/"))]


@pytest.mark.parametrize("how", ["MLSC", "MLSD", "MLSR"])
async def test_what_is_no_file_is_listed_as_other(
    session: Session, tmp_path: Path, how: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        if how == "MLSC":
            found = await listed(session, tmp_path)
        else:
            found = await listed_by_data(session, tmp_path, recursive=how == "MLSR")
    assert {name: entry.type for name, entry in found.items()} == {
        "pipe": EntryType.OTHER,
        "socket": EntryType.OTHER,
        "file": EntryType.FILE,
    }


async def test_devices_are_other(session: Session) -> None:
    assert (await session.stat("/dev/null")).type is EntryType.OTHER


async def test_all_forms_of_listing_agree(session: Session, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"f{number}").write_bytes(b"x" * number)
    (tmp_path / "d").mkdir()
    found = await listed(session, tmp_path)
    assert await listed_by_data(session, tmp_path, recursive=False) == found
    assert await listed_by_data(session, tmp_path, recursive=True) == found
    assert {name: await session.stat(f"{tmp_path}/{name}") for name in found} == {
        name: entry._replace(name=f"{tmp_path}/{name}") for name, entry in found.items()
    }


async def test_lists_for_people(session: Session, tmp_path: Path) -> None:
    """NLST and LIST on a data channel, STAT on the control channel: nothing here relies on them."""
    (tmp_path / "a name").write_bytes(b"12345")
    names, _, _ = await fetch(session, f"NLST {tmp_path}")
    assert sorted(names.split(b"\r\n")) == [b"", b".", b"..", b"a name"]
    text, _, _ = await fetch(session, f"LIST {tmp_path}")
    assert b" 5 " in text
    told = await tell(session, f"STAT {tmp_path}/a name")
    assert told.code == 213
    assert told.text.split("\n")[1].endswith("a name")


async def test_a_large_listing_comes_in_parts(session: Session, tmp_path: Path) -> None:
    """One `150-` of a thousand entries after the other, the last one `250-`."""
    for number in range(2500):
        (tmp_path / f"{number}").touch()
    told = await tell(session, f"MLSC {tmp_path}")
    assert told.codes == [150, 150, 250]
    parts = [len(reply.raw) - 2 for reply in (*told.on_the_way, told.final) if reply]
    assert parts == [1000, 1000, 502]  # with the directory itself and its parent


async def test_names_are_counted_that_are_not_listed(session: Session, tmp_path: Path) -> None:
    make_links(tmp_path)
    counts: list[int] = []
    found = [e.name async for b in session.list(str(tmp_path), on_count=counts.append) for e in b]
    there = [path.name for path in tmp_path.iterdir()]
    assert counts == [len(there)]
    assert set(there) - set(found) == {"dangling", "loop"}


async def test_a_listing_misses_nothing_while_names_are_deleted(
    open_a, session: Session, tmp_path: Path
) -> None:
    count = 5000
    for number in range(count):
        (tmp_path / f"{number}").touch()
    other = await open_a()
    told = 0
    async for batch in session.list(str(tmp_path)):
        told += len(batch)
        lines = [commands.dele(f"{tmp_path}/{entry.name}") for entry in batch]
        await other.answers(other.submit(lines))
    assert told == count
    assert list(tmp_path.iterdir()) == []


async def test_several_listings_may_be_asked_for(session: Session, tmp_path: Path) -> None:
    """They come one after the other; those behind a slow reader are not late, but wait."""
    numbers = {"a": 4900, "b": 3, "c": 1200}
    for name, count in numbers.items():
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number}").touch()
    session.timeouts = Timeouts(reply_s=0.3)

    async def count(name: str) -> int:
        found = 0
        async for batch in session.list(f"{tmp_path}/{name}"):
            found += len(batch)
            await asyncio.sleep(0.4)
        return found

    counted = await asyncio.gather(*(count(name) for name in numbers))
    assert dict(zip(numbers, counted, strict=True)) == numbers


# -- commands


async def test_times(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    (tmp_path / "d").mkdir()
    for name in ("f", "d"):
        await session.set_modified(f"{tmp_path}/{name}", THEN)
        assert (tmp_path / name).stat().st_mtime == THEN
        assert await session.modified(f"{tmp_path}/{name}") == THEN
    await session.command(f"SITE UTIME 20210102030405 {tmp_path}/f")
    assert await session.modified(f"{tmp_path}/f") == THEN + 366 * 86400
    await session.set_modified(f"{tmp_path}/f", 0)
    assert await session.modified(f"{tmp_path}/f") == 0
    os.utime(tmp_path / "f", (-1, -1))
    assert await session.modified(f"{tmp_path}/f") == -1
    # but GCT sets no time before 1970
    assert (await failure(session.set_modified(f"{tmp_path}/f", -1))).kind is Kind.UNSUPPORTED


@pytest.mark.parametrize("mode", [0o640, 0o7, 0o4755, 0])
async def test_modes(session: Session, tmp_path: Path, mode: int) -> None:
    (tmp_path / "f").touch()
    await session.set_mode(f"{tmp_path}/f", mode)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == mode
    with pytest.raises(ValueError, match="not a mode"):
        await session.set_mode(f"{tmp_path}/f", 0o10000)


async def test_groups(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    mine = grp.getgrgid(os.getgid()).gr_name
    for group in (mine, str(os.getgid())):
        await session.set_group(f"{tmp_path}/f", group)
    assert (tmp_path / "f").group() == mine
    error = await failure(session.set_group(f"{tmp_path}/f", "no-such-group"))
    assert error.kind is Kind.PERMISSION_DENIED
    with pytest.raises(ValueError, match="one word"):
        await session.set_group(f"{tmp_path}/f", "a b")


async def test_making_links(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    await session.make_link(f"{tmp_path}/link", f"{tmp_path}/f")
    assert (tmp_path / "link").readlink() == tmp_path / "f"
    again = await failure(session.make_link(f"{tmp_path}/link", f"{tmp_path}/f"))
    assert (again.kind, again.path) == (Kind.EXISTS, f"{tmp_path}/link")
    missing = await failure(session.make_link(f"{tmp_path}/other", f"{tmp_path}/none"))
    assert (missing.kind, missing.path) == (Kind.NOT_FOUND, f"{tmp_path}/none")
    assert not (tmp_path / "other").is_symlink()


async def test_renaming(session: Session, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    await session.rename(f"{tmp_path}/a", f"{tmp_path}/b")  # replaces
    assert (tmp_path / "b").read_bytes() == b"a"
    (tmp_path / "d").mkdir()
    await session.rename(f"{tmp_path}/d", f"{tmp_path}/e")
    assert (tmp_path / "e").is_dir()


async def test_a_failed_rename_leaves_nothing_for_the_next(
    session: Session, tmp_path: Path
) -> None:
    """GCT keeps the first name until a second one comes: RNFR a, RNFR none, RNTO c renames a."""
    (tmp_path / "a").write_bytes(b"a")
    error = await failure(session.rename(f"{tmp_path}/a", f"{tmp_path}/none/a"))
    assert error.path == f"{tmp_path}/none/a"
    error = await failure(session.rename(f"{tmp_path}/none", f"{tmp_path}/c"))
    assert (error.kind, error.path) == (Kind.NOT_FOUND, f"{tmp_path}/none")
    error = await failure(session.rename(f"{tmp_path}/a", "bad\nname"))
    assert error.kind is Kind.INVALID_NAME
    await failure(session.rename(f"{tmp_path}/none", f"{tmp_path}/c"))
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


async def test_what_a_rule_forbids_leaves_nothing_for_the_next(
    session: Session, tmp_path: Path
) -> None:
    """GCT keeps the first half then, although the second half is refused."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").touch()
    await session.restrict(f"RW{tmp_path}/in")
    inside, outside = f"{tmp_path}/in", f"{tmp_path}/out"
    error = await failure(session.rename(f"{inside}/a", outside))
    assert error.kind is Kind.PATH_NOT_ALLOWED
    error = await failure(session.rename(f"{inside}/none", f"{inside}/c"))
    assert (error.kind, error.path) == (Kind.NOT_FOUND, f"{inside}/none")
    error = await failure(session.make_link(outside, f"{inside}/a"))
    assert error.kind is Kind.PATH_NOT_ALLOWED
    error = await failure(session.make_link(f"{inside}/d", f"{inside}/none"))
    assert (error.kind, error.path) == (Kind.NOT_FOUND, f"{inside}/none")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a"]


async def test_deleting_trees(session: Session, tmp_path: Path) -> None:
    make_links(tmp_path)
    (tmp_path / "tree" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "f").touch()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "d")
    await session.delete_tree(f"{tmp_path}/tree")
    assert not (tmp_path / "tree").exists()
    await session.delete_tree(f"{tmp_path}/to-dir")
    assert not (tmp_path / "to-dir").is_symlink()
    assert (tmp_path / "d" / "in").exists(), "links are not followed"
    await session.delete_tree(f"{tmp_path}/f")
    assert (await failure(session.delete_tree(f"{tmp_path}/tree"))).kind is Kind.NOT_FOUND


async def test_cutting(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    await session.truncate(f"{tmp_path}/f", 3)
    assert (tmp_path / "f").read_bytes() == b"012"
    with pytest.raises(GridFTPError, match="smaller than truncate size"):
        await session.truncate(f"{tmp_path}/f", 4)
    with pytest.raises(ValueError, match="negative"):
        await session.truncate(f"{tmp_path}/f", -1)
    assert (await failure(session.truncate(f"{tmp_path}/none", 0))).kind is Kind.NOT_FOUND


async def test_relative_paths(session: Session, tmp_path: Path) -> None:
    (tmp_path / 'a "quoted" name').mkdir()
    (tmp_path / "f").touch()
    await session.change_directory(f'{tmp_path}/a "quoted" name')
    assert await session.working_directory() == f'{tmp_path}/a "quoted" name'
    await session.command("CDUP")
    assert await session.working_directory() == str(tmp_path)
    assert (await session.stat("f")).name == "f"
    for name in ("no", "file", "not found", "e"):
        assert (await failure(session.stat(name))).kind is Kind.NOT_FOUND
    await session.mkdir("new/")
    assert (tmp_path / "new").is_dir()
    error = await failure(session.change_directory("f"))
    assert error.kind is Kind.NOT_A_DIRECTORY
    assert (await failure(session.change_directory("none"))).kind is Kind.NOT_FOUND


ERRORS: dict[str, tuple[Callable[[Session, Path], object], Kind]] = {
    "MLST": (lambda s, d: s.stat(f"{d}/none"), Kind.NOT_FOUND),
    "MLST below a file": (lambda s, d: s.stat(f"{d}/f/x"), Kind.NOT_A_DIRECTORY),
    "MLSC": (lambda s, d: listed(s, d / "none"), Kind.NOT_FOUND),
    "SIZE": (lambda s, d: s.size(f"{d}/none"), Kind.NOT_FOUND),
    "MDTM": (lambda s, d: s.modified(f"{d}/none"), Kind.NOT_FOUND),
    "MFMT": (lambda s, d: s.set_modified(f"{d}/none", THEN), Kind.NOT_FOUND),
    "CHMOD": (lambda s, d: s.set_mode(f"{d}/none", 0o600), Kind.NOT_FOUND),
    "CHGRP": (lambda s, d: s.set_group(f"{d}/none", "0"), Kind.NOT_FOUND),
    "MKD exists": (lambda s, d: s.mkdir(f"{d}/full"), Kind.EXISTS),
    "MKD over a file": (lambda s, d: s.mkdir(f"{d}/f"), Kind.EXISTS),
    "MKD below a file": (lambda s, d: s.mkdir(f"{d}/f/x"), Kind.NOT_A_DIRECTORY),
    "MKD too long": (lambda s, d: s.mkdir(f"{d}/{'n' * 256}"), Kind.INVALID_NAME),
    "RMD not empty": (lambda s, d: s.delete_directory(f"{d}/full"), Kind.NOT_EMPTY),
    "RMD file": (lambda s, d: s.delete_directory(f"{d}/f"), Kind.NOT_A_DIRECTORY),
    "RMD": (lambda s, d: s.delete_directory(f"{d}/none"), Kind.NOT_FOUND),
    "DELE directory": (lambda s, d: s.delete_file(f"{d}/full"), Kind.IS_A_DIRECTORY),
    "DELE": (lambda s, d: s.delete_file(f"{d}/none"), Kind.NOT_FOUND),
    "RDEL": (lambda s, d: s.delete_tree(f"{d}/none"), Kind.NOT_FOUND),
    "CKSM": (lambda s, d: s.checksum(f"{d}/none", "MD5"), Kind.NOT_FOUND),
    "CKSM directory": (lambda s, d: s.checksum(f"{d}/full", "MD5"), Kind.IS_A_DIRECTORY),
    "CKSM unknown": (lambda s, d: s.checksum(f"{d}/f", "CRC32"), Kind.CHECKSUM_UNSUPPORTED),
}


@pytest.mark.parametrize("case", ERRORS)
async def test_errors(session: Session, tmp_path: Path, case: str) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    (tmp_path / "full" / "x").mkdir(parents=True)
    call, kind = ERRORS[case]
    error = await failure(call(session, tmp_path))
    assert error.kind is kind, error
    assert error.path is not None
    assert error.path.startswith(str(tmp_path))
    assert error.reply
    await session.command("NOOP")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "full"]


REFUSED: dict[str, Callable[[Session, Path], object]] = {
    "MLST": lambda s, d: s.stat(f"{d}/locked/in"),
    "MLSC": lambda s, d: listed(s, d / "locked"),
    "MLSD": lambda s, d: listed_by_data(s, d / "locked", recursive=False),
    "MLSR": lambda s, d: listed_by_data(s, d, recursive=True),
    "CKSM": lambda s, d: s.checksum(f"{d}/secret", "MD5"),
    "MKD": lambda s, d: s.mkdir(f"{d}/closed/x"),
    "DELE": lambda s, d: s.delete_file(f"{d}/closed/f"),
    "RMD": lambda s, d: s.delete_directory(f"{d}/closed/d"),
    "RNTO": lambda s, d: s.rename(f"{d}/closed/f", f"{d}/f"),
    "CHMOD": lambda s, d: s.set_mode(f"{d}/closed/f", 0o777),
    "CHGRP": lambda s, d: s.set_group(f"{d}/closed/f", "0"),
    "MFMT": lambda s, d: s.set_modified(f"{d}/closed/f", THEN),
    "TRNC": lambda s, d: s.truncate(f"{d}/closed/f", 0),
    "RDEL": lambda s, d: s.delete_tree(f"{d}/closed"),
}


OWNERS_MAY = () if os.getuid() == 0 else ("CHMOD", "MFMT")
"""What the server's account may do to the files of these tests when it made them itself."""


@pytest.mark.parametrize("command", [name for name in REFUSED if name not in OWNERS_MAY])
async def test_without_permission(modest: Session, open_tmp_path: Path, command: str) -> None:
    root = open_tmp_path / "root"
    for name in ("locked/in", "closed/d"):
        (root / name).mkdir(parents=True)
    (root / "closed" / "f").write_bytes(b"keep")
    (root / "secret").write_bytes(b"keep")
    (root / "secret").chmod(0)
    (root / "locked").chmod(0)
    (root / "closed").chmod(0o555)
    error = await failure(REFUSED[command](modest, root))
    assert (error.kind, error.permanent) == (Kind.PERMISSION_DENIED, True), error
    assert (root / "closed" / "f").read_bytes() == b"keep"
    (root / "locked").chmod(0o700)


async def test_an_unreadable_directory_among_others(modest: Session, open_tmp_path: Path) -> None:
    """It is listed, cannot be listed itself, and its Perm says so."""
    (open_tmp_path / "locked").mkdir(mode=0o700)
    (open_tmp_path / "open").mkdir()
    (open_tmp_path / "secret").touch(mode=0)
    found = await listed(modest, open_tmp_path)
    assert found["secret"].perm == "", "it says that nothing may be done, and not that it is silent"
    assert set(found["locked"].perm) & set("el") == set()
    assert set(found["open"].perm) >= set("el")
    assert (await failure(listed(modest, open_tmp_path / "locked"))).kind is Kind.PERMISSION_DENIED
    assert await listed(modest, open_tmp_path / "open") == {}


# -- digests

CONTENT = random.Random(3).randbytes(300_001)
DIGESTS: dict[str, Callable[[bytes], str]] = {
    "MD5": lambda data: hashlib.md5(data).hexdigest(),
    "ADLER32": lambda data: f"{zlib.adler32(data):08x}",
    "SHA1": lambda data: hashlib.sha1(data).hexdigest(),
    "SHA256": lambda data: hashlib.sha256(data).hexdigest(),
    "SHA512": lambda data: hashlib.sha512(data).hexdigest(),
    "sha256": lambda data: hashlib.sha256(data).hexdigest(),
}
RANGES: dict[str, ByteRange | None] = {
    "whole": None,
    "head": ByteRange(0, 1000),
    "middle": ByteRange(100_000, 200_001),
    "beyond the end": ByteRange(300_000, 400_000),
    "behind the end": ByteRange(400_000, 400_001),
    "empty": ByteRange(10, 10),
}


@pytest.mark.parametrize("part", RANGES)
@pytest.mark.parametrize("algorithm", DIGESTS)
async def test_digests(session: Session, tmp_path: Path, algorithm: str, part: str) -> None:
    (tmp_path / "f").write_bytes(CONTENT)
    byte_range = RANGES[part]
    data = CONTENT if byte_range is None else CONTENT[byte_range.first : byte_range.after]
    found = await session.checksum(f"{tmp_path}/f", algorithm, byte_range)
    assert found == DIGESTS[algorithm](data)


# -- names

NAMES: dict[str, bytes] = {
    "leading blank": b" lead",
    "trailing blank": b"trail ",
    "only blanks": b"   ",
    "inner blanks": b"a  b",
    "tab": b"\ttab\t",
    "double quotes": b'"quoted" "',
    "single quote and backslash": b"it's \\ back",
    "facts": b"Type=file;Size=1; ; x",
    "percent": b"100%25%2e%2e%00",
    "shell": b"-rf *?[a]{b}$HOME`id`|&>",
    "control characters": bytes(set(range(1, 32)) - {10, 13}) + b"\x7f",
    "replies": b"226 Transfer Complete.",
    "commands": b"DELE f",
    "dots": b"...",
    "utf-8": "žluťoučký 🐎 日本".encode(),
    "decomposed": "e\u0301".encode(),
    "right to left": "\u202eabc".encode(),
    "latin-1": b"caf\xe9",
    "no encoding": bytes(range(0x80, 0x100)),
    "telnet": b"\xff\xf4\xff\xf2",
    "255 bytes": b"n" * 255,
    "255 bytes of utf-8": "é".encode() * 127 + b"n",
}


@pytest.mark.parametrize("case", NAMES)
async def test_names(open_a, open_lane, tmp_path: Path, case: str) -> None:
    """Everything that takes a name takes this one, and nothing else is touched."""
    name = os.fsdecode(NAMES[case])
    session = await open_a()
    here, there, back = (tmp_path / part for part in ("here", "there", "back"))
    for directory in (here, there, back):
        directory.mkdir()
    (here / name).write_bytes(CONTENT)
    size = len(CONTENT)
    # between servers, to us, from us
    lane = await open_lane()
    piece = Piece(f"{here}/{name}", f"{there}/{name}", size, modified=THEN, checksum="MD5")
    assert [o.status for o in await finish(lane, [piece])] == ["done"]
    assert wrong([piece]) == []
    options = DataOptions(checksum="SHA1")
    (outcome,) = await download(session, [Copy(back / name, piece.destination_path, size)], options)
    assert outcome.status == "done", outcome
    (outcome,) = await upload(session, [Copy(here / name, f"{back}/{name}", size)], options)
    assert outcome.status == "done", outcome
    # what is told of it
    path = f"{there}/{name}"
    facts = await session.stat(path)
    assert (facts.name, facts.size, facts.modified) == (path, size, THEN)
    assert await listed(session, there) == {name: facts._replace(name=name)}
    for recursive in (False, True):
        assert (await listed_by_data(session, there, recursive=recursive)).keys() == {name}
    assert await session.size(path) == size
    # what is done to it
    await session.set_modified(path, 0)
    await session.set_mode(path, 0o600)
    await session.truncate(path, 1)
    await session.rename(path, f"{there}/x")
    await session.rename(f"{there}/x", path)
    assert [found.name for found in there.iterdir()] == [name]
    assert (there / name).stat().st_size == 1
    await session.delete_file(path)
    await session.make_directories(f"{path}/{name}")
    await session.make_link(f"{path}/l", f"{path}/{name}")
    assert (await session.stat(f"{path}/l")).link_target == f"{path}/{name}"
    if case != "dots":
        await session.change_directory(path)
        assert await session.working_directory() == path
    await session.delete_tree(path)
    assert not any(there.iterdir())


async def test_the_longest_path(session: Session, tmp_path: Path) -> None:
    """GCT cuts what is longer, and would then make, list or delete another directory."""
    path = str(tmp_path)
    while len(path) < LONGEST_PATH_BYTES - 101:
        path += "/" + "d" * 99
    path += "/" + "e" * (LONGEST_PATH_BYTES - len(path) - 1)
    await session.make_directories(path)
    assert (await session.stat(path)).is_directory
    for call in (session.stat, session.delete_tree, session.delete_directory, session.size):
        assert (await failure(call(path + "x"))).kind is Kind.INVALID_NAME
    told = await session.answers(session.submit([f"MKD {path}x"]))
    with pytest.raises(GridFTPError) as caught:
        session.require(*told)
    assert caught.value.kind is Kind.EXISTS, "if this fails the server no longer cuts paths"
    await session.delete_tree(f"{tmp_path}/{'d' * 99}")
    assert not any(tmp_path.iterdir())


async def test_dots_that_would_lead_astray(session: Session, tmp_path: Path) -> None:
    """GCT: CWD /a/b/..c goes to /ac. Everywhere else the name is a name."""
    (tmp_path / "b" / "..c").mkdir(parents=True)
    assert (await session.stat(f"{tmp_path}/b/..c")).is_directory
    assert (await failure(session.change_directory(f"{tmp_path}/b/..c"))).kind is Kind.INVALID_NAME
    await session.change_directory(f"{tmp_path}/b/../b")
    assert await session.working_directory() == f"{tmp_path}/b"


# -- sizes and special files

SIZES = [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1]


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("size", SIZES)
async def test_sizes_up_and_down(session: Session, tmp_path: Path, size: int, streams: int) -> None:
    content = random.Random(size).randbytes(size)
    (tmp_path / "from").write_bytes(content)
    security = DataSecurity(DataCredential.create(datetime.now(UTC)))
    options = DataOptions(security, streams=streams)
    (up,) = await upload(session, [Copy(tmp_path / "from", f"{tmp_path}/up", size)], options)
    (down,) = await download(session, [Copy(tmp_path / "down", f"{tmp_path}/up", size)], options)
    assert (up.status, down.status) == ("done", "done")
    assert (tmp_path / "up").read_bytes() == (tmp_path / "down").read_bytes() == content


async def test_a_pipe_is_waited_for_no_longer_than_a_stall(
    domain_a: Domain, server_a: GctServer, server_b: GctServer, domain_b: Domain, tmp_path: Path
) -> None:
    """A server that is asked for a pipe waits for somebody to write: we do not wait with it."""
    os.mkfifo(tmp_path / "pipe")
    quick = Timeouts(stall_s=0.5, close_s=0.5)
    of_others = set(server_a.session_pids())
    source = await Session.open(
        Server("localhost", server_a.port),
        credential=domain_a.credential,
        trust=domain_a.trust,
        timeouts=quick,
    )
    destination = await Session.open(
        Server("localhost", server_b.port),
        credential=domain_b.credential,
        trust=domain_b.trust,
        timeouts=quick,
    )
    ours = set(server_a.session_pids()) - of_others
    assert ours
    lane = await Lane.open(source, destination, data_credential=None)
    async with asyncio.timeout(5):
        (outcome,) = await finish(lane, [Piece(f"{tmp_path}/pipe", f"{tmp_path}/to", 0)])
    assert outcome.error is not None
    assert outcome.error.kind is Kind.STALLED
    await lane.close()
    with (tmp_path / "pipe").open("wb"):  # now it can go on, and end
        async with asyncio.timeout(5):
            while ours & set(server_a.session_pids()):
                await asyncio.sleep(0.02)


@pytest.mark.long
async def test_five_gib_by_ranges(open_lane, open_a, tmp_path: Path) -> None:
    """Beyond 32 bits, with bytes at the borders and holes between."""
    size = 5 << 30
    step = 512 << 20
    with (tmp_path / "from").open("wb") as file:
        file.truncate(size)
        for at in range(0, size, step):
            file.seek(at)
            file.write(at.to_bytes(8, "big"))
        file.seek(size - 3)
        file.write(b"end")
    pieces = [
        Piece(
            f"{tmp_path}/from",
            f"{tmp_path}/to",
            step,
            ByteRange(at, min(at + step, size)),
            checksum="ADLER32",
        )
        for at in reversed(range(0, size, step))
    ]
    lane = await open_lane(streams=2, markers=True)
    outcomes = await finish(lane, pieces)
    assert {outcome.status for outcome in outcomes} == {"done"}
    session = await open_a()
    digests = [await session.checksum(f"{tmp_path}/{name}", "SHA256") for name in ("from", "to")]
    assert digests[0] == digests[1]
    assert await session.size(f"{tmp_path}/to") == size
    for name in ("from", "to"):
        (tmp_path / name).unlink()
