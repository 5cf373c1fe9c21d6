"""The initiator against an acceptor in Python and against a real server."""

import base64
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from plugins.acceptor import Acceptor
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.gsi import Initiator, verified_chain


def now() -> datetime:
    return datetime.now(UTC)


def initiator(
    domain: Domain, host: str = "localhost", subject: str | None = None, *, delegate: bool = False
) -> Initiator:
    return Initiator(domain.credential, domain.trust, host, subject, delegate=delegate, now=now)


def shake(client: Initiator, acceptor: Acceptor) -> list[bytes]:
    """Run the handshake; the acceptor's answers to the last tokens."""
    tokens = client.step(None)
    while not client.handshake_done:
        (token,) = tokens
        tokens = client.step(acceptor.answer(token))
    return [answer for token in tokens if (answer := acceptor.answer(token))]


VERSIONS = [(ssl.TLSVersion.TLSv1_2, 0), (ssl.TLSVersion.TLSv1_3, 0), (ssl.TLSVersion.TLSv1_3, 2)]


@pytest.mark.parametrize(("version", "tickets"), VERSIONS)
def test_login_without_delegation(domain_a: Domain, version: ssl.TLSVersion, tickets: int) -> None:
    client = initiator(domain_a)
    acceptor = Acceptor(domain_a.trust, domain_a.host, version, tickets)
    answers = shake(client, acceptor)
    assert client.complete
    assert client.peer_subject == "/O=DomA/CN=localhost"
    assert acceptor.read() == b"0"
    acceptor.incoming.write(client.wrap(b"USER x\r\n"))  # sent ahead of the answers
    assert acceptor.read() == b"USER x\r\n"
    for answer in answers:
        assert client.step(answer) == []
    first = acceptor.write(b"331 Pass")
    assert client.unwrap(first + acceptor.write(b"word\r\n")) == b"331 Password\r\n"
    listing = [f" Type=file; {number}\r\n".encode() for number in range(2000)]
    assert client.unwrap(b"".join(map(acceptor.write, listing))) == b"".join(listing)
    chain = [x509.load_der_x509_certificate(der) for der in verified_chain(acceptor.tls)]
    assert chain[:2] == domain_a.credential.certificates


@pytest.mark.parametrize(("version", "tickets"), VERSIONS)
def test_login_with_delegation(domain_a: Domain, version: ssl.TLSVersion, tickets: int) -> None:
    client = initiator(domain_a, delegate=True)
    acceptor = Acceptor(domain_a.trust, domain_a.host, version, tickets)
    answers = shake(client, acceptor)
    assert not client.complete
    assert acceptor.read() == b"D"
    for answer in answers:
        assert client.step(answer) == []
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    assert client.step(acceptor.write(request[:100])) == []
    (token,) = client.step(acceptor.write(request[100:]))
    assert client.complete
    acceptor.incoming.write(token)
    delegated = x509.load_der_x509_certificate(acceptor.read())
    delegated.verify_directly_issued_by(domain_a.credential.certificates[0])
    assert delegated.public_key() == key.public_key()


def refused(client: Initiator, acceptor: Acceptor) -> SecurityError:
    with pytest.raises(SecurityError) as caught:
        shake(client, acceptor)
    assert not client.handshake_done
    return caught.value


def test_certificate_of_another_host(domain_a: Domain) -> None:
    other = domain_a.issue("elsewhere", "elsewhere", hosts=("ftp.example.org",))
    error = refused(initiator(domain_a), Acceptor(domain_a.trust, other))
    assert error.kind is SecurityKind.UNTRUSTED_HOST
    assert "/O=DomA/CN=elsewhere, which is for another host" in error.message


def test_authority_not_trusted(domain_a: Domain, domain_b: Domain) -> None:
    error = refused(initiator(domain_a), Acceptor(domain_a.trust, domain_b.host))
    assert error.kind is SecurityKind.UNTRUSTED_HOST
    assert "unable to get local issuer certificate" in error.message


def test_host_outside_of_the_signing_policy(tmp_path: Path) -> None:
    domain = Domain.create(tmp_path / "d", "DomC")
    stranger = domain.issue("s", "localhost", hosts=("localhost",), organization="Else")
    error = refused(initiator(domain), Acceptor(domain.trust, stranger))
    assert error.kind is SecurityKind.UNTRUSTED_HOST
    assert "signing policy" in error.message


