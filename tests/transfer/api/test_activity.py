"""Others' tasks over HTTP: who sees what of them, who may pause and cancel them, and pause rules.

No worker runs here: what a task is told is in its row.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from plugins.standings import endpoint
from plugins.transfer_api import Api, assert_error, server_document
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.platform.database import Database
from towpath.transfer.api import TransferService
from towpath.transfer.rights import Role
from towpath.transfer.store import endpoints, leases

MANAGER = "endpoint_manager"


@pytest.fixture
async def carol(login: Callable[[], Awaitable[Api]]) -> Api:
    """Somebody with no role at first."""
    return await login()


@pytest.fixture
async def pond(bob: Api, lake: str, server_a: GctServer, domain_a: Domain) -> str:
    """Bob's own private endpoint; he has a credential for it, and for Alice's lake."""
    document = server_document(server_a, domain_a, display_name="pond", public=False)
    pond: str = (await bob.post("endpoint", document)).json()["id"]
    for endpoint_id in (pond, lake):
        given = await bob.put(
            f"endpoint/{endpoint_id}/credential", {"proxy": domain_a.proxy_file.read_text()}
        )
        assert given.status_code == 200, given.text
    return pond


async def give_role(database: Database, endpoint_id: str, who: Api, role: Role) -> None:
    async with database.transaction() as conn:
        await conn.execute(
            "INSERT INTO role (id, endpoint_id, principal_type, principal, role, created_by)"
            " VALUES (%s, %s, 'identity', %s, %s, %s)",
            (uuid4(), endpoint_id, who.sub, role, uuid4()),
        )


async def submit(who: Api, source: str, destination: str | None = None, **more: Any) -> str:
    """A transfer, or without a destination a delete; its id."""
    document: dict[str, Any] = {"submission_id": str(uuid4()), **more}
    if destination is None:
        document |= {"endpoint": source, "DATA": [{"DATA_TYPE": "delete_item", "path": "/old"}]}
    else:
        item = {"source_path": "/from/here", "destination_path": "/to/there"}
        document |= {
            "source_endpoint": source,
            "destination_endpoint": destination,
            "DATA": [{"DATA_TYPE": "transfer_item", **item}],
        }
    answer = await who.post("delete" if destination is None else "transfer", document)
    assert answer.status_code == 202, answer.text
    task_id: str = answer.json()["task_id"]
    return task_id


async def codes(who: Api, task_id: str) -> list[str]:
    events = (await who.get(f"task/{task_id}/event_list")).json()["DATA"]
    return [event["code"] for event in events]


async def granted(database: Database) -> set[UUID]:
    """What a worker would be given now; the leases are ended at once."""
    grants = await leases.admit(database, worker="w", limit=10, lease_s=15, per_owner=10)
    await leases.expire_worker(database, "w")
    return {grant.id for grant in grants}


def rule(endpoint_id: str, **more: Any) -> dict[str, Any]:
    return {
        "DATA_TYPE": "pause_rule",
        "endpoint_id": endpoint_id,
        "message": "Back at ten.",
        **more,
    }


async def make_rule(who: Api, endpoint_id: str, **more: Any) -> str:
    made = await who.post(f"{MANAGER}/pause_rule", rule(endpoint_id, **more))
    assert made.status_code == 201, made.text
    rule_id: str = made.json()["id"]
    return rule_id


async def test_without_a_role_there_is_nothing(
    alice: Api, bob: Api, carol: Api, lake: str, pond: str
) -> None:
    task_id = await submit(bob, lake, pond)
    rule_id = await make_rule(alice, lake)
    reads = [
        "monitored_endpoints",
        "task_list?filter_status=ACTIVE",
        "pause_rule_list",
        f"endpoint/{lake}",
        f"endpoint/{lake}/hosted_endpoint_list",
        f"task/{task_id}",
        f"task/{task_id}/event_list",
        f"task/{task_id}/pause_info",
        f"task/{task_id}/successful_transfers",
        f"task/{task_id}/skipped_errors",
        f"pause_rule/{rule_id}",
    ]
    for route in reads:
        assert_error(await carol.get(f"{MANAGER}/{route}"), 403, "PermissionDenied")
    acts = {"message": "no", "task_id_list": [task_id]}
    for act in ("admin_cancel", "admin_pause", "admin_resume"):
        assert_error(await carol.post(f"{MANAGER}/{act}", acts), 403, "PermissionDenied")
    made = await carol.post(f"{MANAGER}/pause_rule", rule(lake))
    assert_error(made, 403, "PermissionDenied")
    # what she does not see is not there, whatever she may elsewhere
    hidden = await carol.post(f"{MANAGER}/pause_rule", rule(pond))
    assert_error(hidden, 404, "EndpointNotFound")


async def test_a_monitor_sees_his_own_side(
    alice: Api, bob: Api, lake: str, pond: str, database: Database
) -> None:
    out = await submit(bob, lake, pond, label="mine")
    async with database.transaction() as conn:
        for role, path in (("source", "/from/here"), ("destination", "/to/there/secret")):
            details = {"role": role, "path": path, "advice": path, "next": "again"}
            await conn.execute(
                "INSERT INTO event (task_no, code, is_error, description, details)"
                " SELECT task_no, 'UNKNOWN', true, 'x', %s FROM task WHERE id = %s",
                (json.dumps(details), out),
            )
    task = (await alice.get(f"{MANAGER}/task/{out}")).json()
    assert task["owner_id"] == str(bob.sub)
    assert task["owner_string"].startswith(str(bob.sub))
    assert (task["source_endpoint_id"], task["destination_endpoint_id"]) == (lake, None)
    assert (task["destination_endpoint"], task["destination_endpoint_display_name"]) == (None, None)
    assert task["first_item"]["source_path"] == "/from/here"
    assert task["first_item"]["destination_path"] is None
    events = (await alice.get(f"{MANAGER}/task/{out}/event_list", filter_is_error=1)).json()
    assert events["total"] == 2
    assert [json.loads(one["details"]) for one in events["DATA"]] == [
        {"role": "destination", "next": "again"},
        {"role": "source", "path": "/from/here", "advice": "/from/here", "next": "again"},
    ]
    back = await submit(bob, pond, lake)
    shown = (await alice.get(f"{MANAGER}/task/{back}")).json()
    assert shown["first_item"]["source_path"] is None
    assert shown["first_item"]["destination_path"] == "/to/there"
    inside = await submit(bob, lake, lake)
    whole = (await alice.get(f"{MANAGER}/task/{inside}")).json()
    assert whole["first_item"] == (await bob.get(f"task/{inside}")).json()["first_item"]
    elsewhere = await submit(bob, pond, pond)
    assert_error(await alice.get(f"{MANAGER}/task/{elsewhere}"), 404, "TaskNotFound")
    assert_error(await alice.get(f"{MANAGER}/task/{uuid4()}"), 404, "TaskNotFound")
    # bob monitors his pond, and so this task as well
    assert (await bob.get(f"{MANAGER}/task/{out}")).status_code == 200
    mine = (await alice.get(f"{MANAGER}/monitored_endpoints")).json()
    assert [one["id"] for one in mine["DATA"]] == [lake]
    assert (await alice.get(f"{MANAGER}/endpoint/{lake}")).json()["display_name"] == "lake"
    hosted = (await alice.get(f"{MANAGER}/endpoint/{lake}/hosted_endpoint_list")).json()
    assert hosted["DATA"] == []
    for kind in ("successful_transfers", "skipped_errors"):
        assert (await alice.get(f"{MANAGER}/task/{out}/{kind}")).json()["DATA"] == []


async def test_the_list_its_filters_and_pages(
    alice: Api, bob: Api, lake: str, pond: str, database: Database
) -> None:
    out = await submit(bob, lake, pond)
    back = await submit(bob, pond, lake)
    gone = await submit(bob, lake)
    own = await submit(alice, lake, lake)
    await submit(bob, pond, pond)
    async with database.transaction() as conn:
        await conn.execute(
            "UPDATE task SET status = 'FAILED', completion_time = '2026-01-02T00:00:00Z',"
            " faults = 3 WHERE id = %s",
            (gone,),
        )

    async def found(**filters: Any) -> list[str]:
        answer = await alice.get(f"{MANAGER}/task_list", **filters)
        assert answer.status_code == 200, answer.text
        return [one["task_id"] for one in answer.json()["DATA"]]

    assert await found(filter_endpoint=lake) == [own, back, out, gone]
    assert await found(filter_status="ACTIVE,INACTIVE") == [own, back, out]
    assert await found(filter_endpoint=lake, filter_endpoint_use="source") == [own, out, gone]
    assert await found(filter_endpoint=lake, filter_endpoint_use="destination") == [own, back]
    assert await found(filter_status="ACTIVE", filter_owner_id=str(bob.sub)) == [back, out]
    assert await found(filter_endpoint=lake, filter_min_faults=3) == [gone]
    assert await found(filter_endpoint=lake, filter_local_user="bob") == []
    async with database.transaction() as conn:
        await conn.execute(
            "UPDATE task SET source_local_user = 'bob', destination_local_user = 'robert'"
            " WHERE id = ANY(%s::uuid[])",
            ([out, back],),
        )
    # at the lake: the pond's accounts are not for its owner to know
    assert await found(filter_endpoint=lake, filter_local_user="bob") == [out]
    assert await found(filter_endpoint=lake, filter_local_user="robert") == [back]
    robert = {"filter_endpoint": lake, "filter_local_user": "robert"}
    assert await found(**robert, filter_endpoint_use="source") == []
    assert await found(filter_task_id=f"{out},{gone}") == [out, gone]
    times = {"filter_completion_time": "2026-01-01,2026-01-03"}
    assert await found(filter_endpoint=lake, **times) == [gone]
    since = {"filter_completion_time": "2026-01-03,"}
    assert await found(filter_endpoint=lake, **since) == [own, back, out]
    await alice.post(f"{MANAGER}/admin_pause", {"message": "wait", "task_id_list": [back]})
    assert await found(filter_status="ACTIVE", filter_is_paused="True") == [back]
    seen: list[str] = []
    page: dict[str, Any] = {"has_next_page": True, "last_key": None}
    while page["has_next_page"]:
        after = {"last_key": page["last_key"]} if page["last_key"] else {}
        answer = await alice.get(f"{MANAGER}/task_list", filter_endpoint=lake, limit=1, **after)
        page = answer.json()
        seen += [one["task_id"] for one in page["DATA"]]
    assert seen == [own, back, out, gone]
    for wrong in (
        {},
        {"filter_status": "FAILED"},
        {"filter_status": "DONE"},
        {"filter_task_id": out, "filter_status": "ACTIVE"},
        {"filter_task_id": ",".join([out] * 51)},
        {"filter_endpoint_use": "source", "filter_status": "ACTIVE"},
        {"filter_is_paused": "1", "filter_endpoint": lake},
        {"filter_local_user": "bob", "filter_status": "ACTIVE"},
        {"filter_local_user": "b\0b", "filter_endpoint": lake},
        {"filter_completion_time": ",", "filter_endpoint": lake},
        {"last_key": "complete,never,1", "filter_endpoint": lake},
    ):
        answer = await alice.get(f"{MANAGER}/task_list", **wrong)
        assert_error(answer, 400, "ClientError.BadRequest")
    async with database.transaction() as conn:  # what is shared of a server shows no accounts
        host = await endpoints.get(conn, UUID(lake))
        assert host is not None
        shared = endpoint(alice.sub, host=host, share_path="/shared")
        await endpoints.insert(conn, shared, {})
    answer = await alice.get(
        f"{MANAGER}/task_list", filter_endpoint=str(shared.id), filter_local_user="bob"
    )
    assert "guest collection" in assert_error(answer, 400, "ClientError.BadRequest")
    strange = await alice.get(f"{MANAGER}/task_list", filter_task_id=f"{out},{uuid4()}")
    assert_error(strange, 403, "PermissionDenied")
    assert_error(
        await alice.get(f"{MANAGER}/task_list", filter_endpoint=pond), 404, "EndpointNotFound"
    )


async def test_a_manager_pauses_and_resumes(
    alice: Api, bob: Api, carol: Api, lake: str, pond: str, database: Database
) -> None:
    task_id = await submit(bob, lake, pond)
    ids = {"task_id_list": [task_id]}
    await give_role(database, lake, carol, Role.ACTIVITY_MONITOR)
    assert (await carol.get(f"{MANAGER}/task/{task_id}")).status_code == 200
    denied = await carol.post(f"{MANAGER}/admin_pause", {"message": "x", **ids})
    assert_error(denied, 403, "PermissionDenied")
    await give_role(database, lake, carol, Role.ACTIVITY_MANAGER)
    paused = await carol.post(f"{MANAGER}/admin_pause", {"message": "Disks are full.", **ids})
    assert paused.json()["code"] == "Paused"
    task = (await bob.get(f"task/{task_id}")).json()
    assert (task["is_paused"], task["nice_status"], task["is_ok"]) == (
        *(True, "PAUSED_BY_ADMIN"),
        False,
    )
    assert json.loads(task["nice_status_details"])["messages"] == ["Disks are full."]
    left = datetime.fromisoformat(task["deadline"]) - datetime.now(UTC)
    assert timedelta(days=89) < left < timedelta(days=91)
    assert await granted(database) == set()
    info = (await bob.get(f"task/{task_id}/pause_info")).json()
    assert info["source_pause_message"] == "Disks are full."
    assert (info["destination_pause_message"], info["pause_rules"]) == (None, [])
    assert (await carol.get(f"{MANAGER}/task/{task_id}/pause_info")).json() == info
    # the owner's own word does not help
    answer = (await bob.post(f"task/{task_id}/resume")).json()
    assert "holds it still" in answer["message"]
    assert await granted(database) == set()
    await bob.post(f"task/{task_id}/pause")
    freed = await alice.post(f"{MANAGER}/admin_resume", ids)
    assert freed.json()["code"] == "Resumed"
    assert (await bob.get(f"task/{task_id}")).json()["nice_status"] == "PAUSED"
    await bob.post(f"task/{task_id}/resume")
    assert await granted(database) == {UUID(task_id)}
    assert await codes(bob, task_id) == ["UNPAUSED", "UNPAUSED", "PAUSED", "PAUSED"]
    left = datetime.fromisoformat(
        (await bob.get(f"task/{task_id}")).json()["deadline"]
    ) - datetime.now(UTC)
    assert left < timedelta(days=2)
    unknown = {"message": "x", "task_id_list": [str(uuid4())]}
    assert_error(await alice.post(f"{MANAGER}/admin_pause", unknown), 404, "TaskNotFound")
    for bad in ({"message": "", **ids}, {"message": "x", "task_id_list": []}, ids):
        answer = await alice.post(f"{MANAGER}/admin_pause", bad)
        assert_error(answer, 400, "ClientError.BadRequest")


async def test_a_manager_cancels(
    alice: Api, bob: Api, lake: str, pond: str, database: Database
) -> None:
    tasks = [await submit(bob, lake, pond), await submit(bob, pond, lake)]
    tasks += [await submit(bob, lake, lake), await submit(bob, lake)]
    foreign = await submit(bob, pond, pond)
    with_foreign = {"message": "x", "task_id_list": [*tasks, foreign]}
    refused = await alice.post(f"{MANAGER}/admin_cancel", with_foreign)
    assert_error(refused, 404, "TaskNotFound")
    made = await alice.post(
        f"{MANAGER}/admin_cancel", {"message": "We are closing.", "task_id_list": tasks}
    )
    assert made.json()["done"] is False
    status = f"{MANAGER}/admin_cancel/{made.json()['id']}"
    assert (await alice.get(status)).json() == made.json()
    assert_error(await bob.get(status), 404, "AdminCancelNotFound")
    assert len(await granted(database)) == 5, "to be ended, and the foreign one to run"
    async with database.transaction() as conn:
        rows = await (
            await conn.execute(
                "UPDATE task SET status = 'FAILED', fatal_error ="
                " jsonb_build_object('code', 'CANCELED', 'description', 'x'),"
                " completion_time = now() WHERE cancel_requested RETURNING id::text, canceled_by"
            )
        ).fetchall()
    sides = {row["id"]: row["canceled_by"] for row in rows}
    assert [sides[one] for one in tasks] == ["SOURCE", "DESTINATION", "BOTH", "SOURCE"]
    assert (await alice.get(status)).json()["done"] is True
    task = (await bob.get(f"task/{tasks[1]}")).json()
    assert task["canceled_by_admin"] == "DESTINATION"
    assert task["canceled_by_admin_message"] == "We are closing."


async def test_who_asked_for_the_end_first_stays_who_asked(
    alice: Api, bob: Api, lake: str, pond: str, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setattr("towpath.transfer.api.tasks.CANCEL_WAIT_S", 0)
    task_id = await submit(bob, lake, pond)
    assert (await bob.post(f"task/{task_id}/cancel")).status_code == 202
    await alice.post(f"{MANAGER}/admin_cancel", {"message": "late", "task_id_list": [task_id]})
    async with database.connection() as conn:
        row = await (await conn.execute("SELECT canceled_by FROM task")).fetchone()
    assert row == {"canceled_by": None}


async def test_rules_are_made_shown_changed_and_deleted(
    alice: Api, bob: Api, lake: str, pond: str
) -> None:
    made = await alice.post(f"{MANAGER}/pause_rule", rule(lake, identity_id=str(bob.sub)))
    document = made.json()
    assert (document["endpoint_id"], document["identity_id"]) == (lake, str(bob.sub))
    assert (document["editable"], document["created_by_host_manager"]) == (True, False)
    assert document["modified_by_id"] == str(alice.sub)
    assert all(document[name] for name in document if name.startswith("pause_"))
    one = f"{MANAGER}/pause_rule/{document['id']}"
    assert (await alice.get(one)).json() == document
    changed = await alice.put(one, {"message": "New.", "pause_ls": False, "endpoint_id": pond})
    assert (changed.json()["message"], changed.json()["pause_ls"]) == ("New.", False)
    assert (changed.json()["endpoint_id"], changed.json()["pause_mkdir"]) == (lake, True)
    for filters in ({}, {"filter_endpoint": lake}, {"filter_host_endpoint": lake}):
        listed = (await alice.get(f"{MANAGER}/pause_rule_list", **filters)).json()
        assert [each["id"] for each in listed["DATA"]] == [document["id"]]
    assert (await bob.get(f"{MANAGER}/pause_rule_list")).json()["DATA"] == []
    effective = (await bob.get(f"endpoint/{lake}/my_effective_pause_rule_list")).json()
    [limited] = effective["DATA"]
    assert (limited["DATA_TYPE"], limited["message"]) == ("pause_rule_limited", "New.")
    assert "modified_by" not in limited
    assert (await alice.get(f"endpoint/{lake}/my_effective_pause_rule_list")).json()["length"] == 0
    for change in (await bob.put(one, {"message": "x"}), await bob.delete(one), await bob.get(one)):
        assert_error(change, 403, "PermissionDenied")
    assert (await alice.delete(one)).json()["code"] == "Deleted"
    assert_error(await alice.get(one), 404, "PauseRuleNotFound")
    for bad in (rule(lake, message=""), rule(lake, start_time="soon"), {"endpoint_id": lake}):
        answer = await alice.post(f"{MANAGER}/pause_rule", bad)
        assert_error(answer, 400, "ClientError.BadRequest")


async def test_rules_hold_tasks_by_direction_and_person_and_let_them_go(
    alice: Api, bob: Api, lake: str, pond: str, database: Database
) -> None:
    read, write = await submit(bob, lake, pond), await submit(bob, pond, lake)
    delete, foreign = await submit(bob, lake), await submit(alice, lake, lake)

    async def held() -> set[str]:
        found = (await alice.get(f"{MANAGER}/task_list", filter_endpoint=lake)).json()["DATA"]
        return {one["task_id"] for one in found if one["is_paused"]}

    off = dict.fromkeys(
        ("pause_task_delete", "pause_task_transfer_read", "pause_task_transfer_write"), False
    )
    kinds = {"read": {read, foreign}, "write": {write, foreign}, "delete": {delete}}
    for kind, expected in kinds.items():
        name = "pause_task_delete" if kind == "delete" else f"pause_task_transfer_{kind}"
        rule_id = await make_rule(alice, lake, **(off | {name: True}))
        assert await held() == expected, kind
        await alice.delete(f"{MANAGER}/pause_rule/{rule_id}")
        assert await held() == set(), kind
    his = await make_rule(alice, lake, identity_id=str(bob.sub))
    assert await held() == {read, write, delete}
    assert await granted(database) == {UUID(foreign)}
    late = await submit(bob, lake)
    assert late in await held(), "before anybody could run it"
    info = (await bob.get(f"task/{late}/pause_info")).json()
    assert [one["id"] for one in info["pause_rules"]] == [his]
    assert info["source_pause_message"] is None
    task = (await bob.get(f"task/{late}")).json()
    assert json.loads(task["nice_status_details"])["messages"] == ["Back at ten."]
    # a word of a manager and a rule hold it each by itself
    word = {"message": "Not yet.", "task_id_list": [late]}
    await alice.post(f"{MANAGER}/admin_pause", word)
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await alice.put(f"{MANAGER}/pause_rule/{his}", {"start_time": future})
    assert await held() == {late}, "it has not begun"
    await alice.post(f"{MANAGER}/admin_resume", word)
    assert await held() == set()
    assert await codes(bob, late) == ["UNPAUSED", "PAUSED", "PAUSED"]
    assert len(await granted(database)) == 5


async def test_rules_stop_operations(
    alice: Api, bob: Api, lake: str, pond: str, service: TransferService
) -> None:
    del pond, service
    rule_id = await make_rule(alice, lake, pause_rename=False)
    at = f"operation/endpoint/{lake}"
    said = assert_error(await bob.get(f"{at}/ls", path="/"), 409, "ClientError.Conflict.Paused")
    assert "Back at ten." in said
    assert_error(await bob.get(f"{at}/stat", path="/"), 409, "ClientError.Conflict.Paused")
    made = await bob.post(f"{at}/mkdir", {"path": "/nowhere/x"})
    assert_error(made, 409, "ClientError.Conflict.Paused")
    moved = await bob.post(f"{at}/rename", {"old_path": "/nowhere", "new_path": "/x"})
    assert moved.json()["code"] == "ClientError.NotFound"
    await alice.delete(f"{MANAGER}/pause_rule/{rule_id}")
    assert (await bob.get(f"{at}/ls", path="/")).status_code == 200


async def test_an_endpoint_has_a_bounded_number_of_rules(
    alice: Api, lake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.transfer.api.pause_rules.MAX_RULES", 2)
    for _ in range(2):
        await make_rule(alice, lake)
    refused = await alice.post(f"{MANAGER}/pause_rule", rule(lake))
    assert_error(refused, 409, "ClientError.Conflict.TooManyPauseRules")
