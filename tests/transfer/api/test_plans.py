"""Routes of plans: whose they are, what can be done with them when, and how many there may be."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg.types.json import Jsonb

from plugins.transfer_api import Api, assert_error
from towpath.demo.authority import Domain
from towpath.platform.database import Connection, Database
from towpath.transfer import names
from towpath.transfer.api import TransferService
from towpath.transfer.planned import Action, Facts, Planned, Reason
from towpath.transfer.store import plans, segments
from towpath.transfer.store.rows import fetch_one
from towpath.transfer.store.segments import Skipped


def transfer(lake: str, **more: Any) -> dict[str, Any]:
    item = {"source_path": "/a", "destination_path": "/b"}
    between = {"source_endpoint": lake, "destination_endpoint": lake}
    return {"submission_id": str(uuid4()), **between, "DATA": [item], **more}


async def plan(alice: Api, lake: str, **more: Any) -> str:
    answer = await alice.post("transfer/plan", transfer(lake, **more))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["plan_id"])


async def plan_delete(alice: Api, lake: str, *paths: str, **more: Any) -> str:
    answer = await alice.post("delete/plan", removal(lake, *paths, **more))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["plan_id"])


def removal(lake: str, *paths: str, **more: Any) -> dict[str, Any]:
    items = [{"path": path} for path in paths or ("/a",)]
    return {"submission_id": str(uuid4()), "endpoint": lake, "DATA": items, **more}


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


async def test_the_life_of_a_plan_of_a_delete(
    alice: Api, bob: Api, lake: str, database: Database
) -> None:
    document = removal(lake, "/a", "/b", recursive=True, ignore_missing=True, label="tidy")
    made = await alice.post("delete/plan", document | {"deadline": "2999-01-01"})
    plan_id = made.json()["plan_id"]
    again = await alice.post("delete/plan", document)
    assert (again.status_code, again.json()["plan_id"]) == (200, plan_id)
    assert_error(await alice.get(f"task/{plan_id}"), 404, "TaskNotFound")
    await end(database, "SUCCEEDED")
    told = (await alice.get(f"plan/{plan_id}")).json()
    assert (told["type"], told["status"], told["label"]) == ("DELETE", "ready", "tidy")
    assert (told["source_endpoint_id"], told["destination_endpoint_id"]) == (lake, None)
    first = await alice.post(f"plan/{plan_id}/apply", {"submission_id": str(uuid4())})
    assert first.json()["DATA_TYPE"] == "delete_result"
    task_id = first.json()["task_id"]
    task = (await alice.get(f"task/{task_id}")).json()
    assert (task["type"], task["label"], task["source_endpoint_id"]) == ("DELETE", "tidy", lake)
    assert task["deadline"] == told["deadline"] == "2999-01-01T00:00:00+00:00"
    asked = (await alice.get(f"task/{task_id}/items")).json()["DATA"]
    assert [(one["source_path"], one["recursive"]) for one in asked] == [("/a", True), ("/b", True)]
    assert (await alice.get(f"plan/{plan_id}")).json()["task_id"] == task_id
    in_use = await alice.delete(f"plan/{plan_id}")
    assert_error(in_use, 409, "ClientError.Conflict.PlanInUse")


async def test_what_may_not_be_deleted_is_not_planned(
    alice: Api, bob: Api, lake: str, tmp_path: Path
) -> None:
    assert (await bob.post("delete/plan", removal(lake))).status_code in (400, 404)
    guest = {"display_name": "shared", "host_endpoint": lake, "host_path": str(tmp_path)}
    shared = (await alice.post("shared_endpoint", guest)).json()["id"]
    rule = {"principal_type": "all_authenticated_users", "principal": "", "path": "/"}
    rule |= {"DATA_TYPE": "access", "permissions": "r"}
    assert (await alice.post(f"endpoint/{shared}/access", rule)).status_code == 201
    assert (await bob.post("delete/plan", removal(shared, "/a"))).status_code == 403
    itself = await alice.post("delete/plan", removal(shared, "/~/", recursive=True))
    assert_error(itself, 400, "ClientError.BadRequest.InvalidPath")


async def test_where_what_a_delete_plans_is_shown(
    alice: Api, lake: str, database: Database
) -> None:
    """As its items are spelled; what a pattern matches is in the directory that it looks at."""
    spelled = {
        "/~/": ("/~/", "/~/f"),
        "d": ("d", "d/f"),
        "/d/": ("/d/", "/d/f"),
        "/~/*.x": (None, "/~/f"),
        "*.x": (None, "f"),
        "d/*": (None, "d/f"),
        "/*": (None, "/f"),
    }
    options = {"recursive": True, "interpret_globs": True}
    plan_id = await plan_delete(alice, lake, *spelled, **options)
    entries = [
        Planned(number, path, Action.DELETE, Reason.ASKED, None, Facts("file", 5, 0, None))
        for number, told in enumerate(spelled.values())
        for path, shown in zip(("", "f"), told, strict=True)
        if shown is not None
    ]
    async with database.transaction() as conn:
        await plans.add(conn, await number_of(conn, plan_id), entries)
    shown = (await alice.get(f"plan/{plan_id}/entries")).json()["DATA"]
    assert [one["source_path"] for one in shown] == [
        path for told in spelled.values() for path in told if path is not None
    ]
    facts = {"type": "file", "size": 5, "modified": "1970-01-01T00:00:00+00:00", "target": None}
    assert all((one["source"], one["destination"]) == (facts, None) for one in shown)
    await end(database, "SUCCEEDED")
    applied = await alice.post(f"plan/{plan_id}/apply", {"submission_id": str(uuid4())})
    task_id = applied.json()["task_id"]
    alone = [Skipped(one.item_no, one.path, False, "PLAN_CHANGED", "", 0.0) for one in entries]
    async with database.transaction() as conn:
        await segments.append(conn, await number_of(conn, task_id), alone)
    told = (await alice.get(f"task/{task_id}/skipped_errors")).json()["DATA"]
    assert [one["source_path"] for one in told] == [one["source_path"] for one in shown]


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


async def ready(alice: Api, lake: str, database: Database, **more: Any) -> str:
    """A plan that can be applied."""
    plan_id = await plan(alice, lake, **more)
    await end(database, "SUCCEEDED")
    return plan_id


async def test_who_may_not_transfer_any_more_applies_no_plan(
    alice: Api, lake: str, database: Database, domain_a: Domain
) -> None:
    plan_id = await ready(alice, lake, database)
    await alice.delete(f"endpoint/{lake}/credential")
    refused = await alice.post(f"plan/{plan_id}/apply", {"submission_id": str(uuid4())})
    assert_error(refused, 400, "ClientError.ActivationRequired")
    assert (await alice.get(f"plan/{plan_id}")).json()["status"] == "ready"
    await alice.put(f"endpoint/{lake}/credential", {"proxy": domain_a.proxy_file.read_text()})
    again = await alice.post(f"plan/{plan_id}/apply", {"submission_id": str(uuid4())})
    assert again.status_code == 202


@pytest.mark.parametrize("change", ["host = 'elsewhere.test'", "port = 1", "base_path = '/data'"])
async def test_a_plan_of_another_server_is_not_applied(
    alice: Api, lake: str, database: Database, change: str
) -> None:
    """Its paths are those of other files now."""
    plan_id = await ready(alice, lake, database)
    async with database.connection() as conn:
        await conn.execute(f"UPDATE endpoint SET {change}".encode())
    refused = await alice.post(f"plan/{plan_id}/apply", {"submission_id": str(uuid4())})
    assert_error(refused, 409, "ClientError.Conflict.PlanOutdated")


async def test_a_delete_that_was_planned_for_another_server_is_not_applied(
    alice: Api, lake: str, database: Database
) -> None:
    plan_id = await plan_delete(alice, lake)
    await end(database, "SUCCEEDED")
    async with database.connection() as conn:
        await conn.execute("UPDATE endpoint SET host = 'elsewhere.test'")
    refused = await alice.post(f"plan/{plan_id}/apply", {"submission_id": str(uuid4())})
    assert_error(refused, 409, "ClientError.Conflict.PlanOutdated")


async def test_one_of_many_applies_at_once_is_accepted(
    alice: Api, lake: str, database: Database
) -> None:
    plan_id = await ready(alice, lake, database)
    document = {"submission_id": str(uuid4())}
    same = await asyncio.gather(
        *(alice.post(f"plan/{plan_id}/apply", document) for _ in range(4)),
        *(alice.post(f"plan/{plan_id}/apply", {"submission_id": str(uuid4())}) for _ in range(4)),
    )
    accepted = [one.json()["task_id"] for one in same if one.status_code in (200, 202)]
    assert len(set(accepted)) == 1
    assert len(accepted) in (1, 4), "a repetition of what was accepted is no conflict"


async def test_what_is_expected_to_go_wrong(alice: Api, lake: str, database: Database) -> None:
    """Faults, what a server says that it cannot be read or written, and a deadline that is too
    early for what was measured."""
    plan_id = await ready(alice, lake, database, deadline="2999-01-01")
    planned = [
        ("copy", "new", 10**15, "may not read"),
        ("overwrite", "differs", 10**15, ""),
        ("skip", "same", 10**18, ""),
        ("fault", "IS_A_DIRECTORY", 10**18, "a directory"),
    ]
    entries = [
        Planned(1, str(number), Action(action), reason, Facts("file", size, 0, None), None, why)
        for number, (action, reason, size, why) in enumerate(planned)
    ]
    async with database.transaction() as conn:
        await plans.add(conn, await number_of(conn, plan_id), entries)

    async def expected() -> tuple[int | None, dict[str, int | None]]:
        told = (await alice.get(f"plan/{plan_id}")).json()
        assert told["deadline"] == "2999-01-01T00:00:00+00:00"
        faults = {one["code"]: one["entries"] for one in told["expected_faults"]}
        return told["bytes_per_second"], faults

    known: dict[str, int | None] = {"IS_A_DIRECTORY": 1, "PERMISSION_DENIED": 1}
    assert await expected() == (None, known)
    async with database.connection() as conn:
        for moved, seconds, days in ((10**9, 10**4, 1), (10**9, 10**3, 1), (10**9, 1, 31)):
            await conn.execute(
                "WITH copy AS (INSERT INTO task (id, owner_id, username, submission_id, type,"
                " options, source_endpoint_id, destination_endpoint_id, deadline, status,"
                " bytes_transferred, completion_time)"
                " SELECT gen_random_uuid(), owner_id, username, gen_random_uuid(), 'TRANSFER',"
                " options, source_endpoint_id, destination_endpoint_id, now(), 'SUCCEEDED', %s,"
                " now() - make_interval(days => %s) FROM task WHERE id = %s RETURNING task_no)"
                " INSERT INTO task_time (task_no, until, spent, doing)"
                " SELECT task_no, now(), %s, '{}' FROM copy"
                " ON CONFLICT (task_no) DO UPDATE SET spent = excluded.spent",
                (moved, days, plan_id, Jsonb({"network": {"": seconds}, "login": {"": 10**9}})),
            )
    assert await expected() == (10**6, known)
    async with database.connection() as conn:
        await conn.execute(
            "UPDATE plan_entry SET here = replace(convert_from(here, 'UTF8'), '0000, 0',"
            " '000000, 0')::bytea WHERE action IN ('copy', 'overwrite')"
        )
    assert await expected() == (10**6, known | {"EXPIRED": None})
    applied = await alice.post(f"plan/{plan_id}/apply", {"submission_id": str(uuid4())})
    task = (await alice.get(f"task/{applied.json()['task_id']}")).json()
    assert task["deadline"] == "2999-01-01T00:00:00+00:00"


async def test_what_only_a_server_can_tell_of_is_shown(
    alice: Api, lake: str, database: Database
) -> None:
    """Links to names that are no text, and files larger than all disks together."""
    plan_id = await ready(alice, lake, database)
    size = 10**18 - 1
    link = Planned(0, "l", Action.SKIP, Reason.LINK_IGNORED, Facts("file", 5, 0, "caf\udce9"))
    files = [
        Planned(0, str(number), Action.COPY, Reason.NEW, Facts("file", size, 0, None))
        for number in range(20)
    ]
    async with database.transaction() as conn:
        await plans.add(conn, await number_of(conn, plan_id), [link, *files])
    counts = (await alice.get(f"plan/{plan_id}")).json()["DATA"]
    assert [one["bytes"] for one in counts] == [20 * size, 5]
    shown = (await alice.get(f"plan/{plan_id}/entries")).json()["DATA"][0]
    assert shown["source"]["target"] == names.to_text("caf\udce9")


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
        return await number_of(conn, plan_id)


async def number_of(conn: Connection, plan_id: str) -> int:
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
