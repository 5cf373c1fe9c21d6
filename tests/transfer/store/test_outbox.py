"""What is told, to whom, in the transaction of what it tells."""

import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.transfer.store import events, leases, outbox
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.outbox import Topic
from towpath.transfer.store.tasks import Status


async def told(database: Database) -> list[dict[str, Any]]:
    async with database.connection() as conn:
        cursor = await conn.execute("SELECT * FROM outbox ORDER BY id")
        return await cursor.fetchall()


async def add_webhook(database: Database, owner: UUID, *topics: str, enabled: bool = True) -> UUID:
    async with database.connection() as conn:
        cursor = await conn.execute(
            "INSERT INTO webhook (id, owner_id, url, topics, sealed_secret, enabled)"
            " VALUES (%s, %s, 'https://x.example', %s, '', %s) RETURNING id",
            (uuid4(), owner, list(topics), enabled),
        )
        row = await cursor.fetchone()
    assert row is not None
    return UUID(str(row["id"]))


async def set_options(database: Database, task_no: int, options: dict[str, Any]) -> UUID:
    async with database.connection() as conn:
        cursor = await conn.execute(
            "UPDATE task SET options = %s::jsonb WHERE task_no = %s RETURNING owner_id",
            (json.dumps(options), task_no),
        )
        row = await cursor.fetchone()
    assert row is not None
    return UUID(str(row["owner_id"]))


async def test_one_row_for_mail_and_one_for_each_webhook_that_has_the_topic(
    database: Database,
) -> None:
    owner = uuid4()
    hook = await add_webhook(database, owner, Topic.TASK_FAILED, Topic.ACCESS_GRANTED)
    await add_webhook(database, owner, Topic.TASK_FAILED)
    await add_webhook(database, owner, Topic.ACCESS_GRANTED, enabled=False)
    await add_webhook(database, uuid4(), Topic.ACCESS_GRANTED)
    async with database.transaction() as conn:
        await outbox.tell(conn, Topic.ACCESS_GRANTED, owner, {"path": "/caf\udce9\0/"})
    rows = await told(database)
    assert [(row["webhook_id"], row["target_id"]) for row in rows] == [(None, owner), (hook, hook)]
    assert {row["recipient_id"] for row in rows} == {owner}
    assert len({row["message_id"] for row in rows}) == 1
    assert rows[0]["document"] == {"path": "/caf\udce9\0/"}


async def test_what_is_rolled_back_is_not_told(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as conn:
            await outbox.tell(conn, Topic.ACCESS_GRANTED, uuid4(), {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await told(database) == []


async def test_a_full_queue_counts_what_it_does_not_take(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_WAITING", 3)
    owner, other = uuid4(), uuid4()
    for number in range(5):
        async with database.transaction() as conn:
            await outbox.tell(conn, Topic.ACCESS_GRANTED, owner, {"n": number})
    async with database.transaction() as conn:
        await outbox.tell(conn, Topic.ACCESS_GRANTED, other, {"n": 9})
    rows = await told(database)
    assert [(row["document"]["n"], row["more"]) for row in rows] == [
        (0, 0),
        (1, 0),
        (2, 2),
        (9, 0),
    ]


@pytest.mark.parametrize(
    ("status", "topic", "option"),
    [
        (Status.SUCCEEDED, Topic.TASK_SUCCEEDED, "notify_on_succeeded"),
        (Status.FAILED, Topic.TASK_FAILED, "notify_on_failed"),
        (Status.INACTIVE, Topic.TASK_INACTIVE, "notify_on_inactive"),
    ],
)
async def test_a_task_is_told_as_its_owner_wants(
    database: Database, make_task: MakeTask, status: Status, topic: Topic, option: str
) -> None:
    async def end(options: dict[str, Any], hooked: bool) -> list[dict[str, Any]]:
        task_no = await make_task()
        owner = await set_options(database, task_no, options)
        if hooked:
            await add_webhook(database, owner, topic)
        before = len(await told(database))
        fatal = {"code": "NO_SPACE_LEFT", "description": "full"}
        event = Event(EventCode.NO_SPACE_LEFT, "full", {"path": "/b\udce9\0"}, is_error=True)
        async with database.transaction() as conn:
            await events.append(conn, task_no, [event], most=1000)
            if status is Status.INACTIVE:
                assert await leases.suspend(conn, task_no, renewed=None)
            else:
                failed = status is Status.FAILED
                error = fatal if failed else None
                await leases.finish(conn, task_no, status=status, fatal_error=error)
        return (await told(database))[before:]

    [mail] = await end({option: True}, hooked=False)
    assert (mail["topic"], mail["webhook_id"]) == (topic, None)
    document = mail["document"]
    assert document["status"] == status
    if status is not Status.SUCCEEDED:
        assert document["details"] == {"path": "/b\udce9\0"}
    assert await end({option: False}, hooked=False) == []
    [hook] = await end({option: False}, hooked=True)
    assert hook["webhook_id"] is not None
    assert len(await end({}, hooked=True)) == 2


async def test_an_inactive_task_is_told_once_while_its_owner_is_suspended(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    async with database.transaction() as conn:
        await conn.execute(
            "UPDATE task SET status = 'INACTIVE', suspended_from = 'ACTIVE' WHERE task_no = %s",
            (task_no,),
        )
        assert await leases.suspend(conn, task_no, renewed=None)
    assert await told(database) == []
