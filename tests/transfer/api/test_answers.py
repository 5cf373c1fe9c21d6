"""Every route answers as the document of the API says. (Other tests of this room are held to it as
well, and those of the `globus` command, with tasks that ran.)"""

import time
from pathlib import Path
from uuid import uuid4

from plugins.connect_api import asked, relay_document, request_for, set_up
from plugins.myproxy import PASSWORDS, MyProxyServer
from plugins.transfer_api import Api, server_document
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.platform.database import Database
from towpath.transfer.api import TransferService, create_app
from towpath.transfer.api.openapi import openapi_document
from towpath.transfer.planned import Action, Facts, Planned, Reason
from towpath.transfer.store import plans, relays, segments
from towpath.transfer.store.rows import fetch_one
from towpath.transfer.store.segments import Finished, Skipped

REFUSED = {"set_subscription_verified"}
"""Whatever one asks of them."""


async def test_every_route(
    alice: Api,
    lake: str,
    server_a: GctServer,
    domain_a: Domain,
    myproxy_authority: MyProxyServer,
    service: TransferService,
    database: Database,
    tmp_path: Path,
    answered: set[str],
) -> None:
    await alice.post("endpoint_test", server_document(server_a, domain_a))
    await _look_at_endpoints(alice, lake)
    await _move_files(alice, lake, tmp_path)
    await _submit(alice, lake, database)
    await _bookmark(alice, lake)
    await _plan(alice, lake, database)
    await _connect(alice, database)
    await _be_told(alice)
    await _share(alice, lake, tmp_path)
    await _manage(alice, lake)
    await _activate(alice, lake, myproxy_authority)
    logon = {"server": myproxy_authority.address, "username": "alice"}
    await alice.post(
        f"endpoint/{lake}/credential/myproxy", {**logon, "passphrase": PASSWORDS["alice"]}
    )
    await alice.delete(f"endpoint/{lake}/credential")
    await alice.delete(f"endpoint/{lake}")
    document = openapi_document(create_app(service))
    told = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
        if "application/json" in next(iter(operation["responses"].values()))["content"]
    }
    assert told - answered == REFUSED


async def _look_at_endpoints(alice: Api, lake: str) -> None:
    await alice.get(f"endpoint/{lake}")
    await alice.put(f"endpoint/{lake}", {"description": "cold"})
    await alice.get("endpoint_search", filter_fulltext="cold")
    await alice.post(f"endpoint/{lake}/test")
    await alice.get(f"endpoint/{lake}/credential")
    await alice.get("credential_list")


