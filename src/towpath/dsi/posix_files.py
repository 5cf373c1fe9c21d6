"""Open files of this machine."""

from __future__ import annotations

import errno
import os
from typing import Final

from towpath.dsi.beneath import Beneath
from towpath.dsi.storage import Bytes

LARGEST: Final = (1 << 63) - 1
"""Of offsets, as the kernel has them, and of times in nanoseconds."""


class PosixReader:
    """An open file. See `Reader`."""

    __slots__ = ("_fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        """Own a descriptor."""
        self._fd = fd
        self.size = size

    def fileno(self) -> int | None:
        """See `Reader`."""
        return self._fd

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        """See `Reader`."""
        return os.preadv(self._fd, [view], offset) if offset + len(view) <= LARGEST else 0

    def close(self) -> None:
        """See `Reader`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """Let go of a file that was forgotten."""
        self.close()


class PosixWriter:
    """A file open for writing. See `Writer`."""

    __slots__ = ("_beneath", "_fd")

    def __init__(self, fd: int, beneath: Beneath) -> None:
        """Own a descriptor."""
        self._fd = fd
        self._beneath = beneath

    def fileno(self) -> int | None:
        """See `Writer`."""
        return self._fd

    def write(self, view: Bytes, offset: int) -> None:
        """See `Writer`."""
        if offset + len(view) > LARGEST:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        written = os.pwrite(self._fd, view, offset)
        if written < len(view):  # the disk filled up meanwhile, or more than 2 GiB at once
            rest = memoryview(view)
            while rest := rest[written:]:
                offset += written
                written = os.pwrite(self._fd, rest, offset)

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        """See `Writer`."""
        try:
            return os.preadv(self._fd, [view], offset)
        except OSError as error:
            if error.errno == errno.EBADF and self._fd >= 0:
                raise OSError(errno.ENOTSUP, "not opened to be read") from None
            raise

    def finish(self, *, modified: int | None, durable: bool) -> None:
        """See `Writer`."""
        try:
            if modified is not None:
                os.utime(self._fd, ns=times(modified))
            if durable:
                os.fsync(self._fd)
                self._beneath.sync_directory_of(self._fd)
        except BaseException:
            self.close()
            raise
        fd, self._fd = self._fd, -1
        os.close(fd)  # NFS and quotas tell here that a write failed

    def close(self) -> None:
        """See `Writer`."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """Let go of a file that was forgotten."""
        self.close()


def times(modified: int) -> tuple[int, int]:
    """Of access and of change, in nanoseconds; both the same, as GCT sets them. EINVAL: beyond."""
    if abs(modified) > LARGEST // 1_000_000_000:
        raise OSError(errno.EINVAL, "no file can have this time")
    return modified * 1_000_000_000, modified * 1_000_000_000
