"""``make screenshots [ONLY=name]``: starts a deployment, fills it, and takes the pictures."""

import argparse
import base64
import hashlib
import secrets
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from plugins.browser import ARGUMENTS, CHROMIUM, WAIT_MS
from screenshots.world import World, world
from towpath.demo.deployment import Deployment
from towpath.nexus.well_known import WEB_CLIENT

PICTURES = Path(__file__).parents[2] / "docs" / "images" / "web"
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES = ("light", "dark")
QUALITY = 82
SETTLED_MS = 1200
"""After a page is there: what still moves has come to rest."""
PASSWORD = "a towpath runs beside the canal"
SCOPE = "openid urn:globus:auth:scope:transfer.api.globus.org:all"


@dataclass(frozen=True)
class Shot:
    """One page, by the name of its pictures."""

    name: str
    path: str
    logged_in: bool = True


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
        state = _first_person(browser, deployment)
        with (
            _client(browser, deployment, state) as api,
            world(Path(temporary), api) as made,
        ):
            for shot in _shots(made):
                if not only or shot.name in only:
                    _take(browser, deployment.url, state, shot)
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
        Shot("account", "/account"),
        Shot("groups", "/groups"),
        Shot("not-found", "/files/nowhere"),
        Shot("welcome", "/files", logged_in=False),
        Shot("login", "/v2/web/login", logged_in=False),
    ]


def _take(browser: Browser, url: str, state: Any, shot: Shot) -> None:
    for size, (width, height) in SIZES.items():
        for scheme in SCHEMES:
            context = browser.new_context(
                ignore_https_errors=True,
                viewport={"width": width, "height": height},
                color_scheme=scheme,  # type: ignore[arg-type]
                storage_state=state if shot.logged_in else None,
                locale="en-GB",
            )
            context.set_default_timeout(WAIT_MS)
            page = context.new_page()
            page.goto(url + shot.path)
            page.wait_for_selector("h1, h2, [role=grid]")
            page.wait_for_timeout(SETTLED_MS)
            _write(page, PICTURES / f"{shot.name}-{size}-{scheme}.webp")
            context.close()
    print(f"{shot.name}: {len(SIZES) * len(SCHEMES)} pictures", flush=True)


def _write(page: Page, file: Path) -> None:
    session = page.context.new_cdp_session(page)
    options = {"format": "webp", "quality": QUALITY}
    file.write_bytes(base64.b64decode(session.send("Page.captureScreenshot", options)["data"]))


def _first_person(browser: Browser, deployment: Deployment) -> Any:
    """Make the first administrator as `towpath up` offers it; the browser's cookies afterwards."""
    link = deployment.administrator_link
    assert link is not None
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.goto(link)
    for name, value in (
        ("username", "ada"),
        ("name", "Ada Lovelace"),
        ("email", "ada@example.org"),
        ("password", PASSWORD),
    ):
        page.fill(f"input[name={name}]", value)
    page.click("main button")
    page.wait_for_load_state()
    state = context.storage_state()
    context.close()
    return state


@contextmanager
def _client(browser: Browser, deployment: Deployment, state: Any) -> Iterator[httpx.Client]:
    """The API as the person who is logged in, with a token as the web interface gets it."""
    context = browser.new_context(ignore_https_errors=True, storage_state=state)
    token = _token(context, deployment.url)
    context.close()
    verify = ssl.create_default_context(cafile=deployment.data_dir / "tls" / "ca.pem")
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=deployment.url, verify=verify, headers=headers) as client:
        yield client


def _token(context: BrowserContext, url: str) -> str:
    verifier = secrets.token_urlsafe(32)
    digest = hashlib.sha256(verifier.encode()).digest()
    common = {"client_id": str(WEB_CLIENT), "redirect_uri": f"{url}/login/callback"}
    query = common | {
        "response_type": "code",
        "scope": SCOPE,
        "prompt": "none",
        "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "code_challenge_method": "S256",
    }
    answer = context.request.get(f"{url}/v2/oauth2/authorize?{urlencode(query)}", max_redirects=0)
    code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
    form = common | {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": verifier,
    }
    first = context.request.post(f"{url}/v2/oauth2/token", form=form).json()
    found = [first, *first["other_tokens"]]
    return next(
        str(one["access_token"])
        for one in found
        if one["resource_server"] == "transfer.api.globus.org"
    )


if __name__ == "__main__":
    main()
