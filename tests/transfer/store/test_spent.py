"""What is noted of tasks, by whoever changes them, and what becomes of it."""

from datetime import timedelta
from uuid import uuid4

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.transfer import accounting
from towpath.transfer.accounting import Category
from towpath.transfer.store import circuits, leases, spent, tasks
from towpath.transfer.store.circuits import Circuit
from towpath.transfer.store.leases import Grant
from towpath.transfer.store.spent import Book
from towpath.transfer.store.tasks import Change, Status

LIMIT = 3
CHANGE = Change(timedelta(hours=1), 100, by="ada@example.org")


async def admit(database: Database, worker: str = "w") -> Grant:
    [grant] = await leases.admit(database, worker=worker, limit=1, lease_s=15, per_owner=LIMIT)
    return grant


async def ago(database: Database, task_no: int, seconds: float) -> None:
    """All that is known of the task happened so much earlier."""
    async with database.transaction() as conn:
        for table, moments in (
            ("task", ("request_time", "not_before")),
            ("task_standing", ("at", "not_before")),
            ("task_time", ("until",)),
        ):
            earlier = ", ".join(f"{one} = {one} - make_interval(secs => %(s)s)" for one in moments)
            await conn.execute(
                f"UPDATE {table} SET {earlier} WHERE task_no = %(t)s".encode(),
                {"s": seconds, "t": task_no},
            )


async def book_of(database: Database, task_no: int) -> Book:
    async with database.connection() as conn:
        return await spent.until_now(conn, task_no, per_owner=LIMIT)


async def test_a_life(database: Database, make_task: MakeTask) -> None:
    owner = uuid4()
    task_no = await make_task(owner)
    async with database.connection() as conn:
        cursor = await conn.execute("SELECT id FROM task WHERE task_no = %s", (task_no,))
        row = await cursor.fetchone()
        assert row is not None
    task_id = row["id"]
    await ago(database, task_no, 100)
    assert (await book_of(database, task_no)).spent[Category.QUEUE_WORKERS][""] > 99

    grant = await admit(database)
    assert not grant.owner_full
    await ago(database, task_no, 30)
    async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
        await leases.back_off(conn, task_no, delay_s=20, failures_in_a_row=1)
        await leases.release(conn, task_no)
        weights = {(Category.LISTING, "source"): 10.0, (Category.LOGIN, ""): 20.0}
        await spent.account(conn, task_no, grant.lease_epoch, weights, owner_full=False)
    await ago(database, task_no, 60)
    async with database.transaction() as conn:
        await tasks.pause(conn, owner, task_id, CHANGE)
    await ago(database, task_no, 7)
    assert (await book_of(database, task_no)).spent[Category.PAUSED].keys() == {CHANGE.by}
    async with database.transaction() as conn:
        await tasks.resume(conn, owner, task_id, CHANGE)

    lost = await admit(database, "lost")
    await ago(database, task_no, 11)
    await leases.expire_worker(database, "lost")
    grant = await admit(database)
    assert grant.lease_epoch == lost.lease_epoch + 1
    await ago(database, task_no, 5)
    async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
        await leases.finish(conn, task_no, status=Status.SUCCEEDED, fatal_error=None)
        await leases.release(conn, task_no)
        await spent.account(conn, task_no, grant.lease_epoch, {}, owner_full=False)

    book = await book_of(database, task_no)
    assert book.ended is not None
    seconds = {
        (category, detail): round(s)
        for category, details in book.spent.items()
        for detail, s in details.items()
    }
    assert seconds == {
        (Category.QUEUE_WORKERS, ""): 100 + 40,
        (Category.LISTING, "source"): 10,
        (Category.LOGIN, ""): 20,
        (Category.BACKOFF, ""): 20,
        (Category.PAUSED, CHANGE.by): 7,
        (Category.RECOVERY, ""): 11,
        (Category.SERVICE, ""): 5,
    }
    assert abs(accounting.total(book.spent) - book.wall_s) < 0.5
    async with database.connection() as conn:
        cursor = await conn.execute("SELECT FROM task_standing WHERE task_no = %s", (task_no,))
        assert cursor.rowcount == 0, "of a task that has ended nothing is left to be counted"


async def test_few_rows_are_kept_of_a_task_that_runs(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    for _ in range(5):
        grant = await admit(database)
        async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
            await leases.release(conn, task_no)
            await spent.account(conn, task_no, grant.lease_epoch, {}, owner_full=False)
    book = await book_of(database, task_no)
    assert len(book.standings) == 1
    assert abs(accounting.total(book.spent) - book.wall_s) < 0.1


async def test_a_server_that_did_not_answer(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    await ago(database, task_no, 100)
    circuit = Circuit("localhost", 2811, 0, 0.0)
    await circuits.doubt(database, "localhost", 2811)
    await circuits.stays_open(database, circuit, probe_after_s=1, code="TIMEOUT", error="")
    async with database.connection() as conn:
        await conn.execute("UPDATE circuit SET since = now() - interval '80 seconds'")
    book = await book_of(database, task_no)
    assert round(book.spent[Category.SERVER_AWAY]["source"]) == 80
    assert round(book.spent[Category.QUEUE_WORKERS][""]) == 20
    await circuits.close(database, circuit)
    await ago(database, task_no, 50)
    async with database.connection() as conn:
        await conn.execute(
            "UPDATE outage SET since = since - interval '50 s', until = until - interval '50 s'"
        )
    book = await book_of(database, task_no)
    assert round(book.spent[Category.SERVER_AWAY]["source"]) == 80
    assert round(book.spent[Category.QUEUE_WORKERS][""]) == 70


async def test_outages_are_bounded(database: Database) -> None:
    circuit = Circuit("localhost", 2811, 0, 0.0)
    for _ in range(103):
        await circuits.doubt(database, "localhost", 2811)
        await circuits.stays_open(database, circuit, probe_after_s=1, code="TIMEOUT", error="")
        await circuits.close(database, circuit)
    async with database.connection() as conn:
        cursor = await conn.execute("SELECT FROM outage")
        assert cursor.rowcount == 100


async def test_who_has_many_tasks_waits_for_himself(
    database: Database, make_task: MakeTask
) -> None:
    owner = uuid4()
    for _ in range(LIMIT + 1):
        await make_task(owner)
    grants = await leases.admit(database, worker="w", limit=9, lease_s=15, per_owner=LIMIT)
    assert [grant.owner_full for grant in grants] == [True] * LIMIT
    async with database.connection() as conn:
        cursor = await conn.execute("SELECT max(task_no) AS last FROM task")
        row = await cursor.fetchone()
        assert row is not None
    assert Category.QUEUE_OWNER in (await book_of(database, row["last"])).spent


async def test_of_a_task_from_before_the_time_is_not_known(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task(age_s=100)
    async with database.connection() as conn:
        await conn.execute("DELETE FROM task_standing")
    book = await book_of(database, task_no)
    assert book.spent == {}
    assert round(book.wall_s) == 100
    grant = await admit(database)
    async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
        await spent.account(conn, task_no, grant.lease_epoch, {}, owner_full=False)
    assert accounting.total((await book_of(database, task_no)).spent) < 5
