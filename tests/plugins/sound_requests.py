"""For every operation of the APIs a request that is done, and what there has to be for it: from
these, invented requests are bent.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import requests

from plugins.connect_api import asked, relay_document, request_for
from plugins.manager_api import MAPPINGS
from plugins.shares import in_store
from towpath import __version__
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.nexus.scopes import GROUPS_ALL
from towpath.nexus.store import clients
from towpath.timers.nexus import TIMER_SCOPE
from towpath.transfer.api import SCOPE
from towpath.transfer.manager.asking import manage_scope

DONE_S = 60.0
TUNNEL_KEY = "ssh-ed25519 " + "A" * 68
ZONE = "2040-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Sound:
    """A request that is done. In texts `{word}` is a name of the scene; `{new}` a new id.

    `path`, `query`, `body`: by name. `who`: with whose token. `then`: what it is answered.
    `makes`: makes what is used up by it (deleted, say), and tells its parameters of the path.
    """

    body: Any = None
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    who: str = "user"
    then: tuple[int, ...] = (200, 201, 202)
    makes: Callable[["Scene"], Mapping[str, str]] | None = None


@dataclass
class Scene:
    """A service, those who ask it, and what is theirs."""

    deployment: Deployment
    root: Path
    sessions: dict[str, requests.Session] = field(default_factory=dict)
    """By who asks."""
    names: dict[str, str] = field(default_factory=dict)
    """What sound requests are about: it is not changed by others."""
    ids: dict[str, list[str]] = field(default_factory=dict)
    """By the name of a parameter or of a field: what invented requests are aimed at."""
    spoiled: list[str] = field(default_factory=list)
    """Endpoints that they may change as they like."""

    def ask(
        self, method: str, path: str, body: Any = None, *, who: str = "user", **query: Any
    ) -> dict[str, Any]:
        """The answer to what must be done."""
        answer = self.sessions[who].request(
            method, f"{self.deployment.url}{path}", json=body, params=query, timeout=60
        )
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def post(self, route: str, body: Any = None) -> dict[str, Any]:
        """Of Transfer."""
        return self.ask("POST", f"/v0.10/{route}", body)

    def knows(self, name: str, *ids: str) -> None:
        """Invented requests are aimed at these, too."""
        self.ids.setdefault(name, []).extend(ids)

    def filled(self, value: Any) -> Any:
        """With the names of this scene."""
        if isinstance(value, Mapping):
            return {self.filled(key): self.filled(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.filled(one) for one in value]
        if isinstance(value, str) and "{" in value:
            for name, one in {**self.names, "new": str(uuid4())}.items():
                value = value.replace(f"{{{name}}}", one)
        return value

    # -- what there is

    def endpoint(self, domain: Domain, server: GctServer) -> str:
        """A server, with a credential for it."""
        document = {
            "DATA_TYPE": "endpoint",
            "display_name": "lake",
            "DATA": [{"DATA_TYPE": "server", "uri": f"gsiftp://localhost:{server.port}"}],
            "trust_roots": dict(domain.trust.files),
        }
        made: str = self.post("endpoint", document)["id"]
        proxy = {"proxy": domain.proxy_file.read_text()}
        self.ask("PUT", f"/v0.10/endpoint/{made}/credential", proxy)
        return made

    def transfer(self, *items: tuple[str, str], to: str = "transfer", **more: Any) -> str:
        """A task, or a plan."""
        document = {
            "DATA_TYPE": "transfer",
            "submission_id": str(uuid4()),
            "source_endpoint": self.names["lake"],
            "destination_endpoint": self.names["sea"],
            "DATA": [
                {"source_path": f"{self.root}/{here}", "destination_path": f"{self.root}/{there}"}
                | ({"recursive": True} if here.endswith("/") else {})
                for here, there in items
            ],
            **more,
        }
        answer = self.post(to, document)
        return str(answer.get("task_id") or answer["plan_id"])

    def until(self, path: str, *statuses: str) -> None:
        """It stands so."""
        until = time.monotonic() + DONE_S
        while (found := self.ask("GET", f"/v0.10/{path}"))["status"] not in statuses:
            assert time.monotonic() < until, found
            time.sleep(0.1)

    def plan(self) -> str:
        """One that is ready."""
        made = self.transfer(("tree/", f"plan-{uuid4()}/"), to="transfer/plan")
        self.until(f"plan/{made}", "ready")
        return made


def _rule(scene: Scene) -> dict[str, str]:
    body = {
        "DATA_TYPE": "access",
        "principal_type": "identity",
        "principal": str(uuid4()),
        "path": "/",
        "permissions": "r",
    }
    guest = scene.names["guest"]
    rule = scene.post(f"endpoint/{guest}/access", body)["access_id"]
    return {"endpoint_id": guest, "rule_id": str(rule)}


def _role(scene: Scene) -> dict[str, str]:
    body = {"principal_type": "identity", "principal": str(uuid4()), "role": "activity_monitor"}
    lake = scene.names["lake"]
    return {"endpoint_id": lake, "role_id": scene.post(f"endpoint/{lake}/role", body)["id"]}


def _pause_rule(scene: Scene) -> dict[str, str]:
    body = {"endpoint_id": scene.spoiled[0], "message": "x", "identity_id": str(uuid4())}
    return {"rule_id": scene.post("endpoint_manager/pause_rule", body)["id"]}


def _bookmark(scene: Scene) -> dict[str, str]:
    body = {"name": str(uuid4()), "endpoint_id": scene.names["lake"], "path": "/tmp/"}
    return {"bookmark_id": scene.post("bookmark", body)["id"]}


def _webhook(scene: Scene) -> dict[str, str]:
    body = {"url": "https://localhost:1/", "topics": ["task.failed"]}
    return {"webhook_id": scene.post("webhook", body)["id"]}


def _bare_endpoint(scene: Scene) -> dict[str, str]:
    body = {"display_name": "x", "DATA": [{"uri": "gsiftp://localhost:1"}]}
    return {"endpoint_id": scene.post("endpoint", body)["id"]}


def _with_credential(scene: Scene) -> dict[str, str]:
    made = _bare_endpoint(scene)
    proxy = {"proxy": scene.names["proxy"]}
    scene.ask("PUT", f"/v0.10/endpoint/{made['endpoint_id']}/credential", proxy)
    return made


def _spare_plan(scene: Scene) -> dict[str, str]:
    return {"plan_id": scene.plan()}


def _waiting_task(scene: Scene) -> dict[str, str]:
    made = scene.transfer(("tree/", f"{uuid4()}/"))
    return {"task_id": made}


def _timer(scene: Scene) -> dict[str, str]:
    made = scene.ask("POST", "/v2/timer", scene.filled(TIMER), who="timers")
    return {"job_id": made["timer"]["job_id"]}


def _stopped_timer(scene: Scene) -> dict[str, str]:
    made = _timer(scene)
    scene.ask("POST", f"/jobs/{made['job_id']}/pause", who="timers")
    return made


def _collection(scene: Scene) -> dict[str, str]:
    path = {"endpoint_id": scene.names["lab"]}
    made = scene.ask("POST", f"/gcs/{path['endpoint_id']}/api/collections", MAPPED, who="manager")
    return {**path, "collection_id": made["data"][0]["id"]}


def _lab_role(scene: Scene) -> dict[str, str]:
    path = {"endpoint_id": scene.names["lab"]}
    body = scene.filled(_LAB_ROLE)
    made = scene.ask("POST", f"/gcs/{path['endpoint_id']}/api/roles", body, who="manager")
    return {**path, "role_id": made["data"][0]["id"]}


def _group(scene: Scene) -> dict[str, str]:
    made = scene.ask("POST", "/v2/groups", {"name": str(uuid4())}, who="groups")
    return {"group_id": made["id"]}


def _setup_key(scene: Scene) -> dict[str, str]:
    made = scene.post("endpoint", {"display_name": "Laptop", "is_globus_connect": True})
    scene.names["setup_key"] = made["globus_connect_setup_key"].rsplit("/", 1)[1]
    return {}


MAPPED = {
    "DATA_TYPE": "collection#1.0.0",
    "collection_type": "mapped",
    "display_name": "new",
    "collection_base_path": "/srv/open",
}
_LAB_ROLE = {
    "DATA_TYPE": "role#1.0.0",
    "principal": "urn:globus:auth:identity:{new}",
    "role": "administrator",
}
_ITEM = {"source_path": "{root}/tree/a", "destination_path": "{root}/{new}"}
_TRANSFER = {
    "DATA_TYPE": "transfer",
    "source_endpoint": "{lake}",
    "destination_endpoint": "{sea}",
    "DATA": [_ITEM],
}
_SUBMISSION = {**_TRANSFER, "submission_id": "{new}"}
_REMOVAL = {"submission_id": "{new}", "endpoint": "{sea}", "DATA": [{"path": "{root}/gone"}]}
TIMER = {
    "timer": {
        "timer_type": "transfer",
        "name": "mirror",
        "schedule": {"type": "recurring", "interval_seconds": 86400, "start": ZONE},
        "body": _TRANSFER,
    }
}
_TASKS = {"message": "x", "task_id_list": ["{paused}"]}
_BOOKMARK_V2 = {
    "data": {
        "type": "Bookmark",
        "attributes": {"name": "{new}", "path": "/data/"},
        "relationships": {"collection": {"data": {"type": "Collection", "id": "{lake}"}}},
    }
}
_AT_LAKE = {"endpoint_id": "{lake}"}
_AT_GUEST = {"endpoint_id": "{guest}"}
_SPOILED = {"endpoint_id": "{spoiled}"}
_DONE = {"task_id": "{done}"}
_RULE_OF_GUEST = {**_AT_GUEST, "rule_id": "{access_rule}"}


def _at(path: Mapping[str, str], **more: Any) -> Sound:
    return Sound(path=path, **more)


def _managed(path: Mapping[str, str] | None = None, **more: Any) -> Sound:
    return Sound(path={"endpoint_id": "{lab}", **(path or {})}, who="manager", **more)


def _of_group(**more: Any) -> Sound:
    return Sound(path={"group_id": "{group}"}, who="groups", **more)


_COLLECTION = {"collection_id": "{collection}"}
_GATEWAY = {"storage_gateway_id": "{gateway}"}
_ACCOUNT = {"user_credential_id": "{account}"}

SOUND: dict[str, Sound] = {
    # access rules, roles, what is shared
    "list_access": _at(_AT_GUEST),
    "create_access": _at(
        _AT_GUEST,
        body={
            "DATA_TYPE": "access",
            "principal_type": "identity",
            "principal": "{new}",
            "path": "/",
            "permissions": "r",
        },
    ),
    "show_access": _at(_RULE_OF_GUEST),
    "update_access": _at(_RULE_OF_GUEST, body={"permissions": "rw"}),
    "delete_access": Sound(makes=_rule),
    "list_roles": _at(_AT_LAKE),
    "create_role": _at(
        _AT_LAKE, body={"principal_type": "identity", "principal": "{new}", "role": "administrator"}
    ),
    "show_role": _at({**_AT_LAKE, "role_id": "{role}"}),
    "delete_role": Sound(makes=_role),
    "create_shared_endpoint": Sound(
        {"display_name": "x", "host_endpoint": "{lake}", "host_path": "{root}/tree/"}
    ),
    "my_shared_endpoints": _at(_AT_LAKE),
    "shared_endpoints": _at(_AT_LAKE, query={"max_results": 1}),
    # activation, credentials
    "activation_requirements": _at(_AT_LAKE),
    "autoactivate": _at(_AT_LAKE),
    "deactivate": Sound(makes=_with_credential),
    "show_credential": _at(_AT_LAKE),
    "put_credential": _at(_SPOILED, body={"proxy": "{proxy}"}),
    "delete_credential": Sound(makes=_with_credential),
    "list_credentials": Sound(),
    # agents and relays
    "set_up_node": Sound(
        {**asked("x/{setup_key}"), "setup_key": "{setup_key}"}, who="nobody", makes=_setup_key
    ),
    "connect_authority": Sound(who="nobody"),
    "connect_configuration": Sound(who="agent"),
    "renew_certificate": Sound({"certificate_request": request_for()}, who="agent"),
    "report": Sound({"version": __version__, "node_name": "dtn"}, who="agent"),
    "new_setup_key": _at({"endpoint_id": "{lab}"}),
    "relay_heartbeat": Sound(relay_document(), who="relay"),
    "relay_agent": Sound({"node_id": "{node}", "tunnel_key": TUNNEL_KEY}, who="relay"),
    "relay_presence": Sound(
        {"connected": [{"node_id": "{node}", "address": "192.0.2.7"}], "lost": []}, who="relay"
    ),
    "relay_dial": Sound({"node_id": "{node}", "host": "192.0.2.7", "port": 2811}, who="relay"),
    # bookmarks
    "list_bookmarks": Sound(),
    "create_bookmark": Sound({"name": "{new}", "endpoint_id": "{lake}", "path": "/tmp/"}),
    "show_bookmark": _at({"bookmark_id": "{bookmark}"}),
    "update_bookmark": _at({"bookmark_id": "{bookmark}"}, body={"pinned": True}),
    "delete_bookmark": Sound(makes=_bookmark),
    "list_bookmarks_v2": Sound(),
    "create_bookmark_v2": Sound(_BOOKMARK_V2),
    "show_bookmark_v2": _at({"bookmark_id": "{bookmark}"}),
    "update_bookmark_v2": _at(
        {"bookmark_id": "{bookmark}"},
        body={"data": {"type": "Bookmark", "attributes": {"pinned": True}}},
    ),
    "delete_bookmark_v2": Sound(makes=_bookmark),
    # others' tasks
    "monitored_endpoints": Sound(),
    "managed_endpoint": _at(_AT_LAKE),
    "hosted_endpoints": _at(_AT_LAKE),
    "monitored_access_list": _at(_AT_GUEST),
    "monitored_tasks": Sound(query={"filter_endpoint": "{lake}"}),
    "monitored_task": _at(_DONE),
    "monitored_task_events": _at(_DONE),
    "monitored_task_pause_info": _at(_DONE),
    "monitored_task_transfers": _at(_DONE),
    "monitored_task_skipped_errors": _at(_DONE),
    "admin_cancel": Sound({"message": "x", "task_id_list": ["{done}"]}),
    "admin_cancel_status": _at({"cancel_id": "{cancel}"}),
    "admin_pause": Sound(_TASKS),
    "admin_resume": Sound(_TASKS),
    "list_pause_rules": Sound(),
    "create_pause_rule": Sound(
        {"endpoint_id": "{spoiled}", "message": "x", "identity_id": "{new}"}
    ),
    "show_pause_rule": _at({"rule_id": "{pause_rule}"}),
    "update_pause_rule": _at({"rule_id": "{pause_rule}"}, body={"message": "y"}),
    "delete_pause_rule": Sound(makes=_pause_rule),
    "list_effective_pause_rules": _at(_SPOILED),
    # endpoints
    "try_server": Sound(
        {
            "display_name": "x",
            "DATA": [{"DATA_TYPE": "server", "uri": "{uri}"}],
            "trust_roots": {"{trust_name}": "{trust}"},
        }
    ),
    "try_endpoint": _at(_AT_LAKE),
    "create_endpoint": Sound({"display_name": "x", "DATA": [{"uri": "gsiftp://localhost:1"}]}),
    "show_endpoint": _at(_AT_LAKE),
    "update_endpoint": _at(_SPOILED, body={"description": "x"}),
    "delete_endpoint": Sound(makes=_bare_endpoint),
    "search_endpoints": Sound(query={"filter_scope": "my-endpoints"}),
    "list_servers": _at(_AT_LAKE),
    "show_server": _at({**_AT_LAKE, "server_id": "{server}"}),
    "set_subscription": _at(_AT_LAKE, body={"subscription_id": None}),
    # files
    "ls": _at(_AT_LAKE, query={"path": "{root}/tree/"}),
    "stat": _at(_AT_LAKE, query={"path": "{root}/tree/a"}),
    "mkdir": _at(_AT_LAKE, body={"path": "{root}/{new}"}),
    "rename": _at(_AT_LAKE, body={"old_path": "{root}/old", "new_path": "{root}/renamed"}),
    # plans
    "plan_transfer": Sound(_SUBMISSION),
    "plan_delete": Sound(_REMOVAL),
    "show_plan": _at({"plan_id": "{plan}"}),
    "plan_entries": _at({"plan_id": "{plan}"}),
    "apply_plan": Sound({"submission_id": "{new}"}, makes=_spare_plan),
    "delete_plan": Sound(makes=_spare_plan),
    # tasks
    "submission_id": Sound(),
    "submit_transfer": Sound(_SUBMISSION),
    "submit_delete": Sound(_REMOVAL),
    "run_again": _at({"task_id": "{left_out}"}, body={"submission_id": "{new}"}),
    "list_tasks": Sound(),
    "show_task": _at(_DONE),
    "update_task": _at({"task_id": "{paused}"}, body={"label": "x"}),
    "cancel_task": Sound(makes=_waiting_task),
    "pause_task": _at({"task_id": "{paused}"}),
    "resume_task": Sound(makes=_waiting_task),
    "list_items": _at(_DONE),
    "list_events": _at(_DONE),
    "successful_transfers": _at(_DONE),
    "skipped_errors": _at({"task_id": "{left_out}"}),
    "fidelity_report": _at(_DONE),
    "pause_info": _at({"task_id": "{paused}"}),
    "explain_task": _at(_DONE),
    "task_manifest": _at(_DONE),
    "manifest_keys": Sound(),
    "task_progress": _at(_DONE),
    "task_throughput": _at(_DONE),
    # being told
    "list_webhooks": Sound(),
    "create_webhook": Sound({"url": "https://localhost:1/", "topics": ["task.failed"]}),
    "show_webhook": _at({"webhook_id": "{webhook}"}),
    "update_webhook": _at({"webhook_id": "{webhook}"}, body={"enabled": True}),
    "delete_webhook": Sound(makes=_webhook),
    "replace_webhook_secret": _at({"webhook_id": "{webhook}"}),
    "test_webhook": _at({"webhook_id": "{webhook}"}),
    "list_webhook_deliveries": _at({"webhook_id": "{webhook}"}),
    "show_notifications": Sound(),
    "update_notifications": Sound({"mail": True}),
    # timers
    "create_timer": Sound(TIMER, who="timers"),
    "create_job": Sound(
        {
            "name": "x",
            "start": ZONE,
            "interval": 86400,
            "callback_url": "https://transfer.actions.globus.org/transfer/run",
            "callback_body": {
                "body": {
                    "source_endpoint_id": "{lake}",
                    "destination_endpoint_id": "{sea}",
                    "transfer_items": [_ITEM],
                }
            },
        },
        who="timers",
    ),
    "list_jobs": Sound(who="timers"),
    "get_job": _at({"job_id": "{timer}"}, who="timers"),
    "update_job": _at({"job_id": "{timer}"}, who="timers", body={"name": "y"}),
    "delete_job": Sound(who="timers", makes=_timer),
    "pause_job": _at({"job_id": "{timer}"}, who="timers"),
    "resume_job": Sound({}, who="timers", makes=_stopped_timer),
    # the Manager
    "manager.show_info": _managed(),
    "manager.show_endpoint": _managed(),
    "manager.update_endpoint": _managed(body={"DATA_TYPE": "endpoint#1.2.0", "public": False}),
    "manager.set_subscription": _managed(
        body={"DATA_TYPE": "endpoint_subscription#1.0.0", "subscription_id": None}
    ),
    "manager.list_collections": _managed(),
    "manager.create_collection": _managed(body=MAPPED),
    "manager.show_collection": _managed(_COLLECTION),
    "manager.update_collection": _managed(
        _COLLECTION, body={"DATA_TYPE": "collection#1.0.0", "description": "x"}
    ),
    "manager.delete_collection": Sound(who="manager", makes=_collection),
    "manager.list_credentials": _managed(),
    "manager.create_credential": _managed(
        body={"DATA_TYPE": "user_credential#1.0.0", "storage_gateway_id": "{gateway}"}
    ),
    "manager.show_credential": _managed(_ACCOUNT),
    "manager.update_credential": _managed(
        _ACCOUNT, body={"DATA_TYPE": "user_credential#1.0.0", "display_name": "m"}
    ),
    "manager.delete_credential": _managed(_ACCOUNT),
    "manager.list_gateways": _managed(),
    "manager.show_gateway": _managed(_GATEWAY),
    "manager.update_gateway": _managed(
        _GATEWAY, body={"DATA_TYPE": "storage_gateway#1.0.0", "display_name": "Disks"}
    ),
    "manager.list_roles": _managed(),
    "manager.create_role": _managed(body=_LAB_ROLE),
    "manager.show_role": _managed({"role_id": "{lab_role}"}),
    "manager.delete_role": Sound(who="manager", makes=_lab_role),
    # groups
    "groups.list_my_groups": Sound(who="groups"),
    "groups.count_memberships": Sound(who="groups"),
    "groups.create_group": Sound({"name": "{new}"}, who="groups"),
    "groups.show_group": _of_group(query={"include": "memberships,policies,my_memberships"}),
    "groups.update_group": _of_group(body={"description": "x"}),
    "groups.delete_group": Sound(who="groups", makes=_group),
    "groups.act_on_memberships": _of_group(
        body={"add": [{"identity_id": "{someone}", "role": "member"}]}
    ),
    "groups.list_children": _of_group(),
    "groups.show_policies": _of_group(),
    "groups.update_policies": _of_group(body={"join_requests": True}),
    "groups.show_membership_fields": _of_group(),
    "groups.update_membership_fields": _of_group(body={}),
    "groups.set_subscription_admin_verified": _of_group(
        body={"subscription_admin_verified_id": None}
    ),
    "groups.show_preferences": Sound(who="groups"),
    "groups.update_preferences": Sound({"allow_add": True}, who="groups"),
}

CANNOT: dict[str, str] = {
    "activate": "what is asked for is signed by the client: tests/transfer/api/test_activation.py",
    "myproxy_logon": "there is no MyProxy server",
    "set_subscription_verified": "nobody has a subscription",
    "ask_unsubscribe": "the key is in a mail",
    "unsubscribe": "the key is in a mail",
    "all_progress": "it never ends",
    "manager.create_gateway": "there is one, and no other",
    "manager.delete_gateway": "it goes with the endpoint",
    "groups.show_subscription": "there are none",
}
"""Operations that are not done here, and why not."""


@contextmanager
def scene(deployment: Deployment, root: Path, domain: Domain, server: GctServer) -> Iterator[Scene]:
    """Somebody's, at a new deployment."""
    with ExitStack() as stack:
        made = Scene(deployment, root)

        def session(who: str, token: str | None) -> None:
            one = made.sessions[who] = stack.enter_context(requests.Session())
            one.verify = str(deployment.data_dir / "tls" / "ca.pem")
            one.trust_env = False
            if token is not None:
                one.headers["Authorization"] = f"Bearer {token}"

        session("nobody", None)
        user = _client(deployment)
        session("user", _token(made, user, SCOPE))
        session("timers", _token(made, user, f"{TIMER_SCOPE}[{SCOPE}] {SCOPE}", TIMER_SCOPE))
        relay = _relay(made)
        session("relay", _token(made, relay, SCOPE))
        _furnish(made, domain, server)
        agent = _lab(made)
        session("agent", agent)
        made.ask("PUT", "/v0.10/connect/report", REPORT, who="agent")
        session("manager", _token(made, user, manage_scope(UUID(made.names["lab"]))))
        _furnish_lab(made)
        session("groups", _token(made, user, GROUPS_ALL))
        made.names |= {"group": _group(made)["group_id"], "someone": relay[0]}
        made.knows("group_id", made.names["group"], _group(made)["group_id"])
        made.knows("identity_id", user[0], relay[0])
        yield made


