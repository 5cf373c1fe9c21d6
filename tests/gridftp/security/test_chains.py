"""Our own check of a peer's chain, and the identity on data connections that rests on it."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from towpath.demo.authority import Domain
from towpath.gridftp.security.certificates import PROXY_CERT_INFO, certificates_in
from towpath.gridftp.security.chains import LONGEST_CHAIN, verify_chain
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.data_identity import ChannelCredential
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.security.errors import SecurityError
from towpath.gridftp.security.proxies import make_proxy

NOW = datetime(2030, 1, 1, tzinfo=UTC)
INHERIT_ALL = "300a06082b06010505071501"


@dataclass
class Made:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def usage(*, signs_certificates: bool = False, signs: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


Extension = tuple[x509.ExtensionType, bool]


def make(
    names: str,
    issuer: Made | None = None,
    *,
    extensions: tuple[Extension, ...] = (),
    days: tuple[int, int] = (-1, 1),
    by: Made | None = None,
) -> Made:
    """A certificate with the common names in `names`; `by` signs it in the issuer's place."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, name) for name in names.split("/")]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    signer = by or issuer
    return Made(builder.sign(signer.key if signer else key, hashes.SHA256()), key)


def authority(length: int | None = None, *, signs: bool = True) -> tuple[Extension, ...]:
    return (
        (x509.BasicConstraints(ca=True, path_length=length), True),
        (usage(signs_certificates=signs), True),
    )


HOLDER: tuple[Extension, ...] = (
    (x509.BasicConstraints(ca=False, path_length=None), True),
    (usage(), True),
    (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
)


def proxy(length: int | None = None) -> tuple[Extension, ...]:
    content = bytes.fromhex(("" if length is None else f"0201{length:02x}") + INHERIT_ALL)
    der = bytes([0x30, len(content)]) + content
    info = x509.UnrecognizedExtension(x509.ObjectIdentifier(PROXY_CERT_INFO), der)
    return ((info, True),)


ROOT = make("root", extensions=authority())
USER = make("user", ROOT, extensions=HOLDER)
PROXY = make("user/1", USER, extensions=proxy())


def verify(*shown: Made, anchors: tuple[Made, ...] = (ROOT,)) -> list[bytes]:
    chain = verify_chain([item.der for item in shown], [item.der for item in anchors], NOW)
    return [link.der for link in chain]


def test_chains_that_hold() -> None:
    assert verify(USER) == [USER.der, ROOT.der]
    assert verify(USER, ROOT) == [USER.der, ROOT.der]
    assert verify(PROXY, USER) == [PROXY.der, USER.der, ROOT.der]
    second = make("user/1/2", PROXY, extensions=proxy())
    assert verify(second, USER, PROXY)[0] == second.der  # in any order
    below = make("below", ROOT, extensions=authority(0))
    issued = make("issued", below, extensions=HOLDER)
    assert verify(issued, below) == [issued.der, below.der, ROOT.der]
    assert verify(issued, anchors=(below, ROOT)) == [issued.der, below.der, ROOT.der]
    alone = make("alone")
    assert verify(alone, anchors=(alone,)) == [alone.der]
    limited = make("user/1", USER, extensions=proxy(1))
    assert verify(make("user/1/2", limited, extensions=proxy()), limited, USER)


OTHER = make("root", extensions=authority())
LIMITED = make("user/1", USER, extensions=proxy(0))
BELOW = make("below", ROOT, extensions=authority(0))
BELOW_THAT = make("that", BELOW, extensions=authority())
LATE = make("user", ROOT, extensions=HOLDER, days=(1, 2))
OLD_ROOT = make("root", extensions=authority(), days=(-3, -2))
STRANGE = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)
UNSIGNING = make("user", ROOT, extensions=((usage(signs=False), True),))
NOT_SIGNING_CA = make("root", extensions=authority(signs=False))


@pytest.mark.parametrize(
    ("shown", "anchors", "why"),
    [
        ([], (ROOT,), "no certificate"),
        ([USER], (OTHER,), "no trusted authority"),
        ([USER], (), "no trusted authority"),
        ([ROOT], (OTHER,), "no trusted authority"),
        ([make("user", ROOT, by=OTHER, extensions=HOLDER)], (ROOT,), "no trusted authority"),
        ([BELOW_THAT], (BELOW,), "no trusted authority"),  # an anchor that is not self-signed
        ([LATE], (ROOT,), "expired, or is not valid yet"),
        ([make("user", OLD_ROOT, extensions=HOLDER)], (OLD_ROOT,), "expired"),
        ([make("x", USER, extensions=HOLDER), USER], (ROOT,), "what is no authority"),
        ([make("user/1/2", PROXY, extensions=HOLDER), PROXY, USER], (ROOT,), "no authority"),
        ([make("i", BELOW_THAT), BELOW_THAT, BELOW], (ROOT,), "more authorities"),
        ([make("i", NOT_SIGNING_CA)], (NOT_SIGNING_CA,), "key that is not for it"),
        ([make("other/1", USER, extensions=proxy()), USER], (ROOT,), "one more part"),
        ([make("user", USER, extensions=proxy()), USER], (ROOT,), "one more part"),
        ([make("user/1/2", USER, extensions=proxy()), USER], (ROOT,), "one more part"),
        ([make("root/1", ROOT, extensions=proxy())], (ROOT,), "authority has issued a proxy"),
        ([make("user/1", UNSIGNING, extensions=proxy()), UNSIGNING], (ROOT,), "not for signing"),
        (
            [make("user/1/2", LIMITED, extensions=proxy()), LIMITED, USER],
            (ROOT,),
            "delegated more often",
        ),
        ([make("user", ROOT, extensions=(STRANGE,))], (ROOT,), "unknown rule 1.2.3.4"),
        ([USER] * (LONGEST_CHAIN + 1), (ROOT,), "too many"),
    ],
)
def test_chains_that_do_not_hold(shown: list[Made], anchors: tuple[Made, ...], why: str) -> None:
    with pytest.raises(SecurityError, match=why):
        verify(*shown, anchors=anchors)


