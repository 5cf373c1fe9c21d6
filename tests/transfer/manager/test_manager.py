"""The Manager's routes: who may what, and what becomes of it at Transfer and at the agents."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest

from plugins.manager_api import MAPPINGS, Lab, Manager, User
from plugins.shares import share
from plugins.standings import endpoint
from plugins.transfer_api import assert_error
from towpath.nexus.scopes import GROUPS_ALL
from towpath.nexus.well_known import data_access_scope
from towpath.platform.database import Connection
from towpath.platform.rates import Rates
from towpath.transfer.api import SCOPE, TransferService
from towpath.transfer.manager import collections
from towpath.transfer.manager.asking import manage_scope
from towpath.transfer.manager.documents import gateway_id
from towpath.transfer.rights import Who
from towpath.transfer.store import endpoints
from towpath.transfer.store.endpoints import Endpoint

MAPPED = {"DATA_TYPE": "collection#1.0.0", "collection_type": "mapped"}


async def give(service: TransferService, endpoint_id: str, role: str, to: User) -> None:
    async with service.database.connection() as conn:
        await conn.execute(
            "INSERT INTO role (id, endpoint_id, principal_type, principal, role, created_by)"
            " VALUES (%s, %s, 'identity', %s, %s, %s)",
            (uuid4(), endpoint_id, to.sub, role, to.sub),
        )


async def only_collection(manager: Manager) -> dict[str, Any]:
    (found,) = (await manager.call("GET", "collections"))["data"]
    one: dict[str, Any] = found
    return one


async def test_whose_token_it_must_be(alice: User, bob: User, lab: Lab) -> None:
    nobody = Manager(alice.api.http, lab.id, None)
    await nobody.refused("GET", "endpoint", expect=401)
    await Manager(alice.api.http, lab.id, "nonsense").refused("GET", "endpoint", expect=401)
    # tokens for other services, and for another endpoint
    await (await alice.at(lab.id, GROUPS_ALL)).refused("GET", "endpoint", expect=401)
    for scope in (SCOPE, manage_scope(uuid4())):
        told = await (await alice.at(lab.id, scope)).refused("GET", "endpoint", expect=403)
        assert f"globus login --gcs {lab.id}" in told
    own = await alice.at(lab.id)
    assert (await own.one("GET", "endpoint"))["id"] == lab.id
    # and it is good for nothing else
    wrong = {"Authorization": f"Bearer {own.token}"}
    answer = await alice.api.http.get("/v0.10/task_list", headers=wrong)
    assert (answer.status_code, answer.json()["code"]) == (403, "PermissionDenied")
    for nothing in (str(uuid4()), str(UUID(int=0))):
        await (await alice.at(nothing)).refused("GET", "endpoint", expect=404)
    laptop = await alice.api.post("endpoint", {"display_name": "x", "is_globus_connect": True})
    await (await alice.at(laptop.json()["id"])).refused("GET", "endpoint", expect=404)


async def test_who_asks_too_often_is_told_to_wait(
    service: TransferService, alice: User, lab: Lab
) -> None:
    own, nonsense = await alice.at(lab.id), Manager(alice.api.http, lab.id, "nonsense")
    object.__setattr__(service, "refusals", Rates(2))
    object.__setattr__(service, "requests", Rates(3))
    for expect in (401, 401, 429):
        await nonsense.refused("GET", "endpoint", expect=expect)
    await own.refused("GET", "endpoint", expect=429)
    object.__setattr__(service, "refusals", Rates(2))
    for expect in (200, 200, 200, 429):
        answer = await own.http.get(
            f"/gcs/{lab.id}/api/endpoint", headers={"Authorization": f"Bearer {own.token}"}
        )
        assert answer.status_code == expect, answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.json()["code"] == "too_many_requests"


async def test_info_needs_no_token_and_tells_nothing(alice: User, lab: Lab) -> None:
    told = await Manager(alice.api.http, lab.id, None).call("GET", "info")
    info, connector = told["data"]
    assert info["endpoint_id"] == info["client_id"] == lab.id
    assert (info["domain_name"], connector["display_name"]) == ("towpath.test", "POSIX")
    unknown = str(uuid4())
    other = await Manager(alice.api.http, unknown, None).call("GET", "info")
    assert other["data"] == [
        {**info, "endpoint_id": unknown, "client_id": unknown},
        connector,
    ]


async def test_what_others_may_not_see_does_not_exist(
    service: TransferService, alice: User, bob: User, lab: Lab
) -> None:
    """The endpoint is public, its collection is not."""
    foreign, own = await bob.at(lab.id), await alice.at(lab.id)
    collection = (await only_collection(own))["id"]
    assert (await foreign.call("GET", "collections"))["data"] == []
    await foreign.refused("GET", "collections", expect=404, mapped_collection_id=collection)
    assert (await own.call("GET", "collections", mapped_collection_id=collection))["data"] == []
    for method, path in (
        ("GET", f"collections/{collection}"),
        ("PATCH", f"collections/{collection}"),
        ("DELETE", f"collections/{collection}"),
        ("GET", "collections/nonsense"),
        ("GET", f"collections/{lab.id}"),
    ):
        await foreign.refused(method, path, {"DATA_TYPE": "collection#1.0.0"}, expect=404)
    await own.call("PATCH", "endpoint", {"DATA_TYPE": "endpoint#1.2.0", "public": False})
    await foreign.refused("GET", "endpoint", expect=404)
    await give(service, lab.id, "activity_monitor", bob)
    assert (await foreign.one("GET", "endpoint"))["public"] is False
    assert (await only_collection(foreign))["id"] == collection


async def test_private_policies_are_for_administrators(
    service: TransferService, alice: User, bob: User, lab: Lab
) -> None:
    other, own = await bob.at(lab.id), await alice.at(lab.id)
    collection = (await only_collection(own))["id"]
    private = (
        "collections",
        f"collections/{collection}",
        "storage_gateways",
        f"storage_gateways/{gateway_id(UUID(lab.id))}",
    )
    await give(service, lab.id, "access_manager", bob)
    for path in private:
        await other.refused("GET", path, expect=403, include="private_policies")
    assert "collection_base_path" not in await only_collection(other)
    await give(service, lab.id, "administrator", bob)
    for path in private:
        await other.call("GET", path, include="private_policies")
    assert (await only_collection(other))["collection_base_path"] == "/srv/data"


async def test_the_endpoint_itself(alice: User, lab: Lab) -> None:
    own = await alice.at(lab.id)
    changes = {
        "DATA_TYPE": "endpoint#1.2.0",
        "display_name": "The lab",
        "description": "d",
        "keywords": ["tides", "waves"],
        "network_use": "custom",
        "max_concurrency": 4,
        "max_parallelism": 8,
        "preferred_concurrency": 2,
        "preferred_parallelism": 4,
    }
    assert (await own.call("PATCH", "endpoint", changes))["data"] == []
    shown = await own.one("PATCH", "endpoint?include=endpoint", {"DATA_TYPE": "endpoint#1.0.0"})
    assert shown == await own.one("GET", "endpoint")
    assert {name: shown[name] for name in changes} == changes
    at_transfer = (await alice.api.get(f"endpoint/{lab.id}")).json()
    assert at_transfer["display_name"] == "The lab"
    assert at_transfer["keywords"] == "tides, waves"
    assert at_transfer["gcs_manager_url"] == f"https://towpath.test/gcs/{lab.id}"
    for bad in (
        {"subscription_id": str(uuid4())},
        {"subscription_id": "DEFAULT"},
        {"allow_udt": True},
        {"gridftp_control_channel_port": 2811},
        {"network_use": "custom"},
        {"display_name": "\n"},
        {"DATA_TYPE": "collection#1.0.0"},
    ):
        await own.refused("PATCH", "endpoint", {"DATA_TYPE": "endpoint#1.2.0", **bad}, expect=422)
    subscription = {"DATA_TYPE": "endpoint_subscription#1.0.0", "subscription_id": "DEFAULT"}
    told = await own.refused("PUT", "endpoint/subscription_id", subscription, expect=422)
    assert "no subscriptions" in told


async def test_what_managers_set_stays_whatever_the_agents_report(alice: User, lab: Lab) -> None:
    own = await alice.at(lab.id)
    before = await only_collection(own)
    assert (before["description"], before["public"]) == ("the site's words", False)
    path = f"collections/{before['id']}"
    await own.call(
        "PATCH",
        path,
        {
            "DATA_TYPE": "collection#1.14.0",
            "display_name": "Tides",
            "public": True,
            "description": None,
            "user_message": "hello",
            "default_directory": "/in/",
            "access": "r",
            "allow_guest_collections": True,
        },
    )
    wanted = {
        "display_name": "Tides",
        "public": True,
        "description": None,
        "user_message": "hello",
        "default_directory": "/in/",
        "access": "r",
        "allow_guest_collections": True,
    }
    reported = {"name": "Data", "base_path": "/srv/data", "policies": {"organization": "o"}}
    told = await lab.report(collections=[reported])
    assert [one["id"] for one in told["collections"]] == [before["id"]]
    assert told["collections"][0]["name"] == "Data", "an agent knows it by its own name"
    shown = await own.one("GET", path)
    assert {name: shown[name] for name in wanted} == wanted
    assert shown["organization"] == "o"
    at_transfer = (await alice.api.get(f"endpoint/{before['id']}")).json()
    assert (at_transfer["display_name"], at_transfer["public"]) == ("Tides", True)
    assert at_transfer["owner_id"] == lab.id
    # less than the agents allow, and never more
    await own.call("PATCH", path, {"DATA_TYPE": "collection#1.0.0", "access": "rw"})
    await lab.report(collections=[{**reported, "access": "r"}])
    assert (await own.one("GET", path))["access"] == "r"
    await own.refused("PATCH", path, {"DATA_TYPE": "collection#1.0.0", "access": "rw"}, expect=422)
    told = await own.refused("DELETE", path, expect=422)
    assert "towpath connect collection remove 'Data'" in told
    await lab.report(collections=[])
    await own.refused("GET", path, expect=404)


async def test_what_managers_set_while_agents_report_stays(
    alice: User, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = await alice.at(lab.id)
    path = f"collections/{(await only_collection(own))['id']}"
    forbid = {"DATA_TYPE": "collection#1.0.0", "allow_guest_collections": False}
    listed, setting = endpoints.collections, []

    async def slowly(conn: Connection, endpoint_id: UUID) -> list[Endpoint]:
        found = await listed(conn, endpoint_id)
        if not setting:
            setting.append(asyncio.create_task(own.call("PATCH", path, forbid)))
            await asyncio.wait(setting, timeout=0.5)
        return found

    monkeypatch.setattr(endpoints, "collections", slowly)
    reported = {"name": "Data", "base_path": "/srv/data", "policies": {"organization": "o"}}
    await lab.report(collections=[reported])
    await asyncio.gather(*setting)
    shown = await own.one("GET", path)
    assert (shown["organization"], shown["allow_guest_collections"]) == ("o", False)


async def test_mapped_collections_where_the_site_has_opened_a_root(alice: User, lab: Lab) -> None:
    own = await alice.at(lab.id)
    for number, path in enumerate(("/srv/open", "/srv/open/ana/", "/srv/open/archive/1999")):
        made = await own.one(
            "POST",
            "collections",
            {**MAPPED, "display_name": f"c{number}", "collection_base_path": path},
            expect=201,
        )
        assert made["collection_base_path"] == path.rstrip("/")
        assert made["access"] == ("r" if "archive" in path else "rw")
        assert made["identity_id"] == str(alice.sub)
    told = await lab.report(node_name="dtn")
    assert [one["name"] for one in told["collections"]] == ["Data"]
    managed = {one["name"]: one for one in told["managed_collections"]}
    assert managed["c2"] == {
        "id": made["id"],
        "name": "c2",
        "base_path": "/srv/open/archive/1999",
        "access": "r",
    }
    # a site that closes the directory closes them, and what it allows holds
    await alice.token(f"{SCOPE}[*{data_access_scope(UUID(managed['c1']['id']))}]")
    operation = f"operation/endpoint/{managed['c1']['id']}"
    await lab.report(roots=[{"path": "/srv/open/archive", "access": "r"}])
    answer = await alice.api.get(f"{operation}/ls", path="/")
    assert "the site has closed its directory" in assert_error(answer, 403, "PermissionDenied")
    await lab.report(roots=[{"path": "/srv/open", "access": "r"}])
    delete = {"submission_id": str(uuid4()), "endpoint": managed["c1"]["id"]}
    answer = await alice.api.post("delete", {**delete, "DATA": [{"path": "/a"}]})
    assert "may only be read" in assert_error(answer, 403, "PermissionDenied")
    # a report says nothing of them, and they stay
    await lab.report(collections=[])
    found = (await own.call("GET", "collections", filter="mapped_collections"))["data"]
    assert {one["display_name"] for one in found} == {"c0", "c1", "c2"}
    await own.refused(
        "PATCH",
        f"collections/{made['id']}",
        {"DATA_TYPE": "collection#1.0.0", "access": "rw"},
        expect=422,
    )
    protect = {"DATA_TYPE": "collection#1.0.0", "delete_protected": True}
    await own.call("PATCH", f"collections/{made['id']}", protect)
    await own.refused("DELETE", f"collections/{made['id']}", expect=409)
    await own.call("PATCH", f"collections/{made['id']}", {**protect, "delete_protected": False})
    assert (await own.call("DELETE", f"collections/{made['id']}"))["data"] == []
    await own.refused("GET", f"collections/{made['id']}", expect=404)


@pytest.mark.parametrize("path", ["/", "/srv", "/srv/data", "/srv/opened", "/srv/open/../data"])
async def test_no_mapped_collection_elsewhere(alice: User, lab: Lab, path: str) -> None:
    own = await alice.at(lab.id)
    document = {**MAPPED, "display_name": "c", "collection_base_path": path}
    told = await own.refused("POST", "collections", document, expect=422)
    assert "towpath connect managers allow" in told or "'..'" in told
    await lab.report(roots=[])
    document["collection_base_path"] = "/srv/open"
    told = await own.refused("POST", "collections", document, expect=422)
    assert "towpath connect managers allow /srv/open" in told
    assert "towpath connect collection add NAME --base-path /srv/open" in told


async def test_what_is_not_offered_is_refused_and_not_kept(alice: User, lab: Lab) -> None:
    own = await alice.at(lab.id)
    path = f"collections/{(await only_collection(own))['id']}"
    for field, value in (
        ("enable_https", True),
        ("domain_name", "data.example.org"),
        ("high_assurance", True),
        ("require_mfa", True),
        ("auto_delete_timeout", 5),
        ("acl_expiration_mins", 5),
        (
            "policies",
            {"DATA_TYPE": "posix_collection_policies#1.0.0", "sharing_groups_allow": ["g"]},
        ),
        ("collection_base_path", "/etc"),
        ("collection_type", "guest"),
        ("identity_id", str(uuid4())),
        ("storage_gateway_id", str(uuid4())),
        ("access", "x"),
        ("sharing_restrict_paths", {"read": ["relative"]}),
    ):
        document = {"DATA_TYPE": "collection#1.0.0", field: value}
        told = await own.refused("PATCH", path, document, expect=422)
        assert field in told
    answer = await own.http.patch(
        f"/gcs/{lab.id}/api/{path}",
        content=b"no json",
        headers={"Authorization": f"Bearer {own.token}"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_pages(alice: User, bob: User, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    own = await alice.at(lab.id)
    reported = [
        {
            "name": f"c{number}",
            "base_path": f"/srv/{number}",
            "policies": {"public": number % 2 == 0},
        }
        for number in range(9)
    ]
    await lab.report(collections=reported)

    async def pages(manager: Manager, **query: Any) -> list[list[str]]:
        found, marker = [], ""
        while True:
            more = {"marker": marker} if marker else {}
            told = await manager.call("GET", "collections", page_size=2, **query, **more)
            found.append([one["display_name"] for one in told["data"]])
            marker = told["marker"]
            assert told["has_next_page"] is bool(marker)
            if not marker:
                return found

    monkeypatch.setattr(collections, "LOOKED_AT_ONCE", 2)
    seen = await pages(own)
    assert sorted(name for page in seen for name in page) == [f"c{n}" for n in range(9)]
    assert [len(page) for page in seen] == [2, 2, 2, 2, 1]
    seen = await pages(await bob.at(lab.id))
    assert sorted(name for page in seen for name in page) == ["c0", "c2", "c4", "c6", "c8"]
    assert await pages(own, filter="guest_collections") == [[]]
    assert await pages(own, filter="managed_by_me,mapped_collections") != [[]]
    assert await pages(await bob.at(lab.id), filter="created_by_me") == [[]]
    for bad in ({"filter": "mine"}, {"marker": "x"}, {"include": "all"}, {"page_size": 0}):
        status = 400 if "page_size" in bad else 422
        await own.refused("GET", "collections", expect=status, **bad)


async def test_the_one_storage_gateway(alice: User, lab: Lab) -> None:
    own = await alice.at(lab.id)
    listed = await own.one("GET", "storage_gateways")
    assert (listed["id"], listed["display_name"]) == (str(gateway_id(UUID(lab.id))), "Lab (POSIX)")
    assert "identity_mappings" not in listed
    path = f"storage_gateways/{listed['id']}"
    private = await own.one("GET", path, include="private_policies")
    assert private["identity_mappings"] == [MAPPINGS]
    assert private["restrict_paths"]["read_write"] == ["/srv/open"]
    document: dict[str, Any] = {"DATA_TYPE": "storage_gateway#1.0.0"}
    await own.call("PATCH", path, {**document, "display_name": "Disks"})
    assert (await own.one("GET", path))["display_name"] == "Disks"
    told = await own.refused("PATCH", path, {**document, "users_allow": ["ana"]}, expect=422)
    assert "towpath connect" in told
    await own.refused("GET", f"storage_gateways/{uuid4()}", expect=404)


async def test_user_credentials_are_there_for_who_is_mapped(
    alice: User, bob: User, lab: Lab
) -> None:
    own, other = await alice.at(lab.id), await bob.at(lab.id)
    mine = await own.one("GET", "user_credentials")
    assert mine == await own.one("GET", f"user_credentials/{mine['id']}")
    assert (mine["identity_id"], mine["username"], mine["invalid"]) == (
        str(alice.sub),
        "daemon",
        False,
    )
    assert (await other.one("GET", "user_credentials"))["id"] != mine["id"]
    await other.refused("GET", f"user_credentials/{mine['id']}", expect=404)
    gateway = mine["storage_gateway_id"]
    document = {
        "DATA_TYPE": "user_credential#1.0.0",
        "storage_gateway_id": gateway,
        "identity_id": str(alice.sub),
        "username": "daemon",
    }
    named = await own.one("POST", "user_credentials", {**document, "display_name": "n"}, expect=201)
    assert (named["id"], named["display_name"]) == (mine["id"], "n")
    for bad, words in (
        ({"username": "root"}, "'daemon'"),
        ({"storage_gateway_id": str(uuid4())}, gateway),
        ({"policies": {"DATA_TYPE": "s3_user_credential_policies#1.0.0"}}, "POSIX"),
    ):
        told = await own.refused("POST", "user_credentials", {**document, **bad}, expect=422)
        assert words in told
    await other.refused("POST", "user_credentials", document, expect=403)
    path = f"user_credentials/{mine['id']}"
    changed = {"DATA_TYPE": "user_credential#1.0.0", "display_name": "m"}
    assert (await own.one("PATCH", path, changed))["display_name"] == "m"
    await lab.report(mappings=[])
    assert (await own.one("GET", path))["invalid"] is True
    told_all = await own.call("DELETE", path)
    assert mine["id"] in told_all["message"]
    assert (await own.call("GET", "user_credentials"))["data"] == []
    told = await own.refused("POST", "user_credentials", document, expect=422)
    assert "towpath connect map add" in told
    assert (await own.call("GET", "user_credentials", storage_gateway=str(uuid4())))["data"] == []


async def test_roles(alice: User, bob: User, lab: Lab) -> None:
    own, other = await alice.at(lab.id), await bob.at(lab.id)
    collection = (await only_collection(own))["id"]
    urn = f"urn:globus:auth:identity:{bob.sub}"
    document = {"DATA_TYPE": "role#1.0.0", "principal": urn, "role": "activity_monitor"}
    await other.refused("POST", "roles", document, expect=403)
    given = await own.one("POST", "roles", document, expect=201)
    assert {name: given[name] for name in ("principal", "role", "collection")} == {
        "principal": urn,
        "role": "activity_monitor",
        "collection": None,
    }
    await own.refused("POST", "roles", document, expect=409)
    # at the collection, which Bob sees by the role at the endpoint; he gives nobody any
    below = {**document, "collection": collection, "role": "access_manager"}
    await other.refused("POST", "roles", below, expect=403)
    at_collection = await own.one("POST", "roles", below, expect=201)
    assert at_collection["collection"] == collection
    group = {**document, "principal": f"urn:globus:groups:id:{uuid4()}", "role": "administrator"}
    groups = await own.one("POST", "roles", group, expect=201)
    for bad in (
        {"principal": str(bob.sub)},
        {"principal": "urn:globus:auth:identity:nobody"},
        {"role": "owner"},
    ):
        await own.refused("POST", "roles", {**document, **bad}, expect=422)
    await own.refused("POST", "roles", {**document, "collection": str(uuid4())}, expect=404)

    async def listed(manager: Manager, **query: Any) -> list[str]:
        found = (await manager.call("GET", "roles", **query))["data"]
        return sorted(one["id"] for one in found)

    assert await listed(own) == []
    assert await listed(own, include="all_roles") == sorted([given["id"], groups["id"]])
    first = await own.call("GET", "roles", include="all_roles", page_size=1)
    rest = await own.call("GET", "roles", include="all_roles", marker=first["marker"])
    assert {first["data"][0]["id"], rest["data"][0]["id"]} == {given["id"], groups["id"]}
    assert (first["has_next_page"], rest["has_next_page"]) == (True, False)
    assert await listed(other) == [given["id"]]
    assert await listed(other, collection_id=collection) == [at_collection["id"]]
    await other.refused("GET", "roles", expect=403, include="all_roles")
    assert (await other.one("GET", f"roles/{given['id']}"))["id"] == given["id"]
    await other.refused("GET", f"roles/{groups['id']}", expect=404)
    await other.refused("DELETE", f"roles/{groups['id']}", expect=404)
    await other.refused("DELETE", f"roles/{given['id']}", expect=403)
    # Transfer has the same ones
    at_transfer = (await alice.api.get(f"endpoint/{lab.id}/role_list")).json()["DATA"]
    assert {one["id"] for one in at_transfer} == {given["id"], groups["id"]}
    for role in (given, groups, at_collection):
        assert role["id"] in (await own.call("DELETE", f"roles/{role['id']}"))["message"]
        await own.refused("GET", f"roles/{role['id']}", expect=404)
    await other.refused("GET", f"collections/{collection}", expect=404)


async def test_what_guest_collections_need(alice: User, lab: Lab) -> None:
    """Before anything is looked at on the endpoint, whose agents are away here."""
    own = await alice.at(lab.id)
    mapped = (await only_collection(own))["id"]
    guest = {
        "DATA_TYPE": "collection#1.0.0",
        "collection_type": "guest",
        "display_name": "g",
        "mapped_collection_id": mapped,
        "collection_base_path": "/in",
    }
    for bad in (
        {"mapped_collection_id": None},
        {"collection_base_path": None},
        {"collection_base_path": "in"},
        {"identity_id": str(uuid4())},
        {"user_credential_id": str(uuid4())},
        {"storage_gateway_id": str(uuid4())},
        {"allow_guest_collections": True},
    ):
        await own.refused("POST", "collections", {**guest, **bad}, expect=422)
    unknown = {**guest, "mapped_collection_id": str(uuid4())}
    await own.refused("POST", "collections", unknown, expect=404)
    # an application may not share what it may not use
    envelope = await own.call("POST", "collections", guest, expect=403)
    needed = f"{manage_scope(UUID(lab.id))}[{data_access_scope(UUID(mapped))}]"
    assert (envelope["code"], envelope["required_scopes"]) == ("ConsentRequired", [needed])
    shared = {"host_endpoint": mapped, "host_path": "/in", "display_name": "g"}
    answer = await alice.api.post("shared_endpoint", shared)
    assert assert_error(answer, 403, "ConsentRequired") == envelope["message"]
    assert answer.json()["required_scopes"] == [f"{SCOPE}[*{data_access_scope(UUID(mapped))}]"]
    await alice.token(needed)
    assert_error(await alice.api.post("shared_endpoint", shared), 403, "ConsentRequired")
    forbid = {"DATA_TYPE": "collection#1.0.0", "allow_guest_collections": False}
    await own.call("PATCH", f"collections/{mapped}", forbid)
    await own.refused("POST", "collections", guest, expect=403)
    await own.call("PATCH", f"collections/{mapped}", {**forbid, "allow_guest_collections": True})
    deny = {"DATA_TYPE": "collection#1.0.0", "sharing_users_deny": ["daemon"]}
    await own.call("PATCH", f"collections/{mapped}", deny)
    told = await own.refused("POST", "collections", guest, expect=403)
    assert "do not let your account daemon share" in told
    await own.call("PATCH", f"collections/{mapped}", {**deny, "sharing_users_deny": []})
    told = await own.refused("POST", "collections", guest, expect=502)
    assert "never connected" in told


async def test_guest_collections_are_shown_and_changed(
    service: TransferService, alice: User, lab: Lab
) -> None:
    own = await alice.at(lab.id)
    mapped = UUID((await only_collection(own))["id"])
    async with service.database.transaction() as conn:
        host = await endpoints.get(conn, mapped)
        assert host is not None
        # its name is no UTF-8
        made = await share(conn, host, Who.alone(alice.sub, "alice"), "/d\udcff")
    path = f"collections/{made.id}"
    shown = await own.one("GET", path)
    assert shown["collection_base_path"] == "/\ufffdd\xff"
    change = {"DATA_TYPE": "collection#1.0.0", "collection_base_path": "/\ufffdd\xff"}
    policy = {"status": ["FAILED"], "transfer_use": []}
    await own.call("PATCH", path, {**change, "activity_notification_policy": policy})
    assert (await own.one("GET", path))["activity_notification_policy"] == policy
    for bad in ({"status": ["\0"]}, {"status": [float("nan")]}, {"status": {"a": "\0"}}):
        refused = {**change, "activity_notification_policy": bad}
        answer = await own.http.patch(
            f"/gcs/{lab.id}/api/{path}",
            content=json.dumps(refused),
            headers={"Authorization": f"Bearer {own.token}"},
        )
        assert answer.status_code == 422, answer.text


async def test_what_managers_demand_of_transfers(alice: User, lab: Lab) -> None:
    own = await alice.at(lab.id)
    mapped = (await only_collection(own))["id"]
    await alice.token(f"{SCOPE}[*{data_access_scope(UUID(mapped))}]")

    async def submitted() -> dict[str, Any]:
        document = {
            "submission_id": str(uuid4()),
            "source_endpoint": mapped,
            "destination_endpoint": mapped,
            "verify_checksum": False,
            "DATA": [{"source_path": "/a", "destination_path": f"/{uuid4()}"}],
        }
        answer = await alice.api.post("transfer", document)
        assert answer.status_code == 202, answer.text
        task: dict[str, Any] = (await alice.api.get(f"task/{answer.json()['task_id']}")).json()
        return {name: task[name] for name in ("encrypt_data", "verify_checksum")}

    assert await submitted() == {"encrypt_data": False, "verify_checksum": False}
    demand = {"DATA_TYPE": "collection#1.0.0", "force_encryption": True, "force_verify": True}
    await own.call("PATCH", f"collections/{mapped}", demand)
    assert await submitted() == {"encrypt_data": True, "verify_checksum": True}
    shown = (await alice.api.get(f"endpoint/{mapped}")).json()
    assert (shown["force_encryption"], shown["force_verify"], shown["disable_verify"]) == (
        True,
        True,
        False,
    )
    both = {"DATA_TYPE": "collection#1.0.0", "disable_verify": True}
    await own.refused("PATCH", f"collections/{mapped}", both, expect=422)


async def test_with_whom_something_is_shared_is_not_told_of_what(
    service: TransferService, alice: User, bob: User, lab: Lab
) -> None:
    own, other = await alice.at(lab.id), await bob.at(lab.id)
    async with service.database.transaction() as conn:
        (mapped,) = await endpoints.collections(conn, UUID(lab.id))
        guest = endpoint(alice.sub, host=mapped, share_path="/in", public=True)
        await endpoints.insert(conn, guest, {})
    hidden = ("mapped_collection_id", "user_credential_id")
    path = f"collections/{guest.id}"
    seen = await other.one("GET", path)
    assert [seen[name] for name in hidden] == [None, None]
    assert "collection_base_path" not in seen
    assert seen == await only_collection(other)
    known = await own.one("GET", path)
    mine = await own.one("GET", "user_credentials")
    assert [known[name] for name in hidden] == [str(mapped.id), mine["id"]]
    assert known["collection_base_path"] == "/in"
