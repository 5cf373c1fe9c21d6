"""A deployment with all that commands are about: servers, agents, people, and what they made."""

import asyncio
import json
import os
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import globus_sdk
from globus_sdk.scopes import GroupsScopes, TimersScopes, TransferScopes

from plugins.globus import Globus
from plugins.rig import QUICK
from plugins.terminal import Terminal
from plugins.terminal_browser import TerminalBrowser
from towpath.demo.agents import Agent
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.nexus.store import clients
from towpath.platform.database import Database
from towpath.platform.settings import DataDirectory

TASK_S = 60.0
READY_S = 30.0
PASSWORD = "a heron stands in cold water"
ACCOUNT = "daemon" if os.geteuid() == 0 else "nobody"


@dataclass(frozen=True)
class Someone:
    """A user that is a client: with the command, and with the SDK."""

    id: str
    globus: Globus
    transfer: globus_sdk.TransferClient
    groups: globus_sdk.GroupsClient
    timers: globus_sdk.TimersClient
    application: globus_sdk.ConfidentialAppAuthClient

    @property
    def username(self) -> str:
        return f"{self.id}@clients.auth.globus.org"

    def manager(self, url: str, endpoint_id: str) -> globus_sdk.GCSClient:
        """Of a Connect server endpoint, with this user's token."""
        scope = f"urn:globus:auth:scope:{endpoint_id}:manage_collections"
        return globus_sdk.GCSClient(
            url, authorizer=globus_sdk.ClientCredentialsAuthorizer(self.application, scope)
        )


