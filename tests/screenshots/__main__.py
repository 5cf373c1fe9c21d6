"""``make screenshots [ONLY=name]``: starts a deployment, fills it, and takes the pictures."""

import argparse
import base64
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

from plugins.browser import ARGUMENTS, CHROMIUM, WAIT_MS
from plugins.deployment import Running
from plugins.gui import Person
from screenshots.world import World, world
from towpath.demo.deployment import Deployment

PICTURES = Path(__file__).parents[2] / "docs" / "images" / "web"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES = ("light", "dark")
QUALITY = 82
SETTLED_MS = 1200
"""After a page is there: what still moves has come to rest."""


@dataclass(frozen=True)
class Shot:
    """One page, by the name of its pictures."""

    name: str
    path: str
    logged_in: bool = True
    prepare: Callable[[Page], None] | None = None
    """Does what a person does there first."""


def main() -> None:
    """Take all pictures, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="names of pages, with commas")
    only = frozenset(filter(None, parser.parse_args().only.split(",")))
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as temporary,
        Deployment.start(Path(temporary) / "data", {"TOWPATH_ENGINE__SETTLE_S": "2"}) as deployment,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        person = Person.settle(Running(deployment.data_dir, deployment.url), "lina")
        with world(Path(temporary), person.http) as made:
            for shot in _shots(made):
                if not only or shot.name in only:
                    _take(browser, deployment.url, person, shot)
        person.http.close()
        browser.close()


def _shots(made: World) -> list[Shot]:
    panes = urlencode(
        {
            "origin_id": made.detector,
            "origin_path": "/data/beamtime-4711/",
            "destination_id": made.archive,
            "destination_path": "/archive/2026/beamtime-4711/",
        }
    )
    # the one that moves first: it does not move for ever
    return [
        Shot("task-active", f"/activity/{made.tasks['active']}"),
        Shot("activity", "/activity"),
        Shot("files", f"/files?{panes}"),
        Shot("files-empty", "/files"),
        Shot("task-done", f"/activity/{made.tasks['done']}"),
        Shot("task-failed", f"/activity/{made.tasks['failed']}"),
        Shot("task-inactive", f"/activity/{made.tasks['inactive']}"),
        Shot("endpoints", "/endpoints"),
        Shot("endpoint", f"/endpoints/{made.detector}"),
        Shot("endpoint-expired", f"/endpoints/{made.cluster}"),
        Shot("endpoint-new", "/endpoints/new"),
        Shot("endpoint-connect", "/endpoints/connect", prepare=_ask_for_a_key),
        Shot("account", "/account"),
        Shot("groups", "/groups"),
        Shot("not-found", "/files/nowhere"),
        Shot("welcome", "/files", logged_in=False),
        Shot("login", "/v2/web/login", logged_in=False),
    ]


def _ask_for_a_key(page: Page) -> None:
    page.get_by_role("textbox", name="Name").fill("Lina's laptop")
    page.get_by_role("button", name="Make a setup key").click()


def _take(browser: Browser, url: str, person: Person, shot: Shot) -> None:
    for size, (width, height) in SIZES.items():
        for scheme in SCHEMES:
            context = browser.new_context(
                ignore_https_errors=True,
                viewport={"width": width, "height": height},
                color_scheme=scheme,  # type: ignore[arg-type]
                locale="en-GB",
            )
            context.set_default_timeout(WAIT_MS)
            if shot.logged_in:
                context.add_cookies(person.cookies())  # type: ignore[arg-type]
            page = context.new_page()
            page.goto(url + shot.path)
            page.wait_for_selector("h1, h2, [role=grid]")
            if shot.prepare is not None:
                shot.prepare(page)
            page.wait_for_timeout(SETTLED_MS)
            _write(page, PICTURES / f"{shot.name}-{size}-{scheme}.webp")
            context.close()
    print(f"{shot.name}: {len(SIZES) * len(SCHEMES)} pictures", flush=True)


def _write(page: Page, file: Path) -> None:
    session = page.context.new_cdp_session(page)
    options = {"format": "webp", "quality": QUALITY}
    file.write_bytes(base64.b64decode(session.send("Page.captureScreenshot", options)["data"]))


if __name__ == "__main__":
    main()
