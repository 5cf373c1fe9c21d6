"""The plan of a delete: that it goes on where it was, what it may have, and what shows only when
all of it is known."""

import posixpath
import time
from collections.abc import AsyncGenerator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.tasks import store_task
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.engine import planning_delete
from towpath.transfer.engine.context import LeaseClock, Options, TaskContext, TaskFaultError
from towpath.transfer.engine.data_credentials import DataCredentials
from towpath.transfer.engine.faults import Consequence
from towpath.transfer.engine.planning_delete import DeletePlanning, Told, settled
from towpath.transfer.places import ancestors
from towpath.transfer.planned import Action, Reason
from towpath.transfer.store import leases, plan, plans
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.rows import fetch_one

NAMES = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("/".join)
PLACES = st.sets(NAMES.map("/{}".format), min_size=1, max_size=8)


def walk(items: list[str], places: set[str], closed: set[str], random: Random) -> list[Told]:
    """As one might go: of each item all that is in a directory, in any order, after that itself."""
    told: list[Told] = []
    open_: list[str] = []

    def say(action: Action, reason: str, place: str) -> None:
        told.append(Told(len(told) + 1, action, reason, place))

    def find(place: str) -> None:
        say(Action.DELETE, Reason.ASKED, place)
        open_.append(place)

    for item in items:
        if item in places:
            find(item)
        else:
            say(Action.FAULT, EventCode.FILE_NOT_FOUND, item)
    while open_:
        place = open_.pop(random.randrange(len(open_)))
        if place in closed:
            say(Action.FAULT, EventCode.PERMISSION_DENIED, place)
            continue
        for one in sorted(places):
            if posixpath.dirname(one) == place:
                find(one)
    return told


@given(PLACES, st.data(), st.randoms(use_true_random=False))
def test_each_is_said_once_and_in_an_order_in_which_it_can_go(
    some: set[str], data: st.DataObject, random: Random
) -> None:
    places = {above for place in some for above in (place, *ancestors(place))} - {"/"}
    items = data.draw(st.lists(st.sampled_from(sorted(places | {"/none", "/a/none"})), max_size=4))
    closed = data.draw(st.sets(st.sampled_from(sorted(places))))
    told = walk(items, places, closed, random)
    out, stay = settled(told)
    left = [one for one in told if one.number not in out]
    goes = [one.place for one in left if one.action is Action.DELETE and one.number not in stay]
    said = [(one.action, one.place) for one in left]
    assert len(set(said)) == len(said)
    assert set(said) >= {
        (one.action, one.place)
        for one in told
        if one.action is Action.FAULT or one.place not in closed
    }
    there = set(places)
    for place in reversed(goes):
        assert not any(posixpath.dirname(one) == place for one in there), "it is not empty"
        there.remove(place)
    seen = {one.place for one in told} - {"/none", "/a/none"}
    unlisted = {place for place in seen if place in closed}
    kept = {above for place in unlisted for above in (place, *ancestors(place))}
    assert set(goes) == seen - kept, "all that can go goes"


@pytest.mark.parametrize(
    ("code", "stays"),
    [
        (EventCode.FILE_NOT_FOUND, []),
        (EventCode.NOT_A_DIRECTORY, []),
        (EventCode.PERMISSION_DENIED, [1]),
    ],
)
def test_what_is_not_there_keeps_nothing(code: EventCode, stays: list[int]) -> None:
    told = [Told(1, Action.DELETE, Reason.ASKED, "/d"), Told(2, Action.FAULT, code, "/d/none")]
    assert settled(told) == ([], stays)


TREE = {"/s": ("a", "b", "f"), "/s/a": ("f", "c"), "/s/a/c": ("f",), "/s/b": ("f", "g")}
ALL = ["", "a", "b", "f", "a/f", "a/c", "a/c/f", "b/f", "b/g"]


class Server:
    """One session after the other at a server that has the tree; some listings end them."""

    server = "there"

    def __init__(self) -> None:
        self.ended: GridFTPError | None = None
        self.listed: list[str] = []
        self.loses: list[str] = []
        """Directories that end the session when they are listed, each once."""
        self.unlistable = ""
        """One that ends the session each time, by a name that cannot be sent."""

    @property
    def closed(self) -> bool:
        return self.ended is not None

    def end(self, kind: Kind) -> GridFTPError:
        """All that are being listed hear of it."""
        self.ended = GridFTPError(kind, "over", self.server)
        return self.ended

    async def stat(self, path: str) -> Entry:
        return Entry("", EntryType.DIRECTORY if path in TREE else EntryType.FILE, 5, 100)

    async def list(self, path: str) -> AsyncGenerator[list[Entry], None]:
        if self.ended is not None:
            raise self.ended
        self.listed.append(path)
        for name in TREE[path]:
            yield [(await self.stat(posixpath.join(path, name)))._replace(name=name)]
            if path == self.unlistable:
                raise self.end(Kind.INVALID_NAME)
            if path in self.loses:
                self.loses.remove(path)
                raise self.end(Kind.CONNECTION_LOST)

    async def close(self) -> bool:
        return True


