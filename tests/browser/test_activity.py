"""Tasks in a real browser: watched while they run, and what can be asked of them."""

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Page, Route, expect

from plugins.accessibility import assert_accessible
from plugins.browser import BROWSER_GROUP
from plugins.gui import Gui
from plugins.site import until
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer

pytestmark = BROWSER_GROUP

FILES = 12
KIB = 1024
MIB = 1024 * KIB
TASK_MS = 60_000
UNAVAILABLE = '{"code": "ServiceUnavailable", "message": "The database is away"}'


def tree(gui: Gui, name: str, files: int = FILES, size: int = 4 * KIB) -> str:
    """A tree on the source; its path."""
    root = gui.root / name
    root.mkdir()
    for number in range(files):
        (root / f"frame {number:02}.dat").write_bytes(bytes([number % 256]) * size)
    return str(root)


def sparse(gui: Gui, name: str, mebibytes: int, number: int = 0) -> None:
    """A file of holes in a tree: large, and made at once."""
    with (gui.root / name / f"volume {number}").open("wb") as file:
        file.truncate(mebibytes * MIB)


def submit(gui: Gui, name: str, **more: object) -> str:
    """A transfer of a tree; the task's id."""
    ends = (gui.site.source_id, gui.site.destination_id)
    return gui.person.transfer(
        *ends, (str(gui.root / name), str(gui.root / f"{name}-copy")), **more
    )


def badge(page: Page, state: str) -> None:
    """The task's page says so, for everybody."""
    expect(page.get_by_role("status").filter(has_text=re.compile(f"^{state}$"))).to_have_count(
        1, timeout=TASK_MS
    )


@contextlib.contextmanager
def slow(server: GctServer) -> Iterator[None]:
    """Sessions of the server run a small part of the time: what takes long can be watched."""
    over = threading.Event()

    def send(number: signal.Signals) -> None:
        for pid in server.session_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def hold() -> None:
        while not over.wait(0.01):
            send(signal.SIGSTOP)
            over.wait(0.2)
            send(signal.SIGCONT)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        send(signal.SIGCONT)


