"""What the source servers' own logs say was sent, against what had been committed before.

A session may log a command before it is carried out, never before it came. So what a session sends
that began after an outcome was committed, was sent after it; and what was logged before a restart
point was dropped, came before that.
"""

import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from campaign.ledger import Kept

_AT = r"(?m)^\[(\d+)\] (\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}) :: "
_FIRST = re.compile(_AT + "New connection from")
_COMMAND = re.compile(_AT + r".*\[CLIENT\]: (?:RETR|ERET P (\d+) (\d+)) (/.*)")
_TIME = "%a %b %d %H:%M:%S %Y"

MARGIN_S = 2.0
"""Logs have whole seconds, and a commit is seen a little after it was made."""
DROPPED_S = 10.0
"""That a restart point was dropped is seen later still if PostgreSQL was away."""


class Sent(NamedTuple):
    """A data command. `first` and `after`: of a range; None: the whole file. Seconds since 1970."""

    session_began_s: float
    logged_s: float
    path: str
    first: int | None
    after: int | None

    def covered(self, kept: Kept) -> int:
        """How many of its bytes need not have been sent."""
        began = kept.from_s + MARGIN_S < self.session_began_s
        if not began or self.logged_s > kept.until_s - DROPPED_S:
            return 0
        first, after = (0, kept.after) if self.first is None else (self.first, self.after or 0)
        return max(0, min(after, kept.after) - max(first, kept.first))


def sent(log: str) -> Iterable[Sent]:
    """All that a source server has sent. Now and then a line is torn by another session's."""
    began = {pid: _seconds(at) for pid, at in _FIRST.findall(log)}
    for pid, at, first, length, path in _COMMAND.findall(log):
        if pid in began:
            part = (int(first), int(first) + int(length)) if first else (None, None)
            yield Sent(began[pid], _seconds(at), path, *part)


def sent_again(logs: Iterable[Path], kept: Mapping[str, list[Kept]]) -> list[tuple[str, int]]:
    """What was sent although it was kept by then: in words, and in bytes. `kept` by source path."""
    found = []
    for log in logs:
        for one in sent(log.read_text(errors="surrogateescape")):
            for part in kept.get(one.path, ()):
                if covered := one.covered(part):
                    at = datetime.fromtimestamp(one.logged_s, UTC)
                    found.append((f"{one.path}, bytes of {part}, at {at},", covered))
    return found


def _seconds(at: str) -> float:
    return time.mktime(time.strptime(at, _TIME))