async def _move_files(alice: Api, lake: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_text("1")
    base = f"operation/endpoint/{lake}"
    await alice.post(f"{base}/mkdir", {"path": f"{tmp_path}/old"})
    await alice.post(f"{base}/rename", {"old_path": f"{tmp_path}/old", "new_path": f"{tmp_path}/n"})
    listed = (await alice.get(f"{base}/ls", path=str(tmp_path))).json()["DATA"]
    assert {"file", "link", "n"} <= {one["name"] for one in listed}
    await alice.get(f"{base}/stat", path=f"{tmp_path}/file")


async def _submit(alice: Api, lake: str, database: Database) -> None:
    submission = (await alice.get("submission_id")).json()["value"]
    item = {"source_path": "/a", "destination_path": "/b"}
    between = {"source_endpoint": lake, "destination_endpoint": lake}
    again = await alice.post("transfer", {"submission_id": submission, **between, "DATA": [item]})
    task = f"task/{again.json()['task_id']}"
    removal = {"submission_id": str(uuid4()), "endpoint": lake, "DATA": [{"path": "/a"}]}
    await alice.post("delete", removal)
    await alice.put(task, {"label": "one"})
    await alice.post(f"{task}/pause")
    await alice.get(f"{task}/pause_info")
    await alice.post(f"{task}/resume")
    async with database.connection() as conn:
        row = await fetch_one(conn, "SELECT task_no FROM task WHERE type = 'TRANSFER'")
        assert row is not None
        await segments.append(conn, row[0], [Finished(0, "f", 1, "SHA256", "aa")])
        skipped = Skipped(0, "g", False, "FILE_NOT_FOUND", "gone", time.time())
        await segments.append(conn, row[0], [skipped])
    for part in ("items", "event_list", "successful_transfers", "skipped_errors"):
        assert (await alice.get(f"{task}/{part}")).json()["DATA"], part
    for part in ("fidelity", "throughput", "explain"):
        await alice.get(f"{task}/{part}")
    await alice.post(f"{task}/run_again", {"submission_id": str(uuid4())})
    async with database.connection() as conn:
        await conn.execute(
            "UPDATE task SET status = 'FAILED', completion_time = now(),"
            """ fatal_error = '{"code": "CANCELED", "description": "canceled"}'"""
        )
    await alice.post(f"{task}/cancel")
    await alice.get(task)
    await alice.get("task_list")


async def _plan(alice: Api, lake: str, database: Database) -> None:
    removal = {"submission_id": str(uuid4()), "endpoint": lake, "DATA": [{"path": "/a"}]}
    unwanted = (await alice.post("delete/plan", removal)).json()["plan_id"]
    await alice.get(f"plan/{unwanted}")
    item = {"source_path": "/a", "destination_path": "/b"}
    between = {"source_endpoint": lake, "destination_endpoint": lake}
    document = {"submission_id": str(uuid4()), **between, "DATA": [item]}
    plan = f"plan/{(await alice.post('transfer/plan', document)).json()['plan_id']}"
    async with database.connection() as conn:
        row = await fetch_one(
            conn,
            "UPDATE task SET status = 'SUCCEEDED', completion_time = now() WHERE type = 'PLAN'"
            " AND destination_endpoint_id IS NOT NULL RETURNING task_no",
        )
        assert row is not None
        facts, link = Facts("file", 1, 2, None), Facts("other", None, None, "/t")
        entries = [
            Planned(0, "\udce9", Action.OVERWRITE, Reason.DIFFERS, facts, link),
            Planned(0, "", Action.MAKE_DIRECTORY, Reason.NEW, above=1),
        ]
        await plans.add(conn, row[0], entries)
    await alice.get(plan)
    told = (await alice.get(f"{plan}/entries")).json()["DATA"]
    assert [one["destination_path"] for one in told] == ["/b/\ufffd\u00e9", "/"]
    await alice.post(f"{plan}/apply", {"submission_id": str(uuid4())})
    async with database.connection() as conn:
        await conn.execute("UPDATE task SET status = 'FAILED', completion_time = now()")
    await alice.delete(plan)


async def _bookmark(alice: Api, lake: str) -> None:
    place = {"name": "runs", "endpoint_id": lake, "path": "/runs/"}
    made = f"bookmark/{(await alice.post('bookmark', place)).json()['id']}"
    await alice.get(made)
    await alice.put(made, {"pinned": True})
    await alice.get("bookmark_list")
    await alice.delete(made)


async def _share(alice: Api, lake: str, tmp_path: Path) -> None:
    shared = {"display_name": "ours", "host_endpoint": lake, "host_path": str(tmp_path)}
    guest = f"endpoint/{(await alice.post('shared_endpoint', shared)).json()['id']}"
    whom = {"principal_type": "group", "principal": str(uuid4())}
    asked = {**whom, "path": "/", "permissions": "r"}
    rule = (await alice.post(f"{guest}/access", asked)).json()["access_id"]
    await alice.get(f"{guest}/access/{rule}")
    await alice.get(f"{guest}/access_list")
    await alice.put(f"{guest}/access/{rule}", {"permissions": "rw"})
    await alice.delete(f"{guest}/access/{rule}")
    role = (await alice.post(f"{guest}/role", {**whom, "role": "administrator"})).json()["id"]
    await alice.get(f"{guest}/role/{role}")
    await alice.get(f"{guest}/role_list")
    await alice.delete(f"{guest}/role/{role}")
    await alice.get(guest)
    await alice.get(f"endpoint/{lake}/my_shared_endpoint_list")
    await alice.get(f"endpoint/{lake}/shared_endpoint_list")
    await alice.get("endpoint_search", filter_scope="shared-by-me")


async def _be_told(alice: Api) -> None:
    hook = {"url": "https://lab.example/", "topics": ["task.failed"]}
    made = f"webhook/{(await alice.post('webhook', hook)).json()['id']}"
    await alice.get(made)
    await alice.get("webhook_list")
    await alice.put(made, {"description": "lab"})
    await alice.post(f"{made}/secret")
    await alice.post(f"{made}/test")
    await alice.get(f"{made}/delivery_list")
    await alice.delete(made)
    await alice.get("notifications")
    await alice.put("notifications", {"mail": True})
    await alice.get("manifest_keys")


async def _manage(alice: Api, lake: str) -> None:
    manager = "endpoint_manager"
    await alice.get(f"{manager}/monitored_endpoints")
    (guest,) = (await alice.get(f"{manager}/endpoint/{lake}/hosted_endpoint_list")).json()["DATA"]
    await alice.get(f"{manager}/endpoint/{lake}")
    await alice.get(f"{manager}/endpoint/{guest['id']}/access_list")
    listed = (await alice.get(f"{manager}/task_list", filter_endpoint=lake)).json()["DATA"]
    tasks = [one["task_id"] for one in listed]
    for part in ("", "/event_list", "/pause_info", "/successful_transfers", "/skipped_errors"):
        assert [await alice.get(f"{manager}/task/{one}{part}") for one in tasks]
    told = {"message": "wait", "task_id_list": tasks}
    await alice.post(f"{manager}/admin_pause", told)
    await alice.post(f"{manager}/admin_resume", told)
    made = (await alice.post(f"{manager}/admin_cancel", told)).json()["id"]
    await alice.get(f"{manager}/admin_cancel/{made}")
    rule = {"endpoint_id": lake, "message": "wait"}
    made = (await alice.post(f"{manager}/pause_rule", rule)).json()["id"]
    await alice.get(f"{manager}/pause_rule/{made}")
    await alice.get(f"{manager}/pause_rule_list")
    await alice.get(f"endpoint/{lake}/my_effective_pause_rule_list")
    await alice.put(f"{manager}/pause_rule/{made}", {"message": "still"})
    await alice.delete(f"{manager}/pause_rule/{made}")
    await alice.get(f"endpoint/{lake}/server_list")
    await alice.get(f"endpoint/{lake}/server/0")
    await alice.put(f"endpoint/{lake}/subscription", {"subscription_id": None})
    place = {"name": "runs", "path": "/runs/"}
    of_lake = {"collection": {"data": {"type": "Collection", "id": lake}}}
    new = {"data": {"type": "Bookmark", "attributes": place, "relationships": of_lake}}
    made = (await alice.http.post("/v2/bookmarks", json=new)).json()["data"]["id"]
    await alice.http.get("/v2/bookmarks")
    await alice.http.get(f"/v2/bookmarks/{made}")
    change = {"data": {"type": "Bookmark", "attributes": {"pinned": True}}}
    await alice.http.patch(f"/v2/bookmarks/{made}", json=change)
    await alice.http.delete(f"/v2/bookmarks/{made}")


async def _activate(alice: Api, lake: str, myproxy: MyProxyServer) -> None:
    await alice.post(f"endpoint/{lake}/deactivate")
    await alice.get(f"endpoint/{lake}/activation_requirements")
    await alice.post(f"endpoint/{lake}/autoactivate")
    values = {"hostname": myproxy.address, "username": "alice", "passphrase": PASSWORDS["alice"]}
    asked = [{"type": "myproxy", "name": name, "value": value} for name, value in values.items()]
    await alice.post(f"endpoint/{lake}/activate", {"DATA": asked})


async def _connect(alice: Api, database: Database) -> None:
    made = await alice.post("endpoint", {"is_globus_connect": True, "display_name": "laptop"})
    again = await alice.post(f"endpoint/{made.json()['id']}/setup_key")
    node, agent = await set_up(alice, again.json()["globus_connect_setup_key"])
    await agent.get("connect/configuration")
    await agent.post("connect/certificate", {"certificate_request": request_for()})
    await agent.put("connect/report", {"version": "0.1.0", "node_name": "laptop"})
    async with database.connection() as conn:
        await relays.add(conn, alice.sub, "alice's")
    await alice.put("relay", relay_document())
    shown = {"node_id": node["node_id"], "tunnel_key": asked("/")["tunnel_key"]}
    await alice.post("relay/agent", shown)
    await alice.post("relay/presence", {"connected": [{"node_id": node["node_id"]}]})
    await alice.post("relay/dial", {"node_id": node["node_id"], "host": "192.0.2.1", "port": 2811})
