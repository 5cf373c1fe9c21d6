"""A transfer that follows a plan under its second lease: what may have changed since then is looked
at again, and nothing is told twice."""

import asyncio
import time
from collections.abc import Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from plugins.tasks import store_task
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.engine import last_look, planned_delete, planned_removal, planned_run
from towpath.transfer.engine.context import LeaseClock, Options, TaskContext, TaskFaultError
from towpath.transfer.engine.data_credentials import DataCredentials
from towpath.transfer.engine.planned_delete import PlannedDelete
from towpath.transfer.engine.planned_run import PlannedRun
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.planned import Action, Planned, Reason, facts
from towpath.transfer.store import leases, plan, plans, segments
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.plan import Item
from towpath.transfer.store.plans import Applied
from towpath.transfer.store.rows import fetch, fetch_one

FILE = Entry("", EntryType.FILE, 5, 100)
LINK = FILE._replace(link_target="/t")
DIRECTORY = Entry("", EntryType.DIRECTORY)


class End:
    """A server's session that says what it is told to have, and loses its connection when asked to
    delete more than it may."""

    server = "there"
    closed = False

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = entries
        self.may_delete = 1_000
        self.forbidden: set[str] = set()
        self.ended = asyncio.Event()

    async def stat(self, path: str) -> Entry:
        if path in self.forbidden:
            raise GridFTPError(Kind.PERMISSION_DENIED, "you may not look", self.server, path)
        if path not in self.entries:
            raise GridFTPError(Kind.NOT_FOUND, "none", self.server, path)
        return self.entries[path]

    async def delete_file(self, path: str) -> None:
        if not self.may_delete:
            raise GridFTPError(Kind.CONNECTION_LOST, "lost", self.server)
        self.may_delete -= 1
        del self.entries[path]

    delete_directory = delete_file

    async def close(self) -> bool:
        self.ended.set()
        return True


