"""Routes of plans: whose they are, what can be done with them when, and how many there may be."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from plugins.transfer_api import Api, assert_error
from towpath.platform.database import Connection, Database
from towpath.transfer.api import TransferService
from towpath.transfer.store import plans
from towpath.transfer.store.rows import fetch_one


def transfer(lake: str, **more: Any) -> dict[str, Any]:
    item = {"source_path": "/a", "destination_path": "/b"}
    between = {"source_endpoint": lake, "destination_endpoint": lake}
    return {"submission_id": str(uuid4()), **between, "DATA": [item], **more}


async def plan(alice: Api, lake: str, **more: Any) -> str:
    answer = await alice.post("transfer/plan", transfer(lake, **more))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["plan_id"])


async def end(database: Database, status: str) -> None:
    async with database.connection() as conn:
        await conn.execute(
            "UPDATE task SET status = %s, completion_time = now()"
            " WHERE status IN ('ACTIVE', 'INACTIVE')",
            (status,),
        )


async def test_the_life_of_a_plan(alice: Api, bob: Api, lake: str, database: Database) -> None:
    document = transfer(lake, deadline="2999-01-01", label="first")
    made = await alice.post("transfer/plan", document)
    plan_id = made.json()["plan_id"]
    again = await alice.post("transfer/plan", document)
    assert (again.status_code, again.json()["plan_id"]) == (200, plan_id)
    told = (await alice.get(f"plan/{plan_id}")).json()
    assert (told["status"], told["label"], told["task_id"]) == ("walking", "first", None)
    assert_error(await alice.get(f"task/{plan_id}"), 404, "TaskNotFound")
    assert (await alice.get("task_list")).json()["total"] == 0
    for answer in (
        await bob.get(f"plan/{plan_id}"),
        await bob.get(f"plan/{plan_id}/entries"),
        await bob.post(f"plan/{plan_id}/apply", {"submission_id": str(uuid4())}),
        await bob.delete(f"plan/{plan_id}"),
        await alice.get("plan/none"),
    ):
        assert_error(answer, 404, "PlanNotFound")

    apply = {"submission_id": str(uuid4())}
    early = await alice.post(f"plan/{plan_id}/apply", apply)
    assert_error(early, 409, "ClientError.Conflict.PlanNotReady")
    await end(database, "SUCCEEDED")
    assert (await alice.get(f"plan/{plan_id}")).json()["status"] == "ready"
    first = await alice.post(f"plan/{plan_id}/apply", apply)
    assert first.status_code == 202
    repeated = await alice.post(f"plan/{plan_id}/apply", apply)
    assert (repeated.status_code, repeated.json()["task_id"]) == (200, first.json()["task_id"])
    other = await alice.post(f"plan/{plan_id}/apply", {"submission_id": str(uuid4())})
    assert_error(other, 409, "ClientError.Conflict.PlanApplied")
    taken = {"submission_id": document["submission_id"]}
    await alice.post("transfer", document)
    used = await alice.post(f"plan/{plan_id}/apply", taken)
    assert_error(used, 409, "ClientError.Conflict.SubmissionUsed")
    task = (await alice.get(f"task/{first.json()['task_id']}")).json()
    assert (task["label"], task["type"]) == ("first", "TRANSFER")

    in_use = await alice.delete(f"plan/{plan_id}")
    assert_error(in_use, 409, "ClientError.Conflict.PlanInUse")
    await end(database, "SUCCEEDED")
    assert (await alice.delete(f"plan/{plan_id}")).json()["code"] == "Deleted"
    assert_error(await alice.get(f"plan/{plan_id}"), 404, "PlanNotFound")


async def test_what_may_not_be_transferred_is_not_planned(alice: Api, bob: Api, lake: str) -> None:
    overlap = transfer(lake)
    overlap["DATA"][0]["destination_path"] = "/a"
    assert_error(
        await alice.post("transfer/plan", overlap), 400, "ClientError.BadRequest.InvalidPath"
    )
    assert (await bob.post("transfer/plan", transfer(lake))).status_code in (400, 404)


async def test_there_are_few_and_they_go(
    alice: Api, lake: str, service: TransferService, database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    few = service.limits.model_copy(update={"plans_per_owner": 2})
    object.__setattr__(service, "limits", few)
    kept = [await plan(alice, lake) for _ in range(2)]
    third = await alice.post("transfer/plan", transfer(lake))
    assert_error(third, 409, "ClientError.Conflict.TooManyPlans")
    assert not await plans.tidy(database)
    await alice.delete(f"plan/{kept[0]}")
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT cancel_requested FROM task WHERE id = %s", (kept[0],))
    assert row == (True,)
    assert not await plans.tidy(database), "a worker ends its walk first"
    await end(database, "FAILED")
    assert await plans.tidy(database)
    async with database.connection() as conn:
        await conn.execute("UPDATE plan SET expires_at = now()")
    assert_error(await alice.get(f"plan/{kept[1]}"), 404, "PlanNotFound")
    assert await plans.tidy(database)
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT count(*) FROM task")
    assert row == (0,)
    assert not await plans.tidy(database)


async def test_there_are_few_also_if_many_are_asked_for_at_once(
    alice: Api, lake: str, service: TransferService
) -> None:
    few = service.limits.model_copy(update={"plans_per_owner": 2})
    object.__setattr__(service, "limits", few)
    answers = await asyncio.gather(*(alice.post("transfer/plan", transfer(lake)) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [202] * 2 + [409] * 6


async def apply(conn: Connection, task_no: int) -> bool:
    """By a transfer that is stored now."""
    copy = await fetch_one(
        conn,
        "INSERT INTO task (id, owner_id, username, submission_id, type, options,"
        " source_endpoint_id, destination_endpoint_id, deadline)"
        " SELECT gen_random_uuid(), owner_id, username, gen_random_uuid(), 'TRANSFER', options,"
        " source_endpoint_id, destination_endpoint_id, now() + interval '1 h' FROM task"
        " WHERE task_no = %s RETURNING id",
        (task_no,),
    )
    assert copy is not None
    return await plans.apply(conn, task_no, copy[0])


async def number(database: Database, plan_id: str) -> int:
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT task_no FROM task WHERE id = %s", (plan_id,))
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("change", ["dropped = true", "expires_at = clock_timestamp()"])
async def test_what_may_be_removed_already_is_not_applied(
    alice: Api, lake: str, database: Database, change: str
) -> None:
    made = await plan(alice, lake)
    await end(database, "SUCCEEDED")
    async with database.connection() as conn:
        await conn.execute(f"UPDATE plan SET {change}".encode())
    async with database.transaction() as conn:
        assert not await apply(conn, await number(database, made))


async def test_a_plan_that_was_applied_a_moment_ago_is_not_dropped(
    alice: Api, lake: str, database: Database
) -> None:
    made = await plan(alice, lake)
    await end(database, "SUCCEEDED")
    task_no = await number(database, made)
    async with database.transaction() as conn:
        await conn.execute("UPDATE plan SET cursor = cursor")  # somebody has the row
        dropping = asyncio.create_task(_drop(database, task_no))
        await asyncio.sleep(0.2)
        assert await apply(conn, task_no)
    assert not await dropping


async def _drop(database: Database, task_no: int) -> bool:
    async with database.transaction() as conn:
        return await plans.drop(conn, task_no)
