"""Endpoints in the web interface: registering a server, the connection test, credentials."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from plugins.accessibility import assert_accessible
from plugins.browser import BROWSER_GROUP
from plugins.gui import Gui, GuiSite, Person
from plugins.myproxy import PASSWORDS, MyProxyServer
from plugins.site import until
from towpath.demo.authority import Domain

pytestmark = BROWSER_GROUP


@pytest.fixture
def fresh(gui_site: GuiSite, domain_a: Domain) -> Iterator[str]:
    """An endpoint of hers for the first server, without a credential; its id."""
    person = gui_site.person
    made = person.register(f"Fresh {uuid4().hex[:6]}", gui_site.source, domain_a)
    person.api("DELETE", f"endpoint/{made}/credential")
    yield made
    person.http.delete(f"/v0.10/endpoint/{made}")


def state_of(gui: Gui, endpoint: str) -> str:
    return str(gui.person.api("GET", f"endpoint/{endpoint}/credential")["state"])


def field(page: Page, name: str) -> None:
    """Where the keyboard is."""
    expect(page.get_by_role("textbox", name=name, exact=True)).to_be_focused()


def test_a_server_is_registered(gui: Gui, domain_a: Domain) -> None:
    """A test that fails and says why, then one that works, then a credential."""
    page = gui.open("/endpoints")
    page.get_by_role("link", name="Register a server").click()
    page.get_by_role("button", name="Register").click()
    expect(page.get_by_text("Give it a name.")).to_be_visible()
    field(page, "Name")
    page.keyboard.type("Lake observatory")
    address = page.get_by_role("textbox", name="Address", exact=True)
    address.fill("localhost:1")
    page.get_by_role("button", name="Test the connection").click()
    result = page.get_by_role("status").filter(has=page.get_by_role("list"))
    expect(result).to_contain_text("Something has to be mended first")
    expect(result).to_contain_text("Nothing listens there")

    address.fill(f"localhost:{gui.site.source.port}")
    expect(result).to_contain_text("The form has changed since.")
    page.get_by_role("button", name="Test again").click()
    expect(result.locator("li").filter(has_text="Certificate")).to_contain_text("failed")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose files").click()
    files = sorted(domain_a.trust_dir.iterdir())
    chooser.value.set_files([*files, Path(__file__)])
    expect(page.get_by_text("1 file is none of these")).to_be_visible()
    page.get_by_role("button", name="Test again").click()
    expect(result).to_contain_text("All that could be tried works")
    assert_accessible(page)

    page.get_by_role("button", name="Register").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Lake observatory")
    made = page.url.rpartition("/")[2]
    expect(page.get_by_text("No credential")).to_be_visible()
    page.get_by_role("tab", name="Proxy file").click()
    page.get_by_role("textbox", name="Or paste it").fill(domain_a.proxy_file.read_text())
    page.get_by_role("button", name="Use this proxy").click()
    expect(page.get_by_text("The credential is stored.")).to_be_visible()
    expect(page.get_by_text(re.compile("^Valid, expires in"))).to_be_visible()
    page.get_by_role("button", name="Test the connection").click()
    expect(page.get_by_text("All that could be tried works")).to_be_visible()
    gui.person.api("DELETE", f"endpoint/{made}")


@pytest.mark.long
def test_a_logon_at_a_myproxy_server(
    gui: Gui, fresh: str, myproxy_authority: MyProxyServer
) -> None:
    gui.expect_problem(502)
    page = gui.open(f"/endpoints/{fresh}")
    page.get_by_role("button", name="Log on").click()
    field(page, "MyProxy server")
    page.keyboard.type(myproxy_authority.address)
    page.get_by_role("textbox", name="User name there").fill("alice")
    phrase = page.get_by_label("Pass phrase")
    phrase.fill("no such phrase")
    page.get_by_role("button", name="Log on").click()
    expect(page.get_by_role("alert")).to_contain_text("The credential was not taken")
    expect(phrase).to_have_value("")
    phrase.fill(PASSWORDS["alice"])
    page.keyboard.press("Enter")
    expect(page.get_by_text("The credential is stored.")).to_be_visible()
    expect(phrase).to_have_value("")
    assert state_of(gui, fresh) == "valid"


@pytest.mark.long
def test_what_is_no_proxy_is_not_sent(gui: Gui, fresh: str, domain_a: Domain) -> None:
    gui.expect_problem(400)
    page = gui.open(f"/endpoints/{fresh}")
    page.get_by_role("tab", name="Proxy file").click()
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    pasted = page.get_by_role("textbox", name="Or paste it")
    proxy = domain_a.proxy_file.read_text()
    key = re.search(r"-----BEGIN (\w+ )?PRIVATE KEY-----.*?-----END [^\n]+\n", proxy, re.DOTALL)
    assert key is not None
    for text, said in (
        ("", "There is nothing in it"),
        ("0\x82\x03", "This is not text in PEM"),
        (proxy.replace(key[0], ""), "There is no private key in it"),
        (key[0], "There is no certificate in it"),
        (
            proxy.replace(key[0], key[0].replace(f"{key[1] or ''}PRIVATE", "ENCRYPTED PRIVATE")),
            "Its key is encrypted",
        ),
    ):
        pasted.fill(text)
        page.get_by_role("button", name="Use this proxy").click()
        expect(page.get_by_text(said)).to_be_visible()
    assert "PUT" not in sent
    page.evaluate("scrollTo(0, 0)")  # or the head lies over something
    assert_accessible(page)
    # what only the service can see
    old = domain_a.make_proxy(timedelta(minutes=10), now=datetime.now(UTC) - timedelta(minutes=30))
    pasted.fill(old.to_pem().decode())
    page.get_by_role("button", name="Use this proxy").click()
    expect(page.get_by_role("alert")).to_contain_text("expired at")
    assert state_of(gui, fresh) == "none"


@pytest.mark.long
def test_a_file_is_chosen_and_a_credential_removed(gui: Gui, fresh: str, domain_a: Domain) -> None:
    page = gui.open(f"/endpoints/{fresh}")
    page.get_by_role("tab", name="Proxy file").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a file").click()
    chooser.value.set_files(domain_a.proxy_file)
    expect(page.get_by_text("The credential is stored.")).to_be_visible()
    page.get_by_role("button", name="Remove").click()
    dialog = page.get_by_role("alertdialog")
    expect(dialog).to_contain_text("Tasks of yours that need it wait")
    assert_accessible(page)
    dialog.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No credential")).to_be_visible()
    assert state_of(gui, fresh) == "none"


def drop(page: Page, onto: str, *files: Path) -> None:
    """As from another window."""
    area = page.get_by_text(onto, exact=True)
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": box["x"] + 5, "y": box["y"] + 5, "data": data}
        devtools.send("Input.dispatchDragEvent", event)


@pytest.mark.long
def test_files_are_dropped_from_another_window(gui: Gui, fresh: str, domain_a: Domain) -> None:
    page = gui.open("/endpoints/new")
    drop(page, "Drop files or a folder here", *sorted(domain_a.trust_dir.iterdir()))
    expect(page.get_by_role("listitem").filter(has_text="signing policy")).to_be_visible()
    page.get_by_role("button", name="Paste a certificate").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("textbox")).to_be_focused()
    dialog.get_by_role("textbox").fill("no certificate")
    dialog.get_by_role("button", name="Add").click()
    expect(dialog).to_contain_text("There is no certificate in this.")
    assert_accessible(page)
    dialog.get_by_role("textbox").fill((domain_a.directory / "ca.pem").read_text())
    dialog.get_by_role("button", name="Add").click()
    expect(page.get_by_text("pasted-3.pem")).to_be_visible()
    page.get_by_role("button", name="Remove all").click()
    expect(page.get_by_text("pasted-3.pem")).to_have_count(0)

    page.goto(f"{gui.url}/endpoints/{fresh}")
    page.get_by_role("tab", name="Proxy file").click()
    drop(page, "Drop your proxy file here", domain_a.proxy_file)
    expect(page.get_by_text("The credential is stored.")).to_be_visible()


@pytest.mark.long
def test_an_endpoint_of_somebody_else(gui: Gui, fresh: str, profile: BrowserContext) -> None:
    """Others use it with a credential of their own, and change nothing of it."""
    gui.person.api("PUT", f"endpoint/{fresh}", json={"public": True})
    other = Person.settle(gui.site.running, f"guest{uuid4().hex[:6]}")
    profile.clear_cookies()
    profile.add_cookies(other.cookies())  # type: ignore[arg-type]
    page = gui.open(f"/endpoints/{fresh}")
    expect(page.get_by_role("button", name="Log on")).to_be_visible()
    expect(page.locator("dl").filter(has_text="Owner")).to_contain_text("lina@")
    for name in ("Edit", "Delete"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    page.get_by_role("button", name="Test the connection").click()
    expect(page.get_by_text("All that could be tried works")).to_be_visible()
    assert_accessible(page)
    other.http.close()


@pytest.mark.long
def test_editing_and_deleting(gui: Gui, fresh: str) -> None:
    page = gui.open(f"/endpoints/{fresh}")
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("textbox", name="Name", exact=True).fill("Renamed")
    page.get_by_role("textbox", name="Description").fill("Cold storage")
    page.get_by_text("Everybody with an account here").click()
    page.get_by_role("button", name="More").click()
    page.get_by_role("textbox", name="Subject").fill("CN=host")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("A subject begins with a slash")).to_be_visible()
    page.get_by_role("textbox", name="Subject").fill("/O=Elsewhere/CN=host")
    assert_accessible(page)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Renamed")
    kept = gui.person.api("GET", f"endpoint/{fresh}")
    assert (kept["description"], kept["public"]) == ("Cold storage", True)
    # the server has another name: the test says which, and it is taken
    page.get_by_role("button", name="Test the connection").click()
    page.get_by_role("button", name="Use this subject").click()
    expect(page.get_by_text("All that could be tried works")).to_be_visible()
    assert gui.person.api("GET", f"endpoint/{fresh}")["DATA"][0]["subject"].endswith("localhost")

    page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("alertdialog", name="Delete “Renamed”?")
    expect(dialog).to_contain_text("everybody's credentials for it")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    assert_accessible(page)
    dialog.get_by_role("button", name="Delete the endpoint").click()
    page.wait_for_url(f"{gui.url}/endpoints")
    gui.expect_problem(404)
    page.goto(f"{gui.url}/endpoints/{fresh}")
    expect(page.get_by_role("alert")).to_contain_text("This endpoint cannot be shown")


@pytest.mark.long
def test_the_keyboard_alone(gui: Gui, fresh: str) -> None:
    page = gui.open("/endpoints")
    name = gui.person.api("GET", f"endpoint/{fresh}")["display_name"]
    expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()

    def tab_to(text: str, key: str = "Tab") -> None:
        for _ in range(60):
            page.keyboard.press(key)
            said = page.evaluate(
                "() => { const e = document.activeElement;"
                " return (e.ariaLabel || e.labels?.[0]?.innerText || e.innerText || '').trim() }"
            )
            if said == text:
                return
        raise AssertionError(f"the keyboard does not reach {text}")

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # past the head
    tab_to("Search all endpoints")
    page.keyboard.type(name)
    expect(page.get_by_role("heading", level=2)).to_have_text("1 endpoint")
    tab_to(name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.locator("#content")).to_be_focused()
    tab_to("MyProxy logon")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Proxy file")).to_be_focused()
    tab_to("Choose a file")
    tab_to("Or paste it")
    page.keyboard.type("no proxy")
    tab_to("Use this proxy")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This is not text in PEM")).to_be_visible()
    tab_to("Delete", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alertdialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Delete")).to_be_focused()


@pytest.mark.long
def test_lists_and_what_can_be_found(gui: Gui, fresh: str) -> None:
    page = gui.open("/endpoints")
    mine = page.locator("section").filter(has=page.get_by_role("heading", name="Yours"))
    row = mine.get_by_role("listitem").filter(has_text="Instrument")
    expect(row).to_contain_text("Valid")
    expect(mine.get_by_role("listitem").filter(has_text="Fresh")).to_contain_text("No credential")
    assert_accessible(page)
    page.get_by_role("searchbox").fill("Instrum")
    expect(page.get_by_role("heading", level=2)).to_have_text("1 endpoint")
    assert page.url.endswith("q=Instrum")
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("Instrum")
    page.get_by_role("searchbox").fill("zzz nobody")
    expect(page.get_by_text("Nothing is called")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Clear the search").click()
    page.get_by_role("link", name="Open Instrument in the file manager").click()
    page.wait_for_url(re.compile("/files"))
    expect(page).to_have_title(re.compile("^Files – "))


@pytest.mark.long
def test_a_dead_credential_is_renewed_and_the_task_goes_on(
    gui: Gui, fresh: str, domain_a: Domain
) -> None:
    """From the task to the endpoint, and back when it is renewed there."""
    (gui.root / "late.dat").write_bytes(b"water" * 1000)
    lifetime = timedelta(seconds=4)
    ends = datetime.now(UTC) + lifetime
    gui.person.give(fresh, domain_a.make_proxy(lifetime).to_pem().decode())
    until(lambda: datetime.now(UTC) > ends, 10, "the proxy has expired")
    paths = (str(gui.root / "late.dat"), str(gui.root / "late-copy.dat"))
    task = gui.person.transfer(fresh, gui.site.destination_id, paths)

    def status() -> str:
        return str(gui.person.api("GET", f"task/{task}")["status"])

    until(lambda: status() == "INACTIVE", 30, "the task waits")
    page = gui.open(f"/activity/{task}")
    page.get_by_role("link", name="Renew the credential").click()
    expect(page.get_by_text(re.compile("^Expired"))).to_have_count(2)
    expect(page.get_by_text("Tasks that need it wait")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("tab", name="Proxy file").click()
    page.get_by_role("textbox", name="Or paste it").fill(domain_a.proxy_file.read_text())
    page.get_by_role("button", name="Use this proxy").click()
    expect(page.get_by_text("1 waiting tasks go on")).to_be_visible()
    page.get_by_role("link", name="See them in Activity").click()
    page.wait_for_url(re.compile("/activity$"))
    until(lambda: status() == "SUCCEEDED", 60, "the task goes on")
    assert (gui.root / "late-copy.dat").read_bytes() == b"water" * 1000
