"""``python -I -S child.py PARENT SIGNAL UID GID -- PROGRAM ARG...``: become a child that dies with
its parent, and, when we are root and PROGRAM may not be, an unprivileged one.

PostgreSQL refuses to run as root. Dropped to ``nobody`` it could not reach a data directory or a
virtual environment below a directory that only root may enter (``/root``), so one capability is
kept across the change of user and handed through ``exec`` as an ambient one: CAP_DAC_READ_SEARCH,
which passes directories and reads files, and writes nothing. See capabilities(7), prctl(2).

A program of its own, started without site packages: code between fork and exec of a process with
threads is not safe.
"""

import ctypes
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc.prctl(option, *padded) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def _permitted() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0


def drop_to(uid: int, gid: int) -> None:
    """Become ``uid``, keeping the capability to reach what only root may enter, if we have it."""
    permitted = _permitted()
    # a container may have been given only the wider one
    keep = next((c for c in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if permitted >> c & 1), None)
    if keep is not None:
        _prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if keep is not None:
        bit = 1 << keep
        header = _Header(CAPABILITY_VERSION_3, 0)
        data = (_Data * 2)(_Data(bit, bit, bit), _Data(0, 0, 0))
        if _libc.capset(ctypes.byref(header), ctypes.byref(data)) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"capset: {os.strerror(code)}")
        _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, keep)


def main(arguments: list[str]) -> None:
    """Change into the wanted program; see the module."""
    parent, death_signal, uid, gid = (int(a) for a in arguments[:4])
    command = arguments[5:]
    if uid != os.getuid():
        drop_to(uid, gid)
    # after setuid: a change of credentials clears it
    _prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent:  # it died before we asked to be told
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - becoming the program is the point


if __name__ == "__main__":
    main(sys.argv[1:])
