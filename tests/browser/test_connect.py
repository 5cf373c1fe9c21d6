"""A computer is connected from the web interface: the two commands it shows are typed, and work."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import expect

from plugins.accessibility import assert_accessible
from plugins.browser import BROWSER_GROUP
from plugins.deployment import BIN
from plugins.gui import Gui

pytestmark = BROWSER_GROUP


@pytest.fixture
def typed(tmp_path: Path) -> Iterator["Terminal"]:
    """A terminal of somebody else's computer."""
    with ExitStack() as stack:
        yield Terminal(tmp_path / "home", stack)


class Terminal:
    """Runs what is typed, in a home of its own; what stays in the foreground ends with the test."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        home.mkdir()
        self.home = home
        self._environment = {"HOME": str(home), "PATH": f"{BIN}:/usr/bin:/bin"}
        self._stack = stack

    def run(self, line: str) -> None:
        assert (
            subprocess.run(line.split(), env=self._environment, check=False, timeout=60).returncode
            == 0
        )

    def start(self, line: str) -> None:
        process = subprocess.Popen(line.split(), env=self._environment)
        self._stack.callback(process.wait, 30)
        self._stack.callback(process.terminate)


def test_a_computer_joins(gui: Gui, typed: Terminal) -> None:
    """From the list of endpoints to the files on it; the browser is left only to type."""
    (typed.home / "results.csv").write_text("1,2\n")
    page = gui.open("/endpoints")
    page.get_by_role("link", name="Connect a computer").first.click()
    page.get_by_role("button", name="Make a setup key").click()
    expect(page.get_by_text("Give it a name.")).to_be_visible()
    page.get_by_role("textbox", name="Name").fill("Bench laptop")
    page.get_by_role("button", name="Make a setup key").click()
    commands = page.get_by_role("listitem").locator("code")
    expect(commands).to_have_count(2)
    state = page.get_by_role("status").filter(has_text="laptop")
    expect(state).to_contain_text("Waiting for “Bench laptop”")
    assert_accessible(page)

    setup, start = commands.all_inner_texts()
    typed.run(setup)
    typed.start(start)
    expect(state).to_contain_text("“Bench laptop” is connected.", timeout=30_000)
    page.get_by_role("link", name="Open in the file manager").click()
    expect(page.get_by_text("results.csv")).to_be_visible()

    page.goto(page.url.partition("/files")[0] + "/endpoints")
    row = page.get_by_role("listitem").filter(has_text="Bench laptop")
    expect(row).to_contain_text("Connected")
    row.get_by_role("link", name="Bench laptop", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Bench laptop")
    assert_accessible(page)
    page.get_by_role("button", name="Test the connection").click()
    expect(page.get_by_text("All that could be tried works")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the endpoint").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Endpoints")


def test_a_server_of_many_accounts_has_no_files_itself(gui: Gui) -> None:
    """Its page has a key for each further node, and nothing to open."""
    asked = {"display_name": "Lab servers", "connect": "server", "public": False}
    made = gui.person.api("POST", "endpoint", json=asked)["id"]
    page = gui.open(f"/endpoints/{made}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Lab servers")
    expect(page.get_by_text("Not connected")).to_be_visible()
    expect(page.get_by_role("link", name="Open in the file manager")).to_have_count(0)
    expect(page.get_by_role("button", name="Test the connection")).to_have_count(0)
    page.get_by_role("button", name="New setup key").click()
    expect(page.get_by_text("becomes one more node")).to_be_visible()
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_text("for as many nodes as you like")).to_be_visible()
    assert_accessible(page)
    gui.person.api("DELETE", f"endpoint/{made}")
    gui.expected.append("Failed to load resource")  # the page asks for what is deleted
