"""No secret that passes in a test stands in a log or in an address (RFC 9700, 4.3).

All that goes over HTTP in a test is looked through for what was issued or sent: tokens, codes,
clients' secrets, passwords, cookies, links that work once. After each test all of it is searched
for in what the test printed and in the addresses that were asked for, and when a process has no
more tests, in all log files of its deployments. What is found fails the test.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx
import pytest

SHORTEST = 16
"""Characters of a secret that a machine made; what is shorter is a test's own word."""
SHORTEST_PASSWORD = 8
_ISSUED = {
    **dict.fromkeys(("access_token", "refresh_token", "id_token"), "token"),
    "secret": "client secret",
    "agent_token": "agent's token",
    "globus_connect_setup_key": "setup key",
}
_TYPED = frozenset({"password", "new_password", "client_secret"})
_WORD = re.compile(r"[A-Za-z0-9]{8,}")
_AUTHORIZE = "/v2/oauth2/authorize"
LOGS = ("**/log/*.log*", "**/*.up.log")


@dataclass
class Seen:
    """What has passed, and where it must not be."""

    secrets: dict[str, str] = field(default_factory=dict)
    """Secret -> its kind."""
    addresses: list[str] = field(default_factory=list)
    """Asked for since the last look."""
    _answers: set[str] = field(default_factory=set)
    """Redirects with codes in them, for the client alone."""
    _words: dict[str, list[str]] = field(default_factory=dict)
    """The longest word of each secret that a machine made: text is looked through once."""
    _passwords: set[str] = field(default_factory=set)

    def note(self, kind: str, secret: str) -> None:
        """A secret has passed."""
        typed = kind == "password"
        if secret in self.secrets or len(secret) < (SHORTEST_PASSWORD if typed else SHORTEST):
            return
        words = _WORD.findall(secret)
        if typed or not words:
            self._passwords.add(secret)
        else:
            self._words.setdefault(max(words, key=len), []).append(secret)
        self.secrets[secret] = kind

    def exchange(self, request: httpx.Request, response: httpx.Response) -> None:
        """A request was made and answered."""
        self.address(str(request.url))
        self._login(request.headers.get("Authorization", ""))
        content_type = request.headers.get("Content-Type", "")
        if content_type.startswith("application/x-www-form-urlencoded"):
            self.form(request.content.decode(errors="replace"))
        if request.url.path.endswith("/myproxy"):
            self._pass_phrase(request.content)
        for value in response.headers.get_list("Set-Cookie"):
            self._cookie(value)
        location = response.headers.get("Location", "")
        if request.url.path.startswith(_AUTHORIZE):
            self.redirect(location)
        if response.headers.get("Content-Type", "").startswith("application/json"):
            try:
                self._document(json.loads(response.content))
            except (ValueError, httpx.ResponseNotRead):
                return

    def address(self, url: str) -> None:
        """An address was asked for."""
        self.addresses.append(url)
        for name, value in parse_qsl(urlsplit(url).query):
            if name == "link":
                self.note("link", value)

    def form(self, body: str) -> None:
        """A form was sent."""
        for name, value in parse_qsl(body):
            if name in _TYPED:
                self.note("password" if "password" in name else "client secret", value)

    def _pass_phrase(self, body: bytes) -> None:
        try:
            self.note("password", str(json.loads(body)["passphrase"]))
        except (ValueError, KeyError, TypeError):
            return

    def leaks_in(self, text: str) -> list[str]:
        """What of it stands in a text: kind, beginning and surroundings."""
        found = []
        for word in set(_WORD.findall(text)) & self._words.keys():
            found += [one for one in self._words[word] if one in text]
        found += [one for one in self._passwords if one in text]
        return [self._told(one, text) for one in found]

    def leaks_in_addresses(self) -> list[str]:
        """What of it stands in addresses asked for since the last look."""
        told = []
        for url in dict.fromkeys(self.addresses):
            for one in self._found(unquote(url)):
                kind = self.secrets[one]
                if kind == "link" or (kind == "code" and _as_asked_for(url) in self._answers):
                    continue
                told.append(self._told(one, unquote(url)))
        self.addresses.clear()
        return told

    def _found(self, text: str) -> list[str]:
        words = set(_WORD.findall(text)) & self._words.keys()
        return [one for word in words for one in self._words[word] if one in text]

    def _told(self, secret: str, text: str) -> str:
        at = text.index(secret)
        return f"a {self.secrets[secret]} ({secret[:6]}...): ...{text[max(0, at - 120) : at]}[here]"

    def _login(self, header: str) -> None:
        kind, _, value = header.partition(" ")
        if kind.lower() == "bearer":
            self.note("token", value)
        elif kind.lower() == "basic":
            try:
                decoded = base64.b64decode(value).decode(errors="replace")
            except ValueError:
                self.note("client secret", value)  # not what it should be, but perhaps a secret
                return
            self.note("client secret", unquote(decoded.partition(":")[2]))

    def _cookie(self, header: str) -> None:
        try:
            cookies = SimpleCookie(header)
        except CookieError:
            return
        for cookie in cookies.values():
            self.note("cookie", cookie.value)

    def redirect(self, location: str) -> None:
        """The authorization endpoint sent a browser away: perhaps with a code."""
        code = dict(parse_qsl(urlsplit(location).query)).get("code")
        if code is not None:
            self.note("code", code)
            self._answers.add(_as_asked_for(location))

    def _document(self, document: Any) -> None:
        if isinstance(document, Mapping):
            for key, value in document.items():
                if key in _ISSUED and isinstance(value, str):
                    # of a setup key the last part, behind the address and a digest
                    self.note(_ISSUED[key], value.rpartition("/")[2])
                else:
                    self._document(value)
        elif isinstance(document, list):
            for one in document:
                self._document(one)


