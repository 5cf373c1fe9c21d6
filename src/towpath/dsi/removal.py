"""Removing a tree of files by descriptors: no link is followed, and nothing grows with the tree."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

_BATCH: Final = 1000
"""Names of subdirectories that are held for each level; a directory with more is read again."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_contents(parent: int, name: bytes, aborted: Callable[[], bool]) -> None:
    """Remove all that is in directory `name` of `parent`, a descriptor. ENOTDIR for what is none.
    ECANCELED soon after `aborted` becomes true.

    One descriptor is open at a time, however deep the tree is: the way back up is ``..``, and that
    it leads to where we came from is checked, for somebody may move directories meanwhile.
    """
    here = os.open(name, _DIRECTORY, dir_fd=parent)
    way: list[tuple[tuple[int, int], list[bytes]]] = []  # above: which directory, what is left
    try:
        left = _remove_files(here, aborted)
        while True:
            if left:
                below = os.open(left[-1], _DIRECTORY, dir_fd=here)
                way.append((_identity(here), left))
                os.close(here)
                here = below
                left = _remove_files(here, aborted)
            elif _has_entries(here):
                left = _remove_files(here, aborted)  # more than one batch, or made meanwhile
            elif not way:
                return
            else:
                above = os.open(b"..", _DIRECTORY, dir_fd=here)
                os.close(here)
                here = above
                identity, left = way.pop()
                if _identity(here) != identity:
                    raise OSError(errno.EBUSY, "a directory was moved while it was removed", name)
                os.rmdir(left.pop(), dir_fd=here)
    finally:
        os.close(here)


def _remove_files(directory: int, aborted: Callable[[], bool]) -> list[bytes]:
    """Remove what is no directory; return names of directories."""
    directories: list[bytes] = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if aborted():
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            name = os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                directories.append(name)
                if len(directories) == _BATCH:
                    break
            else:
                os.unlink(name, dir_fd=directory)
    return directories


def _has_entries(directory: int) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is not None


def _identity(directory: int) -> tuple[int, int]:
    found = os.fstat(directory)
    return found.st_dev, found.st_ino
