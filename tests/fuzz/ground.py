"""A small tree, and a canary beside it that nothing may touch or tell of."""

import os
import shutil
import stat
from pathlib import Path

from fuzz.campaign import EscapeError

SECRET = b"CANARY-5f0c1e"
"""Content of the files outside, and part of names there that no command knows."""

PATHS = (
    *(b"/", b"f", b"/d/f", b"d", b"/d/e", b"/d/e/g", b"new", b"/d/new", b"empty", b"large", b"~"),
    *(b"/up/secret", b"/up", b"/out", b"/out/secret", b"/outfile", b"/../outside/secret", b"/loop"),
    *(
        b"/in",
        b"/in/f",
        b"/pipe",
        b"/socket",
        b"/dead",
        b"/deadout",
        b"/deadout/x",
        b"/d/../..",
        b"*",
    ),
    *(b"/proc", b"/proc/fd/0", b"caf\xe9", b"a\nb", b" x", b"-la", b"/d/e/../../up", b"outside"),
)


class Ground:
    """`root` is what a storage presents; `outside` is beside it."""

    def __init__(self, workdir: Path) -> None:
        self.root = workdir / "root"
        self.outside = workdir / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_bytes(SECRET * 10)
        (self.outside / f"{SECRET.decode()}-name").write_bytes(SECRET)
        (self.outside / "dir").mkdir()
        (self.outside / "dir" / "secret").write_bytes(SECRET)
        self._workdir = workdir
        self.lay()
        self._before = self._picture()

    def lay(self) -> None:
        """The tree as it was in the beginning; its root stays the same directory."""
        root = self.root
        root.mkdir(exist_ok=True)
        root.chmod(0o755)
        for entry in os.scandir(os.fsencode(root)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)  # noqa: PTH108 - bytes
        (root / "d/e").mkdir(parents=True)
        (root / "f").write_bytes(b"of f" * 50)
        (root / "d/f").write_bytes(b"of d/f")
        (root / "d/e/g").write_bytes(b"")
        (root / "empty").mkdir()
        (root / "large").write_bytes(bytes(300_000))
        (root / "up").symlink_to("../outside")
        (root / "out").symlink_to(self.outside)
        (root / "outfile").symlink_to("../outside/secret")
        (root / "deadout").symlink_to("../outside/not-there")
        (root / "dead").symlink_to("not-there")
        (root / "loop").symlink_to("loop")
        (root / "in").symlink_to("d")
        (root / "proc").symlink_to("/proc/self")
        os.mkfifo(root / "pipe")
        os.mknod(root / "socket", 0o600 | stat.S_IFSOCK)

    def compare(self) -> None:
        """Raise `EscapeError` if anything outside is not as it was."""
        now = self._picture()
        if now != self._before:
            self._before = now
            raise EscapeError(f"outside is not as it was: {now}")

    def _picture(self) -> list[object]:
        """Of everything outside."""
        found: list[object] = [sorted(os.listdir(self._workdir))]  # noqa: PTH208
        for path in (self.outside, *sorted(self.outside.rglob("*"))):
            status = path.lstat()
            times = (status.st_mtime_ns, status.st_ctime_ns, status.st_size)
            owner = (status.st_mode, status.st_nlink, status.st_uid, status.st_gid)
            found.append((path.name, *owner, *times))
        return found


def check_told(data: bytes) -> None:
    """Raise `EscapeError` if this is of the canary."""
    if SECRET in data:
        raise EscapeError(f"told: {data[:200]!r}")
