"""The endpoint manager by the unmodified SDK and command, its paginators included."""

import os
import pwd
from pathlib import Path
from typing import Any
from uuid import uuid4

import globus_sdk
import pytest
from globus_sdk.experimental import BookmarkCreateDocument, TransferClientV2
from globus_sdk.transport import RetryConfig

from plugins.globus import Globus
from plugins.site import SITE_GROUP, Site
from towpath.demo.trees import make_tree, uniform

pytestmark = SITE_GROUP


@pytest.fixture
def clients(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> tuple[globus_sdk.TransferClient, TransferClientV2]:
    """Of the deployment's operator, who owns both endpoints."""
    trust = site.rig.data_dir / "tls" / "ca.pem"
    monkeypatch.setenv("GLOBUS_SDK_VERIFY_SSL", str(trust))
    token = site.deployment.client.headers["Authorization"].removeprefix("Bearer ")
    how: dict[str, Any] = {
        "base_url": site.deployment.url,
        "authorizer": globus_sdk.AccessTokenAuthorizer(token),
        "retry_config": RetryConfig(max_retries=0),
    }
    return globus_sdk.TransferClient(**how), TransferClientV2(**how)


def test_every_method_and_its_pages(
    site: Site, tmp_path: Path, clients: tuple[globus_sdk.TransferClient, TransferClientV2]
) -> None:
    client, _ = clients
    source, destination = site.endpoints
    make_tree(tmp_path / "src", list(uniform(1, 3, 100)), seed=1)
    done = [site.copy(tmp_path / "src", tmp_path / f"dst{number}") for number in range(3)]
    for task_id in done:
        site.deployment.wait(task_id, 60)
    named = {one["id"] for one in client.endpoint_manager_monitored_endpoints()}
    assert {source, destination} <= named
    assert client.endpoint_manager_get_endpoint(source)["id"] == source
    assert list(client.endpoint_manager_hosted_endpoint_list(source)) == []
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        client.endpoint_manager_acl_list(source)
    assert refused.value.http_status == 400
    pages = client.paginated.endpoint_manager_task_list(
        filter_endpoint=source, filter_endpoint_use="source", query_params={"limit": 1}
    )
    seen = [task["task_id"] for page in pages for task in page]
    assert len(seen) == len(set(seen))
    assert set(done) <= set(seen)
    listed = client.endpoint_manager_task_list(filter_task_id=done)
    assert {task["task_id"] for task in listed} == set(done)
    for end, use in ((source, "source"), (destination, "destination")):
        account = pwd.getpwuid(os.geteuid()).pw_name  # of the servers, and of all who log in there
        at = client.endpoint_manager_task_list(
            filter_endpoint=end, filter_endpoint_use=use, filter_local_user=account
        )
        assert set(done) <= {task["task_id"] for task in at}
        another = {"filter_endpoint": end, "filter_local_user": f"not-{account}"}
        assert list(client.endpoint_manager_task_list(**another)) == []
    (task_id, *_) = done
    assert client.endpoint_manager_get_task(task_id)["files_transferred"] == 3
    events = client.paginated.endpoint_manager_task_event_list(task_id)
    assert next(one["code"] for one in events.items()) == "SUCCEEDED"
    moved = client.paginated.endpoint_manager_task_successful_transfers(task_id)
    assert len(list(moved.items())) == 3
    skipped = client.paginated.endpoint_manager_task_skipped_errors(task_id)
    assert list(skipped.items()) == []

    rule = client.endpoint_manager_create_pause_rule(
        {"DATA_TYPE": "pause_rule", "endpoint_id": destination, "message": "Back at ten."}
    )
    try:
        assert rule["editable"] is True
        assert client.endpoint_manager_get_pause_rule(rule["id"])["message"] == "Back at ten."
        changed = client.endpoint_manager_update_pause_rule(rule["id"], {"pause_ls": False})
        assert changed["pause_ls"] is False
        rules = client.endpoint_manager_pause_rule_list(filter_endpoint=destination)
        assert [one["id"] for one in rules] == [rule["id"]]
        mine = client.my_effective_pause_rule_list(destination)
        assert [one["message"] for one in mine] == ["Back at ten."]
        held = site.copy(tmp_path / "src", tmp_path / "held")
        info = client.endpoint_manager_task_pause_info(held)
        assert [one["id"] for one in info["pause_rules"]] == [rule["id"]]
        running = client.endpoint_manager_task_list(filter_status="ACTIVE", filter_is_paused=True)
        assert held in {task["task_id"] for task in running}
        globus = Globus.of(site.deployment, tmp_path / "home")
        told = globus.text("task", "pause-info", held)
        assert "Back at ten." in told
        assert "write/read/delete/rename/mkdir" in told
        client.endpoint_manager_pause_tasks([held], "Not yet.")
        assert "Not yet." in globus.text("task", "pause-info", held)
        assert "Paused" in globus.fails("mkdir", f"{destination}:{tmp_path}/new")
        assert globus.text("ls", f"{destination}:{tmp_path}/src") != "", "ls is not stopped"
        shown = globus.json("api", "transfer", "GET", f"/v0.10/endpoint_manager/task/{held}")
        assert shown["nice_status"] == "PAUSED_BY_ADMIN"
    finally:
        client.endpoint_manager_delete_pause_rule(rule["id"])
    client.endpoint_manager_resume_tasks([held])
    assert site.deployment.wait(held, 60)["status"] == "SUCCEEDED"
    assert "not paused" in globus.text("task", "pause-info", held)
    ended = client.endpoint_manager_cancel_tasks([held], "too late")
    assert ended["done"] is True
    assert client.endpoint_manager_cancel_status(ended["id"])["done"] is True


def test_servers_subscriptions_and_bookmarks(
    site: Site, tmp_path: Path, clients: tuple[globus_sdk.TransferClient, TransferClientV2]
) -> None:
    client, second = clients
    place = site.endpoints[0]
    (server,) = client.endpoint_server_list(place)
    assert client.get_endpoint_server(place, server["id"])["hostname"] == "localhost"
    globus = Globus.of(site.deployment, tmp_path / "home")
    assert "updated" in globus.text("endpoint", "set-subscription-id", place, "null")
    said = globus.fails("endpoint", "set-subscription-id", place, str(uuid4()))
    assert "no subscriptions" in said
    made = globus.json("gcp", "create", "mapped", "Laptop")["id"]
    assert "updated" in globus.text("gcp", "set-subscription-id", made, "null")
    assert "none" in globus.fails("gcp", "set-subscription-admin-verified", made, "true")
    name = f"oak {uuid4()}"
    bookmark = second.create_bookmark(BookmarkCreateDocument(place, name, "/data/"))
    bookmark_id = bookmark["data"]["id"]
    assert bookmark_id in {one["id"] for one in second.list_bookmarks()}
    assert second.get_bookmark(bookmark_id)["data"]["attributes"]["name"] == name
    assert globus.json("bookmark", "show", bookmark_id)["name"] == name
    second.delete_bookmark(bookmark_id)
    for call in (second.list_tunnels, lambda: second.get_tunnel(uuid4())):
        with pytest.raises(globus_sdk.TransferAPIError) as refused:
            call()
        assert refused.value.http_status == 404
        assert "no Streams" in str(refused.value.message)