def who_asks(name: str) -> str:
    """An operation."""
    if name in SOUND:
        return SOUND[name].who
    prefix, dot, _ = name.partition(".")
    return prefix if dot else "user"


def _furnish_lab(made: Scene) -> None:
    names, api = made.names, f"/gcs/{made.names['lab']}/api"

    def only(what: str) -> str:
        found: str = made.ask("GET", f"{api}/{what}", who="manager")["data"][0]["id"]
        return found

    names["gateway"], names["account"] = only("storage_gateways"), only("user_credentials")
    names["collection"], names["lab_role"] = only("collections"), _lab_role(made)["role_id"]
    made.knows("manager.endpoint_id", names["lab"])
    made.knows("manager.collection_id", names["collection"], _collection(made)["collection_id"])
    made.knows("manager.mapped_collection_id", names["collection"])
    made.knows("manager.storage_gateway_id", names["gateway"])
    made.knows("manager.storage_gateway", names["gateway"])
    made.knows("manager.user_credential_id", names["account"])
    made.knows("manager.role_id", names["lab_role"])
    made.knows("endpoint_id", names["collection"])


REPORT = {
    "version": __version__,
    "node_name": "dtn",
    "collections": [{"name": "Data", "base_path": "/srv/data"}],
    "mappings": [MAPPINGS],
    "roots": [{"path": "/srv/open"}],
}