def test_expected_subject_replaces_the_host_name(domain_a: Domain) -> None:
    named = initiator(domain_a, "10.9.8.7", "/O=DomA/CN=localhost")
    shake(named, Acceptor(domain_a.trust, domain_a.host))
    assert named.complete
    error = refused(
        initiator(domain_a, "localhost", "/O=DomA/CN=other"),
        Acceptor(domain_a.trust, domain_a.host),
    )
    assert error.message == "localhost is /O=DomA/CN=localhost, expected /O=DomA/CN=other"


def test_expired_credential_sends_nothing(domain_a: Domain) -> None:
    old = domain_a.make_proxy(timedelta(hours=1), now=now() - timedelta(hours=2))
    client = Initiator(old, domain_a.trust, "localhost", None, now=now)
    with pytest.raises(SecurityError) as caught:
        client.step(None)
    assert caught.value.kind is SecurityKind.CREDENTIAL_EXPIRED


@pytest.mark.parametrize("token", [b"220 hello\r\n", b"\x16\x03\x01\x00\x05aaaaa", b"x" * 300_000])
def test_garbage_is_an_authentication_failure(domain_a: Domain, token: bytes) -> None:
    client = initiator(domain_a)
    client.step(None)
    with pytest.raises(SecurityError) as caught:
        client.step(token)
    assert caught.value.kind is SecurityKind.AUTHENTICATION


def test_garbage_after_login(domain_a: Domain) -> None:
    client = initiator(domain_a)
    shake(client, Acceptor(domain_a.trust, domain_a.host))
    with pytest.raises(SecurityError) as caught:
        client.unwrap(b"\x17\x03\x03\x00\x20" + b"a" * 32)
    assert caught.value.kind is SecurityKind.AUTHENTICATION


class ControlChannel:
    """A blocking control channel, just enough to log in."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.lines = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.lines.close()
        self.socket.close()

    def ask(self, line: bytes) -> list[bytes]:
        self.socket.sendall(line + b"\r\n")
        return self.reply()

    def reply(self) -> list[bytes]:
        lines = [self.lines.readline()]
        while lines[-1][3:4] != b" ":
            lines.append(self.lines.readline())
        return lines

    def login(self, client: Initiator) -> list[bytes]:
        """AUTH and ADAT; the final reply."""
        self.reply()
        assert self.ask(b"AUTH GSSAPI")[0].startswith(b"334")
        tokens = client.step(None)
        while True:
            for token in tokens:
                reply = self.ask(b"ADAT " + base64.b64encode(token))
                word, _equals, answer = reply[0].strip().partition(b"ADAT=")
                if not word.startswith(b"335"):
                    return reply
                tokens = client.step(base64.b64decode(answer))
                if tokens and client.handshake_done:
                    break

    def ask_wrapped(self, client: Initiator, line: bytes) -> bytes:
        reply = self.ask(b"ENC " + base64.b64encode(client.wrap(line + b"\r\n")))
        return b"".join(client.unwrap(base64.b64decode(text[4:])) for text in reply)


@pytest.mark.parametrize("delegate", [False, True])
def test_real_server(domain_a: Domain, server_a: GctServer, delegate: bool) -> None:
    client = initiator(domain_a, delegate=delegate)
    with ControlChannel(server_a.port) as channel:
        assert channel.login(client)[0].startswith(b"235")
        assert client.complete
        assert channel.ask_wrapped(client, b"USER :globus-mapping:").startswith(b"331 ")
        assert channel.ask_wrapped(client, b"PASS x").startswith(b"230 ")
        features = channel.ask_wrapped(client, b"FEAT")
        assert features.startswith(b"211-")
        assert b"\r\n DCSC P,D\r\n" in features


def test_real_server_of_an_untrusted_authority(domain_a: Domain, server_b: GctServer) -> None:
    with ControlChannel(server_b.port) as channel, pytest.raises(SecurityError) as caught:
        channel.login(initiator(domain_a))
    assert caught.value.kind is SecurityKind.UNTRUSTED_HOST
