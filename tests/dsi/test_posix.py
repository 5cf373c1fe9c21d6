"""Files of this machine: nothing outside the root is reached, and nothing that a rule forbids."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from towpath.dsi import removal
from towpath.dsi.conformance import StorageConformance, forbidden, read, refused, write
from towpath.dsi.posix import PosixStorage
from towpath.dsi.rules import Rules
from towpath.dsi.storage import EntryType, Facts, PathNotAllowedError, Storage

SECRET = b"a secret of the world outside"


@pytest.fixture(params=[True, False], ids=["openat2", "found"])
def openat2(request: pytest.FixtureRequest) -> bool:
    """With the kernel's help, and without: all must hold both ways."""
    return bool(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a secret beside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def storage(root: Path, openat2: bool) -> Iterator[PosixStorage]:
    open_before = _open_files()
    storage = PosixStorage(root, openat2=openat2)
    yield storage
    del storage
    assert _open_files() <= open_before | {_root_fd(root)}


def _open_files() -> set[str]:
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(fd.readlink()))
        except FileNotFoundError:
            continue
    return {name for name in found if name.startswith("/") and not name.startswith("/proc")}


def _root_fd(root: Path) -> str:
    return str(root)


class TestPosix(StorageConformance):
    """Joins the suite of all storages, which gets the fixture above."""


class TestPosixUnderARuleThatAllowsAll(StorageConformance):
    """The way of a storage with rules: every place is looked up, and none is refused."""

    @pytest.fixture
    def storage(self, storage: PosixStorage) -> Storage:
        return storage.restricted(Rules.parse("RW/,R/elsewhere"))

    def test_the_root_stays(self, storage: Storage) -> None:
        """The rule of the place below comes first: it may not be removed."""
        for act in (storage.remove_directory, storage.remove_tree):
            with refused(errno.EBUSY, errno.EACCES):
                act(b"/")


# Out of the root


READING: list[Callable[[Storage, bytes], object]] = [
    lambda storage, path: storage.status(path),
    lambda storage, path: list(storage.entries(path)),
    read,
]
CHANGING: list[Callable[[Storage, bytes], object]] = [
    lambda storage, path: write(storage, path, b"overwritten", truncate=True),
    lambda storage, path: write(storage, path, b"overwritten", truncate=False),
    lambda storage, path: storage.truncate(path, 0),
    lambda storage, path: storage.set_modified(path, 1),
    lambda storage, path: storage.set_mode(path, 0o777),
    lambda storage, path: storage.set_group(path, "1"),
    lambda storage, path: storage.make_directory(path + b"/made"),
    lambda storage, path: storage.make_link(b"/", path + b"/made"),
    lambda storage, path: write(storage, path + b"/made", b"made"),
    lambda storage, path: storage.rename(b"/own", path + b"/made"),
]
ON_THE_NAME: list[Callable[[Storage, bytes], object]] = [
    # These act on a link itself, and may succeed.
    lambda storage, path: storage.rename(path, b"/stolen"),
    lambda storage, path: storage.rename(b"/own", path),
    lambda storage, path: storage.remove_file(path),
    lambda storage, path: storage.remove_directory(path),
    lambda storage, path: storage.remove_tree(path),
]


def _lay_out(root: Path) -> None:
    """Links that lead out, in all forms."""
    outside, twin = root.parent / "outside", root.parent / "root-twin"
    for directory in (outside, twin):  # the second one's name begins with the root's
        directory.mkdir(exist_ok=True)
        (directory / "secret").write_bytes(SECRET)
        (directory / "empty").mkdir(exist_ok=True)
    if root.exists():
        shutil.rmtree(root)
    (root / "sub").mkdir(parents=True)
    (root / "own").write_bytes(b"own")
    (root / "link").symlink_to(outside)
    (root / "up").symlink_to("../outside")
    (root / "chain").symlink_to("up")
    (root / "file").symlink_to(outside / "secret")
    (root / "relative").symlink_to("sub/../../outside/secret")
    (root / "twin").symlink_to(twin)


def _picture(root: Path) -> dict[Path, tuple[object, ...]]:
    """All that is outside."""
    picture: dict[Path, tuple[object, ...]] = {}
    for directory in (root.parent / "outside", root.parent / "root-twin"):
        for entry in (directory, *directory.rglob("*")):
            found = entry.lstat()
            content = entry.read_bytes() if entry.is_file() else None
            picture[entry] = (found.st_mode, found.st_gid, found.st_mtime_ns, content)
    return picture


