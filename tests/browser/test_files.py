"""The file manager in a real browser, between real servers."""

from playwright.sync_api import expect

from plugins.browser import BROWSER_GROUP
from plugins.gui import Gui

pytestmark = BROWSER_GROUP


def test_the_page_opens(gui: Gui) -> None:
    page = gui.open("/files")
    expect(page.get_by_role("heading", level=1)).to_have_text("Files")
