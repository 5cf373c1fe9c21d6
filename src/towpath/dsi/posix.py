"""Files of this machine: a directory presented as ``/``, under rules.

Nothing outside the directory is reached, and nothing that a rule forbids: both are checked on the
file that is opened (`towpath.dsi.beneath`), so links and renames cannot get round them. Names are
compared with rules byte by byte; do not forbid parts of a file system that ignores case.

Few system calls: a small file takes open, fstat, read and close, or open, fstat, write, utime and
close (and one more where rules hold).
"""

from __future__ import annotations

import copy
import errno
import grp
import os
import stat
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from towpath.dsi.beneath import Beneath, Check
from towpath.dsi.names import Names
from towpath.dsi.permissions import Account
from towpath.dsi.posix_files import PosixReader, PosixWriter, times
from towpath.dsi.removal import remove_contents
from towpath.dsi.rules import FREE, MAX_PATH_BYTES, Access, Rules
from towpath.dsi.storage import (
    Capabilities,
    EntryType,
    Facts,
    PathNotAllowedError,
    Status,
)

DEFAULT_FILE_MODE: Final = 0o644
"""Of new files, less the umask; as GCT's ``-perms``."""
RUNS_AS_ANOTHER: Final = stat.S_ISUID | stat.S_ISGID
"""Not for files. Where one account serves many people, whoever can store a file would make others
of this machine the account; where each has his own, nobody needs it for a transfer."""
_READ_AND_WRITE: Final = Access.READ | Access.WRITE
LARGEST_ID: Final = (1 << 32) - 2
"""Of users and groups: one more would mean to leave it as it is."""


