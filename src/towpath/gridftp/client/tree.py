"""A tree transfer between two servers as one operation: what a listing finds goes in, outcomes come
out, while the listing still goes on.

Small files go pipelined over a few lanes; each large file has a lane of its own and goes by ranges.
A directory is made by the lane that first has a file for it, in the same flight: a lane's commands
run in order, so nobody waits for a directory.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from towpath.gridftp.client.lane import Lane
from towpath.gridftp.client.lane_loop import LaneLoop, Load, Room, Window
from towpath.gridftp.client.operations import ancestors
from towpath.gridftp.client.pieces import Outcome, Piece
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, Scope
from towpath.gridftp.refusals import classify
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.ranges import RangeSet
from towpath.gridftp.wire.replies import Reply

LARGE_BYTES: Final = 64 * 1024 * 1024
"""From this size on a file goes by ranges, beside the small ones and not in front of them."""

SMALL_LANES: Final = 2
"""Each is two processes at the servers; with two, one's pauses are the other's work."""

WAITING_FILES: Final = 20_000
"""Files listed and not yet sent, at which the listing has to wait."""

WAITING_OUTCOMES: Final = 10_000
"""Outcomes not yet taken, at which the lanes have to wait."""

WAITING_DIRECTORIES: Final = 10_000
"""Directories without files so far; more are made meanwhile."""

KNOWN_DIRECTORIES: Final = 10_000
"""Directories a lane remembers having made; making one again costs a command and no harm."""

IN_FLIGHT_BYTES: Final = 256 * 1024 * 1024
"""Of small files, per lane: what a failure can cost again."""

IN_FLIGHT_FILES: Final = 400
"""Files under way on a lane: what the servers do in the four round trips until the first outcomes
come from 50 ms away. All may have to be sent again."""

REFILL_FILES: Final = 100
"""Sent in one go; fewer cost the servers and us a wake-up each."""

REPLIES: Final = 100
"""Of directories made ahead: so many have to come within the time for one."""

FAR_S: Final = 0.01
"""A round trip from which on a few hundred small files wait for the growth of TCP's window."""

MAX_ATTEMPTS: Final = 3
"""Of a file, and to open a lane: the command waits in front of somebody."""
RETRY_DELAY_S: Final = 1.0
"""Times the number of attempts."""


@dataclass(slots=True)
class File:
    """A file to move."""

    source: str
    destination: str
    size: int
    modified: int | None = None
    """Unix seconds to give the copy."""
    attempts: int = 0
    arrived: RangeSet | None = None
    """What earlier attempts have moved of a large file, and compared."""
    source_time: int | None = None
    """Of the source then, Unix seconds."""


class Directory(NamedTuple):
    """A directory there has to be, even if no file is in it."""

    destination: str


class Moved(NamedTuple):
    """What became of a file: it has arrived, or it is given up."""

    file: File
    error: GridFTPError | None = None
    digest: str | None = None


class Unmade(NamedTuple):
    """A directory that could not be made."""

    destination: str
    error: GridFTPError


Found = File | Directory
Told = Moved | Unmade


class Lanes(Protocol):
    """Opens lanes between the two servers of a transfer."""

    async def open(self) -> Lane:
        """A lane for small files. Raises GridFTPError."""

    async def give_back(self, lane: Lane) -> None:
        """It is not needed any more; nothing is in flight on it."""


