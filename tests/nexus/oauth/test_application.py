"""An application in another language (`openid-client`) that logs people in with Towpath, and whose
requirements go on to the institution behind it (`oidc-provider`): three programs and a browser.
"""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from plugins.browser import BROWSER_GROUP
from plugins.deployment import Running
from plugins.node import NodeProgram, StartNode
from towpath.platform.certificates import server_certificate

pytestmark = BROWSER_GROUP

PASSWORD = "nine patient otters"
MANAGE = "urn:globus:auth:scope:auth.globus.org:manage_projects"


class Application:
    """The running program, registered as a confidential client."""

    def __init__(self, running: Running, program: NodeProgram) -> None:
        self.running = running
        self.program = program
        self.id, self.secret = self._register()

    def _register(self) -> tuple[str, str]:
        operator = json.loads((self.running.data / "secrets" / "operator.json").read_text())
        own = operator["client_id"]
        with httpx.Client(base_url=self.running.url, verify=self.running.tls()) as http:
            token = http.post(
                "/v2/oauth2/token",
                data={"grant_type": "client_credentials", "scope": MANAGE},
                auth=(own, operator["client_secret"]),
            ).json()["access_token"]
            http.headers["Authorization"] = f"Bearer {token}"

            def made(path: str, kind: str, fields: dict[str, Any]) -> Any:
                answer = http.post(f"/v2/api/{path}", json={kind: fields})
                assert answer.status_code < 300, answer.text
                return answer.json()[kind]

            project = made(
                "projects",
                "project",
                {"display_name": "Tides", "contact_email": "t@sea.example", "admin_ids": [own]},
            )
            client = made(
                "clients",
                "client",
                {
                    "name": "Tide tables",
                    "project": project["id"],
                    "public_client": False,
                    "redirect_uris": [f"{self.program.url}/callback"],
                },
            )
            secret = made(f"clients/{client['id']}/credentials", "credential", {"name": "first"})
        return client["id"], secret["secret"]

    def asks(self, scope: str = "openid profile email", **parameters: str) -> None:
        """What its next login is like."""
        self.program.tell(
            {
                "issuer": self.running.url,
                "client_id": self.id,
                "client_secret": self.secret,
                "scope": scope,
                "parameters": parameters,
            }
        )

    def shown(self, page: Page) -> dict[str, Any]:
        """What the application made of it."""
        page.wait_for_url(re.compile(re.escape(self.program.url)))
        document = json.loads(page.locator("body").inner_text())
        assert isinstance(document, dict)
        return document


@pytest.fixture(scope="module")
def application(
    running: Running,
    start_node_for_session: StartNode,
    tmp_path_factory: pytest.TempPathFactory,
) -> Application:
    words = ["--full-name", "Olga", "--email", "olga@mail.example", "--password-file", "-"]
    running.towpath("admin", "user", "add", "olga", *words, typed=PASSWORD + "\n")
    files = server_certificate(tmp_path_factory.mktemp("application"), ["localhost"])
    program = start_node_for_session(
        "application.mjs",
        {"cert": files.cert.read_text(), "key": files.key.read_text()},
        authority=running.authority,
    )
    return Application(running, program)


def log_in(page: Page) -> None:
    page.get_by_label("Name").fill("olga")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()


def allow(page: Page) -> None:
    page.get_by_role("button", name="Allow", exact=True).click()


def test_login_userinfo_refresh_end(running: Running, application: Application, page: Page) -> None:
    """The library itself checks state, nonce, iss, PKCE, and the id_token by our keys."""
    application.asks(access_type="offline")
    page.goto(application.program.url)
    log_in(page)
    allow(page)
    shown = application.shown(page)
    assert "error" not in shown, shown
    claims, person = shown["claims"], shown["person"]
    assert (claims["iss"], claims["aud"]) == (running.url, application.id)
    assert claims["sub"] == person["sub"]
    assert person["preferred_username"].startswith("olga@")
    assert person["email"] == "olga@mail.example"
    assert shown["refreshed"]["other"] is True
    page.goto(f"{application.program.url}/end")
    assert application.shown(page)["after"] in (401, 403)
    # the second time nobody is asked for anything
    application.asks()
    page.goto(application.program.url)
    assert application.shown(page)["claims"]["sub"] == claims["sub"]