class PosixStorage:
    """A directory of this machine. Acts with the rights of the process."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        rules: Rules = FREE,
        file_mode: int = DEFAULT_FILE_MODE,
        openat2: bool = True,
    ) -> None:
        """Present `root`; OSError if it is no directory. `openat2`: see `Beneath`."""
        self._beneath = Beneath(root, openat2=openat2)
        self._file_mode = file_mode
        self._account = Account.of_process()
        self._names = Names()
        self._hold_to(rules)

    capabilities: Final = Capabilities()

    def restricted(self, rules: Rules) -> PosixStorage:
        """See `Storage`."""
        other = copy.copy(self)
        other._hold_to(  # noqa: SLF001 - it is ours
            self._rules.and_also(rules)
        )
        return other

    def _hold_to(self, rules: Rules) -> None:
        self._rules = rules
        self._checks: dict[Access, Check | None] = {
            wanted: None if rules.allow_all else partial(rules.demand, wanted=wanted)
            for wanted in (Access.ENTER, Access.READ, Access.WRITE, _READ_AND_WRITE)
        }

    # What is there

    def status(self, path: bytes, *, facts: Facts = Facts.ALL) -> Status:
        """See `Storage`."""
        self._names.forget_old()
        check = self._checks[Access.ENTER]
        fd = self._open(path, os.O_PATH | os.O_NOFOLLOW, Access.ENTER)
        try:
            found = os.fstat(fd)
            place = path if check is None else self._beneath.where(fd)
        finally:
            os.close(fd)
        target = None
        if stat.S_ISLNK(found.st_mode):
            fd = self._open(path, os.O_PATH, Access.ENTER)
            try:
                found = os.fstat(fd)
                place = target = self._beneath.where(fd)
            finally:
                os.close(fd)
        elif check is not None:
            check(place)
        if facts is Facts.TYPE:
            return Status(_type_of(found.st_mode), link_target=target)
        return self._status(found, place, target)

    def entries(self, path: bytes, *, facts: Facts = Facts.ALL) -> Iterator[tuple[bytes, Status]]:
        """See `Storage`."""
        self._names.forget_old()
        listing = self._entries(path, facts)
        next(listing)
        return listing

    def _entries(self, path: bytes, facts: Facts) -> Generator[tuple[bytes, Status]]:
        """First the directory itself, so that what fails in opening it fails at once."""
        check = self._checks[Access.ENTER]
        fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY, Access.ENTER)
        try:
            here = path if check is None else self._beneath.where(fd)
            prefix = here.rstrip(b"/") + b"/"
            with os.scandir(fd) as found:
                yield b".", Status(EntryType.DIRECTORY)
                for entry in found:
                    name = os.fsencode(entry.name)
                    try:
                        if check is not None and not entry.is_symlink():
                            check(prefix + name)
                        status = self._entry(entry, prefix + name, facts)
                    except (FileNotFoundError, PathNotAllowedError):
                        continue  # gone by now, or a link that leads nowhere or out
                    except OSError as error:
                        # A link in a circle, or through what may not be entered.
                        if error.errno not in (errno.ELOOP, errno.EACCES, errno.ENOTDIR):
                            raise
                        continue
                    yield name, status
        finally:
            os.close(fd)

    def _entry(self, entry: os.DirEntry[str], path: bytes, facts: Facts) -> Status:
        if facts is Facts.TYPE and not entry.is_symlink():
            if entry.is_dir(follow_symlinks=False):
                return _DIRECTORY
            return _FILE if entry.is_file(follow_symlinks=False) else _OTHER
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            return self.status(path, facts=facts)
        return self._status(found, path, None)

    def _status(self, found: os.stat_result, path: bytes, target: bytes | None) -> Status:
        mode, uid, gid = found.st_mode, found.st_uid, found.st_gid
        kind = _type_of(mode)
        perm = self._account.perm(kind, mode & 0o7777, uid, gid)
        if self._checks[Access.ENTER] is not None:
            perm = _narrowed(perm, self._rules.access(path))
        return Status(
            kind,
            found.st_size,
            int(found.st_mtime),
            mode & 0o7777,
            uid,
            gid,
            self._names.user(uid),
            self._names.group(gid),
            f"{found.st_dev:x}-{found.st_ino:x}",
            found.st_nlink,
            target,
            perm,
        )

    # Contents

    def open_reader(self, path: bytes) -> PosixReader:
        """See `Storage`."""
        fd = self._open(path, os.O_RDONLY, Access.READ)
        return PosixReader(fd, self._regular(fd, path).st_size)

    def open_writer(self, path: bytes, *, truncate: bool, readable: bool = False) -> PosixWriter:
        """See `Storage`."""
        flags = (os.O_RDWR if readable else os.O_WRONLY) | os.O_CREAT
        if truncate:
            flags |= os.O_TRUNC
        # Else the checksum of what is written would tell what was there before.
        shows = readable and not truncate
        fd = self._open(path, flags, _READ_AND_WRITE if shows else Access.WRITE, self._file_mode)
        self._regular(fd, path)
        return PosixWriter(fd, self._beneath)

    def truncate(self, path: bytes, size: int) -> None:
        """See `Storage`."""
        fd = self._open(path, os.O_WRONLY, Access.WRITE)
        found = self._regular(fd, path)
        try:
            if found.st_size < size:
                raise OSError(errno.EINVAL, "it is shorter than that", path)
            os.ftruncate(fd, size)
        finally:
            os.close(fd)

    def _regular(self, fd: int, path: bytes) -> os.stat_result:
        """The status of an open file; closes what is no file, and raises."""
        try:
            found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode):
                if found.st_dev not in self._beneath.pretended:
                    return found
                raise OSError(errno.EACCES, "a file of the kernel", path)
            if stat.S_ISDIR(found.st_mode):
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            raise OSError(errno.EINVAL, "it is no regular file", path)
        except BaseException:
            os.close(fd)
            raise

    # Names

    def make_directory(self, path: bytes) -> None:
        """See `Storage`."""
        self._in_parent(path, os.mkdir)

    def remove_file(self, path: bytes) -> None:
        """See `Storage`."""
        self._in_parent(path, os.unlink)

    def remove_directory(self, path: bytes) -> None:
        """See `Storage`."""
        self._in_parent(path, os.rmdir)

    def remove_tree(self, path: bytes, *, aborted: Callable[[], bool] = lambda: False) -> None:
        """See `Storage`."""
        parent, name = self._parent(path, all_below=True)
        try:
            remove_contents(parent, name, aborted)
            os.rmdir(name, dir_fd=parent)
        finally:
            os.close(parent)

    def rename(self, old: bytes, new: bytes) -> None:
        """See `Storage`."""
        # What is below may be forbidden, and would move out of its rule.
        to_parent, to_name = self._parent(new, all_below=True)
        try:
            from_parent, from_name = self._parent(
                old, all_below=True, wanted=self._wanted_of_moved(to_parent, to_name)
            )
            try:
                os.rename(from_name, to_name, src_dir_fd=from_parent, dst_dir_fd=to_parent)
            finally:
                os.close(from_parent)
        finally:
            os.close(to_parent)

    def _wanted_of_moved(self, parent: int, name: bytes) -> Access:
        """What must be allowed of what goes there: the unreadable stays where nobody reads it."""
        if self._rules.allow_all:
            return Access.WRITE
        place = self._beneath.where(parent).rstrip(b"/") + b"/" + name
        return _READ_AND_WRITE if self._rules.may_show(place) else Access.WRITE

    def make_link(self, target: bytes, path: bytes) -> None:
        """See `Storage`."""
        if not target or b"\0" in target:
            raise OSError(errno.EINVAL, "no target for a link", path)
        if target.startswith(b"/"):
            target = self._beneath.real(target)
        self._in_parent(path, lambda name, *, dir_fd: os.symlink(target, name, dir_fd=dir_fd))

    def _in_parent(self, path: bytes, act: Callable[..., None]) -> None:
        parent, name = self._parent(path)
        try:
            act(name, dir_fd=parent)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(parent)

    def _parent(
        self, path: bytes, *, all_below: bool = False, wanted: Access = Access.WRITE
    ) -> tuple[int, bytes]:
        check = self._checks[wanted]
        if check is not None and all_below:
            check = partial(self._rules.demand_below, wanted=wanted)
        try:
            return self._beneath.open_parent(path, check)
        except PathNotAllowedError:
            raise
        except OSError:
            self._demand_of_missing(path, check)
            raise

    # Attributes

    def set_modified(self, path: bytes, modified: int) -> None:
        """See `Storage`."""
        self._on_found(path, lambda found: os.utime(found, ns=times(modified)))

    def set_mode(self, path: bytes, mode: int) -> None:
        """See `Storage`."""

        def change(found: bytes) -> None:
            if mode & RUNS_AS_ANOTHER and not Path(os.fsdecode(found)).is_dir():
                raise OSError(errno.EPERM, "no program may run as its owner")
            os.chmod(found, mode & 0o7777)  # noqa: PTH101 - bytes

        self._on_found(path, change)

    def set_group(self, path: bytes, group: str) -> None:
        """See `Storage`."""
        try:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
            if gid > LARGEST_ID:
                raise ValueError
        except (KeyError, ValueError):
            raise OSError(errno.EINVAL, "no such group", group) from None
        self._on_found(path, lambda found: os.chown(found, -1, gid))

    def _on_found(self, path: bytes, act: Callable[[bytes], None]) -> None:
        """Act on a file that is found but not opened: one need not be able to read it."""
        fd = self._open(path, os.O_PATH, Access.WRITE)
        try:
            act(b"/proc/self/fd/%d" % fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(fd)

    # Under rules

    def _open(self, path: bytes, flags: int, wanted: Access, mode: int = 0) -> int:
        """A descriptor of a path of which `wanted` is allowed.

        Of a link itself (O_NOFOLLOW) no rule is asked: what it leads to is what counts.
        """
        check = self._checks[wanted]
        try:
            return self._beneath.open(path, flags, mode, None if flags & os.O_NOFOLLOW else check)
        except PathNotAllowedError:
            raise
        except OSError:
            self._demand_of_missing(path, check)
            raise

    def _demand_of_missing(self, path: bytes, check: Check | None) -> None:
        """Whether something is there is not told where it may not be looked at.

        As GCT does it, rules are held against where a path leads, not against how it is written;
        of what is not there, that is where its deepest directory leads.
        """
        if check is None:
            return
        if len(path) > MAX_PATH_BYTES:
            raise PathNotAllowedError(path)
        rest = b""
        while True:
            try:
                fd = self._beneath.open(path, os.O_PATH)
            except OSError:
                if path == b"/":
                    return
                above = path[: path.rfind(b"/")]
                path, rest = above or b"/", path[len(above) :] + rest
                continue
            try:
                place = self._beneath.where(fd)
            finally:
                os.close(fd)
            check(place.rstrip(b"/") + rest or b"/")
            return


_FILE: Final = Status(EntryType.FILE)
_DIRECTORY: Final = Status(EntryType.DIRECTORY)
_OTHER: Final = Status(EntryType.OTHER)
_TYPES: Final = {stat.S_IFREG: EntryType.FILE, stat.S_IFDIR: EntryType.DIRECTORY}


def _type_of(mode: int) -> EntryType:
    return _TYPES.get(stat.S_IFMT(mode), EntryType.OTHER)


_WRITING: Final = frozenset("awcfmp")


def _narrowed(perm: str, access: Access) -> str:
    """The letters of what the rules allow too."""
    return "".join(
        letter
        for letter in perm
        if (letter in "el" and Access.ENTER in access)
        or (letter == "r" and Access.READ in access)
        or (letter in _WRITING and Access.WRITE in access)
    )
