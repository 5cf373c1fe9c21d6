"""Submitting, showing, listing, changing and cancelling tasks over HTTP."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from plugins.transfer_api import Api, assert_error
from towpath.platform.database import Database
from towpath.transfer import times
from towpath.transfer.api import TransferService, submissions
from towpath.transfer.api import tasks as routes
from towpath.transfer.fidelity import Kind
from towpath.transfer.store import segments
from towpath.transfer.watches.principals import Heard

FIELDS_OF_A_TASK = 60


def transfer(endpoint: str, **changes: Any) -> dict[str, Any]:
    return {
        "DATA_TYPE": "transfer",
        "submission_id": str(uuid4()),
        "source_endpoint": endpoint,
        "destination_endpoint": endpoint,
        "verify_checksum": True,
        "DATA": [
            {"DATA_TYPE": "transfer_item", "source_path": "/a", "destination_path": "/b"},
        ],
        **changes,
    }


def delete(endpoint: str, **changes: Any) -> dict[str, Any]:
    return {
        "DATA_TYPE": "delete",
        "submission_id": str(uuid4()),
        "endpoint": endpoint,
        "DATA": [{"DATA_TYPE": "delete_item", "path": "/a"}],
        **changes,
    }


async def count(database: Database, table: str) -> int:
    async with database.connection() as conn:
        row = await (await conn.execute(f"SELECT count(*) AS n FROM {table}")).fetchone()  # type: ignore[arg-type]
    assert row is not None
    number: int = row["n"]
    return number


async def submit(who: Api, document: dict[str, Any]) -> str:
    answer = await who.post("transfer", document)
    assert answer.status_code == 202, answer.text
    task_id: str = answer.json()["task_id"]
    return task_id


async def test_submit_and_show(alice: Api, bob: Api, lake: str) -> None:
    assert UUID((await alice.get("submission_id")).json()["value"])
    answer = await alice.post("transfer", transfer(lake, label="run 7", unknown_field=1))
    accepted = answer.json()
    assert (answer.status_code, accepted["code"]) == (202, "Accepted")
    assert accepted["DATA_TYPE"] == "transfer_result"
    task = (await alice.get(f"task/{accepted['task_id']}")).json()
    assert len(task) >= FIELDS_OF_A_TASK
    assert (task["DATA_TYPE"], task["type"], task["status"]) == ("task", "TRANSFER", "ACTIVE")
    assert (task["label"], task["verify_checksum"]) == ("run 7", True)
    assert task["nice_status"] == "Queued"
    assert task["source_endpoint_display_name"] == "lake"
    assert task["destination_endpoint_id"] == lake
    assert task["completion_time"] is None
    assert abs(datetime.now(UTC) - times.parse(task["request_time"])) < timedelta(minutes=1)
    assert_error(await bob.get(f"task/{accepted['task_id']}"), 404, "TaskNotFound")
    only = (await alice.get(f"task/{accepted['task_id']}", fields="status,label")).json()
    assert only == {"DATA_TYPE": "task", "status": "ACTIVE", "label": "run 7"}


async def test_only_a_given_deadline_is_marked_as_such(
    alice: Api, lake: str, database: Database
) -> None:
    await submit(alice, transfer(lake))
    await submit(alice, transfer(lake, deadline="2040-01-01 00:00:00"))
    async with database.connection() as conn:
        rows = await (
            await conn.execute(
                "SELECT options ? 'deadline_given' AS given, deadline - request_time AS span"
                " FROM task ORDER BY task_no"
            )
        ).fetchall()
    assert [row["given"] for row in rows] == [False, True]
    assert abs(rows[0]["span"].total_seconds() - 86_400) < 60


async def test_delete_task(alice: Api, lake: str) -> None:
    document = delete(lake, label="old runs", recursive=True, interpret_globs=True)
    answer = await alice.post("delete", document)
    assert (answer.status_code, answer.json()["DATA_TYPE"]) == (202, "delete_result")
    again = await alice.post("delete", document)
    assert (again.status_code, again.json()["code"]) == (200, "Duplicate")
    assert again.json()["task_id"] == answer.json()["task_id"]
    task = (await alice.get(f"task/{answer.json()['task_id']}")).json()
    assert (task["type"], task["source_endpoint_id"]) == ("DELETE", lake)
    assert task["label"] == "old runs"
    assert task["destination_endpoint_id"] is None
    span = times.parse(task["deadline"]) - times.parse(task["request_time"])
    assert timedelta(hours=23, minutes=59) < span < timedelta(hours=24, minutes=1)


async def test_subtasks_of_a_delete_are_done_as_they_go(
    alice: Api, lake: str, database: Database
) -> None:
    """It counts what it has deleted; besides that there is only the task itself."""
    task_id = (await alice.post("delete", delete(lake))).json()["task_id"]

    async def shown(kind: str) -> tuple[int, int, int]:
        task = (await alice.get(f"task/{task_id}")).json()
        names = ("subtasks_total", "subtasks_succeeded", kind)
        return tuple(task[name] for name in names)  # type: ignore[return-value]

    assert await shown("subtasks_pending") == (1, 0, 1)
    async with database.connection() as conn:
        await conn.execute("UPDATE task SET files = 3, directories = 2")
        assert await shown("subtasks_pending") == (6, 5, 1)
        await conn.execute(
            "UPDATE task SET status = 'FAILED', completion_time = now(),"
            """ fatal_error = '{"code": "CANCELED", "description": "canceled"}'"""
        )
        assert await shown("subtasks_canceled") == (6, 5, 1)


async def test_more_left_alone_than_found_is_no_number_below_nothing(
    alice: Api, lake: str, database: Database
) -> None:
    """Extras that an applied plan leaves alone are told, and it has not found them."""
    task_id = (await alice.post("transfer", transfer(lake))).json()["task_id"]
    async with database.connection() as conn:
        await conn.execute("UPDATE task SET files = 1, skipped_errors = 5")
    task = (await alice.get(f"task/{task_id}")).json()
    assert task["subtasks_succeeded"] == task["subtasks_pending"] == 0


async def test_two_files_cannot_have_one_destination(alice: Api, lake: str) -> None:
    def items(*given: tuple[str, bool | None]) -> dict[str, Any]:
        return transfer(
            lake,
            DATA=[
                {
                    "DATA_TYPE": "transfer_item",
                    "source_path": f"/from/{number}",
                    "destination_path": path,
                    "recursive": recursive,
                }
                for number, (path, recursive) in enumerate(given)
            ],
        )

    for second in (("/to//./x/", False), ("/to/x", None)):
        answer = await alice.post("transfer", items(("/to/y", False), ("/to/x", False), second))
        told = assert_error(answer, 400, "ClientError.BadRequest.DuplicateDestination")
        for words in ("DATA.1", "DATA.2", "'/from/1'", "'/from/2'", "another destination"):
            assert words in told
    answer = await alice.post("transfer", items(("~/x", None), ("x", None), ("/~/x", False)))
    told = assert_error(answer, 400, "ClientError.BadRequest.DuplicateDestination")
    assert "DATA.0 and DATA.2" in told
    for first, second in ((None, None), (True, True), (True, None)):
        await submit(alice, items(("/to/x", first), ("/to/x", second)))


async def test_fidelity_of_a_task(alice: Api, bob: Api, lake: str, database: Database) -> None:
    options = {"recursive_symlinks": "keep", "preserve_timestamp": True}
    task_id = await submit(alice, transfer(lake, **options))
    assert (await alice.get(f"task/{task_id}")).json()["recursive_symlinks"] == "keep"
    report = (await alice.get(f"task/{task_id}/fidelity")).json()
    assert (report["DATA_TYPE"], report["task_id"]) == ("fidelity_report", task_id)
    assert report["complete"] is False
    assert "times of files" not in report["never_carried"]
    assert {finding["kind"] for finding in report["DATA"]} == set(Kind)
    assert all(not finding["count"] and finding["description"] for finding in report["DATA"])
    assert {finding["known"] for finding in report["DATA"]} == {"at_least", "not_known"}
    async with database.connection() as conn:
        await conn.execute("UPDATE task SET status = 'SUCCEEDED', completion_time = now()")
    report = (await alice.get(f"task/{task_id}/fidelity")).json()
    known = {finding["kind"]: finding["known"] for finding in report["DATA"]}
    assert (report["complete"], known["modes"], known["hard_links"]) == (True, "exact", "at_least")
    assert_error(await bob.get(f"task/{task_id}/fidelity"), 404, "TaskNotFound")
    removal = (await alice.post("delete", delete(lake))).json()["task_id"]
    refused = await alice.get(f"task/{removal}/fidelity")
    assert "transfers" in assert_error(refused, 400, "ClientError.BadRequest")


async def test_fifty_equal_submissions_at_once_make_one_task(
    alice: Api, lake: str, database: Database
) -> None:
    document = transfer(lake)
    answers = await asyncio.gather(*(alice.post("transfer", document) for _ in range(50)))
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    told = sorted((answer.status_code, answer.json()["code"]) for answer in answers)
    assert told == [(200, "Duplicate")] * 49 + [(202, "Accepted")]
    assert (await count(database, "task"), await count(database, "item")) == (1, 1)


async def test_of_what_comes_together_each_is_held_against_its_own(
    alice: Api, bob: Api, lake: str, service: TransferService, database: Database
) -> None:
    together = service.together(submissions._accept, most=submissions.ACCEPTED_AT_ONCE)
    twice = transfer(lake)
    nowhere = {**twice, "source_endpoint": str(uuid4())}  # the same submission_id
    asked = [
        (alice, nowhere),
        (alice, twice),
        (alice, twice),
        (bob, transfer(lake)),
        (bob, twice),
        (alice, transfer(lake, label="\U0001f600\\")),
        *[(alice, transfer(lake))] * 2,
        (alice, transfer(lake, deadline="9999-12-31T23:59:59Z")),
        (alice, transfer(lake)),
    ]
    async with database.transaction() as conn:
        await conn.execute("LOCK TABLE task IN SHARE MODE")
        alone = asyncio.create_task(alice.post("transfer", transfer(lake)))
        while together._running is None or together._waiting:
            await asyncio.sleep(0)
        calls = []
        for who, document in asked:
            calls.append(asyncio.create_task(who.post("transfer", document)))
            while len(together._waiting) < len(calls):
                await asyncio.sleep(0)
    answers = [await alone, *await asyncio.gather(*calls)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (202, "Accepted"),
        (404, "EndpointNotFound"),
        (202, "Accepted"),
        (200, "Duplicate"),
        (400, "ClientError.ActivationRequired"),
        (400, "ClientError.ActivationRequired"),
        (202, "Accepted"),
        (202, "Accepted"),
        (200, "Duplicate"),
        (202, "Accepted"),
        (409, "ClientError.Conflict.TooManyTasks"),
    ]
    assert (await count(database, "task"), await count(database, "item")) == (5, 5)


async def test_who_repeats_a_large_submission_waits_for_it_and_others_do_not(
    alice: Api, lake: str, service: TransferService, database: Database
) -> None:
    together = service.together(submissions._accept, most=submissions.ACCEPTED_AT_ONCE)
    small = transfer(lake)
    paths = [f"/{number}" for number in range(submissions.SMALL_ITEMS + 1)]
    large = small | {
        "DATA": [{"source_path": one, "destination_path": f"/x{one}"} for one in paths]
    }
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
    async with database.transaction() as conn:
        await conn.execute("LOCK TABLE task IN SHARE MODE")
        calls = [asyncio.create_task(alice.post("transfer", large))]
        while not (await conn.execute(waiting)).rowcount:
            await asyncio.sleep(0.01)
        (event,) = service.storing.values()
        calls += [asyncio.create_task(alice.post("transfer", one)) for one in (large, small)]
        async with asyncio.timeout(10):
            while len(event._waiters) < 2:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
        assert together._running is None
        assert (await conn.execute(waiting)).rowcount == 1
    assert [call.status_code for call in await asyncio.gather(*calls)] == [202, 200, 200]
    assert await count(database, "task") == 1
    assert service.storing == {}


async def test_a_repetition_gets_its_task_even_if_the_endpoint_is_gone(
    alice: Api, lake: str
) -> None:
    document = transfer(lake)
    task_id = await submit(alice, document)
    await alice.delete(f"endpoint/{lake}")
    again = await alice.post("transfer", document)
    assert (again.status_code, again.json()["task_id"]) == (200, task_id)
    fresh = await alice.post("transfer", transfer(lake))
    assert_error(fresh, 404, "EndpointDeleted")


async def test_a_repetition_tells_the_database_of_nobody(
    alice: Api, lake: str, service: TransferService, database: Database
) -> None:
    first = transfer(lake)
    await submit(alice, first)
    async with database.connection() as conn:
        await conn.execute("UPDATE principal SET groups = '{}', username = 'as of long ago'")
    object.__setattr__(service, "heard", Heard())  # as of a process that has just begun
    assert (await alice.post("transfer", first)).status_code == 200
    await submit(alice, transfer(lake))
    async with database.connection() as conn:
        rows = await (await conn.execute("SELECT username FROM principal")).fetchall()
    assert "as of long ago" not in [row["username"] for row in rows]


async def test_submission_needs_visible_endpoints_and_credentials(
    alice: Api, bob: Api, lake: str
) -> None:
    missing = await alice.post("transfer", transfer(lake, source_endpoint=str(uuid4())))
    assert_error(missing, 404, "EndpointNotFound")
    assert_error(await bob.post("transfer", transfer(lake)), 400, "ClientError.ActivationRequired")


ITEM = {"source_path": "/a", "destination_path": "/b"}


BAD_TRANSFERS: list[tuple[dict[str, Any], str, str]] = [
    ({"DATA": []}, ".NoTransferItems", "at least one item"),
    ({"sync_level": 4}, "", "sync_level"),
    ({"sync_level": True}, "", "sync_level"),
    ({"sync_level": "1"}, "", "sync_level"),
    ({"recursive_symlinks": "follow"}, "", "recursive_symlinks"),
    ({"filter_rules": [{"method": "omit", "name": "*"}]}, "", "filter_rules.0.method"),
    ({"filter_rules": [{"method": "exclude"}]}, "", "filter_rules.0.name"),
    ({"filter_rules": [{"method": "exclude", "name": ""}]}, "", "filter_rules.0.name"),
    ({"filter_rules": [{"method": "exclude", "name": "x" * 513}]}, "", "filter_rules.0.name"),
    ({"filter_rules": [{"method": "exclude", "name": "*", "type": "link"}]}, "", "type"),
    ({"filter_rules": [{"method": "exclude", "name": "*"}] * 501}, "", "filter_rules"),
    ({"source_local_user": "root"}, ".NotSupported", "source_local_user"),
    ({"DATA": [{**ITEM, "external_checksum": "aa"}]}, "", "MD5 has 32"),
    ({"DATA": [{**ITEM, "external_checksum": ""}]}, "", "MD5 has 32"),
    ({"DATA": [{**ITEM, "external_checksum": "x" * 32}]}, "", "hexadecimal"),
    ({"DATA": [{**ITEM, "external_checksum": "\u0661" * 32}]}, "", "hexadecimal"),
    (
        {"DATA": [{**ITEM, "external_checksum": "a" * 32, "checksum_algorithm": "SHA1"}]},
        "",
        "DATA.0: external_checksum: SHA1 has 40",
    ),
    ({"DATA": [{**ITEM, "external_checksum": "a" * 32, "recursive": True}]}, "", "recursive"),
    ({"DATA": [{**ITEM, "checksum_algorithm": "CRC99"}]}, ".NotSupported", "algorithm"),
    ({"DATA": [{**ITEM, "DATA_TYPE": "transfer_symlink_item"}]}, "", "DATA_TYPE"),
    ({"DATA": [{**ITEM, "source_path": "/a/../b"}]}, ".InvalidPath", "DATA.0.source_path"),
    ({"DATA": [{**ITEM, "source_path": "/a\0"}]}, ".InvalidPath", "NUL"),
    ({"DATA": [{**ITEM, "destination_path": "/a\r\nb"}]}, ".InvalidPath", "line feed"),
    ({"DATA": [{**ITEM, "destination_path": "/" + "x" * 4100}]}, ".InvalidPath", "longer"),
    ({"DATA": [{**ITEM, "destination_path": "//a/."}]}, ".InvalidPath", "overlap"),
    ({"DATA": [{**ITEM, "destination_path": "/a/b"}]}, ".InvalidPath", "overlap"),
    ({"DATA": [{"source_path": "/a"}]}, "", "destination_path"),
    ({"DATA": [{**ITEM, "recursive": "yes"}]}, "", "recursive"),
    ({"DATA": [ITEM] * 1001}, ".TooManyItems", "1000"),
    ({"DATA": "x"}, "", "DATA"),
    ({"DATA": [7]}, "", "DATA.0"),
    ({"verify_checksum": "true"}, "", "verify_checksum"),
    ({"verify_checksum": 1}, "", "verify_checksum"),
    ({"label": "x" * 129}, "", "label"),
    ({"label": "a\nb"}, "", "label"),
    ({"label": 5}, "", "label"),
    ({"deadline": "soon"}, "", "deadline"),
    ({"deadline": "2001-01-01"}, "", "deadline"),
    ({"submission_id": "x"}, "", "submission_id"),
    ({"submission_id": None}, "", "submission_id"),
    ({"source_endpoint": "x"}, "", "source_endpoint"),
    ({"DATA_TYPE": "delete"}, "", "DATA_TYPE"),
]


async def test_bad_transfers_are_refused_and_nothing_is_stored(
    alice: Api, lake: str, database: Database
) -> None:
    for change, reason, word in BAD_TRANSFERS:
        answer = await alice.post("transfer", transfer(lake, **change))
        message = assert_error(answer, 400, f"ClientError.BadRequest{reason}")
        assert word in message
        assert len(message) < 1000
    assert await count(database, "task") == 0


BAD_DELETES: list[tuple[dict[str, Any], str]] = [
    ({"DATA": []}, ".NoTransferItems"),
    ({"DATA": [{"path": "/"}]}, ".InvalidPath"),
    ({"DATA": [{"path": "//."}]}, ".InvalidPath"),
    ({"DATA": [{"path": "/a/.."}]}, ".InvalidPath"),
    ({"local_user": "root"}, ".NotSupported"),
    ({"recursive": "yes"}, ""),
]


async def test_bad_deletes_are_refused(alice: Api, lake: str, database: Database) -> None:
    for change, reason in BAD_DELETES:
        answer = await alice.post("delete", delete(lake, **change))
        assert_error(answer, 400, f"ClientError.BadRequest{reason}")
    assert await count(database, "task") == 0


NO_DOCUMENTS: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b"\xff\xfe",
    b'{"label": "\xff"}',
    b'{"label": "\\ud800"}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"NaN",
]


async def test_bodies_that_are_no_document(alice: Api, database: Database) -> None:
    for body in NO_DOCUMENTS:
        for route in ("transfer", "delete", "endpoint"):
            answer = await alice.http.post(f"/v0.10/{route}", content=body)
            assert answer.status_code == 400, answer.text
            assert answer.json()["code"].startswith("ClientError.BadRequest")
    assert await count(database, "task") == 0


async def test_huge_bodies_are_refused(alice: Api, lake: str, database: Database) -> None:
    body = json.dumps(transfer(lake, label="x" * (5 * 1024 * 1024)))
    answer = await alice.http.post("/v0.10/transfer", content=body)
    assert answer.status_code == 413
    assert answer.json()["code"]

    async def stream() -> Any:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536].encode()

    answer = await alice.http.post("/v0.10/transfer", content=stream())
    assert answer.status_code == 413
    assert await count(database, "task") == 0


async def test_odd_names_are_kept_as_they_came(alice: Api, lake: str, database: Database) -> None:
    names = [
        "/\ufffdcafé",
        "/ü/中",
        "/ ",
        "/'; DROP TABLE task; --",
        "/%s",
        "/\\N",
        "/a\tb",
        "/{x}",
    ]
    items = [{"source_path": name, "destination_path": "/z" + name} for name in names]
    await submit(alice, transfer(lake, DATA=items))
    async with database.connection() as conn:
        rows = await (
            await conn.execute("SELECT source_path FROM item ORDER BY item_no")
        ).fetchall()
    assert [row["source_path"] for row in rows] == names


async def test_list_and_filter(alice: Api, bob: Api, lake: str) -> None:
    ids = [await submit(alice, transfer(lake, label=label)) for label in ("one", "two", "three")]
    page = (await alice.get("task_list", limit=2)).json()
    assert (page["length"], page["total"], page["limit"], page["offset"]) == (2, 3, 2, 0)
    assert [task["task_id"] for task in page["DATA"]] == [ids[2], ids[1]]
    rest = (await alice.get("task_list", limit=2, offset=2)).json()
    assert [task["task_id"] for task in rest["DATA"]] == [ids[0]]

    async def found(**params: Any) -> list[str]:
        answer = await alice.get("task_list", **params)
        assert answer.status_code == 200, answer.text
        return [task["label"] for task in answer.json()["DATA"]]

    assert await found(filter="label:~t*", orderby="label") == ["three", "two"]
    assert await found(filter="label:one,two", orderby="label") == ["one", "two"]
    assert await found(filter="label:!one/type:TRANSFER", orderby="label DESC") == ["two", "three"]
    assert await found(filter=f"task_id:{ids[0]}") == ["one"]
    assert await found(filter="status:SUCCEEDED,FAILED") == []
    assert await found(filter=f"endpoint:{uuid4()},{lake}/label:~*w*") == ["two"]
    assert await found(filter=f"endpoint:{uuid4()}") == []
    assert await found(filter="request_time:2020-01-01 00:00:00,") == ["three", "two", "one"]
    assert await found(filter="request_time:,2020-01-01") == []
    assert (await bob.get("task_list")).json()["DATA"] == []
    for params in (
        {"filter": "status:BROKEN"},
        {"filter": "x"},
        {"filter": "label:\0"},
        {"filter": "task_id:x"},
        {"filter": "endpoint:lake"},
        {"filter": "request_time:yesterday,"},
        {"orderby": "password"},
        {"limit": 1001},
        {"offset": -1},
    ):
        assert (await alice.get("task_list", **params)).status_code == 400, params


async def test_update(alice: Api, lake: str, database: Database) -> None:
    task_id = await submit(alice, transfer(lake, label="before"))
    answer = await alice.put(f"task/{task_id}", {"deadline": "2040-01-01 00:00:00"})
    assert answer.json()["code"] == "Updated"
    task = (await alice.get(f"task/{task_id}")).json()
    assert (task["label"], task["deadline"]) == ("before", "2040-01-01T00:00:00+00:00")
    await alice.put(f"task/{task_id}", {"DATA_TYPE": "task", "label": "after"})
    assert (await alice.get(f"task/{task_id}")).json()["label"] == "after"
    past = await alice.put(f"task/{task_id}", {"deadline": "2001-01-01"})
    assert_error(past, 400, "ClientError.BadRequest")
    async with database.connection() as conn:
        await conn.execute("UPDATE task SET status = 'SUCCEEDED', completion_time = now()")
    late = await alice.put(f"task/{task_id}", {"label": "late"})
    assert_error(late, 409, "ClientError.Conflict.TaskComplete")


async def test_pause_and_resume(alice: Api, bob: Api, lake: str, database: Database) -> None:
    task_id = await submit(alice, transfer(lake))
    given = await submit(alice, transfer(lake, deadline="2040-01-01 00:00:00"))

    async def shown(task: str) -> dict[str, Any]:
        document: dict[str, Any] = (await alice.get(f"task/{task}")).json()
        return document

    def hours_left(task: dict[str, Any]) -> float:
        left = datetime.fromisoformat(task["deadline"]) - datetime.now(UTC)
        return round(left.total_seconds() / 3600, 1)

    for _ in range(2):
        for task in (task_id, given):
            answer = await alice.post(f"task/{task}/pause")
            assert (answer.status_code, answer.json()["code"]) == (200, "Paused")
    paused = await shown(task_id)
    assert (paused["status"], paused["is_paused"], paused["is_ok"]) == ("ACTIVE", True, False)
    assert paused["nice_status"] == "PAUSED"
    assert "cancel" in json.loads(paused["nice_status_details"])["advice"]
    assert hours_left(paused) == 90 * 24
    assert (await shown(given))["deadline"] == "2040-01-01T00:00:00+00:00"
    assert_error(await bob.post(f"task/{task_id}/resume"), 404, "TaskNotFound")

    for _ in range(2):
        answer = await alice.post(f"task/{task_id}/resume")
        assert (answer.status_code, answer.json()["code"]) == (200, "Resumed")
    resumed = await shown(task_id)
    assert (resumed["is_paused"], resumed["nice_status"]) == (False, "Queued")
    assert hours_left(resumed) == 24
    events = (await alice.get(f"task/{task_id}/event_list")).json()["DATA"]
    assert [event["code"] for event in events] == ["UNPAUSED", "PAUSED"]
    told = json.loads(events[1]["details"])
    assert (told["by"], told["deadline"]) == (paused["username"], paused["deadline"])

    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET status = 'SUCCEEDED', paused_at = NULL")
    for route in ("pause", "resume"):
        answer = await alice.post(f"task/{task_id}/{route}")
        assert (answer.status_code, answer.json()["code"]) == (200, "TaskComplete")


async def test_cancel(
    alice: Api, bob: Api, lake: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "CANCEL_WAIT_S", 0.5)
    task_id = await submit(alice, transfer(lake))
    assert_error(await bob.post(f"task/{task_id}/cancel"), 404, "TaskNotFound")
    accepted = await alice.post(f"task/{task_id}/cancel")
    assert (accepted.status_code, accepted.json()["code"]) == (202, "CancelAccepted")
    monkeypatch.setattr(routes, "CANCEL_WAIT_S", 30)
    cancelling = asyncio.create_task(alice.post(f"task/{task_id}/cancel"))
    async with database.connection() as conn:
        await conn.execute(
            "UPDATE task SET status = 'FAILED', completion_time = now(),"
            """ fatal_error = '{"code": "CANCELED", "description": "canceled"}'"""
        )
    assert (await cancelling).json()["code"] in ("Canceled", "TaskComplete")
    done = await alice.post(f"task/{task_id}/cancel")
    assert (done.status_code, done.json()["code"]) == (200, "TaskComplete")
    task = (await alice.get(f"task/{task_id}")).json()
    assert task["fatal_error"]["code"] == "CANCELED"
    assert (task["nice_status"], task["is_ok"], task["subtasks_canceled"]) == (None, None, 1)


async def test_renewed_credential_puts_waiting_tasks_back_to_work(
    alice: Api, lake: str, database: Database, domain_a: Any
) -> None:
    task_id = await submit(alice, transfer(lake))
    async with database.connection() as conn:
        await conn.execute("UPDATE task SET status = 'INACTIVE', nice_status = 'NO_CREDENTIALS'")
    waiting = (await alice.get(f"task/{task_id}")).json()
    assert (waiting["status"], waiting["is_ok"]) == ("INACTIVE", False)
    await alice.put(f"endpoint/{lake}/credential", {"proxy": domain_a.proxy_file.read_text()})
    assert (await alice.get(f"task/{task_id}")).json()["status"] == "ACTIVE"


async def test_too_many_tasks(alice: Api, lake: str) -> None:
    for _ in range(5):
        await submit(alice, transfer(lake))
    refused = await alice.post("transfer", transfer(lake))
    assert_error(refused, 409, "ClientError.Conflict.TooManyTasks")


async def test_events(alice: Api, bob: Api, lake: str, database: Database) -> None:
    task_id = await submit(alice, transfer(lake))
    async with database.connection() as conn:
        await conn.execute(
            "INSERT INTO event (task_no, code, is_error, description, details)"
            " SELECT task_no, 'STARTED', false, 'started', '{}' FROM task"
        )
        await conn.execute(
            "INSERT INTO event (task_no, code, is_error, description, details)"
            " SELECT task_no, 'TIMEOUT', true, 'timeout', 'no answer' FROM task"
        )
    where = f"task/{task_id}/event_list"
    page = (await alice.get(where, filter="", limit=1000)).json()
    assert [event["code"] for event in page["DATA"]] == ["TIMEOUT", "STARTED"]
    assert page["total"] == 2
    errors = (await alice.get(where, filter="is_error:1")).json()
    assert [event["code"] for event in errors["DATA"]] == ["TIMEOUT"]
    assert_error(await alice.get(where, filter="x"), 400, "ClientError.BadRequest")
    assert_error(await bob.get(where), 404, "TaskNotFound")


async def test_successful_transfers_by_marker(
    alice: Api, bob: Api, lake: str, database: Database
) -> None:
    task_id = await submit(alice, transfer(lake))
    async with database.transaction() as conn:
        row = await (await conn.execute("SELECT task_no FROM task")).fetchone()
        assert row is not None
        for path in ("", "x/caf\udce9"):
            done = segments.Finished(0, path, 3, "md5", "aa")
            await segments.append(conn, row["task_no"], [done])
    where = f"task/{task_id}/successful_transfers"
    first = (await alice.get(where)).json()
    second = (await alice.get(where, marker=first["next_marker"])).json()
    last = (await alice.get(where, marker=second["next_marker"])).json()
    assert first["DATA"][0]["source_path"] == "/a"
    assert second["DATA"][0]["destination_path"] == "/b/x/\ufffdcafé"
    assert (last["DATA"], last["next_marker"]) == ([], None)
    assert_error(await bob.get(where), 404, "TaskNotFound")
    assert_error(await alice.get(where, marker="x"), 400, "ClientError.BadRequest")
    skipped = (await alice.get(f"task/{task_id}/skipped_errors")).json()
    assert (skipped["DATA"], skipped["next_marker"]) == ([], None)
    assert (await alice.get(f"task/{task_id}/pause_info")).json()["pause_rules"] == []


async def test_unknown_tasks_and_routes(alice: Api) -> None:
    for name in (str(uuid4()), "x", "%00"):
        assert_error(await alice.get(f"task/{name}"), 404, "TaskNotFound")
        assert_error(await alice.post(f"task/{name}/cancel"), 404, "TaskNotFound")
    unknown = await alice.get("nonsense")
    assert unknown.status_code == 404
    assert unknown.json()["request_id"]