@dataclass
class Stage:
    """`ann` owns all that is there; `bob` is somebody else."""

    root: Path
    deployment: Deployment
    ann: Someone
    bob: Someone
    a: str
    b: str
    """Endpoints at GridFTP servers of two authorities."""
    _domain: Domain
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def globus(self) -> Globus:
        """The command, as Ann's."""
        return self.ann.globus

    # What is there to be used; made when it is asked for first.

    @cached_property
    def laptop(self) -> str:
        """Ann's computer, with an agent that runs; a collection."""
        made = self.ann.transfer.post(
            "/v0.10/endpoint",
            data={"DATA_TYPE": "endpoint", "display_name": "Laptop", "is_globus_connect": True},
        )
        self.directory("laptop-files")
        agent = self._stack.enter_context(
            Agent.set_up(
                made["globus_connect_setup_key"],
                self.root / "laptop",
                shares=[self.root / "laptop-files"],
            )
        )
        agent.start()
        self.until_connected(made["id"])
        return str(made["id"])

    @cached_property
    def lab(self) -> str:
        """A site's endpoint (GCSv5), with a node that runs."""
        told = self.deployment.towpath(
            "endpoint", "add", "Lab", "--connect-server", "--format", "json"
        )
        added = json.loads(told)
        base = self.directory("lab-files")
        shutil.chown(base, ACCOUNT)
        node = self._stack.enter_context(Agent.set_up(added["setup_key"], self.root / "node"))
        node.towpath("map", "add", ".*", ACCOUNT)
        node.towpath("collection", "add", "Lab data", "--base-path", str(base), "--allow", ACCOUNT)
        node.towpath("managers", "allow", str(self.open_for_managers), "--allow", ACCOUNT)
        node.start()
        return str(added["id"])

    @cached_property
    def open_for_managers(self) -> Path:
        """A directory there of which managers may make collections."""
        opened = self.directory("lab-open")
        shutil.chown(opened, ACCOUNT)
        return opened

    @cached_property
    def collection(self) -> str:
        """That endpoint's mapped collection."""
        found = self.ann.transfer.endpoint_search(
            filter_scope="all", filter_host_endpoint=self.lab, limit=10
        )
        return next(
            str(one["id"]) for one in found if one["entity_type"] == "GCSv5_mapped_collection"
        )

    @cached_property
    def manager(self) -> globus_sdk.GCSClient:
        """Of the lab."""
        url = self.ann.transfer.get_endpoint(self.lab)["gcs_manager_url"]
        assert url, "the endpoint names no manager"
        return self.ann.manager(url, self.lab)

    @cached_property
    def gateway(self) -> str:
        """The lab's storage gateway."""
        return next(str(one["id"]) for one in self.manager.get_storage_gateway_list())

    @cached_property
    def user_credential(self) -> str:
        """Ann's at that gateway."""
        return next(str(one["id"]) for one in self.manager.get_user_credential_list())

    @cached_property
    def terminal(self) -> Terminal:
        """A person who logs in."""
        name = f"u{uuid4().hex[:8]}"
        password = self.root / "password"
        password.write_text(PASSWORD + "\n")
        password.chmod(0o600)
        self.deployment.towpath(
            *("admin", "user", "add", name, "--full-name", "Grace"),
            *("--email", f"{name}@sea.example", "--password-file", str(password)),
        )
        trust = ssl.create_default_context(cafile=str(self.deployment.data_dir / "tls" / "ca.pem"))
        browser = TerminalBrowser(self.deployment.url, trust, name, PASSWORD)
        self._stack.callback(browser.close)
        home = self.directory("person")
        environment = {
            name: value
            for name, value in self.globus.environment.items()
            if not name.startswith("GLOBUS_CLI_CLIENT")
        }
        return Terminal(home, environment | {"HOME": str(home)}, browser.allow)

    # What is made anew each time.

    def directory(self, name: str | None = None) -> Path:
        """An empty one, that servers can see."""
        made = self.root / (name or f"d{uuid4().hex[:8]}")
        made.mkdir()
        return made

    def file(self, text: str = "towpath") -> Path:
        """One in a directory of its own."""
        made = self.directory() / "file.txt"
        made.write_text(text)
        return made

    def task(self) -> str:
        """A transfer of a file that has succeeded."""
        file = self.file()
        task = self.deployment.transfer(
            self.a, self.b, [(str(file), str(file.with_name("copy")), False)]
        )
        assert self.deployment.wait(task, TASK_S)["status"] == "SUCCEEDED"
        return task

    def unfinished_task(self) -> str:
        """One that is paused; it ends with the deployment."""
        big = self.directory() / "big"
        big.touch()
        os.truncate(big, 4 * 1024**3)  # sparse
        task = self.deployment.transfer(
            self.a, self.b, [(str(big), str(big.with_name("copy")), False)]
        )
        self.deployment.post(f"task/{task}/pause", {})
        return task

    def bookmark(self) -> str:
        """Its name."""
        name = f"b{uuid4().hex[:8]}"
        self.ann.transfer.create_bookmark(
            {"endpoint_id": self.a, "path": f"{self.root}/", "name": name}
        )
        return name

    def bookmark_id(self, name: str) -> str:
        """Of that name."""
        (found,) = [one for one in self.ann.transfer.bookmark_list()["DATA"] if one["name"] == name]
        return str(found["id"])

    def group(self) -> str:
        """Ann's; its id."""
        made = self.ann.groups.create_group({"name": "Lake", "description": "Water"})
        return str(made["id"])

    def guest(self) -> str:
        """A guest collection of Ann's, shared from endpoint A; its id."""
        made = self.ann.transfer.create_shared_endpoint(
            {
                "DATA_TYPE": "shared_endpoint",
                "host_endpoint": self.a,
                "host_path": f"{self.directory()}/",
                "display_name": "Shared",
            }
        )
        return str(made["id"])

    def guest_of_laptop(self) -> str:
        """A guest collection of Ann's, shared from her computer."""
        made = self.ann.transfer.create_shared_endpoint(
            {
                "DATA_TYPE": "shared_endpoint",
                "host_endpoint": self.laptop,
                "host_path": f"{self.root}/laptop-files/",
                "display_name": "Shared",
            }
        )
        return str(made["id"])

    def guest_of_lab(self) -> str:
        """A guest collection of Ann's, made by the lab's manager."""
        data_access = f"https://auth.globus.org/scopes/{self.collection}/data_access"
        # for the manager, who is asked to share it
        self.ann.application.oauth2_client_credentials_tokens(
            f"urn:globus:auth:scope:{self.lab}:manage_collections[{data_access}]"
        )
        document = globus_sdk.GuestCollectionDocument(
            mapped_collection_id=self.collection,
            user_credential_id=self.user_credential,
            collection_base_path="/",
            display_name="Shared",
        )
        return str(self.manager.create_collection(document)["id"])

    def mapped_of_lab(self) -> str:
        """A mapped collection of the lab, made by its manager."""
        document = globus_sdk.MappedCollectionDocument(
            storage_gateway_id=self.gateway,
            collection_base_path=str(self.open_for_managers),
            display_name=f"Mapped {uuid4().hex[:8]}",
        )
        return str(self.manager.create_collection(document)["id"])

    def rule(self, guest: str) -> str:
        """For Bob, on all of a guest collection; its id."""
        made = self.ann.transfer.add_endpoint_acl_rule(
            guest,
            {
                "DATA_TYPE": "access",
                "principal_type": "identity",
                "principal": self.bob.id,
                "path": "/",
                "permissions": "r",
            },
        )
        return str(made["access_id"])

    def role(self, endpoint: str) -> str:
        """Bob's, at an endpoint; its id."""
        made = self.ann.transfer.add_endpoint_role(
            endpoint,
            {
                "DATA_TYPE": "role",
                "principal_type": "identity",
                "principal": self.bob.id,
                "role": "activity_monitor",
            },
        )
        return str(made["id"])

    def manager_role(self, collection: str | None = None) -> str:
        """Bob's, by the lab's manager, who gives it if he has none; its id."""
        principal = f"urn:globus:auth:identity:{self.bob.id}"
        there = globus_sdk.MISSING if collection is None else collection
        for role in self.manager.get_role_list(there, include="all_roles"):
            if role["principal"] == principal:
                return str(role["id"])
        document = globus_sdk.GCSRoleDocument(
            principal=principal, role="activity_monitor", collection=there
        )
        return str(self.manager.create_role(document)["id"])

    def timer(self) -> str:
        """One that runs tomorrow; its id."""
        file = self.file()
        data = globus_sdk.TransferData(source_endpoint=self.a, destination_endpoint=self.b)
        data.add_item(str(file), str(file.with_name("copy")))
        timer = globus_sdk.TransferTimer(
            name="Nightly",
            schedule=globus_sdk.OnceTimerSchedule(datetime=_tomorrow()),
            body=data,
        )
        return str(self.ann.timers.create_timer(timer)["timer"]["job_id"])

    def until_connected(self, endpoint_id: str) -> None:
        """Until an agent is there."""
        deadline = time.monotonic() + READY_S
        while not self.deployment.get(f"endpoint/{endpoint_id}")["gcp_connected"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _tomorrow() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 86_400))