@pytest.mark.parametrize(
    "path",
    [
        b"/../outside/secret",
        b"/../outside",
        b"/link",
        b"/link/secret",
        b"/link/empty",
        b"/up/secret",
        b"/up/../outside/secret",
        b"/chain/secret",
        b"/file",
        b"/relative",
        b"/sub/../../outside/secret",
        b"/twin/secret",
        b"/twin/empty",
    ],
)
@pytest.mark.parametrize("ruled", [False, True], ids=["free", "ruled"])
def test_no_path_leads_out(root: Path, openat2: bool, path: bytes, ruled: bool) -> None:
    _lay_out(root)
    before = _picture(root)
    for way in (*READING, *CHANGING, *ON_THE_NAME):
        _lay_out(root)
        before = _picture(root)
        storage: Storage = PosixStorage(root, openat2=openat2)
        if ruled:
            storage = storage.restricted(Rules.parse("RW/,N/x"))
        if way in ON_THE_NAME:
            with suppress(OSError):
                way(storage, path)
        else:
            with pytest.raises(OSError, match=r".") as error:
                way(storage, path)
            assert error.value.errno in (
                errno.ENOENT,
                errno.ENOTDIR,
                errno.EXDEV,
                errno.EINVAL,
                errno.ELOOP,
            )
        assert _picture(root) == before
    _lay_out(root)
    names = {name for name, _ in PosixStorage(root, openat2=openat2).entries(b"/")}
    assert names == {b"sub", b"own"}, "a link that leads out is not there"


def test_what_is_outside_is_not_told_of(storage: PosixStorage, root: Path) -> None:
    """Whether there is something outside or not: the answer is the same."""
    (root / "there").symlink_to(root.parent / "outside" / "secret")
    (root / "not").symlink_to(root.parent / "outside" / "nothing")
    (root / "below").symlink_to(root.parent / "outside" / "secret" / "x")
    answers = set()
    for name in (b"/there", b"/not", b"/below"):
        with pytest.raises(OSError, match=r".") as error:
            storage.open_reader(name)
        answers.add(error.value.errno)
        with pytest.raises(OSError, match=r"."):
            storage.open_writer(name, truncate=True)
    assert answers <= {errno.ENOENT, errno.ENOTDIR}
    assert not (root.parent / "outside" / "nothing").exists()


def test_links_that_stay_inside_work(storage: PosixStorage, root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / "a").write_bytes(b"inside")
    (root / "absolute").symlink_to(root / "d" / "a")
    (root / "absolute-dir").symlink_to(root / "d")
    (root / "out-and-in").symlink_to("../root/d/a")
    (root / "d" / "up").symlink_to("../d/a")
    through = root.parent / "other-name"
    through.symlink_to(root)
    (root / "by-another-name").symlink_to(through / "d" / "a")
    for path in (
        b"/absolute",
        b"/absolute-dir/a",
        b"/out-and-in",
        b"/d/up",
        b"/by-another-name",
    ):
        assert read(storage, path) == b"inside", path
        assert storage.status(path).size == 6
    assert storage.status(b"/by-another-name").link_target == b"/d/a"
    assert {name for name, _ in storage.entries(b"/absolute-dir")} == {b"a", b"up"}
    write(storage, b"/absolute", b"changed")
    assert (root / "absolute").is_symlink()
    write(storage, b"/absolute-dir/new", b"made")
    assert (root / "d" / "new").read_bytes() == b"made"
    storage.make_directory(b"/absolute-dir/sub")
    storage.rename(b"/absolute-dir/new", b"/absolute-dir/sub/newer")
    storage.set_mode(b"/absolute", 0o600)
    assert stat.S_IMODE((root / "d" / "a").stat().st_mode) == 0o600
    storage.truncate(b"/absolute", 3)
    assert (root / "d" / "a").read_bytes() == b"cha"


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6000])
def test_no_file_is_made_to_run_as_its_owner(storage: PosixStorage, root: Path, mode: int) -> None:
    """An upload that others of this machine may run would make them the server's account."""
    write(storage, b"/tool", b"#!/bin/sh")
    (root / "link").symlink_to("tool")
    for path in (b"/tool", b"/link"):
        with pytest.raises(PermissionError):
            storage.set_mode(path, mode)
    assert stat.S_IMODE((root / "tool").stat().st_mode) == 0o644
    storage.make_directory(b"/ours")
    storage.set_mode(b"/ours", 0o3775)  # files in it are the group's: that is for sharing
    assert stat.S_IMODE((root / "ours").stat().st_mode) == 0o3775


