"""Asking https servers: which are dialled, whom we believe, and how much we read."""

import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from towpath.platform.certificates import server_certificate
from towpath.platform.dial import DialPolicy
from towpath.platform.outbound import BODY_LIMIT, Answer, Outbound, OutboundError, UnreachableError


class Place:
    """An https server for ``localhost`` whose answers depend on the path."""

    seen: ClassVar[list[dict[str, str]]] = []

    def __init__(self, directory: Path) -> None:
        files = server_certificate(directory, ["localhost"])
        self.authority = files.authority.read_text()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.cert, files.key)
        self.server = ThreadingHTTPServer(("0.0.0.0", 0), _Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"https://localhost:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        Place.seen.append({"path": self.path, "host": self.headers["Host"]})
        status = 302 if self.path == "/moved" else 200
        body = b"x" * (BODY_LIMIT + 1) if self.path == "/endless" else b'{"a": 1}'
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("place"))
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


LOCAL = DialPolicy(allow_loopback=True)


async def test_answer(place: Place) -> None:
    answer = await Outbound(LOCAL).request("GET", f"{place.url}/a?b=c", authority=place.authority)
    assert (answer.status, answer.document()) == (200, {"a": 1})
    assert Place.seen[-1] == {"path": "/a?b=c", "host": f"localhost:{place.port}"}


async def test_certificate_of_another_name(place: Place) -> None:
    with pytest.raises(UnreachableError, match="certificate"):
        await Outbound(LOCAL).request(
            "GET", f"https://127.0.0.2:{place.port}/", authority=place.authority
        )


async def test_certificate_of_an_unknown_authority(place: Place) -> None:
    with pytest.raises(UnreachableError, match="certificate"):
        await Outbound(LOCAL).request("GET", place.url)


@pytest.mark.parametrize(
    "policy", [DialPolicy(), None], ids=["loopback is not allowed", "the service itself"]
)
async def test_addresses_that_are_not_dialled(place: Place, policy: DialPolicy | None) -> None:
    policy = policy or DialPolicy(allow_loopback=True, own_listeners=[("127.0.0.1", place.port)])
    before = len(Place.seen)
    with pytest.raises(OutboundError, match="localhost: "):
        await Outbound(policy).request("GET", place.url, authority=place.authority)
    assert len(Place.seen) == before


async def test_redirects_are_not_followed(place: Place) -> None:
    answer = await Outbound(LOCAL).request("GET", f"{place.url}/moved", authority=place.authority)
    assert answer.status == 302
    assert Place.seen[-1]["path"] == "/moved"


async def test_too_much(place: Place) -> None:
    with pytest.raises(OutboundError, match="more than"):
        await Outbound(LOCAL).request("GET", f"{place.url}/endless", authority=place.authority)


@pytest.mark.parametrize(
    "url", ["http://localhost/", "https://", "file:///etc/passwd", "https://a:b@localhost/"]
)
async def test_urls_that_are_not_asked(url: str) -> None:
    with pytest.raises(OutboundError):
        await Outbound(LOCAL).request("GET", url)


async def test_nobody_there() -> None:
    with pytest.raises(UnreachableError):
        await Outbound(LOCAL).request("GET", "https://localhost:1/")


async def test_somebody_who_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(UnreachableError, match="does not answer within"):
            await Outbound(LOCAL, timeout_s=0.1).request("GET", url)


@pytest.mark.parametrize(
    "body", [b"[]", b"no JSON", b"\xff", b"[" * 100_000], ids=["list", "text", "bytes", "deep"]
)
def test_answers_that_are_no_document(body: bytes) -> None:
    """Of whatever shape: also nested deeper than a reader goes."""
    with pytest.raises(OutboundError):
        Answer(200, body).document()
