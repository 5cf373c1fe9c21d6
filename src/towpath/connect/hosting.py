"""Sessions of an agent: on which storage, by which data paths, at which pace."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from towpath.connect.admitting import ACCESS, BASE, ROOT
from towpath.connect.live_rules import LiveRules
from towpath.connect.paths import BrokeredPaths, Connect
from towpath.dsi.beneath import Beneath
from towpath.dsi.posix import PosixStorage
from towpath.dsi.rules import Rules
from towpath.gridftp.data.pace import Pace
from towpath.gridftp.server.commands.base import Report
from towpath.gridftp.server.frames import Opening
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.server.session import SessionHost

PaceOf = Callable[[Opening], Pace]
"""The pace of a session's data."""


def own_files(
    rules: Callable[[], Rules], connect: Connect, *, limits: Limits, pace: PaceOf, report: Report
) -> SessionHost:
    """For a personal endpoint: the machine's paths, under the rules of what is shared now."""
    storage = PosixStorage(Path("/"), rules=LiveRules(rules))
    return SessionHost(
        storage, limits, paths=lambda _opening: BrokeredPaths(connect), pace=pace, report=report
    )


def collections(connect: Connect, *, limits: Limits, pace: PaceOf, report: Report) -> SessionHost:
    """For a server: each session in its collection."""
    return SessionHost(
        _storage_of,
        limits,
        paths=lambda _opening: BrokeredPaths(connect),
        pace=pace,
        report=report,
    )


def _storage_of(opening: Opening) -> PosixStorage:
    """Raises OSError when its directory is not there: opened anew for each session, as it may be
    another one by now."""
    rules = Rules.of([(opening.extra[ACCESS], "/")])
    base, root = Path(opening.extra[BASE]), opening.extra.get(ROOT)
    if root is None:
        return PosixStorage(base, rules=rules)
    # Who may write below the root may have put a link there, which leads out of it.
    below = b"/" + os.fsencode(base.relative_to(root))
    opened = Beneath(Path(root)).open(below, os.O_PATH | os.O_DIRECTORY)
    try:
        return PosixStorage(Path(f"/proc/self/fd/{opened}"), rules=rules)
    finally:
        os.close(opened)
