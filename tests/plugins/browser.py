"""Fixture: a real browser, one for each test module; each test gets its own profile.

Debian's chromium, driven by playwright. It trusts the certificates of the test's own deployment.
"""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from plugins import secrets_seen

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 20_000
"""The machine may be busy."""

BROWSER_GROUP = pytest.mark.xdist_group("browser")
"""Tests with the browser share a process, so that it is started once."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser, without a window.

    Not for longer than a module, whose tests are not async: while playwright runs, its event loop
    is the thread's running one, and no other can run.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture
def profile(chromium: Browser) -> Iterator[BrowserContext]:
    """A fresh profile: no cookies, nothing kept."""
    context = chromium.new_context(ignore_https_errors=True)
    context.set_default_timeout(WAIT_MS)
    secrets_seen.watch(context)
    yield context
    secrets_seen.cookies_of(context)
    context.close()


@pytest.fixture
def page(profile: BrowserContext) -> Page:
    """An empty tab of a fresh profile."""
    return profile.new_page()
