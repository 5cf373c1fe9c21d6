"""A browser with somebody logged in, and what its processes take."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from playwright.sync_api import BrowserContext, Error, sync_playwright

from bench.measure import BenchError, tree
from towpath.demo.deployment import Deployment

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "nine patient lockkeepers"
WAIT_MS = 60_000


@dataclass(frozen=True)
class Looking:
    """Somebody in front of a browser."""

    identity: UUID
    profile: BrowserContext
    pid: int
    """The browser's first process."""


@contextmanager
def looking(deployment: Deployment, name: str) -> Iterator[Looking]:
    """Make an account, and log it in. Raises `BenchError`."""
    password = deployment.data_dir.with_name("password")
    password.write_text(PASSWORD + "\n")
    account = ("--full-name", "Bench", "--email", "bench@mail.example")
    told = deployment.towpath(
        *("admin", "user", "add", name, *account, "--password-file", str(password)),
        *("--format", "json"),
    )
    with sync_playwright() as playwright:
        before = set(tree(os.getpid()))
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        except Error as error:
            raise BenchError(f"no browser: {error.message}") from None
        pid = _first(set(tree(os.getpid())) - before)
        profile = browser.new_context(ignore_https_errors=True)
        profile.set_default_timeout(WAIT_MS)
        page = profile.new_page()
        page.goto(f"{deployment.url}/v2/web/login")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in", exact=True).click()
        page.wait_for_url("**/files")
        page.close()
        yield Looking(UUID(json.loads(told)["id"]), profile, pid)
        browser.close()


def _first(pids: set[int]) -> int:
    """Of a browser's processes the one that started the others."""
    for pid in sorted(pids):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"chromium" in words[0] and not any(word.startswith(b"--type=") for word in words):
            return pid
    raise BenchError("the browser's process is not there")
