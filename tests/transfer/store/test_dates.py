"""Dates ahead, and clocks that are set: what was stored is shifted as such a clock shifts it."""

import pytest

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.platform.settings import LONGEST_LEASE_S, EngineSettings
from towpath.transfer.store import dates, leases, plan
from towpath.transfer.store.leases import Grant
from towpath.transfer.store.rows import fetch_one

DEFAULT = EngineSettings()
HOURS = 7200.0


async def admit(database: Database, worker: str) -> list[Grant]:
    return await leases.admit(
        database, worker=worker, limit=10, lease_s=DEFAULT.lease_s, per_owner=10
    )


async def clock_moves(database: Database, seconds: float) -> None:
    """The database's clock is set forward (back if negative): all that is stored seems older."""
    async with database.transaction() as conn:
        for table, columns in {
            "task": ("lease_until", "not_before", "deadline"),
            "file": ("not_before",),
            "frontier": ("not_before",),
        }.items():
            for column in columns:
                await conn.execute(
                    f"UPDATE {table} SET {column} = {column} - make_interval(secs => %s)",
                    (seconds,),
                )


async def bound(database: Database) -> int:
    return await dates.bound_tasks(
        database, longest_lease_s=LONGEST_LEASE_S, longest_wait_s=DEFAULT.retry_max_s
    )


async def ahead_s(database: Database, column: str, table: str = "task") -> float:
    async with database.connection() as conn:
        row = await fetch_one(conn, f"SELECT extract(epoch FROM {column} - now()) FROM {table}")
    assert row is not None
    return float(row[0])


@pytest.mark.parametrize("status", ["ACTIVE", "INACTIVE"])
async def test_a_dead_workers_lease_ends_though_the_clock_was_set_back(
    database: Database, make_task: MakeTask, status: str
) -> None:
    """INACTIVE: granted to be ended, because its deadline has passed."""
    await make_task()
    await admit(database, "dead, on another host")
    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET status = %s", (status,))
    await clock_moves(database, -HOURS)
    assert await ahead_s(database, "lease_until") > HOURS
    assert await bound(database) == 1
    assert 0 < await ahead_s(database, "lease_until") <= LONGEST_LEASE_S
    assert await bound(database) == 0


async def test_a_live_worker_renews_a_lease_that_was_dated_ahead(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    [grant] = await admit(database, "a")
    await clock_moves(database, -HOURS)
    await bound(database)
    [renewal] = await leases.renew(
        database, worker="a", held=[(task_no, grant.lease_epoch)], lease_s=DEFAULT.lease_s
    )
    assert renewal.renewed
    assert await ahead_s(database, "lease_until") <= DEFAULT.lease_s
    assert await admit(database, "b") == []


async def test_who_waits_is_due_when_the_clock_was_set_back(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    [grant] = await admit(database, "a")
    async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
        await leases.back_off(conn, task_no, delay_s=DEFAULT.retry_max_s, failures_in_a_row=9)
        await leases.release(conn, task_no)
        await conn.execute(
            "INSERT INTO file (task_no, file_no, item_no, size, path, not_before)"
            " VALUES (%s, 1, 0, 1, '', now() + make_interval(secs => %s))",
            (task_no, DEFAULT.retry_max_s),
        )
    assert await bound(database) == 0, "as long as it may be"
    await clock_moves(database, -HOURS)
    assert await admit(database, "a") == []
    assert await bound(database) == 1
    [again] = await admit(database, "a")
    async with leases.fenced(database, task_no, again.lease_epoch) as conn:
        before = await plan.resume(conn, task_no, again.lease_epoch)
        assert before.longest_wait_s > DEFAULT.retry_max_s
        await dates.bound_plan(conn, task_no, longest_s=DEFAULT.retry_max_s)
        after = await plan.resume(conn, task_no, again.lease_epoch)
        assert after.longest_wait_s <= 0
    assert await ahead_s(database, "not_before", "file") <= 0


async def test_a_clock_set_forward_costs_a_takeover_that_both_see(
    database: Database, make_task: MakeTask
) -> None:
    """The worker that lost the lease stops by its own clock, and can commit nothing meanwhile."""
    task_no = await make_task()
    [first] = await admit(database, "a")
    await clock_moves(database, HOURS)
    [second] = await admit(database, "b")
    assert second.lost_s_ago == 0
    held = [(task_no, first.lease_epoch)]
    assert await leases.renew(database, worker="a", held=held, lease_s=15) == []
    with pytest.raises(leases.LeaseLostError):
        async with leases.fenced(database, task_no, first.lease_epoch):
            pytest.fail("the transaction was opened")


async def test_the_next_date_is_known(database: Database, make_task: MakeTask) -> None:
    assert await dates.next_due_s(database) == float("inf")
    waits, runs = await make_task(), await make_task()
    async with database.transaction() as conn:
        for task_no, column, seconds in (
            (waits, "not_before", 40),
            (runs, "lease_until", 20),
        ):
            await conn.execute(
                f"UPDATE task SET {column} = now() + make_interval(secs => %s) WHERE task_no = %s",
                (seconds, task_no),
            )
    assert 10 < await dates.next_due_s(database) <= 20
    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET status = 'FAILED' WHERE task_no = %s", (runs,))
    assert 30 < await dates.next_due_s(database) <= 40
