"""Giving up privileges for good, and being sure of it (credentials(7), prctl(2))."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38

_CAPABILITIES = (b"CapInh", b"CapPrm", b"CapEff", b"CapAmb")

_PATH = "/usr/local/bin:/usr/bin:/bin"


class PrivilegeError(Exception):
    """This process is not what it should have become; it must end."""


def become(account: str, *, parent: int, never: int = 0) -> None:
    """Become an account, with its groups, so that there is no way back. For a child of root's.

    The process dies with its parent, whose id is `parent`. `never`: another user id, besides
    root's, that is refused. Raises `PrivilegeError`, `OSError`; then
    the process is neither one nor the other, and must end.
    """
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise PrivilegeError(f"there is no account {account!r}") from None
    if entry.pw_uid == 0:
        raise PrivilegeError(f"{account!r} is root")
    if entry.pw_uid == never:
        raise PrivilegeError(f"{account!r} is the user of another part of the server")
    user, group = entry.pw_uid, entry.pw_gid
    os.setgroups(os.getgrouplist(account, group))
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    require_unprivileged()
    # After the change of user, which takes it away.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise PrivilegeError("the parent is gone")
    os.chdir("/")
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(PATH=_PATH, HOME=entry.pw_dir, USER=account, LOGNAME=account)


def require_unprivileged() -> None:
    """Raises `PrivilegeError` if this process is root, or could be again."""
    if 0 in os.getresuid():
        raise PrivilegeError("the process is still root")
    # As bytes: a codec that is not loaded yet may be where only root can read.
    for line in Path("/proc/self/status").read_bytes().splitlines():
        name, _colon, value = line.partition(b":")
        if name in _CAPABILITIES and int(value, 16):
            raise PrivilegeError(f"the process still has capabilities ({line.decode()})")
        if name == b"NoNewPrivs" and value.strip() != b"1":
            raise PrivilegeError("the process could gain privileges by a program")
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise PrivilegeError("the process could become root again")


def _prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
