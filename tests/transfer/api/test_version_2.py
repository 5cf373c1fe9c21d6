"""Bookmarks of version 2, servers, subscriptions; and how often one may ask."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from plugins.transfer_api import Api, assert_error
from towpath.platform.rates import Rates, TooOften
from towpath.transfer.api import TransferService


def bookmark(collection: str, name: str = "oak", path: str = "/data/") -> dict[str, Any]:
    return {
        "data": {
            "type": "Bookmark",
            "attributes": {"name": name, "path": path},
            "relationships": {"collection": {"data": {"type": "Collection", "id": collection}}},
        }
    }


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """In the shape of JSON:API; its words."""
    assert answer.headers["content-type"] == "application/vnd.api+json"
    document = answer.json()
    [error] = document["errors"]
    assert (answer.status_code, error["status"], error["code"]) == (status, str(status), code)
    assert len(document["meta"]["request_id"]) == 9
    detail: str = error["detail"]
    return detail


async def test_bookmarks_are_those_of_the_other_version(alice: Api, bob: Api, lake: str) -> None:
    http = alice.http
    made = await http.post("/v2/bookmarks", json=bookmark(lake))
    assert made.status_code == 201, made.text
    document = made.json()
    assert document["included"][0]["attributes"]["display_name"] == "lake"
    one = f"/v2/bookmarks/{document['data']['id']}"
    assert (await http.get(one)).json()["data"] == document["data"]
    old = (await alice.get("bookmark_list")).json()["DATA"]
    assert [(each["id"], each["name"]) for each in old] == [(document["data"]["id"], "oak")]
    change = {"data": {"type": "Bookmark", "attributes": {"name": "elm", "pinned": True}}}
    changed = (await http.patch(one, json=change)).json()["data"]
    assert changed["attributes"] == {"name": "elm", "path": "/data/", "pinned": True}
    listed = (await http.get("/v2/bookmarks")).json()
    assert [each["attributes"]["name"] for each in listed["data"]] == ["elm"]
    assert listed["links"] is None
    refused(await bob.http.get(one), 404, "BookmarkNotFound")
    refused(await bob.http.patch(one, json=change), 404, "BookmarkNotFound")
    taken = bookmark(lake, name="elm")
    refused(
        await http.post("/v2/bookmarks", json=taken), 409, "ClientError.Conflict.BookmarkExists"
    )
    other = {"data": {**change["data"], "id": str(uuid4())}}
    refused(await http.patch(one, json=other), 409, "ClientError.Conflict")
    for bad in (bookmark(lake, path="/a/../b"), {"data": {}}, bookmark("lake")):
        answer = await http.post("/v2/bookmarks", json=bad)
        assert answer.json()["errors"][0]["code"].startswith("ClientError.BadRequest")
    refused(await http.post("/v2/bookmarks", json=bookmark(str(uuid4()))), 404, "EndpointNotFound")
    assert (await http.delete(one)).json()["meta"]["request_id"]
    refused(await http.delete(one), 404, "BookmarkNotFound")


async def test_a_place_may_be_named_without_a_slash_at_its_end(alice: Api, lake: str) -> None:
    http = alice.http
    made = await http.post("/v2/bookmarks", json=bookmark(lake, path="/data/public"))
    assert made.json()["data"]["attributes"]["path"] == "/data/public/", made.text
    change = {"data": {"type": "Bookmark", "attributes": {"path": "/data/private"}}}
    one = f"/v2/bookmarks/{made.json()['data']['id']}"
    changed = (await http.patch(one, json=change)).json()["data"]
    assert changed["attributes"] == {"name": "oak", "path": "/data/private/", "pinned": False}


async def test_the_one_server_and_no_subscription(alice: Api, bob: Api, lake: str) -> None:
    listed = (await bob.get(f"endpoint/{lake}/server_list")).json()
    assert (listed["length"], listed["endpoint"]) == (1, lake)
    assert (await bob.get(f"endpoint/{lake}/server/0")).json() == listed["DATA"][0]
    assert_error(await bob.get(f"endpoint/{lake}/server/1"), 404, "ServerNotFound")
    put = f"endpoint/{lake}/subscription"
    assert (await alice.put(put, {"subscription_id": None})).json()["code"] == "Updated"
    assert_error(await bob.put(put, {"subscription_id": None}), 403, "PermissionDenied")
    for wanted in (str(uuid4()), "DEFAULT"):
        answer = await alice.put(put, {"subscription_id": wanted})
        assert "no subscriptions" in assert_error(answer, 400, "BadRequest")
    verified = {"subscription_admin_verified": True}
    route = f"endpoint/{lake}/subscription_admin_verified"
    assert_error(await alice.put(route, verified), 400, "BadRequest")
    assert_error(await bob.put(route, verified), 403, "PermissionDenied")


async def test_an_owner_who_asks_too_often_is_told_when_to_come_back(
    alice: Api, bob: Api, service: TransferService
) -> None:
    clock = [0.0]
    rates: Rates[Any] = Rates(60, clock=lambda: clock[0])
    object.__setattr__(service, "requests", rates)
    for _ in range(60):
        rates.take(alice.sub)
    answer = await alice.get("submission_id")
    assert_error(answer, 429, "ClientError.TooManyRequests")
    assert answer.headers["Retry-After"] == "1"
    assert (await bob.get("submission_id")).status_code == 200, "others are not concerned"
    assert_error(await alice.http.get("/v0.10/task/x"), 429, "ClientError.TooManyRequests")
    clock[0] = 1.0
    assert (await alice.get("submission_id")).status_code == 200
    assert (await alice.get("submission_id")).status_code == 429


async def test_tokens_that_are_not_accepted_are_counted_by_address(
    alice: Api, service: TransferService
) -> None:
    assert (await alice.get("submission_id")).status_code == 200
    object.__setattr__(service, "refusals", Rates(3))

    async def ask(token: str) -> int:
        header = {"Authorization": f"Bearer {token}"}
        return (await alice.http.get("/v0.10/submission_id", headers=header)).status_code

    assert [await ask(f"wrong{number}") for number in range(4)] == [401, 401, 401, 429]
    assert (
        await alice.http.get("/v0.10/submission_id", headers={"Authorization": ""})
    ).status_code == 429
    assert (await alice.get("submission_id")).status_code == 200, "hers was accepted just before"


def test_buckets_fill_again_and_are_bounded() -> None:
    clock = [0.0]
    rates: Rates[int] = Rates(60, keys_kept=2, clock=lambda: clock[0])
    for _ in range(60):
        rates.take(1)
    with pytest.raises(TooOften) as told:
        rates.take(1)
    assert told.value.retry_after_s == pytest.approx(1.0)
    clock[0] = 0.5
    with pytest.raises(TooOften) as told:
        rates.take(1)
    assert told.value.retry_after_s == pytest.approx(0.5)
    clock[0] = 1000.0
    for _ in range(60):
        rates.take(1)
    with pytest.raises(TooOften):
        rates.check(1)
    rates.take(2)
    rates.take(3)  # the first one is forgotten
    rates.take(1)
