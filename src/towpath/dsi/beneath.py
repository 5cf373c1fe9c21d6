"""Files below a root directory, opened so that nothing outside it is ever reached.

The kernel is asked to stay below (openat2(2), Linux 5.6, with RESOLVE_BENEATH): one system call,
and no race with somebody who exchanges a name for a link meanwhile. It refuses absolute links, also
those that lead back inside, and there are kernels and containers without the call. Then the file is
found first (O_PATH opens nothing yet), the kernel is asked where it is (/proc/self/fd), and the
very file that was found is opened by its descriptor. What is checked is what is opened, both times.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

_OPENAT2: Final = 437  # on every architecture
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_BENEATH: Final = 0x08
_PLAIN: Final = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
"""Of each open: without O_NONBLOCK a pipe without a peer would hold the thread for ever."""
_PRETENDED: Final = {b"proc", b"sysfs", b"cgroup", b"cgroup2", b"debugfs", b"tracefs", b"configfs"}
"""File systems that are doors to the kernel and to this process itself (/proc/self/mem): what looks
like a file there is none."""


Check: TypeAlias = Callable[[bytes], None]


class _OpenHow(ctypes.Structure):
    """struct open_how, openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class Beneath:
    """A directory, seen as ``/``. Paths are clean virtual ones (`towpath.dsi.storage`)."""

    def __init__(self, root: Path, *, openat2: bool = True) -> None:
        """Open the root: OSError if it is no directory. `openat2`: use it if the kernel has it."""
        self._root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._real_root = _name_of(self._root_fd).rstrip(b"/")
            self.pretended = _pretended_devices()
        except OSError as error:
            os.close(self._root_fd)
            raise OSError(error.errno, "a storage needs /proc", str(root)) from None
        self._openat2 = openat2 and _has_openat2()
        # Below the real / there is no outside.
        self._resolve = _RESOLVE_NO_MAGICLINKS | (_RESOLVE_BENEATH if self._real_root else 0)

    def __del__(self) -> None:
        """Let go of the root."""
        if hasattr(self, "_root_fd"):
            os.close(self._root_fd)

    def open(self, path: bytes, flags: int, mode: int = 0, check: Check | None = None) -> int:
        """A descriptor of `path`; links are followed as long as they lead inside.

        With O_CREAT a file is made in the directory that `path` names. What is outside does not
        exist (ENOENT). `check` is given the place, all links resolved, of what is opened, before
        it is made or emptied, and raises if it may not be.
        """
        if b"\0" in path:
            raise OSError(errno.EINVAL, "a name holds NUL", path)
        if self._openat2 and not (check and flags & os.O_CREAT):
            fd, number = self._open_below(path[1:] or b".", flags, mode)
            if fd >= 0:
                return self._checked(fd, check)
            # EXDEV: a link that is absolute or leads out. EAGAIN: somebody renamed meanwhile.
            if number not in (errno.EXDEV, errno.EAGAIN):
                raise OSError(number, os.strerror(number), path)
        if flags & os.O_CREAT:
            try:
                return self._create(path, flags, mode, check)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
            flags &= ~os.O_CREAT  # a link: what it leads to must be there
        return self._open_found(path, flags, check)

    def open_parent(self, path: bytes, check: Check | None = None) -> tuple[int, bytes]:
        """A descriptor (O_PATH) of the directory that holds `path`, and the name in it."""
        directory, _, name = path.rpartition(b"/")
        if not name:
            raise OSError(errno.EBUSY, "it is the root", path)
        if b"\0" in name:
            raise OSError(errno.EINVAL, "a name holds NUL", path)
        below = None
        if check is not None:
            inner = check

            def below(place: bytes) -> None:
                inner(place.rstrip(b"/") + b"/" + name)

        return self.open(directory or b"/", os.O_PATH | os.O_DIRECTORY, 0, below), name

    def where(self, fd: int) -> bytes:
        """The virtual path, all links resolved, of what a descriptor is open on.

        ENOENT if it is outside, or has no name any more.
        """
        real = _name_of(fd)
        root = self._real_root
        if real == root or (not root and real == b"/"):
            return b"/"
        if not real.startswith(root + b"/") or _is_removed(fd, real):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return real[len(root) :]

    def real(self, path: bytes) -> bytes:
        """What a virtual path is called outside, for a link that leads there."""
        return self._real_root + path

    def sync_directory_of(self, fd: int) -> None:
        """Put the name of an open file on the disk too."""
        real = _name_of(fd)
        directory = os.open(
            real[: real.rfind(b"/")] or b"/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        )
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _open_below(self, relative: bytes, flags: int, mode: int) -> tuple[int, int]:
        """A descriptor or -1, and what is wrong, as openat2 tells it."""
        how = _how(flags | _PLAIN, mode, self._resolve)
        while True:
            fd: int = _libc().syscall(
                _OPENAT2, self._root_fd, relative, ctypes.byref(how), ctypes.sizeof(_OpenHow)
            )
            number = 0 if fd >= 0 else ctypes.get_errno()
            if number != errno.EINTR:
                return fd, number

    def _create(self, path: bytes, flags: int, mode: int, check: Check | None) -> int:
        """Open or make a file in a directory that was found and checked."""
        parent, name = self.open_parent(path, check)
        try:
            return os.open(name, flags | _PLAIN | os.O_NOFOLLOW, mode, dir_fd=parent)
        except OSError as error:
            raise _about(error, path) from None
        finally:
            os.close(parent)

    def _open_found(self, path: bytes, flags: int, check: Check | None) -> int:
        """Find, check, and open what was found."""
        nofollow = flags & os.O_NOFOLLOW
        try:
            found = os.open(
                path[1:] or b".", os.O_PATH | os.O_CLOEXEC | nofollow, dir_fd=self._root_fd
            )
        except OSError as error:
            if self._openat2:  # it is a link that leads out: what is wrong there is not told
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
            raise _about(error, path) from None
        found = self._checked(found, check or _anywhere)
        if flags & os.O_PATH and not flags & os.O_DIRECTORY:
            return found
        try:
            return os.open(b"/proc/self/fd/%d" % found, flags & ~nofollow | _PLAIN)
        except OSError as error:
            raise _about(error, path) from None
        finally:
            os.close(found)

    def _checked(self, fd: int, check: Check | None) -> int:
        if check is None:
            return fd
        try:
            check(self.where(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd


def _anywhere(place: bytes) -> None:
    """No rule; that the place is inside is known by now."""


def _about(error: OSError, path: bytes) -> OSError:
    """The error, told of the path that was asked for."""
    return OSError(error.errno, error.strerror, path)


def _name_of(fd: int) -> bytes:
    """The path of an open file, as the kernel knows it now."""
    return os.readlink(b"/proc/self/fd/%d" % fd)  # noqa: PTH115 - bytes


def _is_removed(fd: int, real: bytes) -> bool:
    """Whether the kernel's path is that of a name that is gone: it then adds " (deleted)"."""
    if not real.endswith(b" (deleted)"):
        return False
    try:
        there, here = os.lstat(real), os.fstat(fd)
    except OSError:
        return True
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    libc.syscall.argtypes = [
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
    ]
    return libc


@cache  # bounded: each combination is one that stands in this package
def _how(flags: int, mode: int, resolve: int) -> _OpenHow:
    if flags & os.O_PATH:  # with which openat2 refuses flags that mean nothing
        flags &= ~(os.O_NOCTTY | os.O_NONBLOCK)
    return _OpenHow(flags, mode if flags & os.O_CREAT else 0, resolve)


@cache
def _has_openat2() -> bool:
    how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_BENEATH)
    fd = _libc().syscall(_OPENAT2, -100, b".", ctypes.byref(how), ctypes.sizeof(_OpenHow))
    if fd < 0:  # ENOSYS; EPERM in containers whose filter is older than the call
        return False
    os.close(fd)
    return True


def _pretended_devices() -> frozenset[int]:
    """Devices (st_dev) of mounted file systems that hold no files (proc_pid_mountinfo(5))."""
    devices = set()
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        mount, _, file_system = line.partition(b" - ")
        if file_system.split(b" ", 1)[0] in _PRETENDED:
            major, _, minor = mount.split(b" ", 3)[2].partition(b":")
            devices.add(os.makedev(int(major), int(minor)))
    return frozenset(devices)