class Ends:
    """Both, and the transfer between them as one lease after the other takes it up."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = database
        self.source = End({"/s": DIRECTORY})
        self.destination = End({"/d": DIRECTORY})
        self.opened = 0

        async def open_both(_context: object) -> Any:
            self.opened += 1
            here, there = (SimpleNamespace(namespace=name) for name in "ab")
            return (self.source, here), (self.destination, there)

        async def open_session(_context: object, _endpoint: object, *, at_source: bool) -> Any:
            assert at_source, "a delete's only end"
            return self.source, None

        monkeypatch.setattr(planned_removal, "open_session", open_session)
        monkeypatch.setattr(planned_run, "open_both", open_both)
        monkeypatch.setattr(planned_removal, "open_both", open_both)

    async def follow(self, entries: Sequence[Planned], *, deletes: bool = False) -> None:
        """A plan of these, and the transfer, or delete, that does what it says."""
        plan_no = await store_task(self.database)
        async with self.database.transaction() as conn:
            row = await fetch_one(
                conn,
                "UPDATE task SET status = 'SUCCEEDED', type = 'PLAN', completion_time = now()"
                " WHERE task_no = %s RETURNING id",
                (plan_no,),
            )
            assert row is not None
            await plans.begin(conn, row[0], lifetime_h=1)
            await plans.add(conn, plan_no, entries)
        task_no = await store_task(self.database)
        async with self.database.transaction() as conn:
            if deletes:
                await conn.execute(
                    "UPDATE task SET type = 'DELETE', destination_endpoint_id = NULL"
                    " WHERE task_no = %s",
                    (task_no,),
                )
            row = await fetch_one(conn, "SELECT id FROM task WHERE task_no = %s", (task_no,))
            assert row is not None
            assert await plans.apply(conn, plan_no, row[0])

    async def lease(self) -> tuple[TaskContext, PlannedRun]:
        """The next one; what was done under the last is lost but for what was committed."""
        context, applied = await self.take()
        return context, PlannedRun(context, Recorder(context), applied)

    async def lease_of_delete(self) -> PlannedDelete:
        """The same of a delete."""
        context, applied = await self.take()
        return PlannedDelete(context, Recorder(context), applied)

    async def take(self) -> tuple[TaskContext, Applied]:
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
            settings=EngineSettings(),
            random=Random(1),
            clock=time.monotonic,
            options=Options.from_document({}),
        )
        context.items = {1: Item(1, "/s", "/d", True)}
        async with context.fenced() as conn:
            progress = await plan.resume(conn, context.task_no, grant.lease_epoch)
            followed = await plans.followed(conn, context.task_no)
        context.open_files = progress.open_files
        assert followed is not None
        return context, followed

    async def waiting(self) -> list[str]:
        """Files that wait for a lane."""
        async with self.database.connection() as conn:
            rows = await fetch(conn, "SELECT path FROM file ORDER BY path")
        return [plan.decode(path) for (path,) in rows]

    async def left_alone(self) -> int:
        """How many entries are told as such."""
        async with self.database.connection() as conn:
            row = await fetch_one(conn, "SELECT max(skipped_errors) FROM task")
        assert row is not None
        return int(row[0])


@pytest.fixture
def ends(database: Database, monkeypatch: pytest.MonkeyPatch) -> Ends:
    return Ends(database, monkeypatch)


async def test_what_waits_under_a_new_lease_is_looked_at_again(ends: Ends) -> None:
    """A task that was paused, or whose server was away, may come back days later."""
    names = ("same", "written", "changed", "hidden", "sent")
    for name in names:
        ends.source.entries[f"/s/{name}"] = FILE
    await ends.follow([Planned(1, name, Action.COPY, Reason.NEW, facts(FILE)) for name in names])
    context, run = await ends.lease()
    await run.begin()
    await run.run()
    assert await ends.waiting() == sorted(names)
    async with context.fenced() as conn:  # of this one something may be at the destination
        await conn.execute("UPDATE file SET epoch = 1 WHERE path = 'sent'")
    ends.destination.entries |= {"/d/written": FILE, "/d/sent": FILE}
    ends.source.entries["/s/changed"] = FILE._replace(size=6)
    ends.source.forbidden.add("/s/hidden")
    context, run = await ends.lease()
    await run.begin()
    assert await ends.waiting() == ["same", "sent"]
    assert (context.open_files, await ends.left_alone()) == (2, 3)
    assert context.last_look is not None


@pytest.mark.parametrize("reason", [Reason.IN_THE_WAY, Reason.EXTRA])
async def test_deletions_go_on_where_they_were_and_are_told_once(
    ends: Ends, monkeypatch: pytest.MonkeyPatch, reason: Reason
) -> None:
    monkeypatch.setattr(planned_removal, "AT_ONCE", 2)
    instead = None
    if reason is Reason.IN_THE_WAY:
        instead = facts(LINK)
        ends.source.entries |= {f"/s/{n}": LINK for n in range(6)}
    ends.destination.entries |= {f"/d/{n}": FILE for n in range(5)} | {"/d/5": LINK}
    await ends.follow(
        [Planned(1, str(n), Action.DELETE, reason, instead, facts(FILE)) for n in range(6)]
    )

    async def delete() -> None:
        _, run = await ends.lease()
        await run.begin()
        await (run.run() if reason is Reason.IN_THE_WAY else run.delete_extras())

    for ends.destination.may_delete in (2, 0):
        with pytest.raises(TaskFaultError):
            await delete()
    assert set(ends.destination.entries) == {"/d", "/d/0", "/d/1", "/d/2", "/d/5"}
    ends.destination.may_delete = 1_000
    await delete()
    assert set(ends.destination.entries) == {"/d", "/d/5"}
    assert await ends.left_alone() == 1


async def test_a_delete_goes_on_where_it_was_and_tells_each_once(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planned_delete, "AT_ONCE", 1)
    monkeypatch.setattr(planned_removal, "AT_ONCE", 2)
    paths = [str(n) for n in range(5)]
    ends.source.entries |= {f"/s/{path}": FILE for path in paths}
    await ends.follow(
        [
            Planned(1, "a", Action.FAULT, EventCode.PERMISSION_DENIED, details="you may not look"),
            Planned(1, "", Action.SKIP, Reason.HOLDS_MORE, None, facts(DIRECTORY)),
            *(Planned(1, path, Action.DELETE, Reason.ASKED, None, facts(FILE)) for path in paths),
            Planned(1, "b", Action.FAULT, EventCode.PERMISSION_DENIED, details="you may not look"),
        ],
        deletes=True,
    )
    ends.source.entries["/s/3"] = LINK
    for ends.source.may_delete in (1, 0):
        with pytest.raises(TaskFaultError):
            await (await ends.lease_of_delete()).run()
    ends.source.may_delete = 1_000
    ends.source.entries["/s/4"] = FILE  # gone through already: it is new
    run = await ends.lease_of_delete()
    await run.run()
    assert set(ends.source.entries) == {"/s", "/s/3", "/s/4"}
    assert await ends.left_alone() == 3
    [event] = await run.told()
    assert isinstance(event.details, dict)
    assert (event.code, event.details["left_out"]) == (EventCode.PLAN_CHANGED, 3)


@pytest.mark.parametrize(("noted", "gone"), [(None, False), ("/t", True), ("/u", False)])
async def test_what_is_reached_through_another_link_is_not_gone_into(
    ends: Ends, noted: str | None, gone: bool
) -> None:
    """Nor through one that was none. The tree's own, and what was above that."""
    ends.source.entries |= {"/s": LINK, "/s/f": FILE}
    await ends.follow(
        [Planned(1, "f", Action.DELETE, Reason.ASKED, None, facts(FILE))], deletes=True
    )
    run = await ends.lease_of_delete()
    if noted is not None:
        async with ends.database.connection() as conn:
            row = await fetch_one(conn, "SELECT task_no FROM plan")
            assert row is not None
            await plans.note_links(conn, row[0], {"/s": noted})
            await plans.note_links(conn, row[0], {"/s": "what is noted stays"})
    await run.run()
    assert ("/s/f" not in ends.source.entries) == gone
    assert await ends.left_alone() == (not gone)