@contextmanager
def staged(root: Path) -> Iterator[Stage]:
    """All of it, below `root`, which every account may enter. Sets the SDK's variables."""
    domains = [
        Domain.create(root / f"domain-{name}", f"Dom{name.upper()}", user=user)
        for name, user in (("a", "Alice"), ("b", "Bob"))
    ]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(GctServer.start(domain, root / f"server-{number}"))
            for number, domain in enumerate(domains)
        ]
        deployment = stack.enter_context(Deployment.start(root / "deployment", QUICK))
        environment = deployment.environment()
        os.environ.update({k: v for k, v in environment.items() if "CLIENT" not in k})
        os.environ["GLOBUS_SDK_ENVIRONMENT"] = environment["GLOBUS_SDK_ENVIRONMENT"]
        ids = [
            deployment.add_endpoint(name, server.url(""), domain.trust_dir, domain.proxy_file)
            for name, server, domain in zip(("Lake A", "Lake B"), servers, domains, strict=True)
        ]
        operator = json.loads((deployment.data_dir / "secrets" / "operator.json").read_text())
        secrets = {
            "ann": (operator["client_id"], operator["client_secret"]),
            "bob": (str(uuid4()), str(uuid4()) * 2),
        }
        url = DataDirectory(deployment.data_dir).read_state()["database_url"]
        asyncio.run(_add_client(url, *secrets["bob"]))
        people = [
            _someone(client, Globus.of(deployment, root / name)) for name, client in secrets.items()
        ]
        stage = Stage(root, deployment, people[0], people[1], ids[0], ids[1], domains[0])
        with stage._stack:
            yield stage


async def _add_client(url: str, client_id: str, secret: str) -> None:
    async with Database(url, schema="nexus", max_size=1) as pool, pool.transaction() as connection:
        await clients.add_client(
            connection,
            client_id=UUID(client_id),
            name="Bob",
            secret=secret,
            administrator=False,
        )


def _someone(client: tuple[str, str], globus: Globus) -> Someone:
    client_id, secret = client
    globus.environment |= {"GLOBUS_CLI_CLIENT_ID": client_id, "GLOBUS_CLI_CLIENT_SECRET": secret}
    application = globus_sdk.ConfidentialAppAuthClient(client_id, secret)

    def authorizer(scope: Any) -> globus_sdk.ClientCredentialsAuthorizer:
        return globus_sdk.ClientCredentialsAuthorizer(application, scope)

    return Someone(
        client_id,
        globus,
        globus_sdk.TransferClient(authorizer=authorizer(TransferScopes.all)),
        globus_sdk.GroupsClient(authorizer=authorizer(GroupsScopes.all)),
        globus_sdk.TimersClient(authorizer=authorizer(TimersScopes.timer)),
        application,
    )
