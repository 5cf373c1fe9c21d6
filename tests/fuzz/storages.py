"""Paths at a storage of this machine, under rules, while links and names change."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fuzz.bending import bent
from fuzz.campaign import EscapeError, One
from fuzz.ground import PATHS, SECRET, Ground, check_told
from fuzz.sessions import small_files
from towpath.dsi.posix import PosixStorage
from towpath.dsi.rules import FREE, Rules
from towpath.gridftp.server.commands.base import normalised

FORBIDDEN = b"FORBIDDEN-91aa"
"""In files that no rule lets anyone read."""

RULES = (FREE, Rules.parse("RW/,N/no,R/ro,W/wo"), Rules.parse("RW/play,RW/d,R/ro,W/wo"))

STEPS = 40


@contextmanager
def paths(workdir: Path) -> Iterator[One]:
    """Each input is some calls of a storage, and somebody who exchanges names meanwhile."""
    ground = Ground(workdir)

    def one(dice: random.Random) -> None:
        ground.lay()
        _lay_more(ground.root)
        rules = dice.choice(RULES)
        storage = PosixStorage(ground.root, rules=rules, openat2=dice.randrange(2) == 0)
        before = _forbidden(ground.root)
        changing = Changing(ground.root / "play", random.Random(dice.random()))
        changing.start()
        try:
            for _ in range(STEPS):
                _step(storage, dice, ruled=rules is not FREE)
        finally:
            changing.stop()
        ground.compare()
        if rules is not FREE and _forbidden(ground.root) != before:
            raise EscapeError(f"what is forbidden has changed: {_forbidden(ground.root)}")

    with small_files():
        yield one


def _lay_more(root: Path) -> None:
    for name in ("no", "ro", "wo", "play"):
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name / "d").mkdir(parents=True)
    for name in ("no", "wo"):
        (root / name / "f").write_bytes(FORBIDDEN)
        (root / name / "d" / "f").write_bytes(FORBIDDEN)
    for name in ("ro", "play"):
        (root / name / "f").write_bytes(b"of " + name.encode())
        (root / name / "d" / "f").write_bytes(b"of d")


def _forbidden(root: Path) -> list[tuple[object, ...]]:
    """What may not be changed: `no` in whole, and the files of `ro`."""
    found: list[tuple[object, ...]] = []
    for top in (root / "no", root / "ro"):
        for path in sorted((top, *top.rglob("*"))):
            status = path.lstat()
            found.append((str(path), status.st_mode, status.st_mtime_ns, status.st_ctime_ns))
    return found


_TARGETS = (
    *("../../outside", "../../outside/secret", "../no", "../no/f", "../ro", "../wo/f", "..", "."),
    *("/etc", "/proc/self/fd", "../play", "d", "f", "../d", "../../root/no", "../up", "x", "/"),
)


class Changing(threading.Thread):
    """Exchanges names below a directory for links, directories and files, as fast as it can."""

    def __init__(self, place: Path, dice: random.Random) -> None:
        super().__init__()
        self._place, self._dice = place, dice
        self._over = threading.Event()

    def run(self) -> None:
        """Until it is stopped."""
        dice = self._dice
        while not self._over.is_set():
            with suppress(OSError):
                name = self._place / dice.choice(("a", "b", "d", "f", "x"))
                fresh = self._place / f".{dice.randrange(3)}"
                _remove(fresh)
                match dice.randrange(5):
                    case 0:
                        fresh.mkdir()
                        (fresh / "f").write_bytes(b"fresh")
                    case 1:
                        fresh.write_bytes(b"fresh")
                    case _:
                        target = dice.choice(_TARGETS)
                        if dice.randrange(4) == 0:
                            target = str(self._place / target)
                        fresh.symlink_to(target)
                if name.is_dir() and not name.is_symlink():
                    name.rename(self._place / f".old{dice.randrange(3)}")
                fresh.rename(name)

    def stop(self) -> None:
        """And wait for its end."""
        self._over.set()
        self.join()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


_BELOW = (
    *(b"/play/a", b"/play/b", b"/play/d", b"/play/f", b"/play/x", b"/play/a/f", b"/play/x/f"),
    *(b"/play/d/f", b"/play/b/secret", b"/play/x/d/f", b"/play/a/d", b"/no", b"/no/f", b"/no/d/f"),
    *(b"/ro/f", b"/ro", b"/wo/f", b"/wo/new", b"/wo/d", b"/wo/d/f", b"/play/new", b"/no/new"),
)


def _path(dice: random.Random) -> bytes:
    path = dice.choice(_BELOW if dice.randrange(4) else PATHS)
    if dice.randrange(10) == 0:
        path = bent(dice, path, _BELOW)
    return normalised(b"/" + path)


def _step(storage: PosixStorage, dice: random.Random, *, ruled: bool) -> None:
    path, other = _path(dice), _path(dice)
    calls: tuple[Callable[[], object], ...] = (
        lambda: _read(storage, path, ruled=ruled),
        lambda: _read(storage, path, ruled=ruled),
        lambda: _write(storage, path, dice),
        lambda: storage.truncate(path, dice.choice((0, 1, 1 << 62))),
        lambda: _check_status(storage.status(path).link_target),
        lambda: _list(storage, path),
        lambda: storage.make_directory(path),
        lambda: storage.remove_file(path),
        lambda: storage.remove_directory(path),
        lambda: storage.remove_tree(path) if dice.randrange(4) == 0 else None,
        lambda: storage.rename(path, other),
        lambda: storage.rename(path, other),
        lambda: storage.make_link(dice.choice((other, b"../" + other, b"../../outside")), path),
        lambda: storage.set_mode(path, dice.randrange(0o10000)),
        lambda: storage.set_modified(path, dice.choice((0, -1, 1 << 40, 1 << 70))),
        lambda: storage.set_group(path, dice.choice(("0", "nogroup", "4294967295", "x"))),
    )
    with suppress(OSError):
        dice.choice(calls)()


def _read(storage: PosixStorage, path: bytes, *, ruled: bool) -> None:
    reader = storage.open_reader(path)
    try:
        view = bytearray(10_000)
        data = bytes(view[: reader.read_into(view, 0)])
    finally:
        reader.close()
    check_told(data)
    if ruled and FORBIDDEN in data:
        raise EscapeError(f"what is forbidden was read at {path!r}")


def _write(storage: PosixStorage, path: bytes, dice: random.Random) -> None:
    writer = storage.open_writer(path, truncate=dice.randrange(2) == 0, readable=True)
    try:
        writer.write(b"written", dice.choice((0, 5, 1 << 40)))
        writer.finish(modified=dice.choice((None, 1)), durable=dice.randrange(20) == 0)
    finally:
        writer.close()


def _check_status(target: bytes | None) -> None:
    if target is not None and (b"outside" in target.split(b"/") or SECRET in target):
        raise EscapeError(f"a link's target was told: {target!r}")


def _list(storage: PosixStorage, path: bytes) -> None:
    for name, status in storage.entries(path):
        check_told(os.fsencode(name))
        _check_status(status.link_target)
