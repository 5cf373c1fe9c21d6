"""The routes of Timers: documents of both APIs, refusals, and whose timers are whose."""

import json
from typing import Any
from uuid import uuid4

import globus_sdk
import httpx
from globus_sdk.gare import to_gare
from globus_sdk.testing import get_response_set

from plugins.timers import TIMERS_GROUP, World
from towpath.platform.errors import new_request_id

pytestmark = TIMERS_GROUP

HOURLY = {"type": "recurring", "interval_seconds": 3600}
TIMER = "https://auth.globus.org/scopes/524230d7-ea86-4a52-8312-86065a9e0417/timer"
JSON = {"Content-Type": "application/json"}
ACTION = "https://actions.automate.globus.org/transfer/transfer/run"


def mistakes(answer: httpx.Response) -> dict[str, str]:
    """Place -> what is wrong there."""
    assert answer.status_code == 422, answer.text
    return {".".join(one["loc"]): one["msg"] for one in answer.json()["detail"]}


def error(answer: httpx.Response, status: int, code: str) -> str:
    document = answer.json()["error"]
    assert (answer.status_code, document["status"], document["code"]) == (status, status, code)
    assert len(document["request_id"]) == len(new_request_id())
    return str(document["detail"])


async def test_a_timer_in_both_apis(timing: World) -> None:
    user = await timing.user()
    end = {"condition": "iterations", "count": 5}
    made = await user.http.post("/v2/timer", json=user.timer(**HOURLY, end=end))
    assert made.status_code == 201
    timer = made.json()["timer"]
    assert timer["schedule"] == {**HOURLY, "start": "2030-01-01T12:00:00+00:00", "end": end}
    assert timer["body"] == user.body()
    assert (timer["name"], timer["status"], timer["timer_type"]) == ("mirror", "new", "transfer")
    [job] = (await user.http.get("/jobs/", params={"order": "submitted_at asc"})).json()["jobs"]
    assert job["job_id"] == timer["job_id"]
    assert (job["interval"], job["callback_url"]) == (3600.0, ACTION)
    assert job["stop_after"] == {"date": None, "n_runs": 5}
    assert job["callback_body"] == {"body": user.body()}


async def test_the_older_way(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    callback = {
        "body": {
            "label": "example timer",
            "sync_level": 3,
            "verify_checksum": True,
            "source_endpoint_id": user.endpoints[0],
            "destination_endpoint_id": user.endpoints[1],
            "transfer_items": [{"source_path": "/a", "destination_path": "/b", "recursive": False}],
        }
    }
    asked = globus_sdk.TimerJob(ACTION, callback, "2030-01-01T12:00:00", 864000, name="old")
    made = await user.http.post("/jobs/", json=dict(asked))
    assert made.status_code == 201, made.text
    job = made.json()
    assert job["callback_body"] == callback, "as it was given"
    assert (job["name"], job["interval"], job["stop_after"]) == ("old", 864000.0, None)
    await timing.rounds(runner)
    [task] = await user.tasks()
    assert (task["label"], task["sync_level"], task["verify_checksum"]) == (
        "example timer",
        3,
        True,
    )
    # as SDKs before the fourth made it of a TransferData
    whole = globus_sdk.TimerJob(ACTION, {"body": user.body()}, "2030-01-01T12:00:00", 864000)
    made = await user.http.post("/jobs/", json=dict(whole))
    assert made.status_code == 201, made.text
    assert made.json()["callback_body"] == {"body": user.body()}
    await timing.rounds(runner)
    assert len(await user.tasks()) == 2
    once = globus_sdk.TimerJob(ACTION, callback, "2030-02-01", None, stop_after_n=1)
    job = (await user.http.post("/jobs/", json=dict(once))).json()
    assert (job["interval"], job["stop_after"]) == (None, {"date": None, "n_runs": 1})
    expected = get_response_set("timer.create_job").lookup("validation_error").json["detail"]
    told = (await user.http.post("/jobs/", json={"callback_body": callback})).json()["detail"]
    assert told == expected
    other = {**asked, "callback_url": "https://actions.example/run"}
    assert ACTION in mistakes(await user.http.post("/jobs/", json=other))["body.callback_url"]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("schedule", {"type": "recurring", "interval_seconds": 59}, "60 s is the shortest"),
    ("schedule.recurring.interval_seconds", {"type": "recurring", "interval_seconds": 0}, "1"),
    ("schedule.recurring.interval_seconds", {"type": "recurring", "interval_seconds": 1e9}, ""),
    ("schedule.recurring.interval_seconds", {"type": "recurring"}, "required"),
    ("schedule", {"type": "weekly"}, "type"),
    ("schedule.once.datetime", {"type": "once", "datetime": "soon"}, "'soon' is not a time"),
    ("schedule.once.datetime", {"type": "once", "datetime": "9999-12-31"}, "3000"),
    ("schedule.recurring.end", {**HOURLY, "end": {"condition": "time"}}, "datetime"),
    ("schedule.recurring.end", {**HOURLY, "end": {"condition": "iterations"}}, "count"),
    (
        "schedule",
        {**HOURLY, "end": {"condition": "time", "datetime": "2029-01-01"}},
        "end before it begins",
    ),
]


