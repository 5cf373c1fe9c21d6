"""Local files as the ends of transfers."""

import errno
import os
import threading

from towpath.gridftp.errors import GridFTPError, Kind


class FileSource:
    """An open file that is sent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """The kernel may send from it."""
        return self._descriptor

    def read_into(self, view: memoryview, offset: int) -> int:
        """Read at `offset`; 0 only at the end."""
        return os.preadv(self._descriptor, [view], offset)


class FileSink:
    """An open file of which at most `size` bytes are expected."""

    def __init__(self, descriptor: int, size: int, path: str) -> None:
        self.descriptor = descriptor
        self.received = 0
        self._size = size
        self._path = path
        self._lock = threading.Lock()

    def write(self, data: memoryview, offset: int) -> None:
        """At its place. Raises CHECKSUM_MISMATCH beyond the expected size.

        So no server can fill our disk.
        """
        with self._lock:
            self.received += len(data)
        if offset + len(data) > self._size:
            raise GridFTPError(
                Kind.CHECKSUM_MISMATCH,
                f"more than the expected {self._size} bytes came: the file changed meanwhile",
                "",
                self._path,
            )
        try:
            while data:
                count = os.pwrite(self.descriptor, data, offset)
                data, offset = data[count:], offset + count
        except OSError as error:
            raise local_error(error, self._path) from error


_KIND_BY_ERROR: dict[type[OSError], Kind] = {
    FileNotFoundError: Kind.NOT_FOUND,
    PermissionError: Kind.PERMISSION_DENIED,
    IsADirectoryError: Kind.IS_A_DIRECTORY,
    NotADirectoryError: Kind.NOT_A_DIRECTORY,
    FileExistsError: Kind.EXISTS,
}


def local_error(error: OSError, path: str) -> GridFTPError:
    """A failure of our own file system in the client's terms."""
    kind = _KIND_BY_ERROR.get(type(error), Kind.UNKNOWN)
    if error.errno == errno.ENOSPC:
        kind = Kind.NO_SPACE
    elif error.errno == errno.EDQUOT:
        kind = Kind.QUOTA
    return GridFTPError(kind, (error.strerror or str(error)).lower(), "local", path)
