"""Whatever is cancelled at whatever await leaves nothing behind, here or at the servers.

An operation is run again and again, and cancelled at its first await, at its second, and so on,
until it comes to its end; then at moments in between, and twice.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from plugins.lanes import finish
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import Copy, download, upload
from towpath.gridftp.client.lane import Lane, Piece
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.client.tree_listing import list_tree
from towpath.gridftp.security.dcsc import DataCredential

SETTLED_S = 8.0
"""For what ends by itself; a session waits 5 s for a server that does not answer its end."""

MOST_AWAITS = 400
"""No operation here has so many."""


class CancelledAt:
    """Awaits something, and cancels the task when it waits for the n-th time (and the next)."""

    def __init__(self, operation: Awaitable[object], number: int, *, twice: bool = False) -> None:
        self._operation = operation
        self._numbers = {number, number + 1} if twice else {number}
        self.awaits = 0

    def __await__(self) -> Generator[Any, Any, object]:
        inner = self._operation.__await__()
        step: Callable[[], Any] = lambda: inner.send(None)  # type: ignore[attr-defined]  # noqa: E731
        while True:
            try:
                waited_for = step()
            except StopIteration as end:
                return end.value
            self.awaits += 1
            if self.awaits in self._numbers:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                value = yield waited_for
            except BaseException as error:  # noqa: BLE001 - handed on
                step = lambda error=error: inner.throw(error)  # type: ignore[misc,attr-defined]  # noqa: E731
            else:
                step = lambda value=value: inner.send(value)  # type: ignore[misc,attr-defined]  # noqa: E731


@dataclass
class Place:
    """Two servers, files, and how to log in."""

    domain: Domain
    source: GctServer
    destination: GctServer
    root: Path
    credential: DataCredential
    opened: list[Session] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)

    def open(self, server: GctServer | None = None, **options: object) -> Awaitable[Session]:
        given: dict = {"credential": self.domain.credential, "trust": self.domain.trust, **options}
        return Session.open(Server("localhost", (server or self.source).port), **given)

    async def session(self, server: GctServer | None = None) -> Session:
        """One that is closed after the operation."""
        self.opened.append(await self.open(server))
        return self.opened[-1]

    async def lane(self) -> Lane:
        source, destination = await asyncio.gather(self.session(), self.session(self.destination))
        self.lanes.append(await Lane.open(source, destination, data_credential=self.credential))
        return self.lanes[-1]

    async def clear(self) -> None:
        """What whoever uses the library has to do, whatever happened."""
        for lane in self.lanes:
            await lane.close()
        for session in self.opened:
            if not session.closed:  # then it can be used
                await session.command("SITE WHOAMI", timeout_s=SETTLED_S)
            await session.close()
        self.lanes.clear()
        self.opened.clear()

    def options(self, streams: int) -> DataOptions:
        security = DataSecurity(self.credential)
        return DataOptions(security=security, streams=streams, checksum="SHA256")


Operation = Callable[[Place], Awaitable[Callable[[], Awaitable[object]]]]
"""Prepares, and gives what is to be cancelled."""

FILES = 5
SIZE = 200_000


async def opening(place: Place, **options: object) -> Callable[[], Awaitable[object]]:
    async def run() -> None:
        await (await place.open(**options)).close()

    return run


async def opening_in_the_clear(place: Place) -> Callable[[], Awaitable[object]]:
    return await opening(place, credential=None)


async def delegating(place: Place) -> Callable[[], Awaitable[object]]:
    return await opening(place, delegate=True)


async def asking(place: Place) -> Callable[[], Awaitable[object]]:
    session = await place.session()

    async def run() -> None:
        await session.stat(str(place.root))
        await session.make_directories(f"{place.root}/new/er")
        await session.rename(f"{place.root}/new/er", f"{place.root}/new/est")
        await session.delete_tree(f"{place.root}/new")

    return run


async def digesting(place: Place) -> Callable[[], Awaitable[object]]:
    session = await place.session()
    return lambda: session.checksum(f"{place.root}/big", "MD5")


async def listing(place: Place) -> Callable[[], Awaitable[object]]:
    session = await place.session()

    async def run() -> None:
        async with aclosing(session.list(f"{place.root}/many")) as batches:
            async for _ in batches:
                await asyncio.sleep(0)

    return run


async def listing_a_tree(place: Place) -> Callable[[], Awaitable[object]]:
    async def run() -> None:
        tree = list_tree(place.open, str(place.root), security=DataSecurity(place.credential))
        async with aclosing(tree) as parts:
            async for _ in parts:
                await asyncio.sleep(0)

    return run


async def introducing(place: Place) -> Callable[[], Awaitable[object]]:
    source, destination = await place.session(), await place.session(place.destination)

    async def run() -> None:
        lane = await Lane.open(source, destination, data_credential=place.credential)
        await lane.close()

    return run


def pieces(place: Place) -> list[Piece]:
    return [
        Piece(f"{place.root}/f{number}", f"{place.root}/to/{number}", SIZE, checksum="MD5")
        for number in range(FILES)
    ]


async def moving(place: Place) -> Callable[[], Awaitable[object]]:
    lane = await place.lane()

    async def run() -> None:
        await finish(lane, pieces(place))
        await lane.close()

    return run


async def closing_a_lane_at_work(place: Place) -> Callable[[], Awaitable[object]]:
    lane = await place.lane()
    lane.send(pieces(place))
    return lane.close


def copies(place: Place, direction: str, streams: int) -> list[Copy]:
    return [
        Copy(place.root / f"f{number}", f"{place.root}/to/u{number}", SIZE)
        if direction == "up"
        else Copy(place.root / f"to/d{number}", f"{place.root}/f{number}", SIZE)
        for number in range(1 if streams > 1 else FILES)
    ]


def copying(direction: str, streams: int) -> Operation:
    async def prepare(place: Place) -> Callable[[], Awaitable[object]]:
        session = await place.session(place.destination)
        function = upload if direction == "up" else download

        async def run() -> None:
            try:
                await function(session, copies(place, direction, streams), place.options(streams))
            except asyncio.CancelledError:
                await session.close()  # its commands may still run
                raise

        return run

    return prepare


OPERATIONS: dict[str, Operation] = {
    "Session.open": opening,
    "Session.open in the clear": opening_in_the_clear,
    "Session.open, delegating": delegating,
    "file operations": asking,
    "checksum": digesting,
    "list": listing,
    "list_tree": listing_a_tree,
    "Lane.open": introducing,
    "lane": moving,
    "Lane.close": closing_a_lane_at_work,
    "upload": copying("up", 1),
    "upload by 4 streams": copying("up", 4),
    "download": copying("down", 1),
    "download by 4 streams": copying("down", 4),
}


@pytest.fixture(scope="module")
def servers(
    domain_a: Domain, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[GctServer, GctServer]]:
    """Of our own: all their sessions are ours."""
    root = tmp_path_factory.mktemp("cancelled")
    anonymous = ("-aa", "-anonymous-user", "root") if os.getuid() == 0 else ("-aa",)
    with (
        GctServer.start(domain_a, root / "a", args=anonymous) as source,
        GctServer.start(domain_a, root / "b") as destination,
    ):
        yield source, destination


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files")
    for number in range(FILES):
        (path / f"f{number}").write_bytes(os.urandom(SIZE))
    for name in ("to", "many"):
        (path / name).mkdir()
    for number in range(1500):
        (path / "many" / str(number)).touch()
    with (path / "big").open("wb") as file:
        file.truncate(20_000_000)
    return path


@pytest.fixture
def place(domain_a: Domain, servers: tuple[GctServer, GctServer], root: Path) -> Place:
    return Place(domain_a, *servers, root, DataCredential.create(datetime.now(UTC)))


def descriptors() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except OSError:
            continue
    return {one for one in found if "/proc/" not in one}


async def until(true: Callable[[], object], what: Callable[[], object]) -> None:
    try:
        async with asyncio.timeout(SETTLED_S):
            while not true():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"left behind: {what()}") from None


def other_tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


@pytest.fixture
async def nothing_left(
    place: Place, request: pytest.FixtureRequest
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Checks that all is as before."""
    loop = asyncio.get_running_loop()
    seen: list[dict] = []
    loop.set_exception_handler(lambda _loop, context: seen.append(context))
    await asyncio.to_thread(int)  # the executor's own threads and sockets are not ours
    threads = {thread.ident for thread in threading.enumerate()}
    open_before = descriptors()

    def new_threads() -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread.ident not in threads and not thread.name.startswith("asyncio_")
        ]

    async def check() -> None:
        await until(lambda: not other_tasks(), other_tasks)
        await until(lambda: descriptors() <= open_before, lambda: descriptors() - open_before)
        await until(lambda: not new_threads(), new_threads)
        assert seen == []
        names = [path.name for path in (place.root / "to").iterdir()]
        assert not [name for name in names if name.startswith(".")], "half a file of ours"

    # GCT hangs for good in one of some hundred cases, deaf to its control connection, when it is
    # cut off in the middle of sending; and more often among queued STORs. A lane and an upload let
    # what writes end in order, unless they are cancelled again while they wait for that.
    name = request.node.name
    unsure = []
    if any(case in name for case in ("[lane]", "[Lane.close]", "[download")):
        unsure.append(place.source if "lane" in name.lower() else place.destination)
    if "twice" in name and "load" in name:
        unsure.append(place.destination)
    if "in the clear" in name:  # so does one clear-text login in a hundred that is cut off
        unsure.append(place.source)

    def sessions() -> set[int]:
        servers = {place.source, place.destination}.difference(unsure)
        return {pid for server in servers for pid in server.session_pids()}

    old = sessions()
    yield check
    await check()
    await until(lambda: sessions() <= old, lambda: sessions() - old)


