"""What the audit says of a whole campaign: what was done again, and whether somebody said why."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from campaign.audit import Audit, Seen
from towpath.transfer.store.plan import State

# Besides errors these say why something has to be done again.
CANCELED = "CANCELED"
REASONS = frozenset({"RECOVERED", "PAUSED", "UNPAUSED", CANCELED, "EXPIRED"})

TRANSFERRED, SKIPPED = 0, 1
"""Kinds of history. What is skipped has its cause there, and no event."""

File = tuple[int, str]
"""A file of a task: item and path below it."""


@dataclass
class Ledger:
    """What is wrong with the order in which things were committed."""

    resent_covered: list[tuple[str, int]] = field(default_factory=list)
    """In words, and in bytes: sent again although known to have arrived."""
    duplicated: list[str] = field(default_factory=list)
    """Tasks that nobody asked for."""
    unexplained: list[str] = field(default_factory=list)
    """Attempts of which something was lost, and no event of the task says why."""


@dataclass
class _Task:
    """One task, as far as it has been read."""

    done: dict[File, int] = field(default_factory=dict)
    taken: dict[File, int] = field(default_factory=dict)
    """In flight since which row."""
    given_up: dict[File, "_GivenUp"] = field(default_factory=dict)
    """Sent and not arrived. Somebody has to say why before it is sent again."""
    last_reason: int = 0
    ending: float = inf
    """From which row on it was known how the task ends, if it failed."""


class _GivenUp(NamedTuple):
    """At which rows a file was taken and given up."""

    taken: int
    given_up: int


def read(log: Sequence[Seen], failed: Mapping[int, str]) -> Ledger:
    """Go through all rows, in order. `failed`: tasks by number, and the code of what they died of.

    A task that fails sends once more what may be shifted, perhaps in several rounds. Whatever it
    gives up then, its end explains.
    """
    ledger = Ledger()
    arrived = _arrived(log)
    # A file may also be taken and given back without having been sent.
    resent = {(row.transaction, row.task_no) for row in log if row.what == "resent"}
    tasks: dict[int, _Task] = defaultdict(_Task)
    for row in log:
        code = failed.get(row.task_no)
        ends = CANCELED if row.what == "cancel" else row.code
        if code is not None and ends == code and row.seq < tasks[row.task_no].ending:
            tasks[row.task_no].ending = row.seq
    for row in log:
        task = tasks[row.task_no]
        told = row.what == "event" and (row.is_now or row.code in REASONS)
        if told or (row.what == "history" and row.is_now == SKIPPED):
            task.last_reason = row.seq
        elif row.what == "file":
            _read_file(ledger, task, row, arrived, resent)
    for task_no, task in tasks.items():
        for file in task.given_up:
            _explain(ledger, task_no, task, file)
    return ledger


def _read_file(
    ledger: Ledger,
    task: _Task,
    row: Seen,
    arrived: set[tuple[int, int]],
    resent: set[tuple[int, int]],
) -> None:
    assert row.item_no is not None, "written by the trigger"
    assert row.path is not None, "written by the trigger"
    file = (row.item_no, row.path.decode(errors="replace"))
    if row.is_now == State.IN_FLIGHT:
        if file in task.given_up:
            _explain(ledger, row.task_no, task, file)
            del task.given_up[file]
        if file in task.done:
            ledger.resent_covered.append((f"task {row.task_no}: {file[1]}", task.done[file]))
        task.taken[file] = row.seq
    elif row.was == State.IN_FLIGHT and row.is_now is not None:
        if (row.transaction, row.task_no) in resent or row.is_now == State.CONTESTED:
            task.given_up[file] = _GivenUp(task.taken.get(file, row.seq), row.seq)
    elif row.is_now is None and (row.transaction, row.task_no) in arrived:
        # One that was given up may go with a task's last transaction, which tidies its history.
        task.done[file] = row.after or 0


def _explain(ledger: Ledger, task_no: int, task: _Task, file: File) -> None:
    taken, given_up = task.given_up[file]
    if task.last_reason < taken and given_up < task.ending:
        ledger.unexplained.append(f"task {task_no}: {file[1]} was given up, and nobody says why")


def _arrived(log: Iterable[Seen]) -> set[tuple[int, int]]:
    """Transactions and tasks in which files came to history as transferred."""
    came = (row for row in log if row.what == "history" and row.is_now == TRANSFERRED)
    return {(row.transaction, row.task_no) for row in came}


class Kept(NamedTuple):
    """Bytes of a file of a source, [first, after), that need not be sent again; and from when until
    when (seconds since 1970)."""

    first: int
    after: int
    from_s: float
    until_s: float


def kept(
    log: Sequence[Seen], audit: Audit, path_of: Callable[[int, int, str], str | None]
) -> dict[str, list[Kept]]:
    """What was committed as done, by source path: whole files, and restart points while they held.

    `path_of` a task's item and a path below it.
    """
    arrived = _arrived(log)
    files: dict[tuple[int, int], str | None] = {}
    found: dict[str, list[Kept]] = defaultdict(list)
    open_ranges: dict[tuple[int, int, int], Kept] = {}
    for row in log:
        if row.file_no is None:
            continue
        number = (row.task_no, row.file_no)
        if row.what == "file":
            assert row.item_no is not None, "written by the trigger"
            assert row.path is not None, "written by the trigger"
            files[number] = path_of(row.task_no, row.item_no, os.fsdecode(row.path))
        path = files.get(number)
        seen_s = audit.seen_at.get(row.seq)
        if path is None or seen_s is None:
            continue
        if row.what == "file" and (row.transaction, row.task_no) in arrived:
            found[path].append(Kept(0, row.after or 0, seen_s, inf))
        elif row.what == "range":
            assert row.first is not None, "written by the trigger"
            begun = open_ranges.pop((*number, row.first), None)
            if begun is not None:  # with its file it leaves as that arrives
                found[path].append(begun._replace(until_s=seen_s))
            if row.code == "INSERT":
                open_ranges[(*number, row.first)] = Kept(row.first, row.after or 0, seen_s, inf)
    return found