class TreeTransfer:
    """One transfer. Use `run`, once."""

    def __init__(
        self,
        lanes: Lanes,
        root: str | None,
        *,
        checksum: Callable[[Lane], str | None],
        move_large: Callable[[File, Sequence[str]], Awaitable[Moved]] | None = None,
        small_lanes: int = SMALL_LANES,
    ) -> None:
        """`root` is the directory at the destination below which everything goes; it is made, too.
        None: all directories are there.

        `checksum` names the algorithm by which a lane's files are compared. `move_large` moves one
        large file, after making the given directories; without it they go like the small ones.
        """
        self._lanes = lanes
        self._root = None if root is None else root.rstrip("/") or "/"
        self._checksum = checksum
        self._move_large = move_large
        self._small: deque[File] = deque()
        self._large: deque[File] = deque()
        self._empty: dict[str, None] = {}
        """Directories of the listing that no lane has made so far, in order."""
        self._spoiled: list[str] = []
        self._listed = False
        self._unfinished = 0
        self._endpoint_failures = 0
        """In a row, without a file moved in between."""
        self._outbox: list[Told] = []
        self._supplies = [_LaneSupply(self) for _ in range(small_lanes)]
        self._changed = _Signal()
        self._room = _Signal()
        self._arrived = _Signal()
        self._taken = _Signal()

    async def run(
        self, found: AsyncGenerator[Sequence[Found], None]
    ) -> AsyncGenerator[list[Told], None]:
        """Move what is found; a directory must be found before anything in it.

        Raises what `found` raises, and GridFTPError for what concerns all files: no lane can be
        opened, or an end refuses everything. Leaving early stops the transfer: close the iterator
        then, as with `contextlib.aclosing`. `found` is closed here.
        """
        work = asyncio.create_task(self._work(found))
        work.add_done_callback(lambda _: self._arrived.fire())
        try:
            while True:
                if self._outbox:
                    batch, self._outbox = self._outbox, []
                    self._taken.fire()
                    yield batch
                elif work.done():
                    await work
                    return
                else:
                    await self._arrived.wait()
        finally:
            work.cancel()
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # it has been raised, or nobody asks any more

    # -- the parts

    async def _work(self, found: AsyncGenerator[Sequence[Found], None]) -> None:
        loops = [supply.loop for supply in self._supplies]
        try:
            await _together(
                self._feed(found),
                self._move_large_files(),
                *(loop.run(eager=True) for loop in loops),
            )
            await self._finish()
            for loop in loops:
                lane, loop.lane = loop.lane, None
                if lane is not None:
                    await self._lanes.give_back(lane)
        except BaseException:
            await asyncio.gather(*(loop.close() for loop in loops))
            raise

    async def _feed(self, found: AsyncGenerator[Sequence[Found], None]) -> None:
        async with aclosing(found):
            async for batch in found:
                for item in batch:
                    if isinstance(item, Directory):
                        self._empty[item.destination] = None
                        continue
                    self._unfinished += 1
                    large = self._move_large is not None and item.size >= LARGE_BYTES
                    (self._large if large else self._small).append(item)
                self.wake()
                while len(self._small) + len(self._large) >= WAITING_FILES:
                    await self._room.wait()
                if len(self._empty) >= WAITING_DIRECTORIES:
                    await self._at_destination(self._make_empty)
        self._listed = True
        self.wake()

    async def _move_large_files(self) -> None:
        made: dict[str, None] = {}
        while not self.complete:
            if not self._large:
                await self._changed.wait()
                continue
            file = self._large.popleft()
            self._room.fire()
            assert self._move_large is not None
            moved = await self._move_large(file, self.directories_of(file.destination, made))
            if moved.error is None:
                await self.tell([moved])
            else:
                made.clear()  # the lane may be lost, before they were made
                await self.failed(file, moved.error, queue=self._large)

    async def _finish(self) -> None:
        """Directories without files; files that are no version of their source."""
        if self._spoiled:
            await self._at_destination(self._remove_spoiled, self._open_lanes())
        if self._empty:
            await self._at_destination(self._make_empty, self._open_lanes())
        unmade: dict[str, GridFTPError] = {}
        for supply in self._supplies:
            unmade |= supply.directory_errors()
        await self.tell([Unmade(path, error) for path, error in unmade.items()])

    def _open_lanes(self) -> list[Lane]:
        return [supply.loop.lane for supply in self._supplies if supply.loop.lane is not None]

    async def _at_destination(
        self, act: Callable[[Lane], Awaitable[None]], lanes: Sequence[Lane] = ()
    ) -> None:
        """Do what may be done twice, on one of these lanes or on one more."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            there = next((lane for lane in lanes if lane.usable), None)
            lane = there or await self.open_lane()
            try:
                await act(lane)
                return
            except GridFTPError as error:
                if error.permanent or attempt == MAX_ATTEMPTS:
                    raise
            finally:
                if there is None:
                    await self._lanes.give_back(lane)

    async def _make_empty(self, lane: Lane) -> None:
        paths, self._empty = list(self._empty), {}
        if not paths or self._root is None:
            return
        made: dict[str, None] = {}
        each = [made_now for path in paths for made_now in self.directories_of(f"{path}/", made)]
        wanted = set(paths)
        unmade: list[Told] = []
        possible = []
        session = lane.destination
        for path in each:
            try:
                session.encode(path)
                possible.append(path)
            except GridFTPError as refusal:
                if path in wanted:
                    unmade.append(Unmade(path, refusal))
        try:
            replies = await _answers(session, [commands.mkd(path) for path in possible])
        except GridFTPError:
            self._empty = dict.fromkeys(paths) | self._empty
            raise
        for path, reply in zip(possible, replies, strict=True):
            if not reply.ok and path in wanted:
                error = classify(reply, where=str(session.server), path=path)
                if error.kind is not Kind.EXISTS:
                    unmade.append(Unmade(path, error))
        await self.tell(unmade)

    # -- what the lanes use

    @property
    def complete(self) -> bool:
        """Nothing is left to move."""
        return self._listed and self._unfinished == 0

    @property
    def small(self) -> deque[File]:
        """Small files that wait for a lane."""
        return self._small

    def took(self) -> None:
        """There is room for more of them."""
        self._room.fire()

    @property
    def small_lanes(self) -> int:
        """How many lanes share them."""
        return len(self._supplies)

    @property
    def flying(self) -> int:
        """How many are under way, on all lanes."""
        return sum(supply.flying for supply in self._supplies)

    def checksum(self, lane: Lane) -> str | None:
        """The algorithm for files on this lane."""
        return self._checksum(lane)

    def directories_of(self, path: str, made: dict[str, None]) -> list[str]:
        """The directories above a destination that are not among `made`; they are, afterwards."""
        root, parent = self._root, path.rpartition("/")[0]
        if root is None or parent in made or not parent:
            return []
        missing = [parent]
        while len(missing[-1]) > len(root):
            above = missing[-1].rpartition("/")[0]
            if above in made or not above:
                break
            missing.append(above)
        if not made:
            missing += reversed(ancestors(root))
        missing.reverse()
        for directory in missing:
            made[directory] = None
            self._empty.pop(directory, None)
        while len(made) > KNOWN_DIRECTORIES:
            del made[next(iter(made))]
        return missing

    async def open_lane(self) -> Lane:
        """A lane; a server that cannot be reached is tried a few times."""
        attempt = 0
        while True:
            attempt += 1
            try:
                lane = await self._lanes.open()
                try:
                    await self._remove_spoiled(lane)
                except BaseException:
                    await lane.give_up()
                    raise
                return lane
            except GridFTPError as error:
                if error.permanent or attempt == MAX_ATTEMPTS:
                    raise
                await asyncio.sleep(RETRY_DELAY_S * attempt)

    async def _remove_spoiled(self, lane: Lane) -> None:
        """Before anything else is sent: it may be among what is sent again."""
        paths, self._spoiled = self._spoiled, []
        try:
            await _answers(lane.destination, [commands.dele(path) for path in paths])
        except GridFTPError:
            self._spoiled += paths
            raise

    async def tell(self, items: Sequence[Told]) -> None:
        """Hand outcomes out; waits while too many have not been taken."""
        self._outbox += items
        moved = [item for item in items if isinstance(item, Moved)]
        self._unfinished -= len(moved)
        if any(item.error is None for item in moved):
            self._endpoint_failures = 0
        self._arrived.fire()
        if self.complete:
            self.wake()
        while len(self._outbox) >= WAITING_OUTCOMES:
            await self._taken.wait()

    async def failed(self, file: File, error: GridFTPError, *, queue: deque[File]) -> bool:
        """A file failed: it is tried again, or given up, or everything is. Whether it is."""
        if error.ends_all:
            raise error
        if error.scope is Scope.ENDPOINT:  # a full disk, say: no other file will do better
            self._endpoint_failures += 1
            if self._endpoint_failures >= MAX_ATTEMPTS:
                raise error
        file.attempts += 1
        if error.permanent or file.attempts >= MAX_ATTEMPTS:
            await self.tell([Moved(file, error)])
            return True

        def again() -> None:
            queue.append(file)
            self.wake()

        asyncio.get_running_loop().call_later(RETRY_DELAY_S * file.attempts, again)
        return False

    def spoiled(self, path: str) -> None:
        """This destination may hold another file's bytes."""
        self._spoiled.append(path)

    def wake(self) -> None:
        """There is more to do, or nothing any more."""
        self._changed.fire()
        for lane in self._open_lanes():
            lane.nudge()

    async def changed(self) -> None:
        """Until there is more to do, or nothing any more."""
        await self._changed.wait()


