"""The web interface in a real browser, with somebody logged in and real GridFTP servers of hers.

`gui` gives a test a browser's profile that is logged in, two registered servers of two authorities,
and looks at what the browser's console says: errors and what the Content Security Policy refused
fail the test. Tests that use it belong to `BROWSER_GROUP`.
"""

import base64
import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page

from plugins.deployment import Running
from plugins.nexus_people import forms
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer

PASSWORD = "nine patient lockkeepers"
FULL_NAME = "Lina Lock"
_SCOPES = "openid urn:globus:auth:scope:transfer.api.globus.org:all"
_API_PROBLEM = "Failed to load resource: the server responded with a status of"
"""What a browser says of each answer that is none; a test that provokes one expects it."""


@dataclass
class Person:
    """Somebody with an account: her browser session, and her access token for the Transfer API."""

    username: str
    http: httpx.Client

    @classmethod
    def settle(cls, running: Running, username: str) -> Self:
        """Make the account, log in, get a token as the web interface does."""
        words = ["--full-name", FULL_NAME, "--email", f"{username}@mail.example"]
        running.towpath(
            *("admin", "user", "add", username, "--password-file", "-"),
            *words,
            typed=PASSWORD + "\n",
        )
        http = httpx.Client(base_url=running.url, verify=running.tls(), timeout=60, trust_env=False)
        page = http.get("/v2/web/login")
        (form,) = [one for one in forms(page.text) if one["action"] == "/v2/web/login"]
        fields = form["hidden"] | {"username": username, "password": PASSWORD}
        http.post("/v2/web/login", data=fields, headers={"Origin": running.url})
        client_id = re.search(r'name="towpath-client" content="([^"]+)"', http.get("/files").text)
        assert client_id is not None
        verifier = secrets.token_urlsafe(48)
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": client_id[1],
            "redirect_uri": f"{running.url}/login/callback",
            "scope": _SCOPES,
            "state": "x",
            "code_challenge": digest.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "prompt": "none",
        }
        sent = http.get("/v2/oauth2/authorize", params=query)
        answer = dict(parse_qsl(urlsplit(sent.headers["Location"]).query))
        tokens = http.post(
            "/v2/oauth2/token",
            data={
                "grant_type": "authorization_code",
                "client_id": client_id[1],
                "redirect_uri": query["redirect_uri"],
                "code": answer["code"],
                "code_verifier": verifier,
            },
        ).json()
        (token,) = [
            one["access_token"]
            for one in (tokens, *tokens["other_tokens"])
            if one["resource_server"] == "transfer.api.globus.org"
        ]
        http.headers["Authorization"] = f"Bearer {token}"
        return cls(username, http)

    def api(self, method: str, route: str, **more: Any) -> dict[str, Any]:
        """A document of the Transfer API, asked for by her."""
        answer = self.http.request(method, f"/v0.10/{route}", **more)
        assert answer.is_success, f"{method} {route}: {answer.status_code} {answer.text[:500]}"
        document: dict[str, Any] = answer.json()
        return document

    def register(self, name: str, server: GctServer, domain: Domain, **more: Any) -> str:
        """An endpoint of hers for a server, with her credential for it; its id."""
        document = {
            "DATA_TYPE": "endpoint",
            "display_name": name,
            "DATA": [{"DATA_TYPE": "server", "uri": server.url("")}],
            "trust_roots": dict(domain.trust.files),
            **more,
        }
        endpoint_id: str = self.api("POST", "endpoint", json=document)["id"]
        self.give(endpoint_id, domain.proxy_file.read_text())
        return endpoint_id

    def give(self, endpoint_id: str, proxy: str) -> None:
        """Her credential for an endpoint."""
        self.api("PUT", f"endpoint/{endpoint_id}/credential", json={"proxy": proxy})

    def transfer(self, source: str, destination: str, *paths: tuple[str, str], **more: Any) -> str:
        """Submit a transfer of (source path, destination path) items; the task id."""
        document = {
            "DATA_TYPE": "transfer",
            "submission_id": str(uuid4()),
            "source_endpoint": source,
            "destination_endpoint": destination,
            "verify_checksum": True,
            "DATA": [
                {"DATA_TYPE": "transfer_item", "source_path": here, "destination_path": there}
                for here, there in paths
            ],
            **more,
        }
        task_id: str = self.api("POST", "transfer", json=document)["task_id"]
        return task_id

    def cookies(self) -> list[dict[str, Any]]:
        """Of her session, for a browser."""
        return [
            {
                "name": cookie.name,
                "value": cookie.value,
                "url": str(self.http.base_url),
                "secure": True,
                "httpOnly": True,
                "sameSite": "Lax",
            }
            for cookie in self.http.cookies.jar
        ]


@dataclass(frozen=True)
class GuiSite:
    """What all tests of a process share."""

    running: Running
    person: Person
    source: GctServer
    destination: GctServer
    source_id: str
    destination_id: str


@dataclass
class Gui:
    """The web interface for one test."""

    site: GuiSite
    profile: BrowserContext
    root: Path
    """Both servers see it: a directory of this test's own."""
    expected: list[str] = field(default_factory=list)
    """Beginnings of what the console may say in this test."""
    _said: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it is."""
        return self.site.running.url

    @property
    def person(self) -> Person:
        """Who is logged in."""
        return self.site.person

    def page(self) -> Page:
        """An empty tab, logged in."""
        tab = self.profile.new_page()
        tab.on("console", self._told)
        tab.on("pageerror", lambda error: self._said.append(str(error)))
        return tab

    def open(self, path: str) -> Page:
        """A tab with this page."""
        tab = self.page()
        tab.goto(self.url + path)
        return tab

    def expect_problem(self, status: int) -> None:
        """Some answer of the APIs has this status: browsers call that an error."""
        self.expected.append(f"{_API_PROBLEM} {status}")

    def _told(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._said.append(message.text)

    def assert_quiet(self) -> None:
        """Nothing was in the console that the test did not expect."""
        beginnings = tuple(self.expected)
        said = [one for one in self._said if not (beginnings and one.startswith(beginnings))]
        assert not said, said


@pytest.fixture(scope="session")
def gui_site(
    running: Running,
    tmp_path_factory: pytest.TempPathFactory,
    domain_a: Domain,
    domain_b: Domain,
) -> Iterator[GuiSite]:
    """Somebody with an account, and her two servers."""
    root = tmp_path_factory.mktemp("gui")
    with (
        GctServer.start(domain_a, root / "server-a") as source,
        GctServer.start(domain_b, root / "server-b") as destination,
    ):
        person = Person.settle(running, "lina")
        yield GuiSite(
            running,
            person,
            source,
            destination,
            person.register("Instrument", source, domain_a),
            person.register("Archive", destination, domain_b),
        )
        person.http.close()


@pytest.fixture
def gui(gui_site: GuiSite, profile: BrowserContext, tmp_path: Path) -> Iterator[Gui]:
    """Logged in; the console is quiet at the end."""
    profile.add_cookies(gui_site.person.cookies())  # type: ignore[arg-type]
    made = Gui(gui_site, profile, tmp_path)
    yield made
    made.assert_quiet()
