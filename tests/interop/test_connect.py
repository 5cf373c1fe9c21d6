"""Agents of a whole deployment: set up with its key, reached through its relay."""

import getpass
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import globus_sdk
import pytest
from globus_sdk.transport import RetryConfig

from plugins.globus import Globus
from plugins.rig import QUICK
from towpath.demo.agents import Agent
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.demo.trees import TreeFile, make_tree

pytestmark = pytest.mark.xdist_group("connect")  # they share a deployment

READY_S = 30.0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Deployment.start(tmp_path_factory.mktemp("service") / "deployment", QUICK) as started:
        yield started


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def wait_for(deployment: Deployment, endpoint_id: str, **wanted: object) -> None:
    """Until its document says so."""
    deadline = time.monotonic() + READY_S
    while True:
        shown = deployment.get(f"endpoint/{endpoint_id}")
        if {name: shown[name] for name in wanted} == wanted:
            return
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)


def test_files_go_both_ways_and_wait_for_who_sleeps(
    deployment: Deployment, domain_a: Domain, stack: ExitStack, tmp_path: Path
) -> None:
    globus = Globus.of(deployment, tmp_path / "home")
    told = globus.json("gcp", "create", "mapped", "Alice's laptop")
    endpoint_id, key = told["id"], told["globus_connect_setup_key"]
    files = tmp_path / "laptop" / "files"
    files.mkdir(parents=True)
    laptop = stack.enter_context(Agent.set_up(key, tmp_path / "laptop", shares=[files]))
    laptop.start()
    wait_for(deployment, endpoint_id, gcp_connected=True)
    found = globus.json("endpoint", "search", "--filter-scope", "my-gcp-endpoints")
    assert [one["id"] for one in found["DATA"]] == [endpoint_id]
    globus.run("gcp", "update", "mapped", endpoint_id, "--description", "at home")
    assert globus.json("endpoint", "show", endpoint_id)["description"] == "at home"
    tested = deployment.post(f"endpoint/{endpoint_id}/test", {})
    assert tested["ok"], tested

    there = f"{endpoint_id}:{files}"
    (files / "notes.txt").write_text("from home")
    globus.run("mkdir", f"{there}/new")
    globus.run("rename", endpoint_id, f"{files}/new", f"{files}/in")
    names = globus.json("ls", there)["DATA"]
    assert [one["name"] for one in names] == ["in", "notes.txt"]
    refused = globus.run("ls", f"{endpoint_id}:/etc", expect=1)
    assert re.search("not allow|permission|denied", refused.stderr + refused.stdout, re.IGNORECASE)

    with GctServer.start(domain_a, tmp_path / "server") as server:
        site = deployment.add_endpoint(
            "site", server.url(""), domain_a.trust_dir, domain_a.proxy_file
        )
        (tmp_path / "src").mkdir()
        for number in range(20):
            (tmp_path / "src" / f"f{number}").write_bytes(os.urandom(10_000))
        items = [(str(tmp_path / "src"), str(files / "in"), True)]
        done = deployment.wait(deployment.transfer(site, endpoint_id, items), 60)
        assert done["status"] == "SUCCEEDED", deployment.events(done["task_id"])
        for file in (tmp_path / "src").iterdir():
            assert (files / "in" / file.name).read_bytes() == file.read_bytes()
        up = [(str(files / "notes.txt"), str(tmp_path / "arrived.txt"), False)]
        done = deployment.wait(deployment.transfer(endpoint_id, site, up), 60)
        assert done["status"] == "SUCCEEDED", deployment.events(done["task_id"])
        assert (tmp_path / "arrived.txt").read_text() == "from home"

        laptop.stop()
        wait_for(deployment, endpoint_id, gcp_connected=False)
        missed = globus.run("ls", there, expect=1)
        assert "GCDisconnected" in missed.stderr + missed.stdout
        up = [(str(files / "notes.txt"), str(tmp_path / "later.txt"), False)]
        waiting = deployment.transfer(endpoint_id, site, up)
        deadline = time.monotonic() + 20
        while (task := deployment.task(waiting))["nice_status"] != "GC_NOT_CONNECTED":
            assert time.monotonic() < deadline, task
            time.sleep(0.1)
        details = json.loads(task["nice_status_details"])
        assert "“Alice's laptop” has not been connected since" in details["error"]
        laptop.start()
        wait_for(deployment, endpoint_id, gcp_connected=True)
        back = time.monotonic()
        deployment.wait(waiting, 30)
        assert time.monotonic() - back < 5
        assert (tmp_path / "later.txt").read_text() == "from home"

    globus.run("endpoint", "delete", endpoint_id)
    laptop.wait(30)


ACCOUNT = "daemon" if os.geteuid() == 0 else getpass.getuser()
"""Of all users here: a node that root runs becomes it, any other is it already."""


