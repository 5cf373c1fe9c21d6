"""What the parts of a running task share: the task, its lease, its counters, its signals."""

import asyncio
import posixpath
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random
from typing import Any, Literal
from uuid import UUID
from weakref import WeakKeyDictionary

from psycopg import AsyncConnection

from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Phase
from towpath.platform.backoff import backoff_s
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer import names
from towpath.transfer.engine.data_credentials import DataCredentials
from towpath.transfer.engine.faults import Consequence, Verdict, judge, skippable, unavailable
from towpath.transfer.engine.news import News
from towpath.transfer.engine.stopwatch import Stopwatch
from towpath.transfer.engine.witness import Witness
from towpath.transfer.filter_rules import FilterRules
from towpath.transfer.rights import Reach, Who
from towpath.transfer.sessions import EndpointSessions, Login
from towpath.transfer.store import leases, plans, spent
from towpath.transfer.store.events import Event
from towpath.transfer.store.plan import File, Item
from towpath.transfer.store.segments import Skipped

# A worker sends nothing after two thirds of its lease: the rest is for what is already on its way.
USABLE_PART_OF_LEASE = 2 / 3


class TaskFaultError(Exception):
    """A fault that stops the task for now or for good; `verdict` says which."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.event.description)
        self.verdict = verdict


class SidedError(Exception):
    """A GridFTP error with the end it came from, known from the call and not from the address:
    both ends may be one server."""

    def __init__(self, error: GridFTPError, *, at_source: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.at_source = at_source


@contextmanager
def at_source() -> Iterator[None]:
    """GridFTP errors inside are the source's."""
    try:
        yield
    except GridFTPError as error:
        raise SidedError(error, at_source=True) from error


@contextmanager
def at_destination() -> Iterator[None]:
    """GridFTP errors inside are the destination's."""
    try:
        yield
    except GridFTPError as error:
        raise SidedError(error, at_source=False) from error


class NothingDueError(Exception):
    """All that is left waits for `delay_s`: the task frees its place until then."""

    def __init__(self, delay_s: float) -> None:
        super().__init__(delay_s)
        self.delay_s = delay_s


LastLook = Callable[[Session, Session, Sequence[File]], Awaitable[Sequence[tuple[File, Skipped]]]]
"""Asked, with sessions at source and destination, before files that nothing was sent of are sent:
those that are not what they are in the plan. Raises SidedError."""


