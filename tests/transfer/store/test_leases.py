"""I3: at most one worker acts for a task."""

import asyncio
from datetime import UTC, datetime
from uuid import UUID, uuid4

import psycopg
import pytest

from plugins.shares import share
from plugins.tasks import MakeTask
from towpath.platform.database import Connection, Database
from towpath.transfer.rights import Who
from towpath.transfer.store import circuits, credentials, endpoints, leases, tasks
from towpath.transfer.store.leases import Grant, LeaseLostError
from towpath.transfer.store.rows import fetch_one


async def admit(database: Database, worker: str, limit: int = 10, **options: float) -> list[Grant]:
    lease_s = options.get("lease_s", 15)
    per_owner = int(options.get("per_owner", 3))
    return await leases.admit(
        database, worker=worker, limit=limit, lease_s=lease_s, per_owner=per_owner
    )


async def test_a_task_is_granted_once(database: Database, make_task: MakeTask) -> None:
    tasks = {await make_task() for _ in range(20)}
    granted = await asyncio.gather(*(admit(database, f"w{i}", limit=7) for i in range(6)))
    numbers = [grant.task_no for grants in granted for grant in grants]
    numbers += [grant.task_no for grant in await admit(database, "last", limit=20)]
    assert sorted(numbers) == sorted(tasks)


async def test_an_owner_with_many_tasks_does_not_hold_up_another(
    database: Database, make_task: MakeTask
) -> None:
    many, one = uuid4(), uuid4()
    for _ in range(10):
        await make_task(many, age_s=60)
    late = await make_task(one)
    granted = await admit(database, "w", limit=2)
    assert late in {grant.task_no for grant in granted}
    assert len(granted) == 2
    more = await admit(database, "w", limit=10)
    assert len(more) == 2, "three of one owner at once"


async def test_a_lease_that_ran_out_is_granted_again_with_a_higher_epoch(
    database: Database, make_task: MakeTask
) -> None:
    await make_task()
    (first,) = await admit(database, "a", lease_s=0.05)
    await asyncio.sleep(0.1)
    (second,) = await admit(database, "b")
    assert second.lease_epoch == first.lease_epoch + 1
    renewed = await leases.renew(
        database, worker="a", held=[(first.task_no, first.lease_epoch)], lease_s=15
    )
    assert renewed == []


async def test_whoever_follows_is_told_when_a_lease_was_lost(
    database: Database, make_task: MakeTask
) -> None:
    await make_task()
    (first,) = await admit(database, "a")
    await leases.expire_worker(database, "a")
    (second,) = await admit(database, "b")
    async with leases.fenced(database, second.task_no, second.lease_epoch) as conn:
        await leases.release(conn, second.task_no)
    (third,) = await admit(database, "c")
    assert (first.lost_s_ago, second.lost_s_ago) == (None, 0)
    assert third.lost_s_ago is not None
    assert 0 < third.lost_s_ago < 60


