"""Checkers of the invariants: they see what really happens at servers and in the database."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from simulation.endpoints import ServerSession, written_path
from simulation.storage import Place
from towpath.transfer.claims import Wait
from towpath.transfer.store.segments import Finished

if TYPE_CHECKING:
    from simulation.scenario import Asked
    from simulation.world import World

CHANGING = ("STOR ", "ESTO ", "MKD ", "DELE ", "RMD ", "SITE RDEL ", "MFMT ", "SITE UTIME ")
OVERDUE_S = 300.0
"""After its deadline a task is looked at by a worker, and settles what it has under way."""

VIOLATIONS_MAX = 50

_LEFT = " UNION ALL ".join(
    f"SELECT '{table}', count(*) FROM {table} WHERE task_no = %(no)s HAVING count(*) > 0"
    for table in ("file", "file_range", "frontier", "link_segment", "extra", "linked", "claim")
)
"""What of a plan is still there, by table."""


@dataclass
class Violation:
    """An invariant that did not hold."""

    invariant: str
    task: str | None
    at_s: float
    what: str
    events: list[str]


@dataclass
class Ledger:
    """What is known of a task from outside."""

    asked: "Asked"
    task_no: int
    writing: bool = False
    """It has written or removed something, and is not over."""
    ended: str | None = None
    finished: set[str] = field(default_factory=set)
    """Destinations of files that count."""
    covered: dict[int, tuple[str, dict[int, int]]] = field(default_factory=dict)
    """Restart points by number of the file: its destination, and where each begins and ends."""
    corrupted: set[str] = field(default_factory=set)
    faults: int = 0
    dropped_bytes: int = 0
    """Of restart points that do not hold any more."""
    arrived_bytes: dict[str, int] = field(default_factory=dict)
    """At each destination, in all."""
    contested: set[str] = field(default_factory=set)
    """Paths for which a server still had a command when nobody could know of it any more."""


class Checks:
    """All checkers. They raise nothing: what is wrong is kept in `violations`."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.violations: list[Violation] = []
        self.ledgers: dict[str, Ledger] = {}
        """Of tasks that are not over, by id."""
        self.by_number: dict[int, Ledger] = {}
        self.ends: dict[str, int] = {}
        self.on_sending: Callable[[Any], None] = lambda _: None
        """Called when a worker has sent data commands."""
        self.on_taking: Callable[[], None] = lambda: None
        """Called when a worker has taken files, and is about to send them."""
        self.epochs: dict[int, int] = {}
        """Of the last lease of each task that is not over."""

    def violated(self, invariant: str, task: str | None, what: str) -> None:
        """Keep it."""
        world = self._world
        world.note(task, "VIOLATION", invariant, what)
        if len(self.violations) < VIOLATIONS_MAX:
            told = world.told_of(task) if task else []
            self.violations.append(Violation(invariant, task, world.loop.time(), what, told))

    # -- from the scenario

    def accepted(self, asked: "Asked", task_no: int) -> None:
        """A task was stored."""
        task = str(asked.id)
        if task in self.ledgers:
            self.violated("I1", task, "stored twice")
        self.ledgers[task] = self.by_number[task_no] = Ledger(asked, task_no)

    def fault(self, task: str | None) -> None:
        """Something went wrong for a task."""
        if task in self.ledgers:
            self.ledgers[task].faults += 1

    def lost(self, session: ServerSession) -> None:
        """A session's process goes on, and its client cannot know for how long."""
        ledger = self.ledgers.get(session.task or "")
        if ledger is not None:
            ledger.contested.update(session.to_be_written)

    def corrupted(self, session: ServerSession, path: str) -> None:
        """Without verification nobody notices."""
        if session.task in self.ledgers:
            self.ledgers[session.task].corrupted.add(path)

    # -- from workers' side of a connection

    def sends(self, session: ServerSession, data: Any) -> None:
        """A worker hands commands to its kernel (I3: only under a lease; I4: only what is known to
        be in flight)."""
        lines = bytes(data).decode("utf-8", "surrogateescape").split("\r\n")
        changing = [line for line in lines if line.startswith(CHANGING)]
        if not changing:
            return
        ledger = self.ledgers.get(session.task or "")
        if ledger is None:
            self.violated("I3", session.task, f"nobody's, or over, sends {changing[0]}")
            return
        if not any(map(written_path, changing)):
            if session.epoch != self.epochs.get(ledger.task_no):
                self.violated("I3", session.task, f"sends without a lease: {changing[0]}")
            return
        rows = self._world.database.query(
            "SELECT t.lease_epoch, t.lease_until > now(), f.item_no, f.path, f.state, f.epoch"
            " FROM task t LEFT JOIN file f ON f.task_no = t.task_no AND f.state IN (2, 3)"
            " WHERE t.task_no = %s",
            (ledger.task_no,),
        )
        if not rows or rows[0][0] != session.epoch or not rows[0][1]:
            self.violated("I3", session.task, f"sends without a lease: {changing[0]}")
        self.on_sending(session.wire.process)
        known = {
            ledger.asked.destination(item_no, path.decode("utf-8", "surrogateescape"))
            for _, _, item_no, path, state, epoch in rows
            if state == 3 or (state == 2 and epoch == session.epoch)
        }
        for path in map(written_path, changing):
            if path is not None and path not in known:
                self.violated("I4", session.task, f"not in flight in the plan: {path}")

    # -- from servers

    def begins(self, session: ServerSession, path: str) -> None:
        """The data of a file begins to change."""
        ledger = self._changes(session, path)
        if ledger is None:
            return
        if path in ledger.finished:
            self.violated("I4", session.task, f"{path} counts, and is sent again")
        self._check_alone(session, path, "written")

    def arrives(self, session: ServerSession, path: str, first: int, after: int) -> None:
        """Bytes [first, after) of a file are written."""
        ledger = self._changes(session, path)
        if ledger is None:
            return
        ledger.arrived_bytes[path] = ledger.arrived_bytes.get(path, 0) + after - first
        for place, points in ledger.covered.values():
            if place == path:
                for begin, end in points.items():
                    if begin < after and end > first:
                        self.violated(
                            "I4",
                            session.task,
                            f"bytes {begin} to {end} of {path} are"
                            f" a restart point, and {first} to {after} are sent",
                        )

    def _check_alone(self, session: ServerSession, path: str, what: str) -> None:
        for other in session.endpoint.outstanding.get(path, ()):
            if other is not session and not other.waits_in_vain:
                self.violated(
                    "I3",
                    session.task,
                    f"{path} is {what}, and session {other.number}"
                    f" of task {other.task}, epoch {other.epoch}, may still write it",
                )

    def removes(self, session: ServerSession, path: str) -> None:
        """A file or directory goes."""
        self._changes(session, path)
        self._check_alone(session, path, "removed")

    def _changes(self, session: ServerSession, path: str) -> Ledger | None:
        """I9, and the end of a task is the end of its writing (I3)."""
        ledger = self.ledgers.get(session.task or "")
        if ledger is None:
            self.violated("I3", session.task, f"over, or nobody's, and changes {path}")
            return None
        ledger.writing = True
        for other in ledger.asked.neighbours(session.endpoint, path):
            there = self.ledgers.get(str(other.id))
            if there is not None and there is not ledger and there.writing:
                self.violated("I9", session.task, f"changes {path}, where {other.id} writes")
        return ledger

    # -- from the store, when it is committed

    def commits(self, task_no: int) -> None:
        """Somebody commits what became of a task (I3: only under its last lease)."""
        task, epoch = self._world.who()
        last = self.epochs.get(task_no)
        if epoch != last:
            self.violated("I3", task, f"commits under lease {epoch}, and the last one is {last}")

    def grants(self, task_no: int, epoch: int) -> None:
        """A lease begins. A worker that was stopped then tells of it when others have been."""
        self.epochs[task_no] = max(epoch, self.epochs.get(task_no, 0))

    def counts(self, task_no: int, files: Sequence[Finished]) -> None:
        """Files are finished."""
        ledger = self.by_number[task_no]
        asked, task = ledger.asked, str(ledger.asked.id)
        for one in files:
            path = asked.destination(one.item_no, one.path)
            if path in ledger.finished:
                continue  # its segment is merged with others
            ledger.finished.add(path)
            if path not in ledger.contested:
                continue
            file = asked.target.storage.files.get(path)
            if path in asked.target.outstanding:
                self.violated("I3", task, f"{path} counts, and somebody may still write it")
            elif file is None or file.compared_at < file.changed_at + self._world.settle_s:
                self.violated("I3", task, f"{path} was contested, and counts too early: {file}")

    def covers(self, task_no: int, ranges: Sequence[tuple[int, str, int, int]]) -> None:
        """Restart points are committed: file, destination, first, after."""
        ledger = self.by_number[task_no]
        for file_no, path, first, after in ranges:
            ledger.covered.setdefault(file_no, (path, {}))[1][first] = after

    def uncovers(self, task_no: int, file_no: int, firsts: Sequence[int] | None) -> None:
        """Restart points do not hold any more."""
        ledger = self.by_number[task_no]
        _, points = ledger.covered.get(file_no, ("", {}))
        for first in list(points) if firsts is None else firsts:
            ledger.dropped_bytes += points.pop(first, first) - first

    def waits(self, task_no: int, wait: Wait) -> None:
        """A task lets another go first (I9)."""
        ledger = self.by_number[task_no]
        asked = ledger.asked
        if not any(
            place.overlaps(Place(asked.target, wait.path, is_tree=True)) for place in asked.places
        ):
            self.violated("I9", str(asked.id), f"it waits at {wait.path}, which is not its own")
        others = [
            other
            for place in asked.places
            for other in asked.overlapping(place)
            if str(other.id) in self.ledgers
        ]
        if not others:
            self.violated("I9", str(asked.id), "it waits, and nobody is in its way")

    def breaks(self, task: str | None, what: str) -> None:
        """The engine made a mistake."""
        self.violated("internal error", task, what)

    def ends_task(self, task_no: int, status: str, fatal: dict[str, str] | None) -> None:
        """A task has its final status."""
        ledger = self.by_number.pop(task_no, None)
        if ledger is None:
            self.violated("I1", None, f"task {task_no} ended twice")
            return
        task = str(ledger.asked.id)
        del self.ledgers[task]
        code = status if fatal is None else str(fatal["code"])
        self.ends[code] = self.ends.get(code, 0) + 1
        self._world.note(task, "ENDS", code)
        self._check_resent(ledger, task)
        reason = ledger.asked.may_end(code)
        if reason is not None:
            self.violated("I1", task, reason)
        if status == "SUCCEEDED":
            for wrong in ledger.asked.wrong(ledger.corrupted):
                self.violated("truth", task, wrong)
        left = self._world.database.query(_LEFT, {"no": task_no})
        if left:
            self.violated("I5", task, f"rows left behind: {left}")
        self.epochs.pop(task_no, None)
        ledger.asked.over()
        self._world.forget(task)

    def _check_resent(self, ledger: Ledger, task: str) -> None:
        """I4: what is sent again is bounded by what was in flight when something went wrong."""
        sizes = ledger.asked.sizes
        again = sum(
            max(arrived - sizes.get(path, 0), 0) for path, arrived in ledger.arrived_bytes.items()
        )
        incidents = ledger.faults + self.epochs.get(ledger.task_no, 1) - 1
        bound = incidents * min(self._world.settings.engine.in_flight_bytes, sum(sizes.values()))
        bound += ledger.dropped_bytes
        # Of a source that was written meanwhile nothing holds that was sent before.
        bound += sum(
            (len(contents) - 1) * sizes[path] for path, contents in ledger.asked.expected.items()
        )
        if again > bound:
            self.violated("I4", task, f"{again} bytes were sent again, after {incidents} incidents")

    def overdue(self) -> None:
        """I1: nothing is older than its deadline."""
        now = self._world.database.clock()
        for (task,) in self._world.database.query(
            "SELECT id FROM task WHERE status IN ('ACTIVE', 'INACTIVE')"
            " AND deadline < now() - make_interval(secs => %s)",
            (OVERDUE_S,),
        ):
            self.violated("I1", str(task), f"not over at {now}, long after its deadline")
