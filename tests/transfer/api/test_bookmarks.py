"""Bookmarks over HTTP: each user's own, by names that are theirs once."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from plugins.transfer_api import Api, assert_error
from towpath.platform.account_changes import AccountChange
from towpath.platform.database import Database
from towpath.transfer.api import bookmarks as routes
from towpath.transfer.store import owners
from towpath.transfer.store.tasks import Terms


def bookmark(endpoint: str, **changes: Any) -> dict[str, Any]:
    return {"name": "runs", "endpoint_id": endpoint, "path": "/~/runs/", **changes}


async def names(who: Api) -> list[str]:
    return [one["name"] for one in (await who.get("bookmark_list")).json()["DATA"]]


async def test_create_change_and_delete(alice: Api, bob: Api, lake: str) -> None:
    answer = await alice.post("bookmark", bookmark(lake))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made == {
        "DATA_TYPE": "bookmark",
        "id": str(UUID(made["id"])),
        "pinned": False,
        **bookmark(lake),
    }
    route = f"bookmark/{made['id']}"
    assert (await alice.get(route)).json() == made
    changed = (await alice.put(route, {"DATA_TYPE": "bookmark", "name": "Tape"})).json()
    assert changed == {**made, "name": "Tape"}
    changed = (await alice.put(route, {"path": "/tape/", "pinned": True})).json()
    assert changed == {**made, "name": "Tape", "path": "/tape/", "pinned": True}
    assert (await alice.get("bookmark_list")).json()["DATA"] == [changed]
    assert (await alice.get(route, fields="name")).json() == {
        "DATA_TYPE": "bookmark",
        "name": "Tape",
    }
    assert await names(bob) == []
    for answer in (await bob.get(route), await bob.put(route, {}), await bob.delete(route)):
        assert_error(answer, 404, "BookmarkNotFound")
    assert (await alice.delete(route)).json()["code"] == "Deleted"
    for answer in (await alice.delete(route), await alice.get("bookmark/nonsense")):
        assert_error(answer, 404, "BookmarkNotFound")


async def test_names_are_unique_for_each_user_and_not_too_many(
    alice: Api, bob: Api, lake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await alice.post("bookmark", bookmark(lake))
    other = (await alice.post("bookmark", bookmark(lake, name="Runs"))).json()
    assert await names(alice) == ["Runs", "runs"]
    taken = "ClientError.Conflict.BookmarkExists"
    assert_error(await alice.post("bookmark", bookmark(lake)), 409, taken)
    assert_error(await alice.put(f"bookmark/{other['id']}", {"name": "runs"}), 409, taken)
    assert (await bob.post("bookmark", bookmark(lake))).status_code == 201
    monkeypatch.setattr(routes, "MAX_BOOKMARKS", 2)
    full = await alice.post("bookmark", bookmark(lake, name="more"))
    assert_error(full, 409, "ClientError.Conflict.TooManyBookmarks")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"name": " runs"}, "name"),
    ({"name": ""}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"name": "x" * 129}, "name"),
    ({"path": "/runs"}, "directory"),
    ({"path": "/a/../"}, "path"),
    ({"path": ""}, "path"),
    ({"pinned": "yes"}, "pinned"),
    ({"endpoint_id": "lake"}, "endpoint_id"),
]


async def test_bad_bookmarks_are_refused(alice: Api, bob: Api, lake: str) -> None:
    for change, word in BAD:
        answer = await alice.post("bookmark", bookmark(lake, **change))
        assert answer.status_code == 400, change
        assert word in answer.json()["message"]
    await alice.put(f"endpoint/{lake}", {"public": False})
    assert_error(await bob.post("bookmark", bookmark(lake)), 404, "EndpointNotFound")
    assert_error(await alice.post("bookmark", bookmark(str(uuid4()))), 404, "EndpointNotFound")
    mine = (await alice.post("bookmark", bookmark(lake))).json()
    elsewhere = await alice.put(f"bookmark/{mine['id']}", {"endpoint_id": str(uuid4())})
    assert_error(elsewhere, 404, "EndpointNotFound")


async def test_a_bookmark_outlives_its_endpoint_and_not_its_owner(
    alice: Api, lake: str, database: Database
) -> None:
    """Also one that was on its way in when its owner went."""
    async with database.transaction() as conn:
        await owners.take_over(conn, AccountChange(1, [alice.sub], "deleted"))
    made = (await alice.post("bookmark", bookmark(lake))).json()
    await alice.delete(f"endpoint/{lake}")
    assert await names(alice) == ["runs"]
    renamed = await alice.put(f"bookmark/{made['id']}", {"name": "gone"})
    assert renamed.json()["name"] == "gone"
    terms = Terms(timedelta(hours=1), 100)
    async with database.transaction() as conn:
        await owners.fit_tasks(conn, suspended=terms, restored=terms)
    assert await names(alice) == []
