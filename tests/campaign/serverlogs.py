"""What the source servers' own logs say was sent, against what had been committed before.

A session writes its lines when it likes, so they tell in which session a command came, but not
when; the time of a session's first line is when it began. What a session sends that began after
an outcome was committed, was sent after it.
"""

import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from campaign.ledger import Kept

_FIRST = re.compile(r"(?m)^\[(\d+)\] (\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}) :: New connection from")
_COMMAND = re.compile(r"(?m)^\[(\d+)\].*\[CLIENT\]: (?:RETR|ERET P (\d+) (\d+)) (/.*)")
_TIME = "%a %b %d %H:%M:%S %Y"

MARGIN_S = 2.0
"""Logs have whole seconds, and a commit is seen a little after it was made."""


class Sent(NamedTuple):
    """A data command. `first` and `after`: of a range; None: the whole file."""

    session_began_s: float
    path: str
    first: int | None
    after: int | None


def sent(log: str) -> Iterable[Sent]:
    """All that a source server has sent. Now and then a line is torn by another session's."""
    began = {pid: time.mktime(time.strptime(at, _TIME)) for pid, at in _FIRST.findall(log)}
    for pid, first, length, path in _COMMAND.findall(log):
        if pid in began:
            part = (int(first), int(first) + int(length)) if first else (None, None)
            yield Sent(began[pid], path, *part)


def sent_again(logs: Iterable[Path], kept: Mapping[str, list[Kept]]) -> list[tuple[str, int]]:
    """What was sent although it was kept by then: in words, and in bytes. `kept` by source path."""
    found = []
    for log in logs:
        for one in sent(log.read_text(errors="surrogateescape")):
            for part in kept.get(one.path, ()):
                if not part.from_s + MARGIN_S < one.session_began_s < part.until_s - MARGIN_S:
                    continue
                first, after = (0, part.after) if one.first is None else (one.first, one.after or 0)
                covered = min(after, part.after) - max(first, part.first)
                if covered > 0:
                    at = datetime.fromtimestamp(one.session_began_s, UTC)
                    found.append((f"{one.path} [{first}, {after}) by a session of {at}", covered))
    return found
