"""Passkeys in a real browser, with its virtual authenticator (CDP ``WebAuthn``)."""

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from plugins.accessibility import assert_accessible
from plugins.browser import BROWSER_GROUP
from plugins.deployment import Running

pytestmark = BROWSER_GROUP

PASSWORD = "eleven quiet herons"


@pytest.fixture(scope="module")
def person(running: Running) -> str:
    """Somebody with a local account."""
    words = ["--full-name", "Pia", "--email", "pia@mail.example", "--password-file", "-"]
    running.towpath("admin", "user", "add", "pia", *words, typed=PASSWORD + "\n")
    return "pia"


def log_in(page: Page, running: Running, person: str) -> None:
    page.goto(f"{running.url}/v2/web/login?to=/account/security/passkeys")
    page.get_by_label("Name").fill(person)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()


def log_out(page: Page) -> None:
    page.locator("summary.person").click()
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("link", name="Log in again").click()


def test_add_log_in_and_ask_for_it(
    running: Running, person: str, profile: BrowserContext, page: Page
) -> None:
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    devtools = profile.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options: dict[str, Any] = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    added = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    authenticator = {"authenticatorId": added["authenticatorId"]}

    log_in(page, running, person)
    page.get_by_label("Name (optional)").fill("my laptop")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("status")).to_have_text("The passkey was added.")
    (kept,) = devtools.send("WebAuthn.getCredentials", authenticator)["credentials"]
    assert kept["rpId"] == "localhost"
    assert_accessible(page)
    # the authenticator itself says that it has one already
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("has a passkey for this account already")

    log_out(page)
    page.get_by_role("button", name="Log in with a passkey").click()
    page.wait_for_url(f"{running.url}/files")
    page.goto(f"{running.url}/account")
    expect(page.get_by_text("pia@").first).to_be_visible()

    page.goto(f"{running.url}/account/security/passkeys")
    page.get_by_role("button", name="Ask for a passkey after the password").click()
    log_out(page)
    log_in(page, running, person)
    assert_accessible(page)
    page.get_by_role("button", name="Use your passkey").click()
    page.wait_for_url(f"{running.url}/account/security/passkeys")

    # lost: the operator helps, and the password is enough again
    done = running.towpath("admin", "user", "forget-passkeys", person)
    assert "had 1 passkeys" in done
    page.reload()
    expect(page.get_by_text("You have none yet.")).to_be_visible()
    log_out(page)
    page.get_by_role("button", name="Log in with a passkey").click()
    expect(page.get_by_text("could not be accepted")).to_be_visible()
    # nothing of this needs more than the Content Security Policy allows
    assert not [line for line in told if "Content Security Policy" in line]
