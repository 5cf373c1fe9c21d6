"""MyProxy servers that do what no real one does: each ends in its own error, in bounded time."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from plugins import peers
from plugins.acceptor import Acceptor
from plugins.myproxy import MyProxyServer
from plugins.peers import Peer
from towpath.demo.authority import Domain
from towpath.gridftp.client.dial import Server, Timeouts
from towpath.gridftp.client.myproxy import MyProxy
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.proxies import sign_proxy_request
from towpath.gridftp.wire.myproxy import MESSAGE_LIMIT_BYTES, encode_certificates

PASSPHRASE = "correct horse"
QUICK = Timeouts(connect_s=0.5, login_s=1, reply_s=0.5)
OK = b"VERSION=MYPROXYv2\nRESPONSE=0\n\0"
REFUSED = b"VERSION=MYPROXYv2\nRESPONSE=1\n"


class Client:
    """Who has connected to a double, after the login."""

    def __init__(self, acceptor: Acceptor, connection: socket.socket) -> None:
        self._acceptor = acceptor
        self._connection = connection

    def hear(self) -> bytes:
        """What comes next; empty at the end."""
        while True:
            try:
                return self._acceptor.read()
            except OSError:  # SSLWantReadError: nothing there yet
                data = self._connection.recv(65536)
                if not data:
                    return b""
                self._acceptor.incoming.write(data)

    def say(self, message: bytes) -> None:
        """Something, as one TLS record."""
        self._connection.sendall(self._acceptor.write(message))

    def wait(self) -> None:
        """Until it hangs up."""
        while self.hear():
            pass


Talk = Callable[[Client], None]


def double(domain: Domain, talk: Talk) -> AbstractContextManager[Peer]:
    """A server that proves its name, takes the flag byte and a request, and then talks."""

    def behave(_peer: Peer, connection: socket.socket) -> None:
        acceptor = Acceptor(domain.trust, domain.host)
        while not acceptor.shaken:
            connection.sendall(acceptor.answer(connection.recv(65536)))
        client = Client(acceptor, connection)
        heard = b""
        while not heard.endswith(b"\n\0"):
            heard += client.hear()
        assert heard.startswith(b"0VERSION=")
        talk(client)

    return peers.serving(behave)


def saying(*messages: bytes) -> Talk:
    """One message after each of the client's."""

    def talk(client: Client) -> None:
        for message in messages:
            client.say(message)
            client.hear()
        client.wait()

    return talk


def open_sockets() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except OSError:
            continue
    return count


async def failure(work: Awaitable[object]) -> GridFTPError:
    begin = time.monotonic()
    with pytest.raises(GridFTPError) as caught:
        await work
    assert time.monotonic() - begin < 10
    assert caught.value.where
    assert PASSPHRASE not in f"{caught.value} {caught.value!r}"
    return caught.value


async def logon_fails(domain: Domain, peer: Peer) -> GridFTPError:
    before = open_sockets()
    myproxy = MyProxy(Server("localhost", peer.port), domain.trust, timeouts=QUICK)
    error = await failure(myproxy.logon("alice", PASSPHRASE, credential=domain.credential))
    async with asyncio.timeout(5):
        while open_sockets() > before:  # the double's end of it
            await asyncio.sleep(0.005)
    return error


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        (peers.silent, Kind.TIMEOUT),
        (peers.hangs_up, Kind.CONNECTION_LOST),
        (peers.ssh_server, Kind.PROTOCOL),
        (peers.web_server, Kind.PROTOCOL),
        (peers.noise, Kind.PROTOCOL),
    ],
)
async def test_what_is_no_myproxy_server(
    domain_a: Domain, behave: peers.Behaviour, kind: Kind
) -> None:
    with peers.serving(behave) as peer:
        assert (await logon_fails(domain_a, peer)).kind is kind


def _trickle(client: Client) -> None:
    while True:
        client.say(b"V")
        time.sleep(0.02)