class _LaneSupply:
    """One lane's part."""

    def __init__(self, tree: TreeTransfer) -> None:
        self._tree = tree
        self._made: dict[str, None] = {}
        self._errors: dict[str, GridFTPError] = {}
        self.loop: LaneLoop[File] = LaneLoop(
            self,
            self._open,
            Window(IN_FLIGHT_FILES, IN_FLIGHT_BYTES, REFILL_FILES),
            on_close=self._keep_errors,
        )

    async def _open(self) -> Lane:
        lane = await self._tree.open_lane()
        self._made = {}  # what the lane before was told to make may not have been made
        return lane

    @property
    def flying(self) -> int:
        """How many files are under way."""
        lane = self.loop.lane
        return 0 if lane is None else lane.in_flight

    def directory_errors(self) -> dict[str, GridFTPError]:
        """What could not be made below the root."""
        if self.loop.lane is not None:
            self._keep_errors(self.loop.lane)
        return self._errors

    def _keep_errors(self, lane: Lane) -> None:
        known = self._made
        self._errors |= {
            path: error for path, error in lane.directory_errors.items() if path in known
        }

    async def take(self, room: Room, *, idle: bool) -> Sequence[File] | None:
        """From the front of what waits."""
        tree = self._tree
        while idle and not tree.small:
            if tree.complete:
                return None
            await tree.changed()
        waiting = tree.small
        work: list[File] = []
        left = room.size_bytes
        # All lanes should end at the same time: what there is goes to those that have less.
        share = math.ceil((len(waiting) + tree.flying) / tree.small_lanes) - self.flying
        most = min(room.files, share)
        while waiting and len(work) < most and (left > 0 or not work):
            file = waiting.popleft()
            left -= file.size
            work.append(file)
        tree.took()
        return work

    def load(self, lane: Lane, work: Sequence[File]) -> Load:
        """Pieces with the directories they need."""
        tree = self._tree
        algorithm = tree.checksum(lane)
        directories: list[str] = []
        for file in work:
            directories += tree.directories_of(file.destination, self._made)
        return Load(
            [
                Piece(
                    file.source,
                    file.destination,
                    file.size,
                    modified=file.modified,
                    checksum=algorithm,
                    tag=file,
                )
                for file in work
            ],
            directories,
        )

    def put_back(self, work: Sequence[File]) -> None:
        """A lane is always opened, or that raises."""
        self._tree.small.extendleft(reversed(work))

    async def settle(self, lane: Lane, outcomes: Sequence[Outcome]) -> None:
        """Tell what is done; what is void goes first when sending again."""
        tree = self._tree
        spoiled = spoiled_path(outcomes) if lane.broken else None
        void = [outcome.piece.tag for outcome in outcomes if outcome.status == "void"]
        if void:
            tree.small.extendleft(reversed(void))
            tree.wake()
        done = [Moved(o.piece.tag, None, o.digest) for o in outcomes if o.status == "done"]
        await tree.tell(done)
        for outcome in outcomes:
            if outcome.status == "failed":
                assert outcome.error is not None, "a failed outcome says why"
                file: File = outcome.piece.tag
                given_up = await tree.failed(file, outcome.error, queue=tree.small)
                if given_up and file.destination == spoiled:  # nobody writes it again
                    tree.spoiled(spoiled)


