"""What a task was asked for, and the same once more."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from plugins.transfer_api import Api, assert_error
from towpath.platform.database import Database
from towpath.transfer import times

RULES = [
    {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "*.tmp", "type": "file"},
    {"DATA_TYPE": "filter_rule", "method": "include", "name": "*"},
]
OPTIONS: dict[str, Any] = {
    "sync_level": 2,
    "verify_checksum": True,
    "preserve_timestamp": True,
    "encrypt_data": True,
    "skip_source_errors": True,
    "fail_on_quota_errors": True,
    "recursive_symlinks": "copy",
    "filter_rules": RULES,
    "notify_on_failed": False,
    "perf_p": 4,
}
ITEMS = [
    {
        "source_path": "/a",
        "destination_path": "/b",
        "recursive": False,
        "checksum_algorithm": "SHA1",
        "external_checksum": "a" * 40,
    },
    {"source_path": "/~/\ufffd\xe9", "destination_path": "~/tree", "recursive": True},
    {"source_path": "c", "destination_path": "d"},
]


def transfer(endpoint: str, **changes: Any) -> dict[str, Any]:
    return {
        "DATA_TYPE": "transfer",
        "submission_id": str(uuid4()),
        "source_endpoint": endpoint,
        "destination_endpoint": endpoint,
        "label": "nightly",
        "DATA": ITEMS,
        **OPTIONS,
        **changes,
    }


async def items(who: Api, task_id: str, **params: int) -> Any:
    return (await who.get(f"task/{task_id}/items", **params)).json()


async def test_items_in_pages(alice: Api, bob: Api, lake: str) -> None:
    task_id = (await alice.post("transfer", transfer(lake))).json()["task_id"]
    none = dict.fromkeys(("recursive", "checksum_algorithm", "external_checksum"))
    wanted = [none | one for one in ITEMS]
    found = await items(alice, task_id)
    assert (found["DATA"], found["total"], found["limit"]) == (wanted, 3, 100)
    assert (await items(alice, task_id, limit=1, offset=1))["DATA"] == wanted[1:2]
    assert (await items(alice, task_id, offset=3))["DATA"] == []
    assert_error(
        await alice.get(f"task/{task_id}/items", limit=1001), 400, "ClientError.BadRequest"
    )
    assert_error(await bob.get(f"task/{task_id}/items"), 404, "TaskNotFound")
    (listed,) = (await alice.get("task_list")).json()["DATA"]
    assert listed["first_item"] == wanted[0]
    assert (await alice.get(f"task/{task_id}")).json()["first_item"] == wanted[0]


async def test_a_transfer_once_more(alice: Api, bob: Api, lake: str, database: Database) -> None:
    first = (await alice.post("transfer", transfer(lake, deadline="2040-01-01"))).json()["task_id"]
    body = {"submission_id": str(uuid4())}
    answer = await alice.post(f"task/{first}/run_again", body)
    accepted = answer.json()
    assert (answer.status_code, accepted["code"]) == (202, "Accepted")
    assert (accepted["DATA_TYPE"], accepted["submission_id"]) == (
        "transfer_result",
        body["submission_id"],
    )
    second = accepted["task_id"]
    repeated = await alice.post(f"task/{first}/run_again", body)
    assert (repeated.status_code, repeated.json()["code"]) == (200, "Duplicate")
    assert repeated.json()["task_id"] == second != first
    assert (await items(alice, second))["DATA"] == (await items(alice, first))["DATA"]
    task = (await alice.get(f"task/{second}")).json()
    span = times.parse(task["deadline"]) - times.parse(task["request_time"])
    assert abs(span - timedelta(hours=24)) < timedelta(minutes=1)
    assert task["label"] == "nightly"
    async with database.connection() as conn:
        rows = await (await conn.execute("SELECT options FROM task ORDER BY task_no")).fetchall()
    before, after = (row["options"] for row in rows)
    assert before.pop("deadline_given") is True
    assert after == before
    assert after["filter_rules"] == RULES
    assert_error(await bob.post(f"task/{first}/run_again", body), 404, "TaskNotFound")


async def test_a_delete_once_more_with_another_label(alice: Api, lake: str) -> None:
    document = {
        "DATA_TYPE": "delete",
        "submission_id": str(uuid4()),
        "endpoint": lake,
        "label": "old",
        "recursive": True,
        "ignore_missing": True,
        "DATA": [{"DATA_TYPE": "delete_item", "path": "/x"}],
    }
    first = (await alice.post("delete", document)).json()["task_id"]
    for label, shown in (("new", "new"), (None, None)):
        answer = await alice.post(
            f"task/{first}/run_again", {"submission_id": str(uuid4()), "label": label}
        )
        assert (answer.status_code, answer.json()["DATA_TYPE"]) == (202, "delete_result")
        second = answer.json()["task_id"]
        assert (await alice.get(f"task/{second}")).json()["label"] == shown
        (item,) = (await items(alice, second))["DATA"]
        assert (item["source_path"], item["recursive"]) == ("/x", True)
        assert item["destination_path"] is None


async def test_what_cannot_be_done_once_more(alice: Api, lake: str) -> None:
    first = (await alice.post("transfer", transfer(lake))).json()["task_id"]
    route = f"task/{first}/run_again"
    assert_error(await alice.post(route, {}), 400, "ClientError.BadRequest")
    await alice.delete(f"endpoint/{lake}")
    body = {"submission_id": str(uuid4())}
    assert_error(await alice.post(route, body), 404, "EndpointDeleted")
    assert_error(await alice.post(f"task/{uuid4()}/run_again", body), 404, "TaskNotFound")
