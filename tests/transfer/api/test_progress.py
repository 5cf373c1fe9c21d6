"""Streams of live progress over the real application: who may listen, what is told, and to whom."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from plugins.transfer_api import Api, assert_error
from plugins.watching import Message
from towpath.platform import guard
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.api import TransferService, create_app
from towpath.transfer.api import progress as routes
from towpath.transfer.live import hub, listener
from towpath.transfer.store import events, leases, progress
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.tasks import Status

MOST = EngineSettings().events_per_task
WAIT_S = 10.0


@dataclass
class Stream:
    """An answer of the application that goes on, read as fast as `reads` allows."""

    status: int = 0
    messages: list[Message] = field(default_factory=list)
    comments: int = 0
    over: bool = False
    sizes: list[int] = field(default_factory=list)
    """Bytes of each chunk."""
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await self.reads.wait()
        async with self._news:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            elif message.get("body"):
                self._read(message["body"])
            self.over |= message["type"] != "http.response.start" and not message.get("more_body")
            self._news.notify_all()

    def _read(self, chunk: bytes) -> None:
        self.sizes.append(len(chunk))
        for block in chunk.decode().removesuffix("\n\n").split("\n\n"):
            if block.startswith(":"):
                self.comments += 1
                continue
            lines = dict(line.split(": ", 1) for line in block.split("\n"))
            data = json.loads(lines["data"])
            self.messages.append(Message(lines["event"], data, lines.get("id")))

    def of(self, event: str) -> list[Message]:
        return [one for one in self.messages if one.event == event]

    async def until(self, so: Callable[["Stream"], object]) -> None:
        """Until that is so."""
        try:
            async with asyncio.timeout(WAIT_S), self._news:
                await self._news.wait_for(lambda: so(self))
        except TimeoutError:
            raise AssertionError(self.messages[-3:]) from None


@dataclass
class Watching:
    """A user who listens."""

    service: TransferService
    user: Api

    @asynccontextmanager
    async def __call__(
        self, route: str, *, last_event_id: str | None = None, reads: bool = True
    ) -> AsyncIterator[Stream]:
        stream = Stream()
        if reads:
            stream.reads.set()
        headers = [(b"authorization", self.user.http.headers["Authorization"].encode())]
        if last_event_id is not None:
            headers.append((b"last-event-id", last_event_id.encode()))
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/v0.10/{route}",
            "query_string": b"",
            "headers": headers,
        }
        app = create_app(self.service)
        answering = asyncio.create_task(app(scope, stream.receive, stream.send))  # type: ignore[arg-type]
        try:
            yield stream
        finally:
            stream.gone.set()
            stream.reads.set()
            async with asyncio.timeout(WAIT_S):
                await answering


@pytest.fixture
def alice_watches(service: TransferService, alice: Api) -> Watching:
    return Watching(service, alice)


@dataclass
class Task:
    """A task whose worker is the test."""

    database: Database
    id: str
    number: int

    async def tell(self, *payloads: str) -> None:
        """As a worker does."""
        async with self.database.connection() as conn:
            await progress.tell(conn, payloads or [str(self.number)])

    async def move(self, size: int) -> None:
        async with self.database.transaction() as conn:
            await conn.execute(
                "UPDATE task SET bytes_transferred = bytes_transferred + %s WHERE task_no = %s",
                (size, self.number),
            )

    async def happens(self, count: int) -> None:
        """So many events."""
        one = Event(EventCode.CONNECT_FAILED, "connect", {"n": 1}, is_error=True)
        async with self.database.transaction() as conn:
            await events.append(conn, self.number, [one] * count, most=MOST)

    async def ends(self) -> None:
        async with self.database.transaction() as conn:
            await leases.finish(conn, self.number, status=Status.SUCCEEDED, fatal_error=None)
        await self.tell()


@pytest.fixture
def submit(alice: Api, lake: str, database: Database) -> Callable[[], Any]:
    async def make() -> Task:
        items = [{"DATA_TYPE": "delete_item", "path": "/a"}]
        value = (await alice.get("submission_id")).json()["value"]
        document = {
            "DATA_TYPE": "delete",
            "submission_id": value,
            "endpoint": lake,
            "DATA": items,
        }
        task_id = (await alice.post("delete", document)).json()["task_id"]
        async with database.connection() as conn:
            row = await (
                await conn.execute("SELECT task_no FROM task WHERE id = %s", (UUID(task_id),))
            ).fetchone()
        assert row is not None
        return Task(database, task_id, row["task_no"])

    return make


async def ids_of(user: Api, task: Task) -> list[str]:
    """Of all events, oldest first."""
    listed = (await user.get(f"task/{task.id}/event_list", limit=1000)).json()["DATA"]
    return [str(event["id"]) for event in reversed(listed)]


async def test_who_may_listen(alice: Api, bob: Api, submit: Any) -> None:
    task = await submit()
    for route in ("progress", "throughput"):
        assert_error(await bob.get(f"task/{task.id}/{route}"), 404, "TaskNotFound")
        assert_error(await alice.get(f"task/nonsense/{route}"), 404, "TaskNotFound")
    wrong = await alice.get(f"task/{task.id}/progress", last_event_id="-1")
    assert_error(wrong, 400, "ClientError.BadRequest")
    alice.http.headers["Last-Event-ID"] = "1" * 5000
    assert_error(await alice.get("task_progress"), 400, "ClientError.BadRequest")
    del alice.http.headers["Last-Event-ID"]
    alice.http.headers["Authorization"] = "Bearer nonsense"
    assert_error(await alice.get("task_progress"), 401, "ClientError.AuthenticationFailed")


async def test_no_event_is_lost_or_repeated(
    alice: Api, alice_watches: Watching, submit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through three connections, and more at once than is kept or read at once."""
    monkeypatch.setattr(hub, "EVENTS_AT_ONCE", 7)
    monkeypatch.setattr(routes, "EVENTS_READ", 5)
    monkeypatch.setattr(listener, "EVENTS_KEPT", 6)
    task = await submit()
    await task.happens(12)
    seen: list[Message] = []
    async with alice_watches(f"task/{task.id}/progress") as first:
        await first.until(lambda one: len(one.of("event")) == 12)
        for count in (1, 3, 9):
            await task.happens(count)
            await task.tell()
        await first.until(lambda one: len(one.of("event")) >= 20)
        seen += first.of("event")
    await task.happens(11)
    async with alice_watches(f"task/{task.id}/progress", last_event_id=seen[-1].id) as second:
        await task.happens(2)
        await task.tell()
        await second.until(lambda one: len(seen + one.of("event")) == 38)
        seen += second.of("event")
    await task.happens(1)
    await task.ends()
    async with alice_watches(f"task/{task.id}/progress", last_event_id=seen[-1].id) as third:
        await third.until(lambda one: one.over)
        seen += third.of("event")
    assert [message.event for message in third.messages] == ["task", "event", "end"]
    assert [message.id for message in seen] == await ids_of(alice, task)
    assert [str(message.data["id"]) for message in seen] == [message.id for message in seen]