def test_circles_and_deep_chains(storage: PosixStorage, root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "self").symlink_to(root / "self")
    (root / "0").write_bytes(b"x")
    for number in range(1, 60):
        (root / str(number)).symlink_to(str(number - 1))
    for path in (b"/a", b"/59", b"/self"):
        with refused(errno.ELOOP, errno.ENOENT):
            storage.status(path)
        with refused(errno.ELOOP, errno.ENOENT):
            storage.open_writer(path, truncate=True)
    assert b"a" not in {name for name, _ in storage.entries(b"/")}


def test_links_of_the_kernel_lead_nowhere(openat2: bool, root: Path) -> None:
    """/proc/self/root and the like, which no path check sees."""
    (root / "here").mkdir()
    holder = os.open(root.parent / "outside" / "secret", os.O_RDONLY)
    directory = os.open(root.parent / "outside", os.O_RDONLY)
    try:
        storage = PosixStorage(root, openat2=openat2)
        for target in (
            f"/proc/self/fd/{holder}",
            f"/proc/self/fd/{directory}/secret",
            f"/proc/self/root{root.parent}/outside/secret",
            f"/proc/{os.getpid()}/cwd",
        ):
            (root / "link").symlink_to(target)
            for act in (storage.open_reader, storage.status, storage.entries):
                with refused(errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                    act(b"/link")
            (root / "link").unlink()
    finally:
        os.close(holder)
        os.close(directory)


def test_the_kernels_files_are_not_served(openat2: bool) -> None:
    """With the real root: writing to /proc/self/mem would be to take over the server."""
    storage = PosixStorage(Path("/"), openat2=openat2)
    for path in (b"/proc/self/mem", b"/proc/self/environ", b"/proc/self/oom_score_adj"):
        for act in (storage.open_reader, lambda p: storage.open_writer(p, truncate=False)):
            with refused(errno.EACCES):
                act(path)


def test_the_real_root(openat2: bool, root: Path) -> None:
    storage = PosixStorage(Path("/"), openat2=openat2)
    path = os.fsencode(root / "f")
    write(storage, path, b"x")
    (root / "absolute").symlink_to(root / "f")
    assert read(storage, os.fsencode(root / "absolute")) == b"x"
    assert storage.status(os.fsencode(root / "absolute")).link_target == path
    assert storage.status(b"/").type is EntryType.DIRECTORY
    assert b"proc" in {name for name, _ in storage.entries(b"/", facts=Facts.TYPE)}


@pytest.mark.parametrize("tries", [400, pytest.param(10_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("place", ["name", "directory"])
def test_a_link_that_is_swapped_in_meanwhile(
    storage: PosixStorage, root: Path, place: str, tries: int
) -> None:
    """Another process exchanges a file, or a directory on the way, for a link that leads out."""
    (root / "d").mkdir()
    (root / "d" / "secret").write_bytes(b"mine")
    outside = root.parent / "outside"
    victim, link = (
        (root / "d", outside)
        if place == "directory"
        else (
            root / "d" / "secret",
            outside / "secret",
        )
    )
    with _Swapping(victim, link):
        seen: set[object] = set()
        for number in count():
            if number >= tries and {b"mine", errno.ENOENT} <= seen:
                break  # both were met
            try:
                seen.add(read(storage, b"/d/secret"))
                storage.set_mode(b"/d/secret", 0o600)
                if number % 2:
                    write(storage, b"/d/secret", b"mine", truncate=bool(number & 2))
                else:
                    list(storage.entries(b"/d"))
                    storage.make_directory(b"/d/made")
                    storage.remove_directory(b"/d/made")
            except OSError as error:
                seen.add(error.errno)
    assert SECRET not in seen
    assert (outside / "secret").read_bytes() == SECRET
    assert {entry.name for entry in outside.iterdir()} == {"secret"}
    assert stat.S_IMODE((outside / "secret").stat().st_mode) != 0o600


@pytest.mark.parametrize("tries", [400, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_link_that_is_swapped_in_does_not_get_round_a_rule(
    storage: PosixStorage, root: Path, tries: int
) -> None:
    (root / "d").mkdir()
    (root / "d" / "f").write_bytes(b"mine")
    (root / "no").mkdir()
    (root / "no" / "f").write_bytes(SECRET)
    ruled = storage.restricted(Rules.parse("RW/d"))
    with _Swapping(root / "d" / "f", Path("../no/f")):
        seen: set[object] = set()
        for number in count():
            if number >= tries and {b"mine", PathNotAllowedError} <= seen:
                break  # both were met
            try:
                seen.add(read(ruled, b"/d/f"))
                if number % 2:
                    write(ruled, b"/d/f", b"mine")
            except OSError as error:
                seen.add(type(error))
    assert SECRET not in seen
    assert (root / "no" / "f").read_bytes() == SECRET


class _Swapping:
    """A process that exchanges `victim` and a link to `target`, as fast as it can."""

    PROGRAM = """
import ctypes, sys
libc = ctypes.CDLL(None)
one, other = sys.argv[1].encode(), sys.argv[2].encode()
print("ready", flush=True)
while True:
    libc.renameat2(-100, one, -100, other, 2)
"""

    def __init__(self, victim: Path, target: Path) -> None:
        self._victim = victim
        self._link = victim.parent / "swapped"
        self._link.symlink_to(target)

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, self._victim, self._link],
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


# Rules on what is opened


def test_rules_hold_for_what_links_lead_to(storage: PosixStorage, root: Path) -> None:
    for name in ("allowed", "no", "read"):
        (root / name).mkdir()
        (root / name / "f").write_bytes(b"x")
    (root / "allowed" / "link").symlink_to("../no/f")
    (root / "allowed" / "dir").symlink_to("../no")
    (root / "allowed" / "absolute").symlink_to(root / "no" / "f")
    (root / "allowed" / "read").symlink_to("../read")
    (root / "allowed" / "dangling").symlink_to("../no/made")
    ruled = storage.restricted(Rules.parse("RW/allowed,R/read"))
    (root / "to-allowed").symlink_to("allowed")
    assert {name for name, _ in ruled.entries(b"/allowed")} == {b"f", b"read"}
    assert {name for name, _ in ruled.entries(b"/")} == {b"allowed", b"read", b"to-allowed"}
    assert read(ruled, b"/to-allowed/f") == b"x", "where it leads counts, as with GCT"
    with refused(errno.ENOENT):
        ruled.open_reader(b"/to-allowed/no")
    with forbidden():
        ruled.remove_file(b"/to-allowed")
    for missing in (b"/no/missing", b"/no/missing/too", b"/missing", b"/allowed/dir/missing"):
        with forbidden():
            ruled.status(missing)
        with forbidden():
            ruled.make_directory(missing)
    for path in (b"/allowed/link", b"/allowed/dir/f", b"/allowed/absolute"):
        with forbidden():
            ruled.status(path)
        with forbidden():
            ruled.open_reader(path)
        with forbidden():
            ruled.open_writer(path, truncate=True)
        with forbidden():
            ruled.set_modified(path, 0)
        with forbidden():
            ruled.truncate(path, 0)
    for path in (b"/allowed/dir/new", b"/allowed/read/new"):
        with forbidden():
            ruled.open_writer(path, truncate=True)
        with forbidden():
            ruled.make_directory(path)
        with forbidden():
            ruled.rename(b"/allowed/f", path)
    with refused(errno.ENOENT):
        ruled.open_writer(b"/allowed/dangling", truncate=True)
    assert not (root / "no" / "made").exists()
    assert read(ruled, b"/allowed/read/f") == b"x"
    with forbidden():
        ruled.open_writer(b"/allowed/read/f", truncate=True)
    assert ruled.status(b"/allowed/read/f").perm == "r"
    assert (root / "no" / "f").read_bytes() == b"x"
    assert {entry.name for entry in (root / "no").iterdir()} == {"f"}


def test_what_lies_below_a_link_is_held_to_the_rules_too(storage: PosixStorage, root: Path) -> None:
    (root / "a" / "b" / "keep").mkdir(parents=True)
    (root / "link").symlink_to("a")
    ruled = storage.restricted(Rules.parse("RW/,R/a/b/keep"))
    with forbidden():
        ruled.remove_tree(b"/link/b")
    with forbidden():
        ruled.rename(b"/link/b", b"/c")
    assert (root / "a" / "b" / "keep").is_dir()


def test_a_removed_file_is_not_opened_by_its_old_name(storage: PosixStorage, root: Path) -> None:
    (root / "f (deleted)").write_bytes(b"still there")
    ruled = storage.restricted(Rules.parse("RW/,N/x"))
    assert read(ruled, b"/f (deleted)") == b"still there"


# Kinds of files


def test_pipes_sockets_and_devices_are_told_of_and_never_opened(
    storage: PosixStorage, root: Path
) -> None:
    """With a watch: an open that blocks would hold the thread for ever."""
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(root)
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
    if os.geteuid() == 0:
        os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    found = dict(storage.entries(b"/"))
    assert {status.type for status in found.values()} == {EntryType.OTHER}
    assert {entry.type for _, entry in storage.entries(b"/", facts=Facts.TYPE)} == {EntryType.OTHER}
    ruled = storage.restricted(Rules.parse("RW/,N/x"))
    for one in (storage, ruled):
        for name in found:
            done = threading.Event()

            def every_way(
                one: Storage = one, name: bytes = name, done: threading.Event = done
            ) -> None:
                with refused(errno.EINVAL, errno.ENXIO):
                    one.open_reader(b"/" + name)
                with refused(errno.EINVAL, errno.ENXIO):
                    one.open_writer(b"/" + name, truncate=True)
                with refused(errno.EINVAL, errno.ENXIO):
                    one.truncate(b"/" + name, 0)
                done.set()

            threading.Thread(target=every_way, daemon=True).start()
            assert done.wait(30), name


def test_overlong_names(storage: PosixStorage) -> None:
    for path in (b"/" + b"n" * 256, b"/" + b"d/" * 3000 + b"f"):
        for act in (storage.status, storage.open_reader, storage.make_directory, storage.entries):
            with refused(errno.ENAMETOOLONG, errno.ENOENT):
                act(path)


def test_names_differ_by_case(storage: PosixStorage) -> None:
    write(storage, b"/Name", b"1")
    write(storage, b"/name", b"2")
    ruled = storage.restricted(Rules.parse("R/Name"))
    assert read(ruled, b"/Name") == b"1"
    with forbidden():
        ruled.open_reader(b"/name")


def test_deep_trees_are_removed_with_few_descriptors(storage: PosixStorage, root: Path) -> None:
    here = os.open(root, os.O_RDONLY)
    for _ in range(1200):  # deeper than Python's stack, with fewer descriptors than levels
        os.mkdir("d", dir_fd=here)
        os.symlink("..", "link", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    try:
        storage.remove_tree(b"/d")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {entry.name for entry in root.iterdir()} == {"link"}


def test_wide_trees_are_removed(
    storage: PosixStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_BATCH", 10)
    (root / "wide").mkdir()
    for number in range(25):
        (root / "wide" / f"d{number}").mkdir()
    storage.remove_tree(b"/wide")
    assert not (root / "wide").exists()


# What an account sees


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        storage = PosixStorage(disk)
        writer = storage.open_writer(b"/f", truncate=True)
        with refused(errno.ENOSPC):
            writer.write(bytes(1 << 20), 0)
        writer.close()
        del storage
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_file_too_large_for_the_limit_says_so(storage: PosixStorage) -> None:
    writer = storage.open_writer(b"/f", truncate=True)
    with refused(errno.EFBIG, errno.EINVAL):
        writer.write(b"x", (1 << 63) - 1)
    writer.close()


def test_facts_are_those_of_the_file_system(storage: PosixStorage, root: Path) -> None:
    (root / "f").write_bytes(b"12345")
    (root / "f").chmod(0o6751)
    os.utime(root / "f", (1, 1_000_000_000.75))
    os.link(root / "f", root / "g")
    found = (root / "f").stat()
    status = storage.status(b"/f")
    assert (status.size, status.modified, status.mode) == (5, 1_000_000_000, 0o6751)
    assert (status.uid, status.gid, status.links) == (found.st_uid, found.st_gid, 2)
    assert status.owner == (root / "f").owner()
    assert status.group == (root / "f").group()
    assert status.unique == f"{found.st_dev:x}-{found.st_ino:x}"
    assert storage.status(b"/g").unique == status.unique


def test_owners_without_a_name_are_told_by_number(storage: PosixStorage, root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving files away takes root")
    (root / "f").touch()
    os.chown(root / "f", 987_654, 987_655)
    status = storage.status(b"/f")
    assert (status.owner, status.group) == ("987654", "987655")


def test_a_listing_that_is_given_up_closes_its_directory(storage: PosixStorage, root: Path) -> None:
    for number in range(10):
        (root / str(number)).touch()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        listing = storage.entries(b"/")
        next(listing)
        del listing
    storage.entries(b"/")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_new_files_have_the_mode_of_the_server(root: Path, openat2: bool) -> None:
    storage = PosixStorage(root, file_mode=0o666, openat2=openat2)
    mask = os.umask(0o027)
    try:
        write(storage, b"/f", b"")
        write(storage.restricted(Rules.parse("RW/,N/x")), b"/g", b"")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((root / "f").stat().st_mode) == 0o640
    assert stat.S_IMODE((root / "g").stat().st_mode) == 0o640


def test_a_root_that_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        PosixStorage(tmp_path / "no")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        PosixStorage(tmp_path / "file")
