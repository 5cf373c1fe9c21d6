"""The file manager in a real browser, between two real servers of two authorities."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from plugins.accessibility import assert_accessible
from plugins.browser import BROWSER_GROUP
from plugins.gui import PASSWORD, Gui

pytestmark = BROWSER_GROUP

TASK_MS = 60_000
"""Until a small task has ended, on a busy machine."""


def pane(page: Page, side: str) -> Locator:
    return page.get_by_role("region", name=side, exact=True)


def row(page: Page, side: str, name: str) -> Locator:
    return pane(page, side).get_by_role("row", name=re.compile(rf"^{re.escape(name)}[ ,]"))


def address(gui: Gui, origin: Path, destination: Path, **more: str) -> str:
    """Of the page with the Instrument's and the Archive's directories side by side."""
    query = {
        "origin_id": gui.site.source_id,
        "origin_path": f"{origin}/",
        "destination_id": gui.site.destination_id,
        "destination_path": f"{destination}/",
        **more,
    }
    return f"/files?{urlencode(query)}"


@pytest.fixture
def places(gui: Gui) -> tuple[Path, Path]:
    """Something here, and a place for it there."""
    here, there = gui.root / "from", gui.root / "to"
    (here / "run 1" / "raw").mkdir(parents=True)
    (here / "run 1" / "raw" / "data.bin").write_bytes(bytes(range(256)) * 400)
    (here / "notes.txt").write_text("what was seen\n")
    (here / ".hidden").write_text("not shown\n")
    there.mkdir()
    return here, there


def type_path(page: Page, side: str, path: Path) -> None:
    pane(page, side).get_by_role("button", name="Type a path").click()
    field = pane(page, side).get_by_label("Path of a folder")
    field.fill(str(path))
    field.press("Enter")


def choose(page: Page, side: str, collection: str) -> None:
    pane(page, side).get_by_label("Search collections").fill(collection)
    pane(page, side).get_by_role("option", name=collection).click()


def test_from_the_first_login_to_a_verified_transfer(gui: Gui, places: tuple[Path, Path]) -> None:
    here, there = places
    gui.profile.clear_cookies()
    page = gui.open("/files")
    page.get_by_role("button", name="Log in").click()
    page.get_by_label("Name").fill(gui.person.username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in", exact=True).click()
    page.wait_for_url(f"{gui.url}/files")

    choose(page, "From", "Instrument")
    type_path(page, "From", here)
    choose(page, "To", "Archive")
    type_path(page, "To", there)
    expect(pane(page, "To").get_by_text("This folder is empty")).to_be_visible()
    expect(row(page, "From", ".hidden")).to_have_count(0)

    row(page, "From", "run 1").click()
    row(page, "From", "notes.txt").click(modifiers=["Control"])
    page.get_by_role("button", name="Transfer 2 items to Archive").click()
    dialog = page.get_by_role("dialog", name="Transfer 2 items")
    expect(dialog.get_by_text("Verifies each file that is copied")).to_be_visible()
    dialog.get_by_role("button", name="Start the transfer").click()

    # what arrived is in the other pane without being asked for
    expect(row(page, "To", "notes.txt")).to_be_visible(timeout=TASK_MS)
    follow = page.get_by_role("link", name="Follow it").get_attribute("href")
    assert follow is not None
    task = gui.person.api("GET", f"task/{follow.rpartition('/')[2]}")
    assert (task["status"], task["faults"]) == ("SUCCEEDED", 0)
    for file in ("notes.txt", "run 1/raw/data.bin"):
        assert (there / file).read_bytes() == (here / file).read_bytes()
    assert task["bytes_checksummed"] == task["bytes_transferred"] > 0


@pytest.mark.long
def test_everything_by_keyboard_alone(gui: Gui, places: tuple[Path, Path]) -> None:
    here, there = places
    page = gui.open("/files")
    pane(page, "From").get_by_label("Search collections").wait_for()

    def press(*keys: str) -> None:
        for key in keys:
            page.keyboard.press(key)

    def tab_to(label: str) -> None:
        for _ in range(40):
            press("Tab")
            focused = page.locator(":focus")
            name = focused.get_attribute("aria-label") or focused.inner_text()
            if label in name:
                return
        raise AssertionError(f"the tab key does not come to {label!r}")

    tab_to("Search collections")
    page.keyboard.type("Instrument")
    expect(pane(page, "From").get_by_role("option", name="Instrument")).to_be_visible()
    press("ArrowDown", "Enter")
    grid = pane(page, "From").get_by_role("grid")
    expect(grid).to_be_focused()
    press("Control+l")
    # what is certain is filled in
    page.keyboard.type(f"{gui.root}/fr")
    press("Tab")
    expect(page.get_by_label("Path of a folder")).to_have_value(f"{here}/")
    press("Enter")
    expect(row(page, "From", "run 1")).to_be_visible()
    expect(grid).to_be_focused()

    # into a folder and back: the keyboard is where it was
    page.keyboard.type("run")
    press("Enter")
    expect(row(page, "From", "raw")).to_be_visible()
    press("Backspace")
    expect(row(page, "From", "notes.txt")).to_be_visible()
    press("F2")
    field = page.get_by_role("dialog").get_by_label("New name")
    expect(field).to_be_focused()
    field.fill("run 2")
    press("Enter")
    expect(row(page, "From", "run 2")).to_have_attribute("aria-selected", "true")
    assert (here / "run 2" / "raw").is_dir()
    expect(grid).to_be_focused()

    # the other pane, by its own search
    tab_to("Search collections")
    page.keyboard.type("Archive")
    expect(pane(page, "To").get_by_role("option", name="Archive")).to_be_visible()
    press("ArrowDown", "Enter")
    expect(pane(page, "To").get_by_role("grid")).to_be_focused()
    press("Control+l")
    page.get_by_label("Path of a folder").fill(str(there))
    press("Enter")
    expect(pane(page, "To").get_by_text("This folder is empty")).to_be_visible()
    tab_to("Show one pane")
    page.keyboard.press("Shift+Tab")

    # choose all, transfer, and delete what arrived
    grid.focus()
    press("Control+a", "Control+Enter")
    start = page.get_by_role("button", name="Start the transfer")
    expect(start).to_be_focused()
    press("Enter")
    expect(row(page, "To", "notes.txt")).to_be_visible(timeout=TASK_MS)
    expect(grid).to_be_focused()
    press("ArrowRight")
    expect(pane(page, "To").get_by_role("grid")).to_be_focused()
    page.keyboard.type("notes")
    press("Delete")
    asked = page.get_by_role("alertdialog", name="Delete “notes.txt”?")
    expect(asked.get_by_role("button", name="Cancel")).to_be_focused()
    press("Tab", "Enter")
    expect(row(page, "To", "notes.txt")).to_have_count(0, timeout=TASK_MS)
    assert not (there / "notes.txt").exists()
    assert (there / "run 2" / "raw" / "data.bin").exists()


@pytest.mark.long
def test_links_restore_both_panes(gui: Gui, places: tuple[Path, Path]) -> None:
    here, there = places
    (there / "kept").mkdir()
    more = {"origin_sort": "-name", "origin_hidden": "true", "destination_filter": "ke"}
    page = gui.open(address(gui, here, there, **more))
    expect(row(page, "From", ".hidden")).to_be_visible()
    names = pane(page, "From").locator("[role=row] bdi")
    expect(names).to_have_text(["run 1", "notes.txt", ".hidden"])
    expect(pane(page, "To").get_by_label("Filter by name")).to_have_value("ke")
    expect(row(page, "To", "kept")).to_be_visible()

    row(page, "From", "run 1").dblclick()
    expect(row(page, "From", "raw")).to_be_visible()
    page.go_back()
    expect(row(page, "From", "notes.txt")).to_be_visible()
    page.go_forward()
    expect(row(page, "From", "raw")).to_be_visible()
    page.reload()
    expect(row(page, "From", "raw")).to_be_visible()
    expect(row(page, "To", "kept")).to_be_visible()

    # a link to this folder, for somebody else
    gui.profile.grant_permissions(["clipboard-read", "clipboard-write"])
    pane(page, "From").get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Copy a link").click()
    link = page.evaluate("navigator.clipboard.readText()")
    other = gui.page()
    other.goto(link)
    expect(row(other, "From", "raw")).to_be_visible()

    # and a bookmark, for oneself
    pane(page, "From").get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Bookmark this place").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep the bookmark").click()
    pane(page, "To").get_by_role("button", name="Archive").click()
    page.get_by_role("option", name="run 1 (Instrument)").click()
    expect(row(page, "To", "raw")).to_be_visible()
    (kept,) = gui.person.api("GET", "bookmark_list")["DATA"]
    assert (kept["endpoint_id"], kept["path"]) == (gui.site.source_id, f"{here}/run 1/")
    gui.person.api("DELETE", f"bookmark/{kept['id']}")


@pytest.mark.long
def test_what_is_dragged_across_is_transferred(gui: Gui, places: tuple[Path, Path]) -> None:
    here, there = places
    (there / "inbox").mkdir()
    page = gui.open(address(gui, here, there))
    row(page, "From", "notes.txt").hover()
    page.mouse.down()
    box = row(page, "To", "inbox").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 60, box["y"] + 10, steps=5)
    expect(row(page, "To", "inbox")).to_have_attribute("data-drop", "")
    # Escape: nothing has happened
    page.keyboard.press("Escape")
    expect(row(page, "To", "inbox")).not_to_have_attribute("data-drop", "")
    page.mouse.up()
    expect(page.get_by_role("dialog")).to_have_count(0)

    row(page, "From", "notes.txt").drag_to(row(page, "To", "inbox"))
    dialog = page.get_by_role("dialog", name="Transfer 1 item")
    expect(dialog.get_by_text(f"{there}/inbox/", exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Start the transfer").click()
    row(page, "To", "inbox").dblclick()
    expect(row(page, "To", "notes.txt")).to_be_visible(timeout=TASK_MS)
    assert (there / "inbox" / "notes.txt").read_text() == "what was seen\n"

    # and with the clipboard's keys
    row(page, "From", "run 1").click()
    page.keyboard.press("Control+c")
    pane(page, "To").get_by_role("grid").focus()
    page.keyboard.press("Control+v")
    expect(page.get_by_role("dialog", name="Transfer 1 item")).to_be_visible()


@pytest.mark.long
def test_a_sync_that_deletes_is_previewed_and_cancelled(
    gui: Gui, places: tuple[Path, Path]
) -> None:
    here, there = places
    (there / "old.txt").write_text("only here\n")
    page = gui.open(address(gui, here, there))
    expect(row(page, "To", "old.txt")).to_be_visible()
    page.get_by_role("button", name="Sync …").click()
    dialog = page.get_by_role("dialog", name="Sync two folders")
    expect(dialog.get_by_text("Deletes what is in Archive")).to_have_count(0)
    dialog.get_by_text("Delete what is only at the destination").click()
    said = dialog.get_by_text(f"Deletes what is in Archive, {there}/ and not in Instrument")
    expect(said).to_contain_text("This cannot be undone.")
    expect(said).to_contain_text("At this level that is old.txt.")
    assert_accessible(page)
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_have_count(0)
    assert (there / "old.txt").exists()

    # again, held up by a paused task at the same place: it can be cancelled before anything goes
    held = gui.person.transfer(
        gui.site.source_id, gui.site.destination_id, (f"{here}/", f"{there}/"), label="first"
    )
    gui.person.api("POST", f"task/{held}/pause")
    page.get_by_role("button", name="Sync …").click()
    dialog.get_by_text("Delete what is only at the destination").click()
    dialog.get_by_role("button", name="Sync and delete").click()
    follow = page.get_by_role("link", name="Follow it").get_attribute("href")
    assert follow is not None
    task_id = follow.rpartition("/")[2]
    task = gui.person.api("GET", f"task/{task_id}")
    assert task["delete_destination_extra"]
    assert task["sync_level"] == 1
    gui.person.api("POST", f"task/{task_id}/cancel")
    gui.person.api("POST", f"task/{held}/cancel")
    assert gui.person.api("GET", f"task/{task_id}")["fatal_error"]["code"] == "CANCELED"
    assert (there / "old.txt").read_text() == "only here\n"


@pytest.mark.long
def test_folders_are_made_and_what_goes_is_named(gui: Gui, places: tuple[Path, Path]) -> None:
    here, there = places
    page = gui.open(address(gui, here, there))
    expect(row(page, "From", "run 1")).to_be_visible()
    pane(page, "From").get_by_role("button", name="New folder").click()
    dialog = page.get_by_role("dialog", name="New folder")
    dialog.get_by_label("Name").fill("a/b")
    expect(dialog.get_by_text("A name has no slash in it.")).to_be_visible()
    dialog.get_by_label("Name").fill("نتائج")
    assert_accessible(page)
    dialog.get_by_role("button", name="Make the folder").click()
    expect(row(page, "From", "نتائج")).to_have_attribute("aria-selected", "true")
    assert (here / "نتائج").is_dir()

    pane(page, "From").get_by_role("grid").focus()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    asked = page.get_by_role("alertdialog", name="Delete 3 items?")
    expect(asked).to_contain_text("2 folders with everything in them and 1 file (14 B)")
    expect(asked).to_contain_text("This cannot be undone.")
    assert_accessible(page)
    asked.get_by_role("button", name="Delete 3 items").click()
    expect(pane(page, "From").get_by_text("All that is here is hidden")).to_be_visible(
        timeout=TASK_MS
    )
    assert [one.name for one in here.iterdir()] == [".hidden"]


@pytest.mark.long
def test_every_state_is_accessible(gui: Gui, places: tuple[Path, Path]) -> None:
    here, there = places
    page = gui.open("/files")
    pane(page, "From").get_by_role("option").first.wait_for()
    assert_accessible(page)

    page.goto(gui.url + address(gui, here, there))
    row(page, "From", "notes.txt").click()
    assert_accessible(page)
    row(page, "From", "notes.txt").click(button="right")
    page.get_by_role("menu").wait_for()
    assert_accessible(page)
    page.keyboard.press("Escape")
    pane(page, "From").get_by_role("button", name="Instrument").click()
    page.get_by_role("dialog").get_by_role("option").first.wait_for()
    assert_accessible(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Transfer 1 item to Archive").click()
    page.get_by_text("All options").click()
    page.get_by_role("button", name="Add a rule").click()
    assert_accessible(page)
    page.keyboard.press("Escape")
    pane(page, "To").get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Keyboard").click()
    page.get_by_role("dialog", name="Everything by keyboard").wait_for()
    assert_accessible(page)
    page.keyboard.press("Escape")

    page.set_viewport_size({"width": 390, "height": 844})
    expect(pane(page, "To")).to_be_hidden()
    assert_accessible(page)
    page.get_by_role("button", name="To Archive", exact=True).click()
    expect(pane(page, "To").get_by_text("This folder is empty")).to_be_visible()
    assert_accessible(page)


@pytest.mark.long
def test_what_is_wrong_says_what_to_do(gui: Gui, places: tuple[Path, Path]) -> None:
    here, there = places
    for status in (400, 404, 502):
        gui.expect_problem(status)
    page = gui.open(address(gui, here / "gone" / "deep", there))
    origin = pane(page, "From")
    expect(origin.get_by_text("There is no such folder")).to_be_visible()
    expect(origin.get_by_text(re.compile(r"Request \S+"))).to_be_visible()
    assert_accessible(page)
    origin.get_by_role("button", name="Go to the nearest folder that is there").click()
    expect(row(page, "From", "notes.txt")).to_be_visible()

    type_path(page, "From", here / "notes.txt")
    expect(origin.get_by_text("This is a file, not a folder")).to_be_visible()

    # no credential
    uri = gui.site.source.url("")
    bare = gui.person.api(
        "POST",
        "endpoint",
        json={
            "DATA_TYPE": "endpoint",
            "display_name": "Locked",
            "DATA": [{"DATA_TYPE": "server", "uri": uri}],
        },
    )["id"]
    page.goto(f"{gui.url}/files?origin_id={bare}")
    expect(origin.get_by_text("Locked does not let you in")).to_be_visible()
    link = origin.get_by_role("link", name="Renew the credential")
    expect(link).to_have_attribute("href", f"/endpoints/{bare}")
    assert_accessible(page)

    # nobody there any more
    page.goto(f"{gui.url}/files?origin_id={'0' * 8}-0000-4000-8000-{'0' * 12}")
    expect(origin.get_by_text("There is no such collection")).to_be_visible()
    gui.person.api("DELETE", f"endpoint/{bare}")