async def _answers(session: Session, lines: Sequence[str]) -> list[Reply]:
    """The replies of any number of commands: each batch has as long as one alone."""
    futures = session.submit(lines)
    batches = (futures[at : at + REPLIES] for at in range(0, len(futures), REPLIES))
    return [reply for batch in batches for reply in await session.answers(batch)]


def small_file_streams(source: Session, destination: Session) -> int:
    """Data connections of a lane for small files.

    Each new one may send ten packets in its first round trip, and twice as many in each that
    follows: two get there one round trip earlier. Near, and above two, more only cost.
    """
    return 2 if max(source.rtt_s, destination.rtt_s) >= FAR_S else 1


def spoiled_path(outcomes: Sequence[Outcome]) -> str | None:
    """The destination that a source's failure left open to the bytes of the file behind it.

    Only if the failure was the server's answer about the file: else perhaps nothing was opened.
    """
    failed = next((o for o in reversed(outcomes) if o.status == "failed"), None)
    if failed is None or failed.failed_side != "source" or failed.error is None:
        return None
    if failed.error.scope is not Scope.FILE or failed.error.kind is Kind.INVALID_NAME:
        return None
    path: str = failed.piece.destination_path
    return path


class _Signal:
    """Wakes everyone who waits; a waiter looks at the state again."""

    def __init__(self) -> None:
        self._waiting: asyncio.Future[None] | None = None

    def fire(self) -> None:
        if self._waiting is not None:
            self._waiting.set_result(None)
            self._waiting = None

    async def wait(self) -> None:
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._waiting)


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """Run all; the first failure cancels the others and is raised itself."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()  # once: what they do to end in good order must not be cut off
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
