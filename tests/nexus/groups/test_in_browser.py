"""Groups in a real browser: invite, ask, approve; and whether everybody can use the pages."""

import pytest
from playwright.sync_api import Browser, Page, expect

from plugins.accessibility import assert_accessible
from plugins.browser import BROWSER_GROUP, WAIT_MS
from plugins.deployment import Running

pytestmark = BROWSER_GROUP

PASSWORD = "seven slow barges"
ADA, BOB = "grace.groups", "bob.groups"


@pytest.fixture
def two(running: Running, page: Page, chromium: Browser) -> tuple[Page, Page]:
    """Two people, each logged in in a browser of their own."""
    for name in (ADA, BOB):
        words = ["admin", "user", "add", name, "--full-name", name, "--password-file", "-"]
        running.towpath(*words, "--email", f"{name}@mail.example", typed=PASSWORD + "\n")
    # without scripts: the pages need none
    context = chromium.new_context(ignore_https_errors=True, java_script_enabled=False)
    context.set_default_timeout(WAIT_MS)
    other = context.new_page()
    for tab, name in ((page, ADA), (other, BOB)):
        tab.goto(f"{running.url}/v2/web/login?to=/groups")
        tab.get_by_label("Name").fill(name)
        tab.get_by_label("Password").fill(PASSWORD)
        tab.get_by_role("button", name="Log in", exact=True).click()
        tab.wait_for_url(f"{running.url}/groups")
    return page, other


def test_a_group_from_its_making_to_its_members(running: Running, two: tuple[Page, Page]) -> None:
    ada, bob = two
    assert_accessible(ada)
    ada.get_by_role("link", name="New group").click()
    assert_accessible(ada)
    ada.get_by_label("Name").fill("Lake")
    ada.get_by_role("button", name="Make the group").click()
    expect(ada.get_by_role("heading", level=1)).to_have_text("Lake")
    group = ada.url.partition("?")[0]
    ada.get_by_label("User name").fill(BOB)
    ada.get_by_role("button", name="Invite").click()
    expect(ada.get_by_role("status")).to_have_text("Invited.")

    bob.goto(f"{running.url}/groups")
    bob.get_by_role("link", name="Answer the invitation to Lake").click()
    bob.get_by_role("button", name="Decline the invitation").click()
    expect(bob.get_by_role("status")).to_have_text("You declined the invitation.")
    bob.goto(group)
    expect(bob.get_by_role("alert").or_(bob.get_by_role("heading", level=1))).to_be_visible()
    expect(bob.get_by_text("Lake", exact=True)).to_have_count(0)

    ada.get_by_role("link", name="Settings").click()
    assert_accessible(ada)
    ada.get_by_label("Everybody who is logged in and has its link").check()
    ada.get_by_label("Who sees the group may ask to join").check()
    ada.get_by_label("Institution").check()
    ada.get_by_role("button", name="Save the policies").click()
    expect(ada.get_by_role("status")).to_have_text("Saved.")

    bob.goto(group)
    bob.get_by_label("Institution").fill("Lake School")
    bob.get_by_role("button", name="Ask to join").click()
    expect(bob.get_by_role("status")).to_contain_text("A manager decides")

    ada.reload()
    expect(ada.get_by_text("institution: Lake School")).to_be_visible()
    assert_accessible(ada)
    ada.get_by_role("button", name=f"Approve {BOB}").click()
    ada.get_by_role("button", name=f"Make {BOB}").filter(has_text="Make manager").click()
    expect(ada.get_by_role("status")).to_have_text("The role is changed.")
    bob.goto(f"{running.url}/groups")
    expect(bob.locator("ul.rows > li")).to_contain_text("manager")

    ada.goto(f"{running.url}/account/visibility")
    assert_accessible(ada)
    bob.context.close()