async def test_the_loser_of_a_lease_cannot_write(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    (first,) = await admit(database, "a", lease_s=0.05)
    await asyncio.sleep(0.1)
    await admit(database, "b")
    with pytest.raises(LeaseLostError):
        async with leases.fenced(database, task_no, first.lease_epoch):
            pytest.fail("the transaction was opened")


async def test_a_takeover_waits_for_a_write_under_way(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    (first,) = await admit(database, "a", lease_s=0.3)
    async with leases.fenced(database, task_no, first.lease_epoch) as conn:
        await asyncio.sleep(0.4)
        assert await admit(database, "b") == [], "the row is locked: not granted yet"
        await conn.execute("UPDATE task SET files = 7 WHERE task_no = %s", (task_no,))
    (second,) = await admit(database, "b")
    assert second.task_no == task_no


async def test_renewal_tells_of_a_cancel(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    (grant,) = await admit(database, "a")
    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET cancel_requested = true WHERE task_no = %s", (task_no,))
    (renewal,) = await leases.renew(
        database, worker="a", held=[(task_no, grant.lease_epoch)], lease_s=15
    )
    assert renewal.cancel_requested
    assert not renewal.expired


async def test_a_suspended_task_is_granted_only_to_be_ended(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    (grant,) = await admit(database, "a")
    async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
        assert await leases.suspend(conn, task_no, renewed=[])
        await leases.release(conn, task_no)
    assert await admit(database, "a") == []
    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET deadline = now() WHERE task_no = %s", (task_no,))
    (again,) = await admit(database, "a")
    assert again.expired


async def test_a_task_that_has_failed_is_granted_to_be_ended_also_when_no_other_would_be(
    database: Database, make_task: MakeTask
) -> None:
    """Its worker was lost while it ended. Paused, with a server that does not answer, with other
    tasks of its owner running: it would keep its claims, and others wait for it."""
    task_no = await make_task()
    [grant] = await admit(database, "w")
    await circuits.doubt(database, "localhost", 2811)
    async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
        await conn.execute("UPDATE task SET paused_at = now()")
        await leases.release(conn, task_no)
    assert await admit(database, "w", per_owner=0) == []
    async with database.connection() as conn:
        await leases.note_fatal_error(conn, task_no, {"code": "X", "description": "x"})
        await conn.execute("UPDATE task SET not_before = now() + interval '1 hour'")
    assert await admit(database, "w", per_owner=0) == []
    async with database.connection() as conn:
        await conn.execute("UPDATE task SET not_before = now()")
    assert [grant.task_no for grant in await admit(database, "w", per_owner=0)] == [task_no]


async def test_a_dead_workers_leases_end_at_once(database: Database, make_task: MakeTask) -> None:
    await make_task()
    await admit(database, "dead")
    assert await leases.expire_worker(database, "another") == 0
    assert await leases.expire_worker(database, "dead") == 1
    assert len(await admit(database, "b")) == 1


@pytest.mark.parametrize("set_back", ["0", "1 hour"])
async def test_a_credential_renewed_meanwhile_keeps_a_task_from_being_suspended(
    database: Database, make_task: MakeTask, set_back: str
) -> None:
    task_no = await make_task()
    (grant,) = await admit(database, "a")

    async def renew(ago: str) -> None:
        async with database.transaction() as conn:
            await conn.execute(
                "INSERT INTO credential"
                " (endpoint_id, owner_id, sealed, subject, not_after, updated_at)"
                " VALUES (%s, %s, '', 's', now(), clock_timestamp() - %s::interval)"
                " ON CONFLICT (endpoint_id, owner_id)"
                " DO UPDATE SET updated_at = excluded.updated_at",
                (grant.source_endpoint_id, grant.owner_id, ago),
            )

    await renew("0")
    async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
        began_with = (await leases.standing(conn, task_no)).renewed
    await renew(set_back)
    async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
        assert not await leases.suspend(conn, task_no, renewed=began_with)
        began_with = (await leases.standing(conn, task_no)).renewed
        assert await leases.suspend(conn, task_no, renewed=began_with)


async def test_a_guests_task_waits_for_the_sharers_credential(
    database: Database, make_task: MakeTask
) -> None:
    """His own for the guest collection, if there were one, would be of no use."""
    task_no = await make_task()
    (grant,) = await admit(database, "a")
    sharer = Who.alone(uuid4(), "ann@example.org")
    async with database.transaction() as conn:
        host = await endpoints.get(conn, grant.source_endpoint_id)
        assert host is not None
        guest = await share(conn, host, sharer, "/data")
        await conn.execute(
            "UPDATE task SET destination_endpoint_id = %s WHERE task_no = %s", (guest.id, task_no)
        )

    async def renew(endpoint_id: UUID, owner_id: UUID) -> int:
        async with database.transaction() as conn:
            await credentials.put(
                conn,
                endpoint_id=endpoint_id,
                owner_id=owner_id,
                sealed=b"",
                subject="s",
                not_after=datetime.now(UTC),
            )
            return await tasks.credential_renewed(conn, owner_id, endpoint_id)

    async def suspend(renewed: list[datetime]) -> bool:
        async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
            return await leases.suspend(conn, task_no, renewed=renewed)

    await renew(host.id, sharer.id)
    async with leases.fenced(database, task_no, grant.lease_epoch) as conn:
        began_with = (await leases.standing(conn, task_no)).renewed
    assert len(began_with) == 1
    await renew(guest.id, grant.owner_id)
    assert await suspend(began_with)
    assert await renew(guest.id, sharer.id) == 0
    assert await renew(host.id, uuid4()) == 0
    assert await renew(host.id, sharer.id) == 1
    assert not await suspend(began_with), "renewed meanwhile"


async def test_a_stopped_workers_transaction_is_ended_when_its_lease_is_over(
    database: Database, database_url: str, make_task: MakeTask
) -> None:
    task_no = await make_task()
    await admit(database, "stopped", lease_s=0.1)
    stuck = Database(database_url, schema="transfer", application=leases.application_of("stopped"))
    with pytest.raises(psycopg.OperationalError):
        async with stuck, stuck.connection() as conn:
            await hold_until_taken_over(database, conn, task_no)


async def hold_until_taken_over(database: Database, conn: Connection, task_no: int) -> None:
    await conn.execute("BEGIN")
    await conn.execute("SELECT 1 FROM task WHERE task_no = %s FOR UPDATE", (task_no,))
    async with conn.cursor() as cursor, cursor.copy("COPY item FROM STDIN"):
        # In the middle of a COPY no time-out of PostgreSQL's own applies.
        assert await leases.break_in(database) == 0, "it is not old yet"
        await asyncio.sleep(leases.STUCK_TRANSACTION_S + 0.2)
        assert await admit(database, "b") == [], "the row is locked"
        assert await leases.break_in(database) == 1
        granted = []
        async with asyncio.timeout(10):
            while not granted:
                granted = await admit(database, "b")


async def test_a_living_workers_transactions_go_on_when_it_has_lost_a_lease(
    database: Database,
    database_url: str,
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "STUCK_TRANSACTION_S", 0.0)
    lost, kept = await make_task(), await make_task()
    grants = {grant.task_no: grant for grant in await admit(database, "w")}
    async with database.connection() as conn:
        await conn.execute("UPDATE task SET lease_until = now() WHERE task_no = %s", (lost,))
    living = Database(database_url, schema="transfer", application=leases.application_of("w"))
    async with living, leases.fenced(living, kept, grants[kept].lease_epoch):
        assert await leases.break_in(database) == 0


async def test_a_transfer_that_waits_for_its_turn_does_not_expire(
    database: Database, make_task: MakeTask
) -> None:
    """Others do: deletes, what has begun or failed, and what has a deadline of its owner's."""
    changes = {
        "waits for a place": "type = 'TRANSFER'",
        "waits for a task": "started_at = now(), waits_for = 0",
        "is a delete": "type = 'DELETE'",
        "has begun": "started_at = now()",
        "has failed": "faults = 1",
        "has a deadline": "options = '{\"deadline_given\": true}'",
        "has no credential": "status = 'INACTIVE'",
        "is cancelled": "cancel_requested = true",
        "is paused": "paused_at = now()",
    }
    numbers = {}
    async with database.transaction() as conn:
        for name, change in changes.items():
            numbers[name] = await make_task()
            await conn.execute(
                f"UPDATE task SET deadline = now() - interval '1 s', {change} WHERE task_no = %s",  # type: ignore[arg-type]
                (numbers[name],),
            )
    assert await leases.keep_queued(database, deadline_h=24) == 2
    assert await leases.keep_queued(database, deadline_h=24) == 0, "written once an hour only"
    expired = {grant.task_no: grant.expired for grant in await admit(database, "w", limit=20)}
    assert expired == {number: not name.startswith("waits") for name, number in numbers.items()}


async def test_a_locked_task_holds_up_no_others_renewal(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not lost; what is lost is not returned."""
    monkeypatch.setattr(leases, "LOCKED_WAIT_S", 0.4)
    locked, free, lost = await make_task(), await make_task(), await make_task()
    held = {grant.task_no: grant.lease_epoch for grant in await admit(database, "w")}
    assert held.keys() == {locked, free, lost}
    pairs = [(locked, held[locked]), (free, held[free]), (lost, held[lost] - 1)]
    async with leases.fenced(database, locked, held[locked]):
        async with asyncio.timeout(5):
            told = await leases.renew(database, worker="w", held=pairs, lease_s=60)
        assert {one.task_no: one.renewed for one in told} == {locked: False, free: True}
        again = asyncio.create_task(leases.renew(database, worker="w", held=pairs[:1], lease_s=60))
        await asyncio.sleep(0.1)
        assert not again.done(), "it waits a little"
    assert [one.renewed for one in await again] == [True]
    async with database.connection() as conn:
        row = await fetch_one(
            conn,
            "SELECT count(*) FROM task WHERE lease_until > now() + interval '30 s'",
        )
    assert row == (2,)


async def test_a_worker_gives_up_what_it_does_not_drive(
    database: Database, make_task: MakeTask
) -> None:
    """What it drives it keeps, and others keep theirs."""
    for _ in range(2):
        await make_task()
    kept, lost = await admit(database, "w")
    await make_task()
    [others] = await admit(database, "x")
    assert await leases.give_up(database, "w", keep=[kept.task_no], rest_s=0) == 1
    assert await leases.give_up(database, "w", keep=[kept.task_no], rest_s=0) == 0
    [again] = await admit(database, "w")
    assert again.task_no == lost.task_no
    assert again.lost_s_ago is not None
    assert await admit(database, "x") == []
    assert others.task_no not in (kept.task_no, lost.task_no)


async def test_what_a_worker_gave_up_rests_even_if_it_only_has_to_end(
    database: Database, make_task: MakeTask
) -> None:
    """Or whatever fails would be tried in a spin. Also what ran out in its name, and INACTIVE."""
    task_no, inactive = await make_task(), await make_task()
    await admit(database, "w")
    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET cancel_requested = true, lease_until = now()")
        await conn.execute("UPDATE task SET status = 'INACTIVE' WHERE task_no = %s", (inactive,))
    assert await leases.give_up(database, "w", keep=[], rest_s=60) == 2
    assert await leases.holders(database) == []
    assert await admit(database, "w") == []
    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET lease_until = now()")
    assert {grant.task_no for grant in await admit(database, "w")} == {task_no, inactive}


async def test_to_give_up_waits_for_no_lock(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    [grant] = await admit(database, "w")
    async with leases.fenced(database, task_no, grant.lease_epoch), asyncio.timeout(10):
        assert await leases.give_up(database, "w", keep=[], rest_s=0) == 0
    assert await leases.give_up(database, "w", keep=[], rest_s=0) == 1