async def test_where_the_source_cannot_be_looked_at_nothing_is_deleted(ends: Ends) -> None:
    there = {"/d/seen": FILE, "/d/hidden": FILE}
    ends.destination.entries |= there
    ends.source.forbidden.add("/s/hidden")
    await ends.follow(
        [
            Planned(1, name, Action.DELETE, Reason.EXTRA, None, facts(FILE))
            for name in ("seen", "hidden")
        ]
    )
    _, run = await ends.lease()
    await run.begin()
    await run.delete_extras()
    assert "/d/seen" not in ends.destination.entries
    assert "/d/hidden" in ends.destination.entries
    assert await ends.left_alone() == 1


async def test_faults_that_were_expected_are_told_in_the_end(ends: Ends) -> None:
    """Else a task of which half could not be done would seem to have done all."""
    ends.source.entries["/s/f"] = FILE
    blocked = facts(DIRECTORY)
    await ends.follow(
        [
            Planned(1, "d", Action.FAULT, EventCode.NOT_A_DIRECTORY, blocked, None, "A file is."),
            Planned(1, "f", Action.COPY, Reason.NEW, facts(FILE)),
        ]
    )
    context, run = await ends.lease()
    await run.begin()
    await run.run()
    assert await ends.waiting() == ["f"]
    async with context.db.connection() as conn:
        [row] = await fetch(conn, "SELECT data FROM history_segment")
    [told] = segments.unpack(row[0], segments.Skipped)
    assert (told.path, told.is_directory, told.code) == ("d", True, EventCode.NOT_A_DIRECTORY)
    [event] = await run.told()
    assert isinstance(event.details, dict)
    assert event.details["left_out"] == 1


async def test_what_is_at_the_source_by_now_is_no_extra_however_it_is_spelled(ends: Ends) -> None:
    """As a mirror without a plan has it: servers spell one name in several ways."""
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    ends.destination.entries |= {f"/d/{composed}": FILE, "/d/other": FILE}
    ends.source.entries[f"/s/{decomposed}"] = FILE
    await ends.follow(
        [
            Planned(1, name, Action.DELETE, Reason.EXTRA, None, facts(FILE))
            for name in (composed, "other")
        ]
    )
    _, run = await ends.lease()
    await run.begin()
    await run.delete_extras()
    assert set(ends.destination.entries) == {"/d", f"/d/{composed}"}


async def test_sessions_do_not_wait_for_hours_until_there_is_room(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server would end them, and the whole task with its lanes begin anew."""
    monkeypatch.setattr(planned_run, "IDLE_S", 0.01)
    monkeypatch.setattr(planned_run, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(planned_run, "AT_ONCE", 1)
    monkeypatch.setattr(planned_run, "AHEAD_FILES", 1)
    ends.source.entries |= {f"/s/{n}": FILE for n in range(2)}
    await ends.follow([Planned(1, str(n), Action.COPY, Reason.NEW, facts(FILE)) for n in range(2)])
    context, run = await ends.lease()
    await run.begin()
    running = asyncio.create_task(run.run())
    async with asyncio.timeout(10):
        await ends.source.ended.wait()
        await ends.destination.ended.wait()
    assert await ends.waiting() == ["0"]
    opened = ends.opened
    context.open_files = 0
    await running
    assert await ends.waiting() == ["0", "1"]
    assert ends.opened == opened + 1


async def test_a_server_is_asked_for_so_many_paths_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One plan has as many as its owner likes: of all items that go to one place each is asked."""
    asked = most = 0

    class Server:
        async def stat(self, _path: str) -> Entry:
            nonlocal asked, most
            asked += 1
            most = max(most, asked)
            await asyncio.sleep(0)
            asked -= 1
            return FILE

    monkeypatch.setattr(last_look, "AT_ONCE", 3)
    server: Any = Server()
    found = await last_look.look_at_each(server, [*map(str, range(10)), "1"])
    assert found == {str(n): FILE for n in range(10)}
    assert most == 3
