"""Tasks of owners whose accounts are suspended, restored or deleted."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from plugins.tasks import MakeTask
from towpath.platform.account_changes import AccountChange, What
from towpath.platform.database import Database
from towpath.transfer.store import credentials, leases, owners, tasks
from towpath.transfer.store.leases import Grant
from towpath.transfer.store.owners import Fitted
from towpath.transfer.store.rows import fetch, fetch_one
from towpath.transfer.store.tasks import Terms

SUSPENDED = Terms(timedelta(days=90), 1000)
RESTORED = Terms(timedelta(days=1), 1000)


class Accounts:
    """Plays nexus: numbers changes, and has tasks fitted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last = 0

    async def change(self, what: What, *owner_ids: UUID) -> Fitted:
        self._last += 1
        async with self._database.transaction() as conn:
            await owners.take_over(conn, AccountChange(self._last, owner_ids, what))
        return await self.fit()

    async def fit(self) -> Fitted:
        async with self._database.transaction() as conn:
            return await owners.fit_tasks(conn, suspended=SUSPENDED, restored=RESTORED)


@pytest.fixture
def accounts(database: Database) -> Accounts:
    return Accounts(database)


async def state(database: Database, task_no: int) -> tuple[str, bool, float]:
    """Status, whether it is to be cancelled, and days to its deadline."""
    async with database.connection() as conn:
        row = await fetch_one(
            conn,
            "SELECT status, cancel_requested, extract(epoch FROM deadline - now())::float8 / 86400"
            " FROM task WHERE task_no = %s",
            (task_no,),
        )
    assert row is not None
    return row[0], row[1], round(row[2], 2)


async def codes(database: Database, task_no: int) -> list[str]:
    async with database.connection() as conn:
        found = await fetch(
            conn, "SELECT code FROM event WHERE task_no = %s ORDER BY seq", (task_no,)
        )
    return [row[0] for row in found]


async def admit(database: Database) -> list[Grant]:
    return await leases.admit(database, worker="w", limit=10, lease_s=15, per_owner=10)


async def test_a_suspended_owners_tasks_are_inactive_and_no_others(
    database: Database, make_task: MakeTask, accounts: Accounts
) -> None:
    first, second, other = uuid4(), uuid4(), uuid4()
    theirs = [await make_task(first), await make_task(second)]
    spared = await make_task(other)
    assert await accounts.change("suspended", first, second) == Fitted(2, 0, 0)
    assert await accounts.fit() == Fitted(0, 0, 0)
    for task_no in theirs:
        assert await state(database, task_no) == ("INACTIVE", False, 90)
        assert await codes(database, task_no) == ["OWNER_SUSPENDED"]
    assert [grant.task_no for grant in await admit(database)] == [spared]
    assert await accounts.change("restored", first, second) == Fitted(0, 2, 0)
    assert await state(database, theirs[0]) == ("ACTIVE", False, 1)
    assert await codes(database, theirs[0]) == ["OWNER_SUSPENDED", "OWNER_RESTORED"]
    assert sorted(grant.task_no for grant in await admit(database)) == theirs


async def test_whoever_runs_one_is_told_to_stop(
    database: Database, make_task: MakeTask, accounts: Accounts
) -> None:
    owner = uuid4()
    await make_task(owner)
    (grant,) = await admit(database)
    held = [(grant.task_no, grant.lease_epoch)]
    (renewal,) = await leases.renew(database, worker="w", held=held, lease_s=15)
    assert not renewal.paused
    await accounts.change("suspended", owner)
    (renewal,) = await leases.renew(database, worker="w", held=held, lease_s=15)
    assert renewal.paused
    async with leases.fenced(database, *held[0]) as conn:
        assert (await leases.standing(conn, grant.task_no)).paused
        await leases.release(conn, grant.task_no)
    assert await admit(database) == []


async def test_a_task_that_was_on_its_way_in_is_found(
    database: Database, make_task: MakeTask, accounts: Accounts
) -> None:
    owner = uuid4()
    await accounts.change("suspended", owner)
    late = await make_task(owner)
    assert await accounts.fit() == Fitted(1, 0, 0)
    assert (await state(database, late))[0] == "INACTIVE"


async def test_a_task_that_waited_for_a_credential_does_so_again(
    database: Database, make_task: MakeTask, accounts: Accounts
) -> None:
    owner = uuid4()
    await make_task(owner)
    (grant,) = await admit(database)
    async with leases.fenced(database, grant.task_no, grant.lease_epoch) as conn:
        assert await leases.suspend(conn, grant.task_no, renewed=None)
        await leases.release(conn, grant.task_no)
    await accounts.change("suspended", owner)
    await accounts.change("restored", owner)
    assert (await state(database, grant.task_no))[0] == "INACTIVE"
    assert await admit(database) == []


async def test_a_credential_renewed_meanwhile_does_not_start_it(
    database: Database, make_task: MakeTask, accounts: Accounts
) -> None:
    owner = uuid4()
    task_no = await make_task(owner)
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT source_endpoint_id FROM task")
        assert row is not None
        await conn.execute("UPDATE task SET status = 'INACTIVE'")
    await accounts.change("suspended", owner)
    async with database.transaction() as conn:
        assert await tasks.credential_renewed(conn, owner, row[0]) == 1
    assert (await state(database, task_no))[0] == "INACTIVE"
    assert await admit(database) == []
    await accounts.change("restored", owner)
    assert (await state(database, task_no))[0] == "ACTIVE"


async def test_a_deadline_that_was_given_stays_and_ends_it(
    database: Database, make_task: MakeTask, accounts: Accounts
) -> None:
    owner = uuid4()
    task_no = await make_task(owner)
    async with database.connection() as conn:
        await conn.execute(
            """UPDATE task SET deadline = now(), options = options || '{"deadline_given": true}'"""
        )
    await accounts.change("suspended", owner)
    (grant,) = await admit(database)
    assert (grant.task_no, grant.expired) == (task_no, True)


async def test_a_deleted_owners_tasks_are_cancelled_and_credentials_go_after_them(
    database: Database, make_task: MakeTask, accounts: Accounts
) -> None:
    owner = uuid4()
    task_no = await make_task(owner)
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT source_endpoint_id FROM task")
        assert row is not None
        for who in (owner, uuid4()):
            await credentials.put(
                conn,
                endpoint_id=row[0],
                owner_id=who,
                sealed=b"",
                subject="",
                not_after=datetime.now(UTC),
            )
    await accounts.change("suspended", owner)
    assert await accounts.change("deleted", owner) == Fitted(0, 0, 1)
    assert (await state(database, task_no))[:2] == ("ACTIVE", True)
    (grant,) = await admit(database)
    assert grant.cancel_requested
    async with database.connection() as conn:
        assert await credentials.get(conn, row[0], owner) is not None
        await conn.execute("UPDATE task SET status = 'FAILED'")
    # a restoration that comes late changes nothing
    await accounts.change("restored", owner)
    async with database.connection() as conn:
        assert await fetch_one(conn, "SELECT count(*) FROM credential") == (1,)
        assert await credentials.get(conn, row[0], owner) is None
        assert await fetch_one(conn, "SELECT what FROM owner_state") == ("deleted",)