@pytest.mark.long
def test_nodes_of_a_server_share_the_work_and_stand_in_for_each_other(
    deployment: Deployment, domain_a: Domain, stack: ExitStack, open_tmp_path: Path, tmp_path: Path
) -> None:
    told = deployment.towpath("endpoint", "add", "Lab", "--connect-server", "--format", "json")
    added = json.loads(told)
    base = open_tmp_path / "lab"
    base.mkdir()
    shutil.chown(base, ACCOUNT)
    nodes = []
    for name in ("one", "two"):
        node = stack.enter_context(Agent.set_up(added["setup_key"], open_tmp_path / name))
        node.towpath("map", "add", ".*", ACCOUNT)
        node.towpath("limit", "30M")
        node.towpath(
            *("collection", "add", "Lab data", "--base-path", str(base), "--allow", ACCOUNT)
        )
        node.start()
        nodes.append(node)
    found = deployment.get("endpoint_search", filter_scope="my-endpoints")["DATA"]
    (collection,) = [one for one in found if one["entity_type"] == "GCSv5_mapped_collection"]
    assert collection["display_name"] == "Lab data"

    server = stack.enter_context(GctServer.start(domain_a, tmp_path / "server"))
    site = deployment.add_endpoint("site", server.url(""), domain_a.trust_dir, domain_a.proxy_file)
    tree = tmp_path / "src"
    make_tree(tree, [TreeFile(f"f{number}", 400_000) for number in range(250)], 1)
    items = [(str(tree), "/in", True)]
    task = deployment.transfer(site, collection["id"], items)
    deadline = time.monotonic() + READY_S
    while not all("STOR" in node.logged() for node in nodes):
        assert time.monotonic() < deadline, deployment.events(task)
        time.sleep(0.02)
    nodes[0].stop()
    done = deployment.wait(task, 90)
    assert done["status"] == "SUCCEEDED", deployment.events(task)
    for file in tree.iterdir():
        arrived = base / "in" / file.name
        assert arrived.read_bytes() == file.read_bytes()
        assert arrived.owner() == ACCOUNT


@pytest.mark.long
def test_managers_make_collections_where_the_site_lets_them(
    deployment: Deployment, stack: ExitStack, open_tmp_path: Path, tmp_path: Path
) -> None:
    """With the command, which consents by itself, and with all that the SDK's client offers."""
    globus = Globus.of(deployment, tmp_path / "home")
    told = deployment.towpath("endpoint", "add", "Site", "--connect-server", "--format", "json")
    added = json.loads(told)
    lab = added["id"]
    root, elsewhere = open_tmp_path / "open", open_tmp_path / "elsewhere"
    for directory in (root, root / "ana", elsewhere):
        directory.mkdir()
        shutil.chown(directory, ACCOUNT)
    (elsewhere / "secret").write_text("not for managers")
    (root / "out").symlink_to(elsewhere)
    node = stack.enter_context(Agent.set_up(added["setup_key"], open_tmp_path / "node"))
    node.towpath("map", "add", ".*", ACCOUNT)
    assert "no collections of its files" in globus.fails(
        *("collection", "create", "mapped", lab, "Early", "--base-path", str(root))
    )
    node.towpath("managers", "allow", str(root), "--allow", ACCOUNT)
    assert str(root) in node.towpath("managers", "list")
    node.start()
    wait_for_root(globus, lab, str(root))

    create = ("collection", "create", "mapped", lab)
    refused = globus.fails(*create, "Elsewhere", "--base-path", str(elsewhere))
    assert f"towpath connect managers allow {elsewhere}" in refused
    mapped = globus.json(*create, "Ana's", "--base-path", f"{root}/ana")["id"]
    globus.run("mkdir", f"{mapped}:/in")
    assert (root / "ana" / "in").owner() == ACCOUNT
    # where somebody has put a link, it leads nowhere
    linked = globus.json(*create, "Linked", "--base-path", f"{root}/out")["id"]
    refused = globus.fails("ls", f"{linked}:/")
    assert "secret" not in refused
    globus.run("collection", "update", mapped, "--description", "Hers", "--public")
    assert globus.json("collection", "show", mapped)["description"] == "Hers"
    guest = globus.json("collection", "create", "guest", mapped, "/in", "Shared")["id"]
    assert globus.json("ls", f"{guest}:/")["DATA"] == []
    listed = globus.json("gcs", "collection", "list", lab, "--filter", "guest-collections")
    assert [one["id"] for one in listed["DATA"]] == [guest]
    globus.run("collection", "delete", guest)
    assert "EndpointDeleted" in globus.fails("ls", f"{guest}:/")
    _every_method(globus, lab, mapped)

    # read only, or closed: the agent holds to it whatever the service says
    node.towpath("managers", "allow", str(root), "--read-only", "--allow", ACCOUNT)
    refused = globus.fails("mkdir", f"{mapped}:/more")
    assert not (root / "ana" / "more").exists()
    node.towpath("managers", "deny", str(root))
    assert "the site has closed its directory" in globus.fails("ls", f"{mapped}:/")
    globus.run("collection", "delete", mapped)
    assert "EndpointDeleted" in globus.fails("ls", f"{mapped}:/")