async def cancelled(
    place: Place, operation: Operation, cancel: Callable[[Awaitable[object]], Awaitable[object]]
) -> bool:
    """Whether it was; else it came to its end."""
    async with AsyncExitStack() as stack:
        stack.push_async_callback(place.clear)
        run = await operation(place)
        try:
            await asyncio.create_task(_awaited(cancel(run())))
        except asyncio.CancelledError:
            return True
        return False


async def _awaited(operation: Awaitable[object]) -> object:
    return await operation


@pytest.mark.parametrize("name", OPERATIONS)
async def test_at_every_await(
    place: Place, nothing_left: Callable[[], Awaitable[None]], name: str
) -> None:
    for number in range(1, MOST_AWAITS):
        was = await cancelled(
            place, OPERATIONS[name], lambda run, number=number: CancelledAt(run, number)
        )
        await nothing_left()
        if not was:
            break
    assert number > 1
    assert number < MOST_AWAITS - 1
    print(f"{name}: {number - 1} awaits")


@pytest.mark.parametrize("name", OPERATIONS)
async def test_twice(place: Place, nothing_left: Callable[[], Awaitable[None]], name: str) -> None:
    """Again while it clears up: whoever is impatient."""
    for number in range(1, MOST_AWAITS):
        was = await cancelled(
            place,
            OPERATIONS[name],
            lambda run, number=number: CancelledAt(run, number, twice=True),
        )
        if not was:
            break
    await nothing_left()


@pytest.mark.parametrize("name", OPERATIONS)
async def test_at_moments(
    place: Place, nothing_left: Callable[[], Awaitable[None]], name: str
) -> None:
    """After so many rounds of the loop: between what one task awaits others do their part."""

    async def after(rounds: int, run: Awaitable[object]) -> None:
        task = asyncio.create_task(_awaited(run))
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        await task

    for exponent in range(14):
        was = await cancelled(place, OPERATIONS[name], lambda run, n=exponent: after(2**n, run))
        if not was:
            break
    await nothing_left()