def test_person_says_no(application: Application, page: Page) -> None:
    application.asks(prompt="consent")
    page.goto(application.program.url)
    log_in(page)
    page.get_by_role("button", name="Do not allow").click()
    assert application.shown(page)["error"] == "access_denied"


def test_second_factor_by_passkey(
    running: Running, application: Application, profile: BrowserContext, page: Page
) -> None:
    """A password was enough before; an application that wants more gets a passkey's word."""
    devtools = profile.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options: dict[str, Any] = {"protocol": "ctap2", "transport": "internal"}
    options |= dict.fromkeys(("hasResidentKey", "hasUserVerification", "isUserVerified"), True)
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.goto(f"{running.url}/account/security/passkeys")
    log_in(page)
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("status")).to_have_text("The passkey was added.")
    application.asks(prompt="consent", session_required_mfa="true")
    page.goto(application.program.url)
    expect(page.get_by_text("a second factor, such as a passkey")).to_be_visible()
    page.get_by_role("button", name="Log in with a passkey").click()
    allow(page)
    assert application.shown(page)["person"]["preferred_username"].startswith("olga@")


class Institution:
    """An upstream whose people have the deployment's login page before them."""

    def __init__(self, running: Running, start: StartNode, directory: Path) -> None:
        files = server_certificate(directory, ["localhost"])
        secret = "a secret of forty-eight characters or even more"
        people = {"tia": {"preferred_username": "tia", "name": "Tia", "email": "t@t.example"}}
        configuration: dict[str, Any] = {
            "cert": files.cert.read_text(),
            "key": files.key.read_text(),
            "clients": [],
            "people": people,
            "acr": "https://refeds.org/profile/mfa",
            "amr": ["pwd", "otp"],
        }
        self.program = start("provider.mjs", configuration)
        redirect = running.towpath("admin", "provider", "uri", self.program.url).strip()
        client = {"client_id": "t", "client_secret": secret, "redirect_uris": [redirect]}
        self.program.tell({"clients": [client]})
        words = ["--issuer", self.program.url, "--client-id", "t", "--domain", "t.example"]
        words += ["--authority", str(files.authority), "--client-secret-file", "-"]
        running.towpath("admin", "provider", "add", "Institution T", *words, typed=secret + "\n")

    def log_in(self, page: Page) -> None:
        """From the button to the form, which is always there: a fresh login is asked for."""
        page.get_by_role("button", name="Institution T").click()
        page.wait_for_url(re.compile(re.escape(self.program.url)))
        page.locator("input[name=name]").fill("tia")
        page.get_by_role("button", name="Enter").click()


def test_requirements_go_on_to_the_institution(
    running: Running,
    application: Application,
    start_node: StartNode,
    tmp_path: Path,
    page: Page,
) -> None:
    institution = Institution(running, start_node, tmp_path)
    try:
        application.asks()
        page.goto(application.program.url)
        institution.log_in(page)
        allow(page)
        first = application.shown(page)
        assert first["person"]["preferred_username"] == "tia@t.example"
        tia = first["claims"]["sub"]

        # a fresh login: the person is asked by the institution again, in spite of both sessions
        application.asks(prompt="login")
        page.goto(application.program.url)
        institution.log_in(page)
        fresh = application.shown(page)
        assert fresh["claims"]["sub"] == tia
        assert fresh["claims"]["last_authentication"] >= first["claims"]["last_authentication"]

        # more than one factor: the institution says that there were two
        application.asks(session_required_mfa="true")
        page.goto(application.program.url)
        assert application.shown(page)["claims"]["sub"] == tia

        # somebody else is logged in, and the application wants this identity
        page.context.clear_cookies()
        page.goto(f"{running.url}/v2/web/login")
        log_in(page)
        page.wait_for_url(f"{running.url}/files")
        application.asks(session_required_identities=tia)
        page.goto(application.program.url)
        expect(page.get_by_text("a login as tia@t.example")).to_be_visible()
        institution.log_in(page)
        assert application.shown(page)["claims"]["sub"] == tia
    finally:
        running.towpath("admin", "provider", "remove", institution.program.url)
