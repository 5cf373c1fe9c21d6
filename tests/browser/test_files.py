"""The file manager in a real browser, between two real servers of two authorities."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Locator, Page, expect

from plugins.browser import BROWSER_GROUP
from plugins.gui import PASSWORD, Gui

pytestmark = BROWSER_GROUP

TASK_MS = 60_000
"""Until a small task has ended, on a busy machine."""


def pane(page: Page, side: str) -> Locator:
    return page.get_by_role("region", name=side, exact=True)


def row(page: Page, side: str, name: str) -> Locator:
    return pane(page, side).get_by_role("row", name=re.compile(rf"^{re.escape(name)}\b"))


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
