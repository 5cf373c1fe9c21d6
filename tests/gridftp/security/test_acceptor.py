"""The acceptor against our initiator, and against tokens that no initiator would send."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from towpath.demo.authority import Domain
from towpath.gridftp.security.acceptor import Acceptor, HostSecurity, new_key
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.gsi import MAX_TOKEN_BYTES, Initiator
from towpath.gridftp.security.proxies import make_proxy, sign_proxy_request
from towpath.gridftp.security.trust import TrustRoots

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def one_key() -> Callable[[], rsa.RSAPrivateKey]:
    """Made once: it takes long, and any will do."""
    key = new_key()
    return lambda: key


@pytest.fixture(scope="module")
def security(domain_a: Domain, one_key: Callable[[], rsa.RSAPrivateKey]) -> HostSecurity:
    return HostSecurity(domain_a.host.credential(), domain_a.trust, now=now, key=one_key)


def of_version(
    domain: Domain, version: ssl.TLSVersion, key: Callable[[], rsa.RSAPrivateKey]
) -> HostSecurity:
    security = HostSecurity(domain.host.credential(), domain.trust, now=now, key=key)
    security.context.maximum_version = version
    return security


def initiator(credential: Credential, trust: TrustRoots, *, delegate: bool = False) -> Initiator:
    return Initiator(credential, trust, "localhost", None, delegate=delegate, now=now)


def log_in(client: Initiator, acceptor: Acceptor) -> None:
    """Pass tokens to and fro, as ADAT does, until both are done."""
    tokens = client.step(None)
    while not acceptor.complete:
        assert tokens, "both wait for each other"
        answers = [acceptor.step(token) for token in tokens]
        tokens = [token for answer in answers if answer for token in client.step(answer)]
    assert client.complete
    assert not tokens


def talk(client: Initiator, acceptor: Acceptor) -> None:
    assert acceptor.unwrap(client.wrap(b"PWD\r\n")) == b"PWD\r\n"
    assert client.unwrap(acceptor.wrap(b'257 "/"\r\n')) == b'257 "/"\r\n'
    long = bytes(range(256)) * 300
    assert acceptor.unwrap(client.wrap(long)) == long
    assert client.unwrap(acceptor.wrap(long)) == long
    both = client.wrap(b"ONE\r\n") + client.wrap(b"TWO\r\n")
    assert acceptor.unwrap(both) == b"ONE\r\nTWO\r\n"
    assert acceptor.unwrap(both[:0]) == b""


@pytest.mark.parametrize("version", VERSIONS)
def test_login_without_delegation(
    domain_a: Domain, version: ssl.TLSVersion, one_key: Callable[[], rsa.RSAPrivateKey]
) -> None:
    acceptor = of_version(domain_a, version, one_key).acceptor()
    client = initiator(domain_a.credential, domain_a.trust)
    log_in(client, acceptor)
    assert acceptor.peer_subject == "/O=DomA/CN=Alice"
    assert acceptor.delegated is None
    talk(client, acceptor)


@pytest.mark.parametrize("version", VERSIONS)
def test_login_with_delegation(
    domain_a: Domain, version: ssl.TLSVersion, one_key: Callable[[], rsa.RSAPrivateKey]
) -> None:
    acceptor = of_version(domain_a, version, one_key).acceptor()
    client = initiator(domain_a.credential, domain_a.trust, delegate=True)
    log_in(client, acceptor)
    talk(client, acceptor)
    delegated = acceptor.delegated
    assert delegated is not None
    assert delegated.subject == "/O=DomA/CN=Alice"
    assert delegated.certificates[1:] == domain_a.credential.certificates
    # It is of use: a login elsewhere with it, which checks key and chain.
    second = HostSecurity(domain_a.host.credential(), domain_a.trust, now=now).acceptor()
    log_in(initiator(delegated, domain_a.trust), second)
    assert second.peer_subject == "/O=DomA/CN=Alice"


def test_everything_sent_ahead(domain_a: Domain, security: HostSecurity) -> None:
    """As a client does that saves round trips: Finished, flag and commands at once."""
    acceptor, client = security.acceptor(), initiator(domain_a.credential, domain_a.trust)
    (hello,) = client.step(None)
    finished, flag = client.step(acceptor.step(hello))
    command = client.wrap(b"USER x\r\n")
    assert acceptor.step(finished)  # the byte that says: go on
    assert acceptor.step(flag) == b""
    assert acceptor.complete
    assert acceptor.unwrap(command) == b"USER x\r\n"


def test_finished_and_flag_in_one_token(domain_a: Domain, security: HostSecurity) -> None:
    acceptor, client = security.acceptor(), initiator(domain_a.credential, domain_a.trust)
    (hello,) = client.step(None)
    acceptor.step(b"".join(client.step(acceptor.step(hello))))
    assert acceptor.complete


def test_a_user_certificate_without_a_proxy(domain_a: Domain, security: HostSecurity) -> None:
    acceptor = security.acceptor()
    log_in(initiator(domain_a.user.credential(), domain_a.trust), acceptor)
    assert acceptor.peer_subject == "/O=DomA/CN=Alice"


def test_a_proxy_of_a_proxy(domain_a: Domain, security: HostSecurity) -> None:
    deep = make_proxy(domain_a.credential, timedelta(hours=1), now(), limited=True)
    acceptor = security.acceptor()
    log_in(initiator(deep, domain_a.trust, delegate=True), acceptor)
    assert acceptor.peer_subject == "/O=DomA/CN=Alice"
    assert acceptor.delegated is not None
    assert len(acceptor.delegated.certificates) == 4


def refused(client: Initiator, acceptor: Acceptor) -> SecurityError:
    with pytest.raises(SecurityError) as caught:
        log_in(client, acceptor)
    assert not acceptor.complete
    with pytest.raises(SecurityError):
        acceptor.step(b"")
    return caught.value


def with_expired_proxy(domain: Domain) -> Initiator:
    old = domain.make_proxy(timedelta(hours=1), now=now() - timedelta(hours=2))
    then = now() - timedelta(hours=2)
    return Initiator(old, domain.trust, "localhost", None, now=lambda: then)


@pytest.mark.parametrize("version", VERSIONS)
def test_expired(
    domain_a: Domain, version: ssl.TLSVersion, one_key: Callable[[], rsa.RSAPrivateKey]
) -> None:
    acceptor = of_version(domain_a, version, one_key).acceptor()
    error = refused(with_expired_proxy(domain_a), acceptor)
    assert error.kind is SecurityKind.CREDENTIAL_EXPIRED
    assert "has expired" in error.message


@pytest.mark.parametrize("version", VERSIONS)
def test_authority_not_trusted(
    domain_a: Domain,
    domain_b: Domain,
    version: ssl.TLSVersion,
    one_key: Callable[[], rsa.RSAPrivateKey],
) -> None:
    acceptor = of_version(domain_a, version, one_key).acceptor()
    error = refused(initiator(domain_b.credential, domain_a.trust), acceptor)
    assert error.kind is SecurityKind.AUTHENTICATION
    assert "issuer" in error.message


def test_no_certificate(domain_a: Domain, security: HostSecurity) -> None:
    anonymous = Initiator(None, domain_a.trust, "localhost", None, now=now)
    assert refused(anonymous, security.acceptor()).kind is SecurityKind.AUTHENTICATION


def test_outside_of_the_signing_policy(
    tmp_path: Path, one_key: Callable[[], rsa.RSAPrivateKey]
) -> None:
    domain = Domain.create(tmp_path / "d", "DomC")
    stranger = domain.issue("s", "Mallory", organization="Else").credential()
    security = HostSecurity(domain.host.credential(), domain.trust, now=now, key=one_key)
    error = refused(initiator(stranger, domain.trust), security.acceptor())
    assert error.kind is SecurityKind.AUTHENTICATION
    assert "signing policy" in error.message
    domain.revoke(domain.user)
    security = HostSecurity(domain.host.credential(), domain.trust, now=now, key=one_key)
    error = refused(initiator(domain.credential, domain.trust), security.acceptor())
    assert error.kind is SecurityKind.AUTHENTICATION
    assert "revoked" in error.message


class Raw:
    """A client in TLS alone, which may say anything after the handshake."""

    def __init__(self, domain: Domain, acceptor: Acceptor) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = domain.credential.ssl_context(domain.trust)
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self.acceptor = acceptor
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.pass_on()
            else:
                break
        self.pass_on()

    def pass_on(self) -> None:
        self.incoming.write(self.acceptor.step(self.outgoing.read()))

    def say(self, data: bytes) -> None:
        self.tls.write(data)
        self.pass_on()

    def read(self) -> bytes:
        return self.tls.read(65536).lstrip(b"\0") or self.tls.read(65536)


@pytest.mark.parametrize("flag", [b"X", b"00", b"d", b"0USER x\r\n"])
def test_neither_flag(domain_a: Domain, security: HostSecurity, flag: bytes) -> None:
    client = Raw(domain_a, security.acceptor())
    with pytest.raises(SecurityError, match="neither"):
        client.say(flag)


def test_a_delegated_certificate_in_pieces(domain_a: Domain, security: HostSecurity) -> None:
    client = Raw(domain_a, security.acceptor())
    client.say(b"D")
    signed = sign_proxy_request(domain_a.credential, client.read(), timedelta(hours=1), now())
    client.say(signed[:1])
    client.say(signed[1:100])
    assert not client.acceptor.complete
    client.say(signed[100:])
    assert client.acceptor.complete


def test_delegated_certificates_of_no_use(
    domain_a: Domain, domain_b: Domain, security: HostSecurity
) -> None:
    def delegated(answer: Callable[[bytes], bytes]) -> SecurityError:
        client = Raw(domain_a, security.acceptor())
        client.say(b"D")
        with pytest.raises(SecurityError) as caught:
            client.say(answer(client.read()))
        assert client.acceptor.delegated is None or not client.acceptor.complete
        return caught.value

    hour = timedelta(hours=1)
    other_key = domain_a.make_proxy().certificates[0]

    assert "another key" in delegated(lambda _request: der(other_key)).message
    assert (
        "not signed"
        in delegated(
            lambda request: sign_proxy_request(domain_b.credential, request, hour, now())
        ).message
    )
    # Signed by the user's own key, although it is the proxy who is here.
    assert (
        "not signed"
        in delegated(
            lambda request: sign_proxy_request(domain_a.user.credential(), request, hour, now())
        ).message
    )
    assert (
        "no proxy"
        in delegated(lambda _request: der(domain_a.user.credential().certificates[0])).message
    )
    assert "of no use" in delegated(lambda _request: b"0\x03abc").message
    assert (
        "of no use"
        in delegated(
            lambda request: sign_proxy_request(domain_a.credential, request, hour, now()) + b"\0"
        ).message
    )
    expired = delegated(
        lambda request: sign_proxy_request(
            domain_a.credential, request, timedelta(seconds=-1), now()
        )
    )
    assert expired.kind is SecurityKind.CREDENTIAL_EXPIRED


def der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def test_a_delegated_certificate_without_end(domain_a: Domain, security: HostSecurity) -> None:
    client = Raw(domain_a, security.acceptor())
    client.say(b"D")
    client.say(b"\x30\x84\x7f\xff\xff\xff")
    for _ in range(MAX_TOKEN_BYTES // 16_000):
        client.say(b"x" * 16_000)
    with pytest.raises(SecurityError, match="too large"):
        client.say(b"x" * 16_000)


@pytest.mark.parametrize(
    "token", [b"220 hello\r\n", b"\x16\x03\x01\x00\x05aaaaa", b"x" * (MAX_TOKEN_BYTES + 1)]
)
def test_garbage(security: HostSecurity, token: bytes) -> None:
    acceptor = security.acceptor()
    with pytest.raises(SecurityError) as caught:
        acceptor.step(token)
    assert caught.value.kind is SecurityKind.AUTHENTICATION


def test_garbage_after_login(domain_a: Domain, security: HostSecurity) -> None:
    acceptor, client = security.acceptor(), initiator(domain_a.credential, domain_a.trust)
    log_in(client, acceptor)
    with pytest.raises(SecurityError):
        acceptor.step(b"")
    for token in (b"x" * (MAX_TOKEN_BYTES + 1), b"\x17\x03\x03\x00\x20" + b"a" * 32):
        with pytest.raises(SecurityError):
            acceptor.unwrap(token)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_bent_tokens_never_log_anyone_in(
    domain_a: Domain, security: HostSecurity, data: st.DataObject
) -> None:
    """One token of a true login is bent: cut, changed in a place, or replaced."""
    acceptor, client = security.acceptor(), initiator(domain_a.credential, domain_a.trust)
    bent = data.draw(st.integers(0, 2))
    tokens = client.step(None)
    number = 0
    try:
        while tokens and number < 3:
            token = tokens.pop(0)
            if number == bent:
                token = data.draw(bends(token))
            answer = acceptor.step(token)
            if number < bent and answer:
                tokens += client.step(answer)
            number += 1
    except SecurityError:
        pass
    assert not acceptor.complete
    assert acceptor.delegated is None


def bends(token: bytes) -> st.SearchStrategy[bytes]:
    def flip(place: int, mask: int) -> bytes:
        return token[:place] + bytes([token[place] ^ mask]) + token[place + 1 :]

    # The first eleven bytes of a ClientHello hold versions that nobody reads (RFC 8446, 5.1), and
    # what OpenSSL does not look into may be bent; what it answers then does not fit either end.
    return st.one_of(
        st.integers(0, len(token) - 1).map(lambda end: token[:end]),
        st.builds(flip, st.integers(0, len(token) - 1), st.integers(1, 255)),
        st.binary(max_size=200),
    )


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(tokens=st.lists(st.binary(max_size=500), max_size=5))
def test_any_tokens(security: HostSecurity, tokens: list[bytes]) -> None:
    acceptor = security.acceptor()
    try:
        for token in tokens:
            acceptor.step(token)
    except SecurityError:
        pass
    assert not acceptor.complete
