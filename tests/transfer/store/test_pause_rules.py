"""Tasks made to fit pause rules: what a rule covers, in batches, and past rows that are busy."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from plugins.tasks import MakeTask
from towpath.platform.database import Connection, Database
from towpath.transfer.rights import Who
from towpath.transfer.store import activity, leases, pause_rules, principals
from towpath.transfer.store.pause_rules import OPERATIONS, Fitted, PauseRule
from towpath.transfer.store.rows import fetch, fetch_one
from towpath.transfer.store.tasks import Terms

TERMS = Terms(timedelta(days=90), 1000)
FREED = Terms(timedelta(days=1), 1000)


def rule(endpoint_id: UUID, identity_id: UUID | None = None) -> PauseRule:
    return PauseRule(
        id=uuid4(),
        endpoint_id=endpoint_id,
        endpoint_display_name="",
        identity_id=identity_id,
        message="Back at ten.",
        start_time=None,
        created_by="m",
        modified_by="m",
        modified_by_id=uuid4(),
        modified_at=datetime.now(UTC),
        by_host_manager=False,
        **dict.fromkeys(OPERATIONS, True),
    )


async def make(database: Database, one: PauseRule) -> PauseRule:
    async with database.transaction() as conn:
        assert await pause_rules.insert(conn, one, most=10)
    return one


async def fit(database: Database) -> Fitted:
    async with database.transaction() as conn:
        return await pause_rules.fit_tasks(conn, held_for=TERMS, freed=FREED)


async def endpoint(
    conn: Connection, host: UUID | None, kind: str, owner: UUID | None = None
) -> UUID:
    made = uuid4()
    await conn.execute(
        "INSERT INTO endpoint (id, owner_id, owner_string, display_name, host, port,"
        " entity_type, host_endpoint_id, share_path) VALUES (%s, %s, 'o', 'e', 'h', 1, %s, %s, %s)",
        (made, owner or uuid4(), kind, host, "/x" if "guest" in kind or "share" in kind else None),
    )
    return made


async def at(database: Database, task_no: int, endpoint_id: UUID) -> None:
    async with database.transaction() as conn:
        await conn.execute(
            "UPDATE task SET source_endpoint_id = %s WHERE task_no = %s", (endpoint_id, task_no)
        )


@pytest.mark.parametrize(
    "kinds",
    [
        ("GCSv5_endpoint", "GCSv5_mapped_collection", "GCSv5_guest_collection"),
        ("GCP_mapped_collection", "GCP_guest_collection"),
        ("GCSv4_host", "GCSv4_share"),
    ],
)
async def test_a_rule_is_for_all_that_belongs_to_its_endpoint(
    database: Database, make_task: MakeTask, kinds: tuple[str, ...]
) -> None:
    chain: list[UUID] = []
    async with database.transaction() as conn:
        for kind in kinds:
            chain.append(await endpoint(conn, chain[-1] if chain else None, kind))
    for place in chain:
        await at(database, await make_task(), place)
    await make(database, rule(chain[0]))
    assert await fit(database) == Fitted(len(chain), 0, more=False)
    async with database.connection() as conn:
        for place in chain:
            assert len(await pause_rules.for_person(conn, place, [uuid4()])) == 1
        await conn.execute("DELETE FROM pause_rule")
    assert await fit(database) == Fitted(0, len(chain), more=False)
    await make(database, rule(chain[-1]))
    assert await fit(database) == Fitted(1, 0, more=False), "and for nothing above"


async def test_a_deleted_endpoint_holds_nothing(database: Database, make_task: MakeTask) -> None:
    async with database.transaction() as conn:
        place = await endpoint(conn, None, "GCSv4_host")
    await at(database, await make_task(), place)
    await make(database, rule(place))
    assert await fit(database) == Fitted(1, 0, more=False)
    async with database.transaction() as conn:
        await conn.execute("UPDATE endpoint SET deleted_at = now() WHERE id = %s", (place,))
    assert await fit(database) == Fitted(0, 1, more=False)


async def test_who_monitors_what(database: Database) -> None:
    """As rights are inherited: not to what others share of a registered server."""
    me = uuid4()
    who = Who(me, None, frozenset({me}), frozenset())
    async with database.transaction() as conn:
        mine = await endpoint(conn, None, "GCSv4_host", me)
        await endpoint(conn, mine, "GCSv4_share")
        site = await endpoint(conn, None, "GCSv5_endpoint")
        part = await endpoint(conn, site, "GCSv5_mapped_collection")
        guest = await endpoint(conn, part, "GCSv5_guest_collection")
        await conn.execute(
            "INSERT INTO role (id, endpoint_id, principal_type, principal, role, created_by)"
            " VALUES (%s, %s, 'identity', %s, 'activity_monitor', %s),"
            " (%s, %s, 'identity', %s, 'access_manager', %s)",
            (uuid4(), site, me, me, uuid4(), mine, me, me),
        )
        assert await activity.monitored(conn, who) == {mine, site, part, guest}
        assert await activity.managed(conn, who) == {mine}


async def test_a_rule_for_a_person_is_for_all_linked_identities(
    database: Database, make_task: MakeTask
) -> None:
    one, other = uuid4(), uuid4()
    task_no = await make_task(one)
    await make_task()
    async with database.transaction() as conn:
        await principals.put(conn, Who(one, "x", frozenset({one, other}), frozenset()))
        row = await fetch_one(
            conn, "SELECT source_endpoint_id FROM task WHERE task_no = %s", (task_no,)
        )
        await conn.execute("UPDATE task SET source_endpoint_id = %s", (row[0],) if row else ())
    assert row is not None
    await make(database, rule(row[0], other))
    assert await fit(database) == Fitted(1, 0, more=False)


async def test_in_batches_and_past_busy_rows(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pause_rules, "FITTED_AT_ONCE", 2)
    async with database.transaction() as conn:
        place = await endpoint(conn, None, "GCSv4_host")
    tasks = [await make_task() for _ in range(5)]
    for task_no in tasks:
        await at(database, task_no, place)
    await make(database, rule(place))
    async with database.transaction() as busy:
        await fetch(busy, "SELECT FROM task WHERE task_no = %s FOR UPDATE", (tasks[0],))
        assert await fit(database) == Fitted(2, 0, more=True)
        assert await fit(database) == Fitted(2, 0, more=True)
        assert await fit(database) == Fitted(0, 0, more=False), "the busy one is not waited for"
    assert await fit(database) == Fitted(1, 0, more=False)
    assert await leases.admit(database, worker="w", limit=9, lease_s=15, per_owner=9) == []


async def test_a_task_that_runs_is_told_to_stop_and_ends_unheld(
    database: Database, make_task: MakeTask
) -> None:
    await make_task()
    (grant,) = await leases.admit(database, worker="w", limit=9, lease_s=15, per_owner=9)
    await make(database, rule(grant.source_endpoint_id))
    await fit(database)
    held = [(grant.task_no, grant.lease_epoch)]
    (renewal,) = await leases.renew(database, worker="w", held=held, lease_s=15)
    assert renewal.paused
    async with leases.fenced(database, *held[0]) as conn:
        assert (await leases.standing(conn, grant.task_no)).paused
        await leases.finish(conn, grant.task_no, status=leases.Status.FAILED, fatal_error=None)
    async with database.connection() as conn:
        rows = await fetch(conn, "SELECT held_at, held_by, held_rules FROM task")
    assert rows == [(None, {}, [])]
