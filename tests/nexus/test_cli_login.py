"""The unmodified `globus` command logs somebody in, with a real browser and a real deployment."""

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from plugins.accessibility import assert_accessible
from plugins.browser import BROWSER_GROUP
from plugins.connect_api import asked as asked_by
from plugins.deployment import Running
from towpath import __version__

pytestmark = BROWSER_GROUP

PASSWORD = "a heron stands in cold water"
WITHIN_S = 60.0
_TOKENS = "SELECT token_data_json FROM token_storage"
_CLIENT = "SELECT config_data_json FROM config_storage WHERE config_name = 'auth_client_data'"
GLOBUS = Path(sys.executable).with_name("globus")


@dataclass
class Terminal:
    """Somebody's shell with the `globus` command, and their browser."""

    running: Running
    home: Path
    page: Page
    username: str
    more: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What `eval "$(towpath env --user)"` leaves behind."""
        found = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }
        for line in self.running.towpath("env", "--user").splitlines():
            if line.startswith("export "):
                (word,) = shlex.split(line.removeprefix("export "))
                name, _, value = word.partition("=")
                found[name] = value
        return found | self.more

    def run(self, *words: str, expect_code: int = 0) -> str:
        """A command that needs no browser."""
        done = subprocess.run(
            [GLOBUS, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        assert done.returncode == expect_code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "-F", "json"))

    def with_a_code(self, *words: str) -> str:
        """A command that shows an address and waits for the code; what it says in the end."""
        process = self._start(*words)
        assert process.stdin is not None
        assert process.stdout is not None
        said = ""
        while not (found := re.search(r"https://\S+/authorize\?\S+", said)):
            line = process.stdout.readline()
            assert line, said
            said += line
        self.answer(found[0])
        code = self.page.locator("#code").inner_text()
        rest, _ = process.communicate(code + "\n", timeout=WITHIN_S)
        assert process.returncode == 0, said + rest
        return said + rest

    def with_the_browser(self, *words: str) -> str:
        """A command that opens the browser and gets the code itself; what it says in the end."""
        seen = self.home / f"{uuid4()}.url"
        script = self.home / "browser"
        script.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}.part && mv {seen}.part {seen}\n')
        script.chmod(0o700)
        self.more = {"BROWSER": f"{script} %s"}
        process = self._start(*words)
        deadline = time.monotonic() + WITHIN_S
        while not seen.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.answer(seen.read_text())
        said, _ = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 0, said
        return said

    def _start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [GLOBUS, *words],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def secrets(self) -> list[str]:
        """All that the command keeps to prove things with."""
        with closing(sqlite3.connect(self.home / ".globus" / "cli" / "storage.db")) as stored:
            tokens = [json.loads(row[0]) for row in stored.execute(_TOKENS)]
            ((client,),) = stored.execute(_CLIENT)
        found = [one[key] for one in tokens for key in ("access_token", "refresh_token")]
        return [*found, json.loads(client)["client_secret"]]

    def answer(self, url: str) -> None:
        """Log in and allow what is asked for, as the pages ask for it."""
        page = self.page
        page.goto(url)
        if page.get_by_role("heading", name="Log in").count():
            page.get_by_label("Name").fill(self.username)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in", exact=True).click()
        if page.get_by_role("button", name="Allow", exact=True).count():
            expect(page.get_by_role("heading")).to_contain_text(["asks to act for you"])
            page.get_by_role("button", name="Allow", exact=True).click()


@pytest.fixture
def terminal(running: Running, tmp_path: Path, page: Page) -> Terminal:
    name = f"u{uuid4().hex[:8]}"
    running.towpath(
        *("admin", "user", "add", name, "--full-name", "Grace", "--email", f"{name}@sea.example"),
        *("--password-file", "-"),
        typed=PASSWORD + "\n",
    )
    home = tmp_path / "home"
    home.mkdir()
    return Terminal(running, home, page, name)


def test_a_whole_life_with_the_command(terminal: Terminal) -> None:
    """Login by a code, the session's commands, and logout, on one login page after the other."""
    visited: list[str] = []
    terminal.page.on("request", lambda request: visited.append(request.url))
    said = terminal.with_a_code("login", "--no-local-server")
    assert "You have successfully logged in to the Globus CLI!" in said
    shown = terminal.json("whoami")
    assert shown["preferred_username"].startswith(terminal.username)
    assert shown["name"] == "Grace"
    assert shown["preferred_username"] in terminal.run("whoami", "--linked-identities")
    assert "already logged in" in terminal.run("login")
    assert terminal.json("endpoint", "search", "--filter-scope", "my-endpoints")["DATA"] == []
    assert terminal.json("group", "list") == []

    before = terminal.json("session", "show")["authentications"]
    assert list(before) == [shown["sub"]]
    terminal.with_a_code("session", "update", "--all", "--no-local-server")
    after = terminal.json("session", "show")["authentications"]
    assert after[shown["sub"]]["auth_time"] > before[shown["sub"]]["auth_time"]

    scope = "urn:globus:auth:scope:nexus.api.globus.org:groups"
    terminal.with_a_code("session", "consent", scope, "--no-local-server")

    secrets = terminal.secrets()
    assert len(secrets) == 2 * 7 + 1, "two tokens for each service, and the client's secret"
    terminal.run("logout", "--yes")
    assert "Missing login" in terminal.run("whoami", expect_code=4)
    written = [file.read_text() for file in (terminal.running.data / "log").iterdir()]
    assert any("/v2/oauth2/token" in text for text in written), "these are the logs"
    for secret in secrets:
        assert not any(secret in text for text in (*written, *visited)), "in a log or an address"