def _as_asked_for(location: str) -> str:
    """Who is sent to a host asks for its root."""
    return urlsplit(location)._replace(path=urlsplit(location).path or "/").geturl()


SEEN = Seen()
"""Of this process."""


def watch(context: Any) -> None:
    """Look at what a browser's profile asks for, and where it is sent."""

    def asked(request: Any) -> None:
        SEEN.address(request.url)
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("application/x-www-form-urlencoded"):
            SEEN.form(request.post_data or "")

    def answered(response: Any) -> None:
        if urlsplit(response.url).path.startswith(_AUTHORIZE):
            SEEN.redirect(response.headers.get("location", ""))

    context.on("request", asked)
    context.on("response", answered)


def cookies_of(context: Any) -> None:
    """Note our own cookies in a browser's profile."""
    for cookie in context.cookies():
        if cookie["name"].startswith("__Host-"):
            SEEN.note("cookie", cookie["value"])


@pytest.fixture(scope="session", autouse=True)
def _http_is_watched() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "send", _watched(httpx.Client.send))
        patch.setattr(httpx.AsyncClient, "send", _watched_async(httpx.AsyncClient.send))
        yield


def _watched(send: Callable[..., httpx.Response]) -> Callable[..., httpx.Response]:
    def sending(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        response = send(client, request, **options)
        SEEN.exchange(request, response)
        return response

    return sending


def _watched_async(send: Callable[..., Any]) -> Callable[..., Any]:
    async def sending(
        client: httpx.AsyncClient, request: httpx.Request, **options: Any
    ) -> httpx.Response:
        response: httpx.Response = await send(client, request, **options)
        SEEN.exchange(request, response)
        return response

    return sending


@pytest.fixture(scope="session", autouse=True)
def _log_files_have_no_secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set up before all deployments, so that it looks when they have ended."""
    yield
    base = tmp_path_factory.getbasetemp()
    told = [leak for pattern in LOGS for file in base.glob(pattern) for leak in leaks_of(file)]
    assert not told, "\n".join(["secrets in log files:", *told])


def leaks_of(file: Path) -> list[str]:
    """Secrets in a log file."""
    return [f"{file}: {leak}" for leak in SEEN.leaks_in(file.read_text(errors="replace"))]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """What a test printed, and where it went, when all of it is over."""
    report: pytest.TestReport = yield
    if call.when == "teardown":
        shown = "\n".join(text for _, text in report.sections)
        told = SEEN.leaks_in(shown) + [f"in an address, {one}" for one in SEEN.leaks_in_addresses()]
        if told and item.get_closest_marker("secrets_shown") is None:
            report.outcome = "failed"
            report.longrepr = "\n".join(["secrets were shown:", *told])
    return report