async def test_schedules_that_cannot_be(timing: World) -> None:
    user = await timing.user()
    for place, schedule, words in BAD:
        told = mistakes(await user.http.post("/v2/timer", json=user.timer(**schedule)))
        assert words in told[f"body.timer.{place}"], (schedule, told)
    assert (await user.http.get("/jobs/")).json() == {"jobs": []}


async def test_transfers_that_cannot_be(timing: World) -> None:
    user = await timing.user()
    item = user.body()["DATA"][0]
    bad: list[tuple[str, dict[str, Any], str]] = [
        ("body.DATA", {"DATA": []}, "at least 1"),
        ("body.DATA", {"DATA": [item] * 3}, "2 that a timer may have"),
        ("body.DATA.0.source_path", {"DATA": [{"destination_path": "/b"}]}, "required"),
        ("body.source_endpoint", {"source_endpoint": "lake"}, "UUID"),
        ("body.destination_endpoint", {"destination_endpoint": str(uuid4())}, "No such endpoint"),
        ("body.sync_level", {"sync_level": 4}, "3"),
        ("body.verify_checksum", {"verify_checksum": "yes"}, "boolean"),
        ("body", {"deadline": "2031-01-01"}, "deadline"),
        ("body", {"label": "a\0b"}, "NUL"),
        ("body", {"more": {"deep": "\ud800"}}, "Unicode"),
        ("body.label", {"label": "x" * 129}, "128"),
    ]
    for place, change, words in bad:
        document = user.timer(**HOURLY)
        document["timer"]["body"] |= change
        content = json.dumps(document)  # the client's own would refuse a lone surrogate
        told = mistakes(await user.http.post("/v2/timer", content=content, headers=JSON))
        assert words in told[f"body.timer.{place}"], (change, told)
    ignored = user.timer(**HOURLY)
    ignored["timer"]["body"] |= {"submission_id": str(uuid4()), "skip_activation_check": True}
    made = await user.http.post("/v2/timer", json=ignored)
    assert made.json()["timer"]["body"] == user.body(), "each run has a submission of its own"


async def test_flows_are_refused(timing: World) -> None:
    user = await timing.user()
    timer = globus_sdk.FlowTimer(
        flow_id=uuid4(), name="flow", schedule=globus_sdk.OnceTimerSchedule(), body={"body": {}}
    )
    document = {"timer": {**timer, "flow_id": str(timer["flow_id"]), "schedule": {"type": "once"}}}
    told = mistakes(await user.http.post("/v2/timer", json=document))
    assert "no Flows" in told["body.timer"]


async def test_no_document_at_all(timing: World) -> None:
    user = await timing.user()
    for content in (b"", b"[]", b"{", b"[" * 5000, b'{"timer": 1}', b'{"timer": {"name": NaN}}'):
        answer = await user.http.post("/v2/timer", content=content, headers=JSON)
        assert answer.status_code in (400, 422), (content[:20], answer.text)
    large = await user.http.post("/v2/timer", content=b" " * 2**20 + b"{}", headers=JSON)
    error(large, 413, "REQUEST_ENTITY_TOO_LARGE")


async def test_what_is_not_called_json(timing: World) -> None:
    user = await timing.user()
    for place in ("/v2/timer", "/jobs/"):
        for kind in ("text/plain", "multipart/form-data", ""):
            told = await user.http.post(place, content=b"{}", headers={"Content-Type": kind})
            assert mistakes(told), (place, kind)


async def test_so_many_for_one_owner(timing: World) -> None:
    user, other = await timing.user(), await timing.user()
    made = [await user.makes(**HOURLY) for _ in range(3)]
    refused = await user.http.post("/v2/timer", json=user.timer(**HOURLY))
    assert "3 timers" in error(refused, 409, "TOO_MANY_TIMERS")
    await other.makes(**HOURLY)
    await user.http.delete(f"/jobs/{made[0]}")
    await user.makes(**HOURLY)
    async with timing.nexus.database.connection() as conn:
        found = await conn.execute("SELECT count(*) AS n FROM token WHERE kind = 'refresh'")
        assert await found.fetchone() == {"n": 4}, "of those that are there"


