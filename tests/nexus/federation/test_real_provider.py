"""Federation against a real OpenID provider (`oidc-provider`), in a real browser."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from plugins.accessibility import assert_accessible
from plugins.browser import BROWSER_GROUP
from plugins.deployment import Running
from plugins.node import NodeProgram, StartNode
from towpath.platform.certificates import server_certificate

pytestmark = BROWSER_GROUP

PEOPLE = {
    "ada": {
        "preferred_username": "ada",
        "name": "Ada Lovelace",
        "email": "ada@mail.example",
        "email_verified": True,
    },
    "eve": {"preferred_username": "eve@elsewhere.example", "name": "Eve"},
    "bob": {"preferred_username": "bob@b.example", "name": "Bob"},
}
CLIENT = {
    "client_id": "towpath",
    "client_secret": "a secret of forty-eight characters or even more",
}


class Institution:
    """A running provider that the deployment knows."""

    def __init__(self, running: Running, program: NodeProgram, name: str, authority: Path) -> None:
        self.running = running
        self.program = program
        self.name = name
        self.authority = authority

    def register(self, domain: str) -> None:
        """Each learns of the other."""
        redirect = self.running.towpath("admin", "provider", "uri", self.program.url).strip()
        self.program.tell({"clients": [{**CLIENT, "redirect_uris": [redirect]}]})
        words = ["--issuer", self.program.url, "--client-id", "towpath", "--domain", domain]
        words += ["--authority", str(self.authority), "--client-secret-file", "-", "-F", "json"]
        added = self.running.towpath(
            "admin", "provider", "add", self.name, *words, typed=CLIENT["client_secret"] + "\n"
        )
        assert json.loads(added)["redirect_uri"] == redirect


@pytest.fixture(scope="module")
def institutions(
    running: Running,
    start_node_for_session: StartNode,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """Two of them."""
    directory = tmp_path_factory.mktemp("institutions")
    files = server_certificate(directory, ["localhost"])
    made = []
    for name, domain in (("Institution A", "a.example"), ("Institution B", "b.example")):
        configuration = {
            "cert": files.cert.read_text(),
            "key": files.key.read_text(),
            "clients": [],
            "people": PEOPLE,
            "acr": "urn:example:loa2",
            "amr": ["pwd", "otp"],
        }
        program = start_node_for_session("provider.mjs", configuration)
        one = Institution(running, program, name, files.authority)
        one.register(domain)
        made.append(one)
    yield made
    for one in made:
        running.towpath("admin", "provider", "remove", one.program.url)


def log_in(page: Page, institution: Institution, person: str) -> None:
    """From the button on our page, through the institution's form, and back."""
    page.get_by_role("button", name=institution.name).click()
    page.wait_for_url(re.compile(re.escape(institution.program.url)))
    page.locator("input[name=name]").fill(person)
    page.get_by_role("button", name="Enter").click()


def test_login_link_and_login_with_the_other_one(
    running: Running, institutions: list[Institution], page: Page
) -> None:
    a, b = institutions
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.goto(f"{running.url}/account/identities")
    assert_accessible(page)
    log_in(page, a, "ada")
    # back where the person wanted to go
    page.wait_for_url(f"{running.url}/account/identities")
    expect(page.get_by_text("ada@a.example", exact=True).first).to_be_visible()
    log_in(page, b, "bob")
    expect(page.get_by_role("status")).to_have_text("The identity was linked.")
    expect(page.locator("ul.rows > li")).to_have_count(2)
    assert_accessible(page)
    assert not [line for line in told if "Content Security Policy" in line]
    # a browser that was never here, with the other identity
    page.context.clear_cookies()
    page.goto(f"{running.url}/account/identities")
    log_in(page, b, "bob")
    page.wait_for_url(f"{running.url}/account/identities")
    expect(page.locator("ul.rows > li")).to_have_count(2)


def test_name_in_a_domain_that_is_not_the_institutions(
    running: Running, institutions: list[Institution], page: Page
) -> None:
    page.goto(f"{running.url}/v2/web/login")
    log_in(page, institutions[0], "eve")
    expect(page.get_by_role("heading", name="You are not logged in")).to_be_visible()
    expect(page.get_by_text("could not be accepted")).to_be_visible()


def test_institution_says_no(running: Running, institutions: list[Institution], page: Page) -> None:
    page.goto(f"{running.url}/v2/web/login")
    log_in(page, institutions[0], "nobody")
    expect(page.get_by_text("did not log you in")).to_be_visible()


def test_institution_that_is_down(running: Running, page: Page) -> None:
    issuer = "https://localhost:9"  # nobody listens there
    words = ["--issuer", issuer, "--client-id", "x", "--domain", "c.example", "--unseen"]
    running.towpath("admin", "provider", "add", "Institution C", *words)
    try:
        page.goto(f"{running.url}/v2/web/login")
        page.get_by_role("button", name="Institution C").click()
        expect(page.get_by_text("does not answer at the moment")).to_be_visible()
    finally:
        running.towpath("admin", "provider", "remove", issuer)