@pytest.mark.long
def test_a_login_for_an_endpoint_and_a_consent_for_a_collection(terminal: Terminal) -> None:
    """What the command asks for when it is to manage an endpoint, and to use data there."""
    lab, collection = a_server(terminal.running)
    terminal.with_a_code("login", "--no-local-server")
    refused = terminal.run("gcs", "endpoint", "show", lab, expect_code=4)
    assert f"globus login --gcs {lab}" in refused
    terminal.with_a_code("login", "--gcs", lab, "--no-local-server")
    assert terminal.json("gcs", "endpoint", "show", lab)["display_name"] == "Lab"
    assert terminal.json("collection", "show", collection)["display_name"] == "Lab data"
    assert "permission_denied" in terminal.run(
        "gcs", "endpoint", "update", lab, "--department", "x", expect_code=1
    )

    refused = terminal.run("ls", f"{collection}:/", expect_code=4)
    asked = re.search(r"globus session consent '([^']+)'", refused)
    assert asked is not None, refused
    terminal.with_a_code("session", "consent", asked[1], "--no-local-server")
    # it is away: the consent is what has been asked first
    assert "never connected" in terminal.run("ls", f"{collection}:/", expect_code=1)

    refused = terminal.run("collection", "create", "guest", collection, "/", "x", expect_code=4)
    assert f"globus login --gcs {lab}:{collection}" in refused
    terminal.with_a_code("login", "--gcs", f"{lab}:{collection}", "--no-local-server")
    refused = terminal.run("collection", "create", "guest", collection, "/", "x", expect_code=1)
    assert "never connected" in refused


def a_server(running: Running) -> tuple[str, str]:
    """An endpoint of the operator's whose node has reported a collection, and is away."""
    words = ("endpoint", "add", "Lab", "--connect-server", "--format", "json")
    added = json.loads(running.towpath(*words))
    with httpx.Client(base_url=running.url, verify=running.tls()) as http:
        made = http.post("/v0.10/connect/setup", json=asked_by(added["setup_key"])).json()
        report = {
            "version": __version__,
            "node_name": "dtn",
            "collections": [{"name": "Lab data", "base_path": "/srv"}],
            "mappings": [EVERYBODY],
        }
        token = {"Authorization": f"Bearer {made['agent_token']}"}
        told = http.put("/v0.10/connect/report", json=report, headers=token)
    (collection,) = told.json()["collections"]
    return added["id"], collection["id"]


EVERYBODY = {
    "DATA_TYPE": "expression_identity_mapping#1.0.0",
    "mappings": [{"source": "{username}", "match": ".*", "output": "daemon"}],
}


def test_login_by_the_local_server(terminal: Terminal) -> None:
    said = terminal.with_the_browser("login")
    assert "You have successfully logged in to the Globus CLI!" in said
    name = terminal.json("whoami")["preferred_username"]
    # once more, in the same browser: it is the same client, and nothing new to be allowed
    terminal.with_the_browser("login", "--force")
    terminal.with_the_browser("session", "update", name)
    terminal.run("logout", "--yes", "--delete-client")


def test_client_mode(running: Running, terminal: Terminal) -> None:
    variables = dict(
        shlex.split(line)[1].split("=", 1)
        for line in running.towpath("env").splitlines()
        if line.startswith("export ")
    )
    terminal.more = {name: value for name, value in variables.items() if "CLIENT" in name}
    shown = terminal.json("whoami")
    assert shown["sub"] == variables["GLOBUS_CLI_CLIENT_ID"]
    assert terminal.json("session", "show")["authentications"] == {}
    assert "client credentials" in terminal.run("login", expect_code=2)
    terminal.run("logout", "--yes")


def test_refused_by_the_person_and_revoked_later(terminal: Terminal) -> None:
    page = terminal.page
    process = terminal._start("login", "--no-local-server")
    assert process.stdout is not None
    address = next(
        found
        for line in process.stdout
        if (found := re.search(r"https://\S+/authorize\?\S+", line))
    )[0]
    page.goto(address)
    expect(page.get_by_text("to go on to Globus CLI")).to_be_visible()
    page.get_by_label("Name").fill(terminal.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()
    assert_accessible(page)
    page.get_by_role("button", name="Do not allow").click()
    expect(page.locator("#code")).to_have_count(0)
    said, _ = process.communicate("\n", timeout=WITHIN_S)
    assert process.returncode != 0, said

    terminal.with_a_code("login", "--no-local-server")
    assert_accessible(page)
    terminal.run("group", "list")
    page.goto(f"{terminal.running.url}/account/applications")
    assert_accessible(page)
    page.get_by_role("button", name="Revoke Globus CLI").first.click()
    expect(page.get_by_text("No application acts for you.")).to_be_visible()
    assert "globus login" in terminal.run("group", "list", expect_code=4)