class Planning:
    """The plan of a delete of the tree, as one lease after the other takes it up."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = database
        self.server = Server()

        async def open_session(_context: object, _endpoint: object, *, at_source: bool) -> Any:
            assert at_source, "a delete's only end"
            self.server.ended = None
            return self.server, None

        monkeypatch.setattr(planning_delete, "open_session", open_session)

    async def begin(self) -> None:
        task_no = await store_task(self.database)
        async with self.database.connection() as conn:
            row = await fetch_one(
                conn,
                "UPDATE task SET type = 'PLAN', destination_endpoint_id = NULL,"
                """ options = '{"recursive": true}' WHERE task_no = %s RETURNING id""",
                (task_no,),
            )
            assert row is not None
            await plans.begin(conn, row[0], lifetime_h=1)

    async def lease(self, *, most: int = 100) -> TaskContext:
        await leases.expire_worker(self.database, "w")
        asked_at = time.monotonic()
        [grant] = await leases.admit(self.database, worker="w", limit=1, lease_s=30, per_owner=3)
        nothing: Any = None
        context = TaskContext(
            db=self.database,
            grant=grant,
            lease=LeaseClock(asked_at, 30, time.monotonic),
            sessions=nothing,
            data_credentials=DataCredentials(),
            settings=EngineSettings(plan_entries=most),
            random=Random(1),
            clock=time.monotonic,
            options=Options.from_document({}),
        )
        async with context.fenced() as conn:
            if grant.first_start:
                await leases.start(conn, context.task_no)
            context.items = {one.item_no: one for one in await plan.items(conn, context.task_no)}
            progress = await plan.resume(conn, context.task_no, grant.lease_epoch)
            context.planned_entries = await plans.take_over(conn, context.task_no)
        self.planning = DeletePlanning(context, last_dir_no=progress.last_dir_no)
        return context

    async def told(self, context: TaskContext) -> list[tuple[str, str]]:
        async with self.database.connection() as conn:
            found = await plans.page(conn, context.task_no, after=0, limit=1_000)
        return sorted((one.path, one.reason) for _, one in found)


@pytest.fixture
async def planning(database: Database, monkeypatch: pytest.MonkeyPatch) -> Planning:
    monkeypatch.setattr(planning_delete, "AT_ONCE", 2)
    planning = Planning(database, monkeypatch)
    await planning.begin()
    return planning


async def test_it_goes_on_where_it_was(planning: Planning) -> None:
    planning.server.loses = ["/s", "/s/a/c"]
    for _ in planning.server.loses[:]:
        await planning.lease()
        with pytest.raises(TaskFaultError) as caught:
            await planning.planning.run()
        assert caught.value.verdict.consequence is Consequence.RETRY_TASK
    context = await planning.lease()
    await planning.planning.run()
    assert await planning.told(context) == sorted((path, Reason.ASKED) for path in ALL)
    assert context.planned_entries == len(ALL)
    assert sorted(planning.server.listed) == ["/s", "/s", "/s/a", "/s/a/c", "/s/a/c", "/s/b"]


async def test_a_name_that_cannot_be_sent_holds_up_nothing_else(planning: Planning) -> None:
    """It ends the session, on which others are being listed."""
    planning.server.unlistable = "/s/b"
    context = await planning.lease()
    await planning.planning.run()
    said = dict(await planning.told(context))
    assert said == {
        **dict.fromkeys(("a", "f", "a/f", "a/c", "a/c/f"), Reason.ASKED),
        "": Reason.HOLDS_MORE,
        "b": EventCode.INVALID_PATH_NAME,
    }
    assert context.planned_entries == len(said) + 1, "each is counted once"


async def test_it_may_have_so_many_entries(planning: Planning) -> None:
    context = await planning.lease(most=len(ALL) - 1)
    with pytest.raises(TaskFaultError) as caught:
        await planning.planning.run()
    assert caught.value.verdict.event.code is EventCode.PLAN_TOO_LARGE
    assert caught.value.verdict.consequence is Consequence.FAIL_TASK
    assert len(await planning.told(context)) < len(ALL)