def test_a_task_from_the_list_to_its_proof_with_the_keyboard_alone(gui: Gui) -> None:
    tree(gui, "night")
    task_id = submit(gui, "night", label="Night run")
    page = gui.open("/activity")
    row = page.get_by_role("listitem").filter(has_text="Night run")
    expect(row).to_contain_text("Succeeded", timeout=TASK_MS)  # without a reload
    assert_accessible(page)
    page.get_by_role("link", name="Night run", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{gui.url}/activity/{task_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Night run")
    expect(page.get_by_text(f"All {FILES} files (48 KiB) were read at both ends")).to_be_visible()
    expect(page.get_by_text(f"SHA256: {FILES} files")).to_be_visible()
    expect(page).to_have_title(re.compile("^Night run – "))
    page.get_by_role("tab", name="Overview").focus()
    for name, shows in (
        ("Events", page.get_by_role("list", name="Events, newest first")),
        ("Files", page.get_by_role("table")),
        ("Fidelity", page.get_by_text("Everything that can be carried over was")),
    ):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(shows).to_be_visible()
        assert name.lower() in page.url
    assert_accessible(page)
    page.get_by_role("button", name="Run again").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: task_id not in url)
    badge(page, "Succeeded")
    expect(page.get_by_role("heading", level=1)).to_have_text("Night run")


def test_pause_rename_resume_and_cancel_with_the_keyboard_alone(gui: Gui) -> None:
    tree(gui, "day")
    sparse(gui, "day", 400)
    with slow(gui.site.source):
        task_id = submit(gui, "day")
        page = gui.open(f"/activity/{task_id}")
        expect(page.get_by_role("heading", level=1)).to_have_text("day")
        keyboard = page.keyboard
        page.get_by_role("button", name="Pause").press("Enter")
        badge(page, "Paused")
        expect(page.get_by_text("Nothing moves until you resume it")).to_be_visible()
        expect(page.get_by_role("button", name="Resume")).to_be_focused()
        assert_accessible(page)
        page.get_by_role("button", name="More").press("Enter")
        expect(page.get_by_role("menuitem", name="Edit label and deadline")).to_be_focused()
        keyboard.press("Enter")
        expect(page.get_by_role("textbox", name="Label")).to_be_focused()
        keyboard.type("Day run")
        assert_accessible(page)
        keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Day run")
        page.get_by_role("button", name="Resume").press("Enter")
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        page.get_by_role("button", name="Cancel task").press("Enter")
        question = page.get_by_role("alertdialog", name="Cancel this task?")
        expect(question).to_contain_text("What is under way is stopped")
        expect(question.get_by_role("button", name="Keep it running")).to_be_focused()
        keyboard.press("Tab")
        keyboard.press("Enter")
    badge(page, "Cancelled")
    expect(page.get_by_role("button", name="Run again")).to_be_visible()
    assert gui.person.api("GET", f"task/{task_id}")["fatal_error"]["code"] == "CANCELED"


@pytest.mark.long
def test_watched_while_its_server_is_killed_and_comes_back(
    gui: Gui, domain_a: Domain, tmp_path: Path
) -> None:
    tree(gui, "outage", 300)
    for number in range(2):
        sparse(gui, "outage", 300, number)
    server = GctServer.start(domain_a, tmp_path / "mortal")
    mortal = gui.person.register("Mortal", server, domain_a)
    paths = (str(gui.root / "outage"), str(gui.root / "outage-copy"))
    try:
        with slow(server):
            task_id = gui.person.transfer(mortal, gui.site.destination_id, paths)
            page = gui.open(f"/activity/{task_id}")
            badge(page, "Running")
            expect(page.get_by_role("heading", name="Files under way")).to_be_visible()
            expect(page.get_by_role("progressbar", name="Progress of volume 0")).to_be_visible(
                timeout=TASK_MS
            )
            expect(page.get_by_role("img", name=re.compile("^Bytes per second"))).to_be_visible(
                timeout=TASK_MS
            )
            assert_accessible(page)
        server.stop()
        badge(page, "Waiting for a server")
        expect(
            page.get_by_text("Mortal does not answer. Nothing that has arrived is")
        ).to_be_visible()
        assert_accessible(page)
        page.get_by_role("tab", name="Events").click()
        events = page.get_by_role("list", name="Events, newest first")
        expect(events).to_contain_text("The server could not be reached")
        server = GctServer.start(domain_a, tmp_path / "mortal", port=server.port)
        badge(page, "Succeeded")
        expect(events.get_by_role("listitem").first).to_contain_text("Succeeded")
        expect(page.get_by_text("All 302 files")).to_be_visible()
        page.get_by_text("Errors only").click()
        expect(events).not_to_contain_text("Succeeded")
        assert_accessible(page)
        page.get_by_role("link", name="See each file and its checksum").click()
        table = page.get_by_role("table")
        expect(table).to_have_attribute("aria-rowcount", "303")
        table.focus()
        page.keyboard.press("End")  # rows are drawn as they come into sight
        expect(table.get_by_role("row").filter(has_text="volume 0")).to_contain_text("in ranges")
        assert_accessible(page)
    finally:
        server.stop()


@pytest.mark.long
def test_a_dead_credential_is_renewed_and_the_task_goes_on(gui: Gui, domain_a: Domain) -> None:
    tree(gui, "renewal")
    lifetime = timedelta(seconds=4)
    ends = datetime.now(UTC) + lifetime
    short = gui.person.register("Short", gui.site.source, domain_a)
    gui.person.give(short, domain_a.make_proxy(lifetime).to_pem().decode())
    until(lambda: datetime.now(UTC) > ends, 10, "the proxy has expired")
    paths = (str(gui.root / "renewal"), str(gui.root / "renewal-copy"))
    task_id = gui.person.transfer(short, gui.site.destination_id, paths)
    page = gui.open("/activity?tab=attention")
    row = page.get_by_role("listitem").filter(has_text="renewal")
    expect(row).to_contain_text("Credential needed", timeout=TASK_MS)
    page.goto(f"{gui.url}/activity/{task_id}")
    badge(page, "Credential needed")
    expect(page.get_by_text("The credential for Short is missing or has expired")).to_be_visible()
    assert_accessible(page)
    renew = page.get_by_role("link", name="Renew the credential")
    expect(renew).to_have_attribute("href", f"/endpoints/{short}")
    gui.person.give(short, domain_a.proxy_file.read_text())
    badge(page, "Succeeded")  # told without a reload
    expect(page.get_by_text(f"All {FILES} files")).to_be_visible()


@pytest.mark.long
def test_without_a_stream_it_asks_now_and_then(gui: Gui) -> None:
    tree(gui, "polled")
    sparse(gui, "polled", 300)
    page = gui.page()
    for stream in ("**/task_progress", "**/task/*/progress"):
        page.route(stream, lambda route: route.fulfill(status=404, body="{}"))
    gui.expect_problem(404)
    with slow(gui.site.source):
        task_id = submit(gui, "polled", label="Polled")
        page.goto(f"{gui.url}/activity")
        expect(page.get_by_text("Updated every few seconds")).to_be_visible()
        expect(page.get_by_role("listitem").filter(has_text="Polled")).to_contain_text("Running")
        page.get_by_role("link", name="Polled").click()
        badge(page, "Running")
    badge(page, "Succeeded")
    assert task_id in page.url


@pytest.mark.long
def test_a_lost_stream_comes_back(gui: Gui) -> None:
    page = gui.page()
    asked: list[str] = []

    def cut(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) <= 3:
            route.abort("connectionreset")
        else:
            route.continue_()

    gui.expected.append("Failed to load resource: net::ERR_CONNECTION_RESET")
    page.route("**/task_progress", cut)
    page.goto(f"{gui.url}/activity")
    expect(page.get_by_text("Connection lost; trying again")).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    tree(gui, "after")
    sparse(gui, "after", 300)
    row = page.get_by_role("listitem").filter(has_text="After the loss")
    with slow(gui.site.source):
        submit(gui, "after", label="After the loss")
        expect(row).to_contain_text("Running")
    expect(row).to_contain_text("Succeeded", timeout=TASK_MS)
    expect(page.get_by_text("After the loss: Succeeded")).to_have_attribute("role", "status")


@pytest.mark.long
def test_what_is_filtered_by_is_in_the_address(gui: Gui) -> None:
    tree(gui, "filtered")
    submit(gui, "filtered", label="Filtered one")
    gui.person.transfer(
        gui.site.source_id,
        gui.site.destination_id,
        ("/nowhere/at/all", str(gui.root / "nothing")),
        label="Filtered two",
    )
    page = gui.open("/activity")
    rows = page.get_by_role("list", name="Tasks").get_by_role("listitem")
    expect(rows.filter(has_text="Filtered two")).to_contain_text("Failed", timeout=TASK_MS)
    page.get_by_label("Label").fill("filtered")
    expect(rows).to_have_count(2)
    page.get_by_role("navigation", name="Which tasks").get_by_role("link", name="Failed").click()
    expect(rows).to_have_count(1)
    current = page.get_by_role("navigation", name="Which tasks").locator("[aria-current=page]")
    expect(current).to_have_text(["Failed"])
    page.wait_for_url(re.compile(r"\?(?=.*tab=failed)(?=.*q=filtered)"))
    page.get_by_role("button", name="Any endpoint").click()
    page.get_by_role("option", name="Archive").click()
    page.get_by_label("To", exact=True).fill("2026-01-01")
    expect(page.get_by_role("heading", name="No task is like that")).to_be_visible()
    assert f"endpoint={gui.site.destination_id}" in page.url
    assert_accessible(page)
    page.reload()
    expect(page.get_by_role("heading", name="No task is like that")).to_be_visible()
    expect(page.get_by_label("Label")).to_have_value("filtered")
    page.get_by_role("button", name="Clear filters").click()
    expect(rows.filter(has_text="Filtered two")).to_be_visible()
    page.get_by_role("link", name="Filtered two").click()
    badge(page, "Failed")
    expect(page.get_by_text("Check the path; it does not exist on the server.")).to_be_visible()
    assert_accessible(page)


@pytest.mark.long
def test_what_was_left_out_and_what_was_deleted(gui: Gui) -> None:
    root = tree(gui, "partly")
    copy = str(gui.root / "partly-copy")
    task_id = gui.person.transfer(
        gui.site.source_id,
        gui.site.destination_id,
        (root, copy),
        ("/nowhere/at/all", str(gui.root / "nothing")),
        skip_source_errors=True,
    )
    page = gui.open(f"/activity/{task_id}")
    badge(page, "Done, with files left out")
    expect(page.get_by_text("and 1 more")).to_have_count(2)
    expect(page.get_by_text(f"{FILES} of {FILES + 1} files")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name="See what was left out").press("Enter")
    expect(page.get_by_role("row").filter(has_text="/nowhere/at/all")).to_be_visible()
    assert_accessible(page)
    gone = gui.person.api(
        "POST",
        "delete",
        json={
            "DATA_TYPE": "delete",
            "submission_id": str(uuid4()),
            "endpoint": gui.site.destination_id,
            "recursive": True,
            "DATA": [{"DATA_TYPE": "delete_item", "path": copy}],
        },
    )["task_id"]
    page.goto(f"{gui.url}/activity/{gone}")
    badge(page, "Succeeded")
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete partly-copy on Archive")
    expect(page.get_by_text("Everything has been deleted.")).to_be_visible()
    for tab in ("Overview", "Events", "Files", "Fidelity"):
        page.get_by_role("tab", name=tab).press("Enter")
        assert_accessible(page)


@pytest.mark.long
def test_what_is_not_there_is_said(gui: Gui) -> None:
    gui.expect_problem(404)
    page = gui.open(f"/activity/{uuid4()}")
    expect(page.get_by_role("heading", name="There is no such task")).to_be_visible()
    assert_accessible(page)
    gui.expect_problem(503)
    page.route("**/task_list**", lambda route: route.fulfill(status=503, body=UNAVAILABLE))
    page.goto(f"{gui.url}/activity")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("The database is away")
    assert_accessible(page)
    page.unroute("**/task_list**")
    alert.get_by_role("button", name="Try again").click()
    expect(alert).to_be_hidden()


@pytest.mark.long
@pytest.mark.parametrize("path", ["/activity", "/activity?tab=attention"])
def test_on_a_phone(gui: Gui, path: str) -> None:
    page = gui.page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(gui.url + path)
    expect(page.get_by_role("heading", level=1)).to_have_text("Activity")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert_accessible(page)