def test_a_certificate_without_extensions_is_no_authority_below_a_root() -> None:
    plain = make("plain", ROOT)
    with pytest.raises(SecurityError, match="no authority"):
        verify(make("issued", plain, extensions=HOLDER), plain)


@pytest.mark.parametrize("noise", [b"", b"\x30\x00", b"\xff" * 40])
def test_what_is_no_certificate(noise: bytes) -> None:
    with pytest.raises(SecurityError, match="makes no sense"):
        verify_chain([noise], [ROOT.der], NOW)


def test_every_bit_counts() -> None:
    """No change to a certificate goes unnoticed."""
    for place in range(0, len(USER.der), 7):
        changed = bytearray(USER.der)
        changed[place] ^= 1
        with pytest.raises(SecurityError):
            verify_chain([bytes(changed)], [ROOT.der], NOW)


# -- identities


def shake(client: ChannelCredential, server: ChannelCredential) -> tuple[str, str]:
    """What each end says of the other: nothing when it is content."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.client_context.wrap_bio(to_client, to_server),
        server.server_context.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return "", f"TLS: {error.reason}"
    said = []
    for end, who in zip(ends, (client, server), strict=True):
        try:
            who.expecting(None).check_peer(end)
            said.append("")
        except SecurityError as error:
            said.append(error.message)
    return said[0], said[1]


def now() -> datetime:
    return datetime.now(UTC)


def delegated(domain: Domain, credential: Credential | None = None) -> ChannelCredential:
    return ChannelCredential(credential or domain.credential, domain.trust, now)


def dcsc(credential: DataCredential) -> ChannelCredential:
    own = credential.credential
    return ChannelCredential.from_pem(own.to_pem() + own.chain_pem, None, now)


def test_delegated_credentials_know_each_other(domain_a: Domain) -> None:
    """A user's proxy listens, too: it is for clients only (extended key usage)."""
    again = make_proxy(domain_a.credential, timedelta(hours=1), now())
    assert shake(delegated(domain_a), delegated(domain_a, again)) == ("", "")
    assert shake(delegated(domain_a, again), delegated(domain_a)) == ("", "")


def test_throw_away_credentials_know_only_themselves() -> None:
    one, other = (DataCredential.create(now()) for _ in range(2))
    assert shake(dcsc(one), dcsc(one)) == ("", "")
    _, server_says = shake(dcsc(other), dcsc(one))
    assert server_says.startswith("TLS: CERTIFICATE_VERIFY_FAILED")
    client = dcsc(one)
    chain = [certificates_in(other.credential.chain_pem.decode())[0]]
    with pytest.raises(SecurityError, match="no trusted authority"):
        verify_chain(chain, client._anchors, now())


def test_others_of_the_same_authority_are_strangers(domain_a: Domain) -> None:
    host = domain_a.host.credential()
    client_says, server_says = shake(delegated(domain_a), delegated(domain_a, host))
    assert client_says == (
        "/O=DomA/CN=localhost is on the data channel, /O=DomA/CN=Alice was expected"
    )
    assert server_says == (
        "/O=DomA/CN=Alice is on the data channel, /O=DomA/CN=localhost was expected"
    )


def test_a_users_credential_with_the_authority_it_brings(
    domain_a: Domain, domain_b: Domain
) -> None:
    """Two servers of different domains: one is given the other's user and authority."""
    authorities = b"".join(
        ssl.DER_cert_to_PEM_cert(der).encode() for der in domain_b.trust.authorities
    )
    given = ChannelCredential.from_pem(domain_b.credential.to_pem() + authorities, None, now)
    assert shake(given, delegated(domain_b)) == ("", "")
    assert shake(delegated(domain_b), given) == ("", "")
    client_says, server_says = shake(given, delegated(domain_a))
    assert client_says or server_says


@pytest.mark.parametrize(
    "cut", [lambda _: b"", lambda pem: pem.replace(b"KEY", b"KEX"), lambda pem: pem[:-300]]
)
def test_what_is_no_credential(cut: Callable[[bytes], bytes]) -> None:
    pem = DataCredential.create(now()).credential.to_pem()
    with pytest.raises(ValueError, match=r".+"):
        ChannelCredential.from_pem(cut(pem), None, now)


def test_a_credential_that_brings_no_authority() -> None:
    own = DataCredential.create(now()).credential
    credential = ChannelCredential.from_pem(own.to_pem(), None, now)
    with pytest.raises(SecurityError, match="brings no authority"):
        _ = credential.server_context