def _flood(client: Client) -> None:
    for _ in range(MESSAGE_LIMIT_BYTES // 16384 + 2):
        client.say(b"x" * 16384)
    client.wait()


@pytest.mark.parametrize(
    ("talk", "kind"),
    [
        (lambda _client: None, Kind.CONNECTION_LOST),
        (Client.wait, Kind.TIMEOUT),
        (_trickle, Kind.TIMEOUT),
        (_flood, Kind.PROTOCOL),
        (saying(b"HTTP/1.1 400 Bad Request\r\n\0"), Kind.PROTOCOL),
        (saying(b"VERSION=MYPROXYv2\nRESPONSE=2\nAUTHORIZATION_DATA=x\n\0"), Kind.LOGIN),
        (saying(REFUSED + b"\0"), Kind.UNKNOWN),
        (saying(REFUSED + b"ERROR=something new\n\0"), Kind.UNKNOWN),
        (saying(REFUSED + b"ERROR=authentication failed\n\0"), Kind.AUTHENTICATION),
        (saying(OK), Kind.TIMEOUT),
        (saying(OK, OK), Kind.PROTOCOL),
        (saying(OK, REFUSED + b"ERROR=Unable to delegate credentials.\n\0"), Kind.UNKNOWN),
        (saying(OK, b"\0"), Kind.PROTOCOL),
        (saying(OK, b"\x01\x30\x84\xff\xff\xff\xff"), Kind.PROTOCOL),
        (saying(OK, b"\x01\x30\x01x" + OK), Kind.PROTOCOL),
        (saying(OK, b"\xff\x30\x01x"), Kind.TIMEOUT),
    ],
)
async def test_nonsense_after_the_login(domain_a: Domain, talk: Talk, kind: Kind) -> None:
    with double(domain_a, talk) as peer:
        assert (await logon_fails(domain_a, peer)).kind is kind


@pytest.mark.parametrize(
    "text", [b"bad passphrase %b for alice", b"%b", b"a\nERROR=%b\nERROR=b", b"invalid %b %b"]
)
async def test_a_server_that_repeats_the_pass_phrase_cannot_bring_it_into_an_error(
    domain_a: Domain, text: bytes
) -> None:
    said = text.replace(b"%b", PASSPHRASE.encode())
    with double(domain_a, saying(REFUSED + b"ERROR=" + said + b"\n\0")) as peer:
        assert (await logon_fails(domain_a, peer)).reply is None


async def test_certificates_that_are_not_for_our_key(domain_a: Domain) -> None:
    chain = [item.public_bytes(Encoding.DER) for item in domain_a.credential.certificates]
    with double(domain_a, saying(OK, encode_certificates(chain) + OK)) as peer:
        error = await logon_fails(domain_a, peer)
    assert error.kind is Kind.PROTOCOL
    assert "key" in error.message


def _giving(domain: Domain, lifetime: timedelta, final: bytes) -> Talk:
    def talk(client: Client) -> None:
        client.say(OK)
        own = domain.user.credential()
        now = datetime.now(UTC)
        proxy = sign_proxy_request(own, client.hear(), lifetime, now)
        chain = [item.public_bytes(Encoding.DER) for item in own.certificates]
        for byte in encode_certificates([proxy, *chain]) + final:
            client.say(bytes([byte]))
        client.wait()

    return talk


async def test_certificates_byte_by_byte(domain_a: Domain) -> None:
    with double(domain_a, _giving(domain_a, timedelta(hours=1), OK)) as peer:
        myproxy = MyProxy(Server("localhost", peer.port), domain_a.trust)
        got = await myproxy.logon("alice", PASSPHRASE, credential=domain_a.credential)
    assert got.subject == "/O=DomA/CN=Alice"
    assert len(got.certificates) == 2


@pytest.mark.parametrize(
    ("lifetime_s", "final", "kind"),
    [
        (-1, OK, Kind.CREDENTIAL_EXPIRED),
        (3600, REFUSED + b"ERROR=on second thoughts\n\0", Kind.UNKNOWN),
        (3600, b"", Kind.TIMEOUT),
    ],
)
async def test_a_credential_that_is_none(
    domain_a: Domain, lifetime_s: int, final: bytes, kind: Kind
) -> None:
    with double(domain_a, _giving(domain_a, timedelta(seconds=lifetime_s), final)) as peer:
        assert (await logon_fails(domain_a, peer)).kind is kind


def _elliptic_request() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("request_der", "kind"),
    [
        (b"\x30\x03abc", Kind.PROTOCOL),
        (b"\x30\x80", Kind.PROTOCOL),
        (_elliptic_request(), Kind.PROTOCOL),
        (b"", Kind.TIMEOUT),
        (OK, Kind.PROTOCOL),
        (REFUSED + b"ERROR=Failed to accept credentials.\n\0", Kind.UNKNOWN),
    ],
    ids=["short", "endless", "elliptic", "nothing", "accepted", "refused"],  # the key is a new one
)
async def test_nothing_is_signed_for_a_server_that_asks_nonsense(
    domain_a: Domain, request_der: bytes, kind: Kind
) -> None:
    heard: list[bytes] = []

    def talk(client: Client) -> None:
        client.say(OK + request_der)
        heard.append(client.hear())

    with double(domain_a, talk) as peer:
        myproxy = MyProxy(Server("localhost", peer.port), domain_a.trust, timeouts=QUICK)
        own = domain_a.credential
        error = await failure(myproxy.store("alice", PASSPHRASE, credential=own))
    assert error.kind is kind
    assert heard in ([], [b""])


async def test_whom_the_operator_does_not_let_us_dial(domain_a: Domain) -> None:
    async def refuses(host: str, port: int) -> socket.socket:
        raise GridFTPError(Kind.ADDRESS_REFUSED, "not allowed", f"{host}:{port}")

    async def hangs(host: str, port: int) -> socket.socket:
        await asyncio.sleep(60)
        raise AssertionError

    for dial, kind in ((refuses, Kind.ADDRESS_REFUSED), (hangs, Kind.CONNECT)):
        myproxy = MyProxy(Server("localhost", 1), domain_a.trust, dial=dial, timeouts=QUICK)
        assert (await failure(myproxy.logon("alice", PASSPHRASE))).kind is kind
    assert (
        await failure(MyProxy(Server("localhost", 1), domain_a.trust).trust_roots())
    ).kind is Kind.CONNECT


@pytest.mark.parametrize("moment_ms", [0, 3, 10, 30, 60, 100])
async def test_cancelling_leaves_no_socket(myproxy_store: MyProxyServer, moment_ms: int) -> None:
    before = open_sockets()
    own = myproxy_store.domain.user.credential()
    myproxy = MyProxy(Server("localhost", myproxy_store.port), myproxy_store.domain.trust)
    storing = asyncio.create_task(myproxy.store("alice", PASSPHRASE, credential=own))
    await asyncio.sleep(moment_ms / 1000)
    storing.cancel()
    await asyncio.wait([storing])
    async with asyncio.timeout(5):
        while open_sockets() > before:
            await asyncio.sleep(0.005)
