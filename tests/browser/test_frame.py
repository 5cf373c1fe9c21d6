"""The frame of the web interface: logging in and out, tokens, several tabs, pages that are none."""

from collections.abc import Iterator
from itertools import count
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from plugins.accessibility import assert_accessible
from plugins.browser import BROWSER_GROUP
from plugins.deployment import Running
from plugins.gui import PASSWORD, Gui, Person

pytestmark = BROWSER_GROUP

_numbers = count(1)
_KEPT = (
    "() => JSON.stringify([{...localStorage}, {...sessionStorage}, history.state, location.href,"
    " document.cookie, document.documentElement.outerHTML])"
)


@pytest.fixture
def somebody(running: Running, profile: BrowserContext) -> Iterator[Person]:
    """Logged in in this profile; for tests that end sessions."""
    person = Person.settle(running, f"frame{next(_numbers)}")
    profile.add_cookies(person.cookies())  # type: ignore[arg-type]
    yield person
    person.http.close()


def opened(running: Running, profile: BrowserContext, path: str = "/endpoints") -> Page:
    page = profile.new_page()
    page.goto(running.url + path)
    return page


def log_out(page: Page) -> None:
    page.get_by_role("button", name="Your account").click()
    page.get_by_role("menuitem", name="Log out").click()


def log_in(page: Page, person: Person) -> None:
    page.get_by_label("Name").fill(person.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()


def test_log_in_and_out(running: Running, profile: BrowserContext, somebody: Person) -> None:
    """The page that was asked for comes after the login; one click logs out, in all tabs; no token
    is ever in an address, in storage or in the page."""
    tokens: list[str] = []
    addresses: list[str] = []
    profile.on("request", lambda request: addresses.append(request.url))

    def note(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        for one in (found, *found["other_tokens"]):
            tokens.extend(one[name] for name in ("access_token", "id_token") if one.get(name))
        route.fulfill(response=answer)

    profile.route("**/v2/oauth2/token", note)
    profile.clear_cookies()
    page = opened(running, profile, "/endpoints?q=lake")
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in to see your files")
    expect(page).to_have_title("Log in – Towpath")
    expect(page.get_by_role("button", name="Log in")).to_be_focused()
    assert_accessible(page)
    page.keyboard.press("Enter")
    log_in(page, somebody)
    expect(page.get_by_role("searchbox")).to_have_value("lake")
    expect(page).to_have_title("Endpoints – Towpath")
    other = opened(running, profile)
    expect(other.get_by_role("heading", level=1)).to_have_text("Endpoints")
    assert len(tokens) >= 4
    for tab in (page, other):
        kept = tab.evaluate(_KEPT)
        assert not [token for token in tokens if token in kept]

    log_out(page)
    expect(page.get_by_role("heading", level=1)).to_have_text("You are logged out")
    expect(other.get_by_role("heading", level=1)).to_have_text("You are logged out")
    expect(other.get_by_role("button", name="Log in again")).to_be_focused()
    assert not [token for token in tokens if any(token in one for one in addresses)]
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in to see your files")
    page.goto(f"{running.url}/v2/web/logout")
    page.get_by_role("link", name="Log in again").click()
    log_in(page, somebody)
    page.wait_for_url(f"{running.url}/files")


def test_a_token_that_is_refused_is_renewed_silently(
    running: Running, profile: BrowserContext, somebody: Person
) -> None:
    page = opened(running, profile)
    expect(page.get_by_role("searchbox")).to_be_visible()
    refused: list[str] = []

    def refuse_once(route: Route) -> None:
        bearer = route.request.headers["authorization"]
        if not refused or bearer == refused[0]:
            refused.append(bearer)
            route.fulfill(status=401, json={"code": "AuthenticationFailed", "message": "expired"})
        else:
            route.continue_()

    page.route("**/v0.10/endpoint_search?*", refuse_once)
    page.get_by_role("searchbox").fill("nothing at all")
    expect(page.get_by_text("Nothing is called")).to_be_visible()
    assert refused


@pytest.mark.long
def test_a_login_that_ends_elsewhere(
    running: Running, profile: BrowserContext, somebody: Person
) -> None:
    """A session that was ended, and an account that was suspended: nothing stays on the screen."""
    page = opened(running, profile)
    expect(page.get_by_role("heading", level=1)).to_have_text("Endpoints")
    running.towpath("admin", "user", "suspend", somebody.username)
    heading = page.get_by_role("heading", level=1)
    # the service itself asks for news of a token every few seconds only
    for number in range(100):
        page.get_by_role("searchbox").or_(heading).first.wait_for()
        if heading.inner_text() == "You are logged out":
            break
        page.get_by_role("searchbox").fill(f"anything {number}")
        page.wait_for_timeout(300)
    expect(heading).to_have_text("You are logged out")
    expect(page.get_by_text("the account was suspended")).to_be_visible()
    assert "anything" not in page.locator("body").inner_text()
    page.get_by_role("button", name="Log in again").click()
    log_in(page, somebody)
    expect(heading).to_have_text("This account is suspended")
    running.towpath("admin", "user", "restore", somebody.username)


@pytest.mark.long
def test_another_person_in_another_tab(
    running: Running, profile: BrowserContext, somebody: Person
) -> None:
    page = opened(running, profile)
    expect(page.get_by_role("searchbox")).to_be_visible()
    made = somebody.api(
        "POST",
        "endpoint",
        json={
            "display_name": "Secret lake",
            "DATA": [{"uri": "gsiftp://lake.example"}],
            "public": False,
        },
    )
    page.reload()
    expect(page.get_by_role("link", name="Secret lake", exact=True)).to_be_visible()
    second = Person.settle(running, f"frame{next(_numbers)}")
    profile.add_cookies(second.cookies())  # type: ignore[arg-type]
    # her tab's token is no good any more
    page.route(
        "**/v0.10/endpoint_search?*",
        lambda route: route.fulfill(status=401, json={"code": "x", "message": "x"}),
        times=1,
    )
    page.get_by_role("searchbox").fill("lake")
    expect(page.get_by_role("button", name="Your account")).to_be_visible()
    expect(page.get_by_text("Secret lake")).to_have_count(0)
    somebody.api("DELETE", f"endpoint/{made['id']}")
    second.http.close()


@pytest.mark.long
def test_while_the_service_does_not_answer(gui: Gui) -> None:
    gui.expected.append("Failed to load resource")
    page = gui.open("/endpoints")
    expect(page.get_by_role("searchbox")).to_be_visible()
    page.context.set_offline(True)
    lost = page.get_by_text("The service does not answer. What you see may be old")
    expect(lost).to_be_visible()
    assert_accessible(page)
    page.context.set_offline(False)
    expect(lost).to_have_count(0)

    page.route("**/v2/oauth2/**", lambda route: route.abort())
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("The service does not answer")
    assert_accessible(page)
    page.unroute("**/v2/oauth2/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Endpoints")


@pytest.mark.long
def test_a_wait_has_an_end(gui: Gui) -> None:
    page = gui.page()
    page.clock.install()
    page.route("**/v0.10/endpoint_search?*", lambda _: None)  # never answered
    page.goto(f"{gui.url}/endpoints")
    expect(page.get_by_role("searchbox")).to_be_visible()
    page.clock.run_for(5_000)
    expect(page.get_by_text("This takes longer than usual.")).to_be_visible()
    page.clock.run_for(16_000)
    expect(page.get_by_text("There was no answer for 20 seconds.")).to_be_visible()
    assert_accessible(page)
    page.unroute("**/v0.10/endpoint_search?*")


@pytest.mark.long
def test_the_head_is_the_same_everywhere(gui: Gui) -> None:
    """The identity service's pages have the same ways to go, and they lead there and back."""
    page = gui.open("/endpoints")
    seen = {}
    for path in ("/endpoints", "/account", "/groups"):
        page.goto(gui.url + path)
        ways = page.get_by_role("navigation", name="Main").get_by_role("link")
        expect(ways).to_have_text(["Files", "Activity", "Endpoints", "Groups"])
        seen[path] = [
            page.locator(one).evaluate(
                "e => { const box = e.getBoundingClientRect(), style = getComputedStyle(e);"
                " return [...[box.x, box.y, box.width, box.height].map(Math.round),"
                " style.font, style.color] }"
            )
            for one in (".bar", ".brand", ".ways a >> nth=1", ".person", ".initial")
        ]
    assert seen["/account"] == seen["/endpoints"] == seen["/groups"]
    page.get_by_role("link", name="Endpoints", exact=True).click()
    expect(page.get_by_role("searchbox")).to_be_visible()
    page.get_by_role("button", name="Your account").click()
    page.get_by_role("menuitem", name="Account").click()
    page.wait_for_url(f"{gui.url}/account")
    page.get_by_role("link", name="Towpath").click()
    page.wait_for_url(f"{gui.url}/files")


@pytest.mark.long
def test_keyboard_titles_and_pages_that_are_none(gui: Gui) -> None:
    page = gui.open("/endpoints")
    expect(page.get_by_role("searchbox")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#content")).to_be_focused()
    page.get_by_role("link", name="Activity", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page).to_have_title("Activity – Towpath")
    expect(page.locator("#content")).to_be_focused()
    page.go_back()
    expect(page).to_have_title("Endpoints – Towpath")
    page.get_by_role("link", name="Instrument", exact=True).click()
    expect(page).to_have_title("Instrument – Endpoints – Towpath")
    page.get_by_role("link", name="Endpoints", exact=True).click()
    expect(page).to_have_title("Endpoints – Towpath")
    gui.expect_problem(404)
    page.goto(f"{gui.url}/nowhere")
    expect(page).to_have_title("There is no such page – Towpath")
    assert_accessible(page)
    page.get_by_role("link", name="Go to your files").click()
    page.wait_for_url(f"{gui.url}/files")


@pytest.mark.long
def test_on_a_phone(gui: Gui) -> None:
    page = gui.page()
    page.set_viewport_size({"width": 360, "height": 740})
    for path in ("/endpoints", "/endpoints/new", f"/endpoints/{gui.site.source_id}", "/account"):
        page.goto(gui.url + path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        for state in ("while it loads", "then"):
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 360, (path, state, width)
            expect(page.locator("[aria-busy=true]")).to_have_count(0)
        ways = page.get_by_role("navigation", name="Main")
        box = ways.bounding_box()
        assert box is not None
        assert (box["x"], box["width"], box["y"] + box["height"]) == (0, 360, 740), path
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        bottom = page.locator("main").evaluate("e => e.getBoundingClientRect().bottom")
        assert bottom <= box["y"] + 1, (path, "nothing ends under the navigation")
        page.evaluate("scrollTo(0, 0)")
        assert_accessible(page)


@pytest.mark.long
def test_a_login_that_somebody_else_began(gui: Gui) -> None:
    """An answer to no request of this tab, such as a link from elsewhere, logs nobody in."""
    page = gui.open("/login/callback?code=abc&state=xyz")
    expect(page.get_by_role("heading", level=1)).to_have_text("The login did not succeed")
    assert urlsplit(page.url).query == ""
    assert_accessible(page)


@pytest.mark.long
def test_a_page_that_breaks(gui: Gui) -> None:
    """No white page, whatever a server answers."""
    gui.expected.append("Cannot read")
    gui.expected.append("Failed to fetch dynamically")
    gui.expected.append("Failed to load resource")
    page = gui.page()
    page.route(
        "**/v0.10/endpoint_search?*",
        lambda route: route.fulfill(json={"DATA": [None], "has_next_page": False}),
    )
    page.goto(f"{gui.url}/endpoints")
    expect(page.get_by_role("heading", level=1)).to_have_text("Something in this page broke")
    expect(page.get_by_text("Your transfers are not affected")).to_be_visible()
    assert_accessible(page)
    page.unroute("**/v0.10/endpoint_search?*")
    page.get_by_role("button", name="Reload the page").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Endpoints")

    page.route("**/app/NewEndpointPage-*", lambda route: route.abort())
    page.goto(f"{gui.url}/endpoints/new")
    expect(page.get_by_role("heading", level=1)).to_have_text("Something in this page broke")
    page.unroute("**/app/NewEndpointPage-*")
    page.get_by_role("button", name="Reload the page").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Register a server")