async def test_another_ones_timer_does_not_exist(timing: World) -> None:
    user, other = await timing.user(), await timing.user()
    job_id = await user.makes(**HOURLY)
    for method, path, body in (
        ("GET", f"/jobs/{job_id}", None),
        ("PATCH", f"/jobs/{job_id}", {"name": "mine"}),
        ("DELETE", f"/jobs/{job_id}", None),
        ("POST", f"/jobs/{job_id}/pause", None),
        ("POST", f"/jobs/{job_id}/resume", {}),
    ):
        theirs = error(await other.http.request(method, path, json=body), 404, "NOT_FOUND")
        nobodys = path.replace(job_id, str(uuid4()))
        absent = error(await other.http.request(method, nobodys, json=body), 404, "NOT_FOUND")
        assert theirs.replace(job_id, "") == absent.replace(nobodys.split("/")[2], "")
    assert (await other.http.get("/jobs/")).json() == {"jobs": []}
    assert (await user.job(job_id))["name"] == "mirror"


async def test_tokens_that_will_not_do(timing: World) -> None:
    user = await timing.user()
    assert (await timing.at(timing.app).get("/jobs/")).status_code == 401
    assert (await timing.at(timing.app, "x").get("/jobs/")).status_code == 401
    bearer = user.transfer.headers["Authorization"]
    assert (await timing.at(timing.app).get("/jobs/", headers={"Authorization": bearer})).is_error


async def test_a_consent_that_is_missing_is_asked_for(timing: World) -> None:
    """One from before Timers needed Transfer, as it were."""
    user = await timing.user()
    async with timing.nexus.database.connection() as conn:
        await conn.execute("DELETE FROM consent WHERE parent_id IS NOT NULL")
    refused = await user.http.post("/v2/timer", json=user.timer(**HOURLY))
    assert "consent" in error(refused, 403, "ConsentRequired")
    gare = to_gare(refused.json())
    assert gare is not None
    assert gare.authorization_parameters.required_scopes == [
        f"{TIMER}[urn:globus:auth:scope:transfer.api.globus.org:all]"
    ]


async def test_changes(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(**HOURLY)
    renamed = await user.http.patch(f"/jobs/{job_id}", json={"name": "lake to sea"})
    assert renamed.json()["name"] == "lake to sea"
    await timing.rounds(runner)
    changed = await user.http.patch(
        f"/jobs/{job_id}", json={"interval": 7200.0, "stop_after_n": 4, "stop_after": "2031-01-01"}
    )
    job = changed.json()
    assert (job["interval"], job["next_run"]) == (7200.0, "2030-01-01T14:00:00+00:00")
    assert job["stop_after"] == {"date": "2031-01-01T00:00:00+00:00", "n_runs": 4}
    free = await user.http.patch(f"/jobs/{job_id}", json={"stop_after": None, "stop_after_n": None})
    assert free.json()["stop_after"] is None
    refused = await user.http.patch(f"/jobs/{job_id}", json={"callback_body": {}})
    assert "body.callback_body" in mistakes(refused)
    assert "shortest" in str(
        mistakes(await user.http.patch(f"/jobs/{job_id}", json={"interval": 5}))
    )


async def test_one_that_is_over(timing: World) -> None:
    user, runner = await timing.user(), timing.runner()
    job_id = await user.makes(type="once")
    await timing.rounds(runner)
    await timing.finish()
    timing.clock.move(minutes=1)
    await timing.rounds(runner)
    for path, body in (("pause", None), ("resume", {})):
        answer = await user.http.post(f"/jobs/{job_id}/{path}", json=body)
        assert "make a new one" in error(answer, 409, "TIMER_ENDED")
    answer = await user.http.patch(f"/jobs/{job_id}", json={"interval": 100})
    error(answer, 409, "TIMER_ENDED")
    assert (await user.http.delete(f"/jobs/{job_id}")).status_code == 200


async def test_lists_are_sorted(timing: World) -> None:
    user = await timing.user()
    made = []
    for name in ("b", "a"):
        document = user.timer(**HOURLY)
        document["timer"]["name"] = name
        made.append((await user.http.post("/v2/timer", json=document)).json()["timer"]["job_id"])
        timing.clock.move(minutes=1)

    async def listed(order: str) -> list[str]:
        found = await user.http.get("/jobs/", params={"order": order})
        return [job["job_id"] for job in found.json()["jobs"]]

    assert await listed("submitted_at asc") == made
    assert await listed("submitted_at desc") == await listed("name") == made[::-1]
    assert (
        "one of"
        in mistakes(await user.http.get("/jobs/", params={"order": "id; --"}))["query.order"]
    )