def wait_for_root(globus: Globus, lab: str, path: str) -> None:
    """Until the service has heard of it."""
    deadline = time.monotonic() + READY_S
    route = ("api", "gcs", lab, "GET", "/storage_gateways")
    while path not in globus.text(*route, "-Q", "include=private_policies"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _every_method(globus: Globus, lab: str, mapped: str) -> None:
    """Of the SDK's client of Managers: an answer, or a clean refusal."""
    environment = globus.environment
    client_id = environment["GLOBUS_CLI_CLIENT_ID"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            if name.startswith("GLOBUS_SDK") or name.upper() == "NO_PROXY":
                patch.setenv(name, value)
        auth = globus_sdk.ConfidentialAppAuthClient(
            client_id, environment["GLOBUS_CLI_CLIENT_SECRET"]
        )
        url = f"{environment['GLOBUS_SDK_SERVICE_URL_TRANSFER']}/gcs/{lab}"
        scope = globus_sdk.GCSClient.get_gcs_endpoint_scopes(lab).manage_collections
        of_collection = globus_sdk.GCSClient.get_gcs_collection_scopes(mapped)
        for one in (of_collection.data_access, of_collection.https):
            (tokens,) = auth.oauth2_client_credentials_tokens(one).by_resource_server.values()
            assert tokens["resource_server"] == mapped
        authorizer = globus_sdk.ClientCredentialsAuthorizer(auth, str(scope))
        retry = RetryConfig(max_retries=0)
        gcs = globus_sdk.GCSClient(url, authorizer=authorizer, retry_config=retry)
        assert gcs.endpoint_client_id == lab
        assert gcs.get_gcs_info()["endpoint_id"] == lab
        assert gcs.get_endpoint()["display_name"] == "Site"
        changed = gcs.update_endpoint(
            globus_sdk.EndpointDocument(department="Tides"), include="endpoint"
        )
        assert changed["department"] == "Tides"
        pages = gcs.paginated.get_collection_list(page_size=1, include="private_policies")
        assert mapped in [one["id"] for one in pages.items()]
        one = gcs.get_collection(mapped, query_params={"include": "private_policies"})
        assert one["root_path"] == one["collection_base_path"]
        document = globus_sdk.MappedCollectionDocument(
            display_name="Once more", collection_base_path=one["collection_base_path"]
        )
        made = gcs.create_collection(document)
        update = globus_sdk.MappedCollectionDocument(keywords=["tides"])
        assert gcs.update_collection(made["id"], update)["keywords"] == ["tides"]
        assert gcs.delete_collection(made["id"])["code"] == "success"
        (gateway,) = gcs.paginated.get_storage_gateway_list(include="private_policies").items()
        assert gcs.get_storage_gateway(gateway["id"])["display_name"] == "Site (POSIX)"
        named = globus_sdk.StorageGatewayDocument(display_name="Disks")
        gcs.update_storage_gateway(gateway["id"], named)
        role = gcs.create_role(
            globus_sdk.GCSRoleDocument(
                role="activity_monitor",
                principal=f"urn:globus:auth:identity:{client_id}",
                collection=mapped,
            )
        )
        assert gcs.get_role(role["id"])["role"] == "activity_monitor"
        (found,) = gcs.paginated.get_role_list(mapped, include="all_roles").items()
        assert found["id"] == role["id"]
        assert gcs.delete_role(role["id"])["code"] == "success"
        (credential,) = gcs.paginated.get_user_credential_list(gateway["id"]).items()
        assert credential["username"] == ACCOUNT
        mine = globus_sdk.UserCredentialDocument(
            storage_gateway_id=gateway["id"], identity_id=client_id, username=ACCOUNT
        )
        assert gcs.create_user_credential(mine)["id"] == credential["id"]
        again = globus_sdk.UserCredentialDocument(display_name="mine")
        assert gcs.update_user_credential(credential["id"], again)["display_name"] == "mine"
        assert gcs.get_user_credential(credential["id"])["display_name"] == "mine"
        assert gcs.delete_user_credential(credential["id"])["code"] == "success"
        for refused in (
            lambda: gcs.create_storage_gateway(named),
            lambda: gcs.delete_storage_gateway(gateway["id"]),
        ):
            with pytest.raises(globus_sdk.GCSAPIError) as error:
                refused()
            assert (error.value.http_status, error.value.code) == (422, "unprocessable_entity")
            assert error.value.message
        methods = {
            name
            for name, method in vars(globus_sdk.GCSClient).items()
            if callable(method) and not isinstance(method, type) and not name.startswith("_")
        }
        assert methods == CALLED, "another version of the SDK has others"


CALLED = {
    "get_gcs_endpoint_scopes",
    "get_gcs_collection_scopes",
    "get_gcs_info",
    "get_endpoint",
    "update_endpoint",
    "get_collection_list",
    "get_collection",
    "create_collection",
    "update_collection",
    "delete_collection",
    "get_storage_gateway_list",
    "create_storage_gateway",
    "get_storage_gateway",
    "update_storage_gateway",
    "delete_storage_gateway",
    "get_role_list",
    "create_role",
    "get_role",
    "delete_role",
    "get_user_credential_list",
    "create_user_credential",
    "get_user_credential",
    "update_user_credential",
    "delete_user_credential",
}
"""Above."""
