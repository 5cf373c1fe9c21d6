"""Deliveries: taken by one, due again when he is lost, ended once."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from towpath.platform.database import Connection, Database
from towpath.platform.secrets import Sealer
from towpath.transfer.outbox import TransferOutbox
from towpath.transfer.store import deliveries, outbox, webhooks
from towpath.transfer.store.deliveries import Taken
from towpath.transfer.store.outbox import Topic
from towpath.transfer.store.webhooks import Webhook


@pytest.fixture
def database(untold_database: Database) -> Database:
    """One that others have used before."""
    return untold_database


async def take(conn: Connection, by_mail: bool = True, **more: Any) -> list[Taken]:
    wanted = {"most": 10, "per_target": 2, "lease_s": 60.0} | more
    return await deliveries.take(conn, by_mail=by_mail, **wanted)


async def tell(database: Database, owner: UUID, times: int = 1) -> None:
    async with database.transaction() as conn:
        for number in range(times):
            await outbox.tell(conn, Topic.ACCESS_GRANTED, owner, {"n": number})


async def make_webhook(database: Database, owner: UUID) -> Webhook:
    made = Webhook(uuid4(), owner, "https://x.example/", "", [Topic.ACCESS_GRANTED])
    async with database.transaction() as conn:
        assert await webhooks.insert(conn, made, b"sealed", most=3)
    return made


async def rows(database: Database) -> list[dict[str, Any]]:
    async with database.connection() as conn:
        return await (await conn.execute("SELECT * FROM outbox ORDER BY id")).fetchall()


async def test_each_is_taken_once_by_those_who_ask_at_the_same_time(database: Database) -> None:
    for _ in range(20):
        await tell(database, uuid4())

    async def ask() -> list[Taken]:
        async with database.transaction() as conn:
            taken = await take(conn, most=5)
            await asyncio.sleep(0.01)
            return taken

    taken = [one.id for some in await asyncio.gather(*(ask() for _ in range(6))) for one in some]
    async with database.transaction() as conn:
        taken += [one.id for one in await take(conn, most=100)]
    assert sorted(taken) == sorted(set(taken))
    assert len(taken) == 20


async def test_a_target_has_its_turns_and_no_more(database: Database) -> None:
    busy, other = uuid4(), uuid4()
    await tell(database, busy, 5)
    await tell(database, other)
    async with database.transaction() as conn:
        first = await take(conn, most=2)
        assert {one.recipient_id for one in first} == {busy, other}
        second = await take(conn)
        assert [one.recipient_id for one in second] == [busy]
        assert await take(conn) == []
        await deliveries.delivered(conn, second[0], status=None)
        [third] = await take(conn)
    assert third.document["n"] == 2


async def test_what_was_taken_by_somebody_who_is_lost_is_taken_again(database: Database) -> None:
    await tell(database, uuid4())
    async with database.transaction() as conn:
        [lost] = await take(conn, lease_s=0.0)
    async with database.transaction() as conn:
        [again] = await take(conn)
        assert (again.id, again.attempt) == (lost.id, 2)
        # who comes late changes nothing
        await deliveries.give_up(conn, lost, status=None, error="late")
        assert await deliveries.again(conn, lost, after_s=0, status=None, error="late") is None
        await deliveries.delivered(conn, again, status=None)
    [row] = await rows(database)
    assert (row["state"], row["error"], row["taken"]) == ("delivered", None, False)


async def test_a_webhook_that_fails_is_counted_until_it_works(database: Database) -> None:
    owner = uuid4()
    hook = await make_webhook(database, owner)
    await tell(database, owner)
    async with database.transaction() as conn:
        [one] = await take(conn, by_mail=False)
        assert (one.url, one.sealed_secret, one.sealed_earlier) == (hook.url, b"sealed", None)
        failing = await deliveries.again(conn, one, after_s=0, status=500, error="no")
        assert failing is not None
        assert failing.failures_in_a_row == 1
    async with database.transaction() as conn:
        await webhooks.replace_secret(conn, hook.id, b"new")
        [one] = await take(conn, by_mail=False)
        assert (one.sealed_secret, one.sealed_earlier) == (b"new", b"sealed")
        await deliveries.delivered(conn, one, status=200)
        found = await webhooks.get(conn, owner, hook.id)
    assert found is not None
    assert found.failures_in_a_row == 0


async def test_what_is_switched_off_is_told_once_and_forgets_what_waits(database: Database) -> None:
    owner = uuid4()
    hook = await make_webhook(database, owner)
    await tell(database, owner)
    async with database.transaction() as conn:
        await webhooks.disable(conn, hook.id, "away")
        await webhooks.disable(conn, hook.id, "away")
    await tell(database, owner)
    told = [(row["topic"], row["webhook_id"], row["state"]) for row in await rows(database)]
    assert told == [
        ("access.granted", None, "waiting"),
        ("access.granted", hook.id, "given_up"),
        ("webhook.disabled", None, "waiting"),
        ("access.granted", None, "waiting"),
    ]


async def test_webhooks_of_suspended_people_wait(database: Database) -> None:
    owner = uuid4()
    await make_webhook(database, owner)
    await tell(database, owner)
    async with database.transaction() as conn:
        await conn.execute(
            "INSERT INTO owner_state (owner_id, what) VALUES (%s, 'suspended')", (owner,)
        )
        assert await take(conn, by_mail=False) == []
        await conn.execute("DELETE FROM owner_state")
        assert len(await take(conn, by_mail=False)) == 1


async def test_old_ones_are_forgotten(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "KEPT_OF_WEBHOOK", 2)
    owner = uuid4()
    await make_webhook(database, owner)
    await tell(database, owner, 5)
    async with database.transaction() as conn:
        await conn.execute(
            "UPDATE outbox SET state = 'delivered' WHERE id <> (SELECT min(id) FROM outbox)"
        )
        await conn.execute(
            "UPDATE outbox SET created_at = now() - interval '8 days' WHERE webhook_id IS NULL"
        )
        await deliveries.sweep(conn)
    left = await rows(database)
    assert [row["state"] for row in left if row["webhook_id"] is None] == ["waiting"]
    assert [row["document"]["n"] for row in left if row["webhook_id"] is not None] == [3, 4]


async def test_all_that_is_old_goes_however_much_there_is(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "SWEPT_AT_ONCE", 2)
    await tell(database, uuid4(), 5)
    async with database.transaction() as conn:
        await conn.execute(
            "UPDATE outbox SET state = 'delivered', created_at = now() - interval '8 days'"
        )
    await TransferOutbox(database, Sealer(tmp_path / "seal.key")).sweep()
    assert await rows(database) == []


async def test_who_wants_no_mail_gets_none(database: Database) -> None:
    owner = uuid4()
    await tell(database, owner)
    async with database.transaction() as conn:
        assert await deliveries.mail_wanted(conn, owner)
        await deliveries.want_mail(conn, owner, wanted=False)
        assert not await deliveries.mail_wanted(conn, owner)
    await tell(database, owner)
    assert await rows(database) == []
    async with database.transaction() as conn:
        await deliveries.want_mail(conn, owner, wanted=True)
    await tell(database, owner)
    assert len(await rows(database)) == 1
