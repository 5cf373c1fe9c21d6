"""Tasks in the database: idempotent, visible to their owner only, waking workers."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from towpath.platform.database import Database
from towpath.transfer.store import endpoints, items, submissions, tasks
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.tasks import Clause, NewItem, NewTask

OWNER, OTHER = uuid4(), uuid4()


def endpoint(owner: UUID = OWNER, name: str = "data", *, public: bool = True) -> Endpoint:
    return Endpoint(
        id=uuid4(),
        owner_id=owner,
        owner_string="someone",
        display_name=name,
        host="gridftp.example.org",
        port=2811,
        subject=None,
        data_hosts=(),
        public=public,
        details={"organization": "Site"},
    )


def new_task(where: UUID, submission: UUID | None = None, **changes: object) -> NewTask:
    fields: dict[str, object] = {
        "id": uuid4(),
        "owner_id": OWNER,
        "username": "someone",
        "submission_id": submission or uuid4(),
        "type": "TRANSFER",
        "label": None,
        "options": {"verify_checksum": True},
        "source_endpoint_id": where,
        "destination_endpoint_id": where,
        "deadline": datetime.now(UTC) + timedelta(days=1),
        "items": [NewItem("/a", "/b", None)],
    }
    return NewTask(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture
async def somewhere(database: Database) -> UUID:
    made = endpoint()
    async with database.transaction() as conn:
        await endpoints.insert(conn, made, {})
    return made.id


async def store(database: Database, task: NewTask) -> tasks.Created:
    async with database.transaction() as conn:
        return (await submissions.create(conn, [task]))[0]


async def test_create_and_show(database: Database, somewhere: UUID) -> None:
    asked = [
        NewItem("/a\tb\\.", "/c\nd", True, "SHA1"),
        NewItem("/é", "/ü", None, "ADLER32", "0062003f"),
    ]
    created = await store(database, new_task(somewhere, items=asked, label="first"))
    async with database.connection() as conn:
        task = await tasks.show(conn, OWNER, created.id)
        assert task is not None
        stored = await items.some(conn, task.task_no, [0, 1])
        stranger = await tasks.show(conn, OTHER, created.id)
    assert (task.status, task.label, task.options) == ("ACTIVE", "first", {"verify_checksum": True})
    assert task.source_display_name == "data"
    assert stored == dict(enumerate(asked))
    assert stranger is None


async def test_tasks_looked_up_together_are_what_each_is_by_itself(
    database: Database, somewhere: UUID
) -> None:
    """They are made by position, the one by names."""
    mine = (await store(database, new_task(somewhere, label="mine"))).id
    theirs = (await store(database, new_task(somewhere, owner_id=OTHER))).id
    asked = [(OWNER, mine), (OWNER, theirs), (OTHER, theirs), (OTHER, uuid4()), (OWNER, mine)]
    async with database.connection() as conn:
        together = await tasks.show_many(conn, asked)
        assert together == [await tasks.show(conn, *one) for one in asked]
    assert [one is None for one in together] == [False, True, False, True, False]


async def test_same_submission_at_once_makes_one_task(database: Database, somewhere: UUID) -> None:
    submission = uuid4()
    created = await asyncio.gather(
        *(store(database, new_task(somewhere, submission)) for _ in range(30))
    )
    assert len({one.id for one in created}) == 1
    assert sum(not one.duplicate for one in created) == 1
    async with database.connection() as conn:
        row = await (await conn.execute("SELECT count(*) AS n FROM item")).fetchone()
    assert row == {"n": 1}


async def test_same_submission_id_of_another_owner_is_another_task(
    database: Database, somewhere: UUID
) -> None:
    submission = uuid4()
    first = await store(database, new_task(somewhere, submission))
    second = await store(database, new_task(somewhere, submission, owner_id=OTHER))
    assert first.id != second.id
    assert not second.duplicate


async def test_workers_are_woken_by_create_cancel_and_update(
    database: Database, somewhere: UUID
) -> None:
    listener = await database.dedicated()
    try:
        await listener.execute(f"LISTEN {tasks.TASK_CHANNEL}")
        created = await store(database, new_task(somewhere))
        async with database.transaction() as conn:
            task = await tasks.show(conn, OWNER, created.id)
            assert task is not None
            assert await tasks.request_cancel(conn, OWNER, created.id)
        heard = [note.payload async for note in listener.notifies(timeout=10, stop_after=2)]
    finally:
        await listener.close()
    assert heard == [str(task.task_no)] * 2


async def test_cancel_ends_backoff_and_inactivity_but_not_finished_tasks(
    database: Database, somewhere: UUID
) -> None:
    created = await store(database, new_task(somewhere))
    async with database.transaction() as conn:
        await conn.execute(
            "UPDATE task SET status = 'INACTIVE', not_before = now() + interval '1 hour'"
        )
        assert not await tasks.request_cancel(conn, OTHER, created.id)
        assert await tasks.request_cancel(conn, OWNER, created.id)
        row = await (
            await conn.execute(
                "SELECT status, cancel_requested, not_before <= now() AS due FROM task"
            )
        ).fetchone()
        assert row == {"status": "ACTIVE", "cancel_requested": True, "due": True}
        await conn.execute("UPDATE task SET status = 'SUCCEEDED'")
        assert not await tasks.request_cancel(conn, OWNER, created.id)


async def test_only_inactive_tasks_of_the_endpoint_and_owner_resume(
    database: Database, somewhere: UUID
) -> None:
    waiting = await store(database, new_task(somewhere))
    foreign = await store(database, new_task(somewhere, owner_id=OTHER))
    elsewhere = endpoint()
    async with database.transaction() as conn:
        await endpoints.insert(conn, elsewhere, {})
    apart = await store(
        database,
        new_task(somewhere, source_endpoint_id=elsewhere.id, destination_endpoint_id=elsewhere.id),
    )
    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET status = 'INACTIVE', nice_status = 'NO_CREDENTIALS'")
        assert await tasks.credential_renewed(conn, OWNER, somewhere) == 1
        states = {}
        for owner, created in ((OWNER, waiting), (OTHER, foreign), (OWNER, apart)):
            task = await tasks.show(conn, owner, created.id)
            assert task is not None
            states[created.id] = (task.status, task.nice_status)
    assert states == {
        waiting.id: ("ACTIVE", None),
        foreign.id: ("INACTIVE", "NO_CREDENTIALS"),
        apart.id: ("INACTIVE", "NO_CREDENTIALS"),
    }


async def test_list_filters_orders_and_pages(database: Database, somewhere: UUID) -> None:
    for label in ("alpha", "beta", "gamma_1", None):
        await store(database, new_task(somewhere, label=label))
    await store(database, new_task(somewhere, owner_id=OTHER, label="alpha"))

    async def labels(
        *clauses: Clause, limit: int = 10, offset: int = 0
    ) -> tuple[list[str | None], int]:
        async with database.connection() as conn:
            page, total = await tasks.list_page(
                conn,
                OWNER,
                clauses=clauses,
                order=[("label", False)],
                limit=limit,
                offset=offset,
            )
        return [task.label for task in page], total

    assert await labels() == (["alpha", "beta", "gamma_1", None], 4)
    assert await labels(limit=2, offset=1) == (["beta", "gamma_1"], 4)
    assert await labels(Clause("label", "ILIKE ANY", ["A%", "%\\_1"])) == (["alpha", "gamma_1"], 2)
    assert await labels(Clause("label", "NOT ILIKE", "%a%")) == ([None], 1)
    assert await labels(Clause("label", "<> ALL", ["alpha"])) == (["beta", "gamma_1", None], 3)
    assert await labels(Clause("status", "= ANY", ["SUCCEEDED"])) == ([], 0)
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await labels(Clause("request_time", ">=", later)) == ([], 0)
    assert (await labels(Clause("request_time", "<=", later)))[1] == 4


async def test_update_of_running_tasks_only(database: Database, somewhere: UUID) -> None:
    created = await store(database, new_task(somewhere))
    deadline = datetime(2040, 1, 1, tzinfo=UTC)
    async with database.transaction() as conn:
        assert await tasks.update(
            conn, OWNER, created.id, label="new", deadline=deadline, deadline_given=True
        )
        task = await tasks.show(conn, OWNER, created.id)
        assert task is not None
        assert (task.label, task.deadline) == ("new", deadline)
        assert task.options == {"verify_checksum": True, "deadline_given": True}
        await conn.execute("UPDATE task SET status = 'FAILED'")
        assert not await tasks.update(
            conn, OWNER, created.id, label="x", deadline=deadline, deadline_given=True
        )


async def test_events_newest_first(database: Database, somewhere: UUID) -> None:
    created = await store(database, new_task(somewhere))
    async with database.transaction() as conn:
        task = await tasks.show(conn, OWNER, created.id)
        assert task is not None
        for number in range(5):
            await conn.execute(
                "INSERT INTO event (task_no, code, is_error, description, details)"
                " VALUES (%s, %s, %s, '', '')",
                (task.task_no, f"E{number}", number % 2 == 1),
            )
        page, total = await tasks.list_events(conn, task.task_no, is_error=None, limit=2, offset=1)
        errors, number_of_errors = await tasks.list_events(
            conn, task.task_no, is_error=True, limit=10, offset=0
        )
    assert ([event.code for event in page], total) == (["E3", "E2"], 5)
    assert ([event.code for event in errors], number_of_errors) == (["E3", "E1"], 2)


async def test_fatal_error(database: Database, somewhere: UUID) -> None:
    created = await store(database, new_task(somewhere))
    async with database.transaction() as conn:
        await conn.execute(
            "UPDATE task SET status = 'FAILED', fatal_error = %s",
            (Jsonb({"code": "CANCELED", "description": "canceled"}),),
        )
        task = await tasks.show(conn, OWNER, created.id)
    assert task is not None
    assert task.finished
    assert task.fatal_error == {"code": "CANCELED", "description": "canceled"}


async def test_the_statuses_are_those_of_the_schema(database: Database) -> None:
    async with database.connection() as conn:
        cursor = await conn.execute(
            "SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint"
            " WHERE conname = 'task_status_check'"
        )
        row = await cursor.fetchone()
    assert row is not None
    assert set(re.findall(r"'(\w+)'", row["text"])) == set(tasks.Status)


async def test_a_credential_renewed_while_its_task_is_suspended_wakes_it(
    database: Database, somewhere: UUID
) -> None:
    created = await store(database, new_task(somewhere))

    async def renew() -> int:
        async with database.transaction() as conn:
            return await tasks.credential_renewed(conn, OWNER, somewhere)

    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET status = 'INACTIVE'")
        renewing = asyncio.create_task(renew())
        async with asyncio.timeout(30):
            while not renewing.done() and not await somebody_waits_for_a_lock(database):
                await asyncio.sleep(0.01)
    assert await renewing == 1
    async with database.connection() as conn:
        task = await tasks.show(conn, OWNER, created.id)
    assert task is not None
    assert task.status == "ACTIVE"


async def somebody_waits_for_a_lock(database: Database) -> bool:
    async with database.connection() as conn:
        cursor = await conn.execute("SELECT FROM pg_locks WHERE NOT granted")
        return cursor.rowcount > 0