class LeaseClock:
    """Until when this worker may act, on its own monotonic clock."""

    def __init__(self, asked_at: float, lease_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.renewed(asked_at, lease_s)

    def renewed(self, asked_at: float, lease_s: float) -> None:
        """Count from before the question: the database's lease can only last longer."""
        self._until = asked_at + lease_s * USABLE_PART_OF_LEASE

    @property
    def usable(self) -> bool:
        """Whether commands may still be sent."""
        return self._clock() < self._until

    def check(self) -> None:
        """Call with no `await` between it and the send. Raises LeaseLostError."""
        if not self.usable:
            raise leases.LeaseLostError("the lease was not renewed in time")


class Signal:
    """Wakes everyone who waits; a waiter re-reads the state itself."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def wake(self) -> None:
        """Wake all present waiters."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Return when woken, or after `timeout_s` at the latest."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            pass


class Work(Enum):
    """Who takes a file of the plan."""

    SMALL = auto()
    LARGE = auto()
    CONTESTED = auto()


class Arrivals:
    """Tells who idles when the plan may have something for him: looking is a transaction."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Work, 0)
        self._empty = dict.fromkeys(Work, 0)
        self.looking = {work: asyncio.Lock() for work in Work}
        """For who looks: what one finds, or does not find, others need not look for."""

    def add(self, *kinds: Work) -> None:
        """There may be files of these kinds that nobody has seen."""
        for kind in kinds:
            self._counts[kind] += 1

    def count(self, kind: Work) -> int:
        """Rises with them."""
        return self._counts[kind]

    def none_left(self, kind: Work, count: int) -> None:
        """Who looked when there had been `count` arrivals has left nothing."""
        self._empty[kind] = count

    def due(self, kind: Work) -> bool:
        """Whether there have been arrivals since then."""
        return self._counts[kind] != self._empty[kind]


@dataclass(frozen=True, slots=True)
class Options:
    """A transfer's options as the engine reads them (Transfer API, `transfer` document)."""

    verify_checksum: bool
    preserve_timestamp: bool
    encrypt_data: bool
    fail_on_quota_errors: bool
    skip_source_errors: bool
    recursive_symlinks: Literal["ignore", "keep", "copy"]
    filter_rules: FilterRules
    sync_level: int | None
    """None: everything is copied."""
    delete_destination_extra: bool

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Options":
        """From the task's `options`."""
        return cls(
            verify_checksum=bool(document.get("verify_checksum")),
            preserve_timestamp=bool(document.get("preserve_timestamp")),
            encrypt_data=bool(document.get("encrypt_data")),
            fail_on_quota_errors=bool(document.get("fail_on_quota_errors")),
            skip_source_errors=bool(document.get("skip_source_errors")),
            recursive_symlinks=document.get("recursive_symlinks", "ignore"),
            filter_rules=FilterRules.from_document(document.get("filter_rules")),
            sync_level=document.get("sync_level"),
            delete_destination_extra=bool(document.get("delete_destination_extra")),
        )


@dataclass(slots=True)
class TaskContext:
    """One task under one lease."""

    db: Database
    grant: leases.Grant
    lease: LeaseClock
    sessions: EndpointSessions
    data_credentials: DataCredentials
    settings: EngineSettings
    random: Random
    clock: Callable[[], float]
    options: Options
    witness: Witness | None = None
    items: dict[int, Item] = field(default_factory=dict)
    opened: dict[tuple[UUID, bool], tuple[Session, Login]] = field(default_factory=dict)
    """Sessions left from the beginning for who needs one first: endpoint, and whether at source."""
    own_sessions: WeakKeyDictionary[Session, Login] = field(default_factory=WeakKeyDictionary)
    """All that were opened for the task, and are still known to somebody; with what."""
    known_accounts: dict[UUID, str] = field(default_factory=dict)
    """By endpoint, the account that the task has there."""
    guest_logins: dict[bool, Login] = field(default_factory=dict)
    """The last with which a guest collection was logged in to, by whether it is the source."""
    last_look: LastLook | None = None
    """Of a transfer that follows a plan."""
    reached: dict[bool, Reach] = field(default_factory=dict)
    """Of guest collections: the rules that all items are known to keep to."""
    claimed_storage: str | None = None
    """Where the task's claims are (I9); it writes nowhere else."""
    changed: Signal = field(default_factory=Signal)
    news: News = field(default_factory=News)
    """For those who watch."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    open_files: int = 0
    planned_entries: int = 0
    """Of a plan."""
    walk_done: bool = False
    walk_waits: bool = False
    lanes_open: int = 0
    generations: int = 0
    batches: int = 0
    removals_marked: bool = False
    """Whether the task's row says that commands that remove may be running."""
    removals_open: int = 0
    """Groups of such commands whose end is not certain."""
    stopwatch: Stopwatch = field(init=False)
    """For what its time goes."""
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.stopwatch = Stopwatch(self.clock)

    @property
    def task_no(self) -> int:
        """Key of the task's rows."""
        return self.grant.task_no

    @property
    def owner(self) -> Who:
        """Whose task it is, as it knows him."""
        return Who.alone(self.grant.owner_id, self.grant.username)

    @property
    def planning(self) -> bool:
        """Whether nothing is done, and only told (`engine.planning`)."""
        return self.grant.type == plans.TYPE

    @property
    def deletes(self) -> bool:
        """Whether it is a delete, or a delete's plan: then its only end is the source."""
        return self.grant.destination_endpoint_id is None

    @property
    def written_endpoint_id(self) -> UUID:
        """The endpoint where the task writes or deletes."""
        return self.grant.destination_endpoint_id or self.grant.source_endpoint_id

    def at_written(self) -> AbstractContextManager[None]:
        """GridFTP errors inside are of the end where the task writes or deletes."""
        return at_source() if self.deletes else at_destination()

    @property
    def complete(self) -> bool:
        """Nothing is left to find or to do."""
        return self.walk_done and self.open_files == 0

    @asynccontextmanager
    async def fenced(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A transaction that commits only while the lease is ours. Raises LeaseLostError.

        One at a time: a queue of them on the task's row would be served even after this process
        was stopped, one by one, and hold up whoever takes the task over.
        """
        async with (
            self._writing,
            leases.fenced(self.db, self.task_no, self.grant.lease_epoch) as conn,
        ):
            yield conn
            grant, told = self.grant, self.stopwatch.due()
            if told is not None:
                await spent.account(
                    conn, self.task_no, grant.lease_epoch, told, owner_full=grant.owner_full
                )
        if told is not None:
            self.stopwatch.told()
        self.news.change()

    async def in_parts(self, some: Callable[[AsyncConnection[Any], int], Awaitable[bool]]) -> None:
        """Do `some` with the task's rows until it says that no more are left, each time in a
        transaction of its own: between two of them the lease is renewed. Raises LeaseLostError."""
        more = True
        while more:
            async with self.fenced() as conn:
                more = await some(conn, self.task_no)

    def next_generation(self) -> int:
        """A number for a pair of sessions, unique in the task: restart points remember it.

        4096 pairs a lease leave room for half a million leases in an `integer`.
        """
        self.generations += 1
        return self.grant.lease_epoch * 4096 + self.generations % 4096

    def next_batch(self) -> int:
        """The recorder's batches rise in number, over leases too: the epoch is the upper half."""
        self.batches += 1
        return (self.grant.lease_epoch << 32) + self.batches

    def backoff_s(self, failures: int) -> float:
        """Seconds until a file, or the task, that failed so often in a row (>= 1) tries again."""
        settings = self.settings
        return backoff_s(
            failures,
            first_s=settings.retry_first_s,
            max_s=settings.retry_max_s,
            random=self.random,
        )

    def accounts(self) -> tuple[str | None, str | None]:
        """Under which the task runs at source and destination, as far as that is known."""
        ends = (self.grant.source_endpoint_id, self.grant.destination_endpoint_id)
        known = self.known_accounts
        if not known.keys() >= {end for end in ends if end is not None}:
            for session, login in list(self.own_sessions.items()):
                told = None if login.permit is None else login.permit.account
                account = told or session.account
                if account is not None:
                    known.setdefault(login.endpoint_id, account)
        source, destination = [None if end is None else known.get(end) for end in ends]
        return source, destination

    def judge(self, error: GridFTPError, phase: Phase, *, at_source: bool) -> Verdict:
        """What the error means under this task's options."""
        login = self.guest_logins.get(at_source)
        if login is not None and (sharers := login.of_sharer(error)) is not None:
            return unavailable(sharers, at_source=at_source)
        return judge(
            error,
            phase,
            at_source=at_source,
            fail_on_quota=self.options.fail_on_quota_errors,
            might_skip=self.grant.type == "TRANSFER" and not self.options.skip_source_errors,
        )

    def judge_sided(self, sided: SidedError, phase: Phase) -> Verdict:
        """The same for an error whose side is known."""
        return self.judge(sided.error, phase, at_source=sided.at_source)

    def of_one_file(self, sided: SidedError, phase: Phase) -> Event:
        """What is told of a failure that holds up one file or directory only, to be tried again.

        Raises TaskFaultError for any other.
        """
        verdict = self.judge_sided(sided, phase)
        if verdict.consequence is not Consequence.RETRY_FILE:
            raise TaskFaultError(verdict) from sided
        return verdict.event

    def skips(self, error: GridFTPError, *, at_source: bool) -> bool:
        """Whether a file that fails so is left out, under this task's options."""
        return at_source and self.options.skip_source_errors and skippable(error)

    def verifies(self, item_no: int) -> bool:
        """Whether a file of this item counts only when its digests at both ends are equal.

        Those of an external checksum are always compared: what was damaged on the way is sent
        again, and only a source that is not what its owner says fails the task.
        """
        return self.options.verify_checksum or self.items[item_no].external_checksum is not None

    def source_path(self, item_no: int, path: str) -> str:
        """Where a file of the plan is at the source."""
        return join(self.items[item_no].source_path, path)

    def destination_path(self, item_no: int, path: str) -> str:
        """Where it goes."""
        base = self.items[item_no].destination_path
        assert base is not None, "a transfer's items have destinations"
        return join(base, path)

    def written_path(self, item_no: int, path: str) -> str:
        """Where something is written, or deleted. What a pattern matches is below the directory
        that it looks at."""
        if not self.deletes:
            return self.destination_path(item_no, path)
        root = self.items[item_no].source_path
        return join(posixpath.dirname(root) if self.is_pattern(item_no) else root, path)

    def is_pattern(self, item_no: int) -> bool:
        """Whether an item stands for all that matches it."""
        globs = bool(self.grant.options.get("interpret_globs"))
        return globs and names.is_pattern(self.items[item_no].source_path)

    def paths_of(self, file: File) -> tuple[str, str]:
        """Both."""
        return (
            self.source_path(file.item_no, file.path),
            self.destination_path(file.item_no, file.path),
        )


def join(base: str, path: str) -> str:
    """`path` below `base`; '' is the base itself."""
    return f"{base.rstrip('/')}/{path}" if path else base


def lies_in(path: str, place: str) -> bool:
    """Whether `path` is `place` or below it; both absolute and without `.` or `..`."""
    return path == place or path.startswith(place.rstrip("/") + "/")