def _client(deployment: Deployment) -> tuple[str, str]:
    client_id, secret = uuid4(), str(uuid4()) * 2
    in_store(
        deployment.data_dir,
        lambda conn: clients.add_client(
            conn, client_id=client_id, name="Somebody", secret=secret, administrator=False
        ),
        "nexus",
    )
    return str(client_id), secret


def _relay(made: Scene) -> tuple[str, str]:
    told = made.deployment.towpath("admin", "relay", "add", "invented", "--format", "json")
    found = json.loads(told)
    return found["client_id"], found["client_secret"]


def _token(made: Scene, client: tuple[str, str], scope: str, of: str | None = None) -> str:
    """With the scope `of`, if there are several."""
    answer = made.sessions["nobody"].post(
        f"{made.deployment.url}/v2/oauth2/token",
        data={"grant_type": "client_credentials", "scope": scope},
        auth=client,
        timeout=60,
    )
    assert answer.ok, answer.text
    document = answer.json()
    tokens = [document, *document["other_tokens"]]
    return str(next(one for one in tokens if of is None or of in one["scope"])["access_token"])


def _furnish(made: Scene, domain: Domain, server: GctServer) -> None:
    names, root = made.names, made.root
    tree = root / "tree"
    tree.mkdir()
    for name in ("a", "b", "c"):
        (tree / name).write_text(name)
    (root / "gone").write_text("x")
    (root / "old").write_text("x")
    [(trust_name, trust)] = [
        (name, text) for name, text in domain.trust.files.items() if name.endswith(".0")
    ]
    names |= {
        "root": str(root),
        "proxy": domain.proxy_file.read_text(),
        "uri": f"gsiftp://localhost:{server.port}",
        "trust_name": trust_name,
        "trust": trust,
    }
    names["lake"], names["sea"] = (made.endpoint(domain, server) for _ in range(2))
    made.spoiled += (made.endpoint(domain, server) for _ in range(2))
    names["spoiled"] = made.spoiled[0]
    shared = {
        "display_name": "shared",
        "host_endpoint": names["lake"],
        "host_path": f"{root}/tree/",
    }
    names["guest"] = made.post("shared_endpoint", shared)["id"]
    made.spoiled.append(
        made.post("shared_endpoint", {**shared, "host_endpoint": made.spoiled[1]})["id"]
    )
    names["access_rule"] = _rule(made)["rule_id"]
    names["role"] = _role(made)["role_id"]
    names["pause_rule"] = _pause_rule(made)["rule_id"]
    names["bookmark"] = _bookmark(made)["bookmark_id"]
    names["webhook"] = _webhook(made)["webhook_id"]
    servers = made.ask("GET", f"/v0.10/endpoint/{names['lake']}/server_list")["DATA"]
    names["server"] = str(servers[0]["id"])
    names["done"] = made.transfer(("tree/", "done/"))
    names["failed"] = made.transfer(("none", "copy"))
    names["left_out"] = made.transfer(("none", "copy"), ("tree/", "left/"), skip_source_errors=True)
    names["paused"] = made.transfer(("tree/", "paused/"))
    made.post(f"task/{names['paused']}/pause")
    names["plan"] = made.plan()
    applied = made.plan()
    follows = made.post(f"plan/{applied}/apply", {"submission_id": str(uuid4())})["task_id"]
    for name in ("done", "failed", "left_out"):
        made.until(f"task/{names[name]}", "SUCCEEDED", "FAILED")
    cancel = {"message": "x", "task_id_list": [names["failed"]]}
    names["cancel"] = made.post("endpoint_manager/admin_cancel", cancel)["id"]
    names["timer"] = _timer(made)["job_id"]

    everywhere = [names["lake"], names["sea"], names["guest"], *made.spoiled]
    made.knows("endpoint_id", *everywhere)
    made.knows("task_id", names["done"], names["failed"], names["left_out"], follows)
    made.knows("task_id", *(_waiting_task(made)["task_id"] for _ in range(2)))
    made.knows("plan_id", names["plan"], applied)
    made.knows("rule_id", names["access_rule"], names["pause_rule"])
    made.knows("role_id", names["role"])
    made.knows("bookmark_id", names["bookmark"])
    made.knows("webhook_id", names["webhook"])
    made.knows("server_id", names["server"])
    made.knows("cancel_id", names["cancel"])
    made.knows("job_id", names["timer"], _timer(made)["job_id"])


def _lab(made: Scene) -> str:
    """A server's endpoint with one node; the node's token."""
    lab = made.post("endpoint", {"display_name": "Lab", "connect": "server"})
    made.names["lab"] = lab["id"]
    made.knows("endpoint_id", lab["id"])
    setup = {**asked(lab["globus_connect_setup_key"]), "tunnel_key": TUNNEL_KEY}
    node = made.ask("POST", "/v0.10/connect/setup", setup, who="nobody")
    made.names["node"] = node["node_id"]
    made.knows("node_id", node["node_id"])
    return str(node["agent_token"])