async def test_an_end_of_before_is_no_news(
    alice_watches: Watching, submit: Any, database: Database
) -> None:
    """Who follows all tasks does not hear that one was looked at which had ended."""
    task = await submit()
    await task.ends()
    async with database.connection() as conn:
        await conn.execute("UPDATE task SET completion_time = now() - interval '1 hour'")
    async with alice_watches("task_progress") as everything:
        async with alice_watches(f"task/{task.id}/progress") as one:
            await one.until(lambda stream: stream.over)
        other = await submit()
        await everything.until(lambda stream: stream.messages)
        assert {message.data["task_id"] for message in everything.messages} == {other.id}


async def test_one_look_for_all(
    alice_watches: Watching, submit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty changes of two tasks in a second: three looks, and each tells all who listen."""
    looks = []
    look = progress.look

    async def counted(*args: Any, **kwargs: Any) -> Any:
        looks.append(asyncio.get_running_loop().time())
        return await look(*args, **kwargs)

    monkeypatch.setattr(progress, "look", counted)
    one, other = await submit(), await submit()
    async with (
        alice_watches(f"task/{one.id}/progress") as first,
        alice_watches(f"task/{one.id}/progress") as second,
        alice_watches("task_progress") as everything,
    ):
        for stream in (first, second, everything):
            await stream.until(lambda stream: stream.of("task"))
        await asyncio.sleep(2 * hub.LOOK_EVERY_S)
        looks.clear()
        for _ in range(20):
            for task in (one, other):
                await task.move(5)
                await task.tell()
            await asyncio.sleep(0.05)
        for stream in (first, second, everything):
            await stream.until(lambda stream: stream.messages[-1].data["bytes_transferred"] == 100)
        assert 2 <= len(looks) <= 5
        apart = [later - earlier for earlier, later in pairwise(looks)]
        assert min(apart) > hub.LOOK_EVERY_S * 0.9
        assert first.messages == second.messages
        assert len(first.of("task")) <= 2 + len(looks)
        moved = {message.data["bytes_transferred"] for message in everything.messages}
        assert {message.data["bytes_transferred"] for message in first.messages} <= moved


async def test_all_of_an_owner(
    alice: Api, bob: Api, service: TransferService, alice_watches: Watching, submit: Any
) -> None:
    """Those that there are, those that come, and the end of each once; of nobody else's."""
    one = await submit()
    async with (
        alice_watches("task_progress") as mine,
        Watching(service, bob)("task_progress") as foreign,
    ):
        await mine.until(lambda stream: stream.of("task"))
        other = await submit()
        await mine.until(lambda stream: len({m.data["task_id"] for m in stream.messages}) == 2)
        assert (await alice.put(f"task/{other.id}", {"DATA_TYPE": "task", "label": "x"})).is_success
        await mine.until(lambda stream: stream.messages[-1].data["label"] == "x")
        await one.ends()
        await mine.until(lambda stream: stream.of("end"))
        await one.tell()
        await other.ends()
        await mine.until(lambda stream: len(stream.of("end")) == 2)
        assert not mine.over
        assert [m.data["task_id"] for m in mine.of("end")] == [one.id, other.id]
        assert foreign.messages == []
    third = await submit()
    async with alice_watches("task_progress") as again:
        await again.until(lambda stream: stream.messages)
        assert [message.data["task_id"] for message in again.messages] == [third.id]
    # who had heard of them hears of their ends, though they came when he was away
    numbers = [message.id for message in mine.of("task")]
    assert numbers == sorted(numbers, key=lambda number: int(number or 0))
    async with alice_watches("task_progress", last_event_id=numbers[0]) as resumed:
        await resumed.until(lambda stream: len(stream.of("task")) == 3)
        ends = [message.data["task_id"] for message in resumed.of("end")]
        assert sorted(ends) == sorted([one.id, other.id])
    later = str(int(numbers[-1] or 0) + 3600 * 10**6)
    async with alice_watches("task_progress", last_event_id=later) as fresh:
        await fresh.until(lambda stream: stream.messages)
        assert [message.data["task_id"] for message in fresh.messages] == [third.id]


async def test_a_lost_connection_to_the_database(
    alice_watches: Watching, submit: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It listens again, and tells what had changed meanwhile without being told."""
    monkeypatch.setattr(hub, "LOOK_ANYWAY_S", 3600.0)
    monkeypatch.setattr(hub, "RETRY_S", 0.1)
    task = await submit()
    async with alice_watches(f"task/{task.id}/progress") as stream:
        await stream.until(lambda one: one.of("task"))
        await task.move(5)
        async with database.connection() as conn:
            ended = await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE 'LISTEN %'"
            )
            assert ended.rowcount == 1
        await stream.until(lambda one: one.messages[-1].data["bytes_transferred"] == 5)
        await task.move(5)
        await task.tell()
        await stream.until(lambda one: one.messages[-1].data["bytes_transferred"] == 10)


async def test_a_slow_reader_costs_little_and_misses_nothing(
    alice: Api, alice_watches: Watching, submit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(listener, "EVENTS_KEPT", 3)
    task = await submit()
    flight = {"rate": 7, "items": {}, "files": [], "more": 0}
    async with (
        alice_watches(f"task/{task.id}/progress", reads=False) as slow,
        alice_watches(f"task/{task.id}/progress") as quick,
    ):
        await quick.until(lambda one: one.of("task"))
        for number in range(1, 16):
            await task.move(1)
            await task.happens(1)
            await task.tell(f"{task.number} {json.dumps(flight | {'more': number})}")
            await quick.until(
                lambda one: one.of("task")[-1].data["bytes_transferred"] == number  # noqa: B023
            )
        await quick.until(lambda one: one.of("files")[-1].data["more"] == 15)
        assert len(quick.of("task")) >= 15
        slow.reads.set()
        await slow.until(lambda one: len(one.of("event")) == 15)
        assert len(slow.of("task")) <= 2
        assert slow.of("task")[-1].data["bytes_transferred"] == 15
        assert slow.of("task")[-1].data["bytes_per_second"] == 7
        assert [message.data["more"] for message in slow.of("files")] == [15]
        assert [message.id for message in slow.of("event")] == await ids_of(alice, task)


async def test_limits(
    alice: Api,
    bob: Api,
    service: TransferService,
    alice_watches: Watching,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "LISTENERS_PER_CALLER", 2)
    monkeypatch.setattr(hub, "LISTENERS_LIMIT", 3)
    async with alice_watches("task_progress") as one, alice_watches("task_progress") as two:
        for stream in (one, two):
            await stream.until(lambda stream: stream.status)
        refused = await alice.get("task_progress")
        assert_error(refused, 429, "ClientError.TooManyRequests")
        assert refused.headers["Retry-After"]
        async with Watching(service, bob)("task_progress") as theirs:
            await theirs.until(lambda stream: stream.status)
            full = await bob.get("task_progress")
            assert_error(full, 503, "ServiceUnavailable")
            assert full.headers["Retry-After"]
        one.gone.set()
        await asyncio.sleep(0)
    async with alice_watches("task_progress") as again:  # who has gone leaves room
        await again.until(lambda stream: stream.status == 200)


async def test_a_stream_ends_with_its_token(
    alice_watches: Watching, nexus_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "CHECK_CALLER_S", 0.2)
    monkeypatch.setattr(routes, "STILL_HERE_S", 0.05)
    monkeypatch.setattr(guard, "FRESH_S", 0.0)
    async with alice_watches("task_progress") as stream:
        await stream.until(lambda one: one.comments >= 5)
        assert not stream.over
        async with nexus_database.transaction() as conn:
            await conn.execute("DELETE FROM token")
        await stream.until(lambda one: one.over)


async def test_streams_end_with_the_service(
    service: TransferService, alice: Api, alice_watches: Watching, submit: Any
) -> None:
    task = await submit()
    async with (
        alice_watches("task_progress") as all_of_mine,
        alice_watches(f"task/{task.id}/progress") as one,
    ):
        for stream in (all_of_mine, one):
            await stream.until(lambda stream: stream.of("task"))
        await service.hub.close()
        for stream in (all_of_mine, one):
            await stream.until(lambda stream: stream.over)
    assert_error(await alice.get("task_progress"), 503, "ServiceUnavailable")
