"""People's pages in a real browser: with the keyboard alone, without scripts, in light and dark."""

import email
import email.policy
import re
import time
from collections.abc import Callable
from itertools import count

import pytest
from playwright.sync_api import Browser, Page, expect

from plugins.accessibility import assert_accessible
from plugins.browser import BROWSER_GROUP, WAIT_MS
from plugins.deployment import Running

pytestmark = BROWSER_GROUP

PASSWORD = "seven slow barges"
_numbers = count(1)


@pytest.fixture
def somebody(running: Running) -> str:
    """The name of a new person, who has a password and an address."""
    name = f"somebody{next(_numbers)}"
    words = ["admin", "user", "add", name, "--full-name", "Some Body", "--password-file", "-"]
    running.towpath(*words, "--email", f"{name}@mail.example", typed=PASSWORD + "\n")
    return name


def log_in(running: Running, page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto(f"{running.url}/v2/web/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in", exact=True).click()


def test_an_invitation_with_the_keyboard_alone(running: Running, page: Page) -> None:
    told = running.towpath("admin", "user", "add", "keys", "--administrator")
    page.goto(re.search(r"https://\S+", told)[0])  # type: ignore[index]
    assert page.url == f"{running.url}/v2/web/welcome"
    keyboard = page.keyboard
    expect(page.get_by_role("heading", level=1)).to_have_text("Welcome to Towpath")

    def tab_to(label: str) -> None:
        for _ in range(20):
            keyboard.press("Tab")
            if page.evaluate("document.activeElement.labels?.[0]?.innerText ?? ''").startswith(
                label
            ):
                return
        raise AssertionError(f"the keyboard does not reach {label}")

    for label, text in (
        ("Your full name", "Keys Only"),
        ("E-mail address", "keys@mail.example"),
        ("Password", "too short"),
    ):
        tab_to(label)
        keyboard.type(text)
    keyboard.press("Enter")
    expect(page.get_by_label("Password")).to_be_focused()  # what is wrong is where one goes on
    expect(page.get_by_text("Use at least 15 characters")).to_be_visible()
    keyboard.type(PASSWORD)
    keyboard.press("Enter")
    page.wait_for_url(f"{running.url}/files")
    page.goto(f"{running.url}/account")
    expect(page.get_by_text("administrator")).to_be_visible()
    page.goto(f"{running.url}/account/people")
    assert_accessible(page)
    page.goto(f"{running.url}/account")
    keyboard.press("Tab")
    keyboard.press("Enter")  # the link that skips the head
    assert page.evaluate("document.activeElement.id") == "content"


def test_a_wrong_password_and_a_right_one(running: Running, page: Page, somebody: str) -> None:
    log_in(running, page, somebody, "not the password")
    expect(page.get_by_role("alert")).to_have_text("The name or the password is not right.")
    expect(page.get_by_label("Name")).to_have_value(somebody)
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{running.url}/files")
    page.goto(f"{running.url}/account")
    page.locator("summary.person").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are logged out")
    page.go_back()
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")


def test_a_forgotten_password_by_mail(running: Running, chromium: Browser, somebody: str) -> None:
    context = chromium.new_context(ignore_https_errors=True, java_script_enabled=False)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(f"{running.url}/v2/web/login")
    page.get_by_role("link", name="Forgot your password?").click()
    page.get_by_label("Name or e-mail address").fill(f"{somebody}@mail.example")
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Look into your mail")
    page.goto(mailed_link(running, f"{somebody}@mail.example"))
    assert page.url == f"{running.url}/v2/web/reset"
    page.get_by_label("New password").fill("nine quiet herons")
    page.get_by_role("button", name="Set the password").click()
    page.get_by_role("link", name="Log in").click()
    log_in(running, page, somebody, "nine quiet herons")
    page.wait_for_url(f"{running.url}/")
    page.get_by_role("link", name="your account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Some Body")
    context.close()


def mailed_link(running: Running, to: str) -> str:
    """From the newest mail to somebody; without an SMTP server, mails are files."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while time.monotonic() < deadline:
        for file in sorted((running.data / "mail").glob("*.eml"), reverse=True):
            message = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            found = re.search(r"https://\S+link=\S+", message.get_content())
            if message["To"] == to and found:
                assert file.stat().st_mode & 0o077 == 0
                return found[0]
        time.sleep(0.05)
    raise AssertionError(f"no mail to {to}")


def test_sessions_in_two_browsers(
    running: Running, chromium: Browser, page: Page, somebody: str
) -> None:
    log_in(running, page, somebody)
    other = chromium.new_context(ignore_https_errors=True)
    elsewhere = other.new_page()
    log_in(running, elsewhere, somebody)
    elsewhere.wait_for_url(f"{running.url}/files")
    page.wait_for_url(f"{running.url}/files")
    page.goto(f"{running.url}/account")
    page.get_by_role("link", name="Sessions").click()
    expect(page.locator("ul.rows > li")).to_have_count(2)
    page.get_by_role("button", name="End all others").click()
    expect(page.locator("ul.rows > li")).to_have_count(1)
    elsewhere.reload()
    expect(elsewhere.get_by_role("heading", level=1)).to_have_text("Log in to see your files")
    other.close()


def test_everybody_can_use_the_pages(running: Running, page: Page, somebody: str) -> None:
    """axe-core's rules (WCAG 2.2 A and AA), in light and dark."""
    complaints: list[str] = []
    page.on(
        "console",
        lambda said: complaints.append(said.text) if "Content Security" in said.text else None,
    )
    steps: list[Callable[[], object]] = [
        lambda: page.goto(f"{running.url}/v2/web/login"),
        lambda: log_in(running, page, somebody, "not the password"),
        lambda: page.goto(f"{running.url}/v2/web/forgot"),
        lambda: page.goto(f"{running.url}/account/nowhere"),
        lambda: page.goto(
            re.search(r"https://\S+", running.towpath("admin", "user", "add", "axe"))[0]  # type: ignore[index]
        ),
        lambda: page.goto(running.towpath("admin", "user", "reset", somebody).strip()),
        lambda: [log_in(running, page, somebody), page.wait_for_url(f"{running.url}/files")],
        lambda: page.goto(f"{running.url}/account"),
    ]
    places = (
        "profile",
        "identities",
        "security",
        "sessions",
        "applications",
    )
    steps += [
        lambda place=place: page.goto(f"{running.url}/account/{place}")  # type: ignore[misc]
        for place in places
    ]
    steps.append(lambda: page.goto(f"{running.url}/groups"))
    for step in steps:
        step()
        assert_accessible(page)
    assert not complaints
