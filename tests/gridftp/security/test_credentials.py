"""Credentials and proxies: read, made, delegated; keys that do not show."""

import os
import pickle
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from towpath.demo.authority import Domain
from towpath.gridftp.security.certificates import PROXY_CERT_INFO, Certificate, certificates_in
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.proxies import make_proxy, sign_proxy_request

NOW = datetime.now(UTC)


def test_proxy_names_its_owner(domain_a: Domain) -> None:
    proxy = domain_a.credential
    assert proxy.subject == "/O=DomA/CN=Alice"
    chain = map(Certificate, certificates_in(proxy.chain_pem.decode()))
    assert [certificate.is_proxy for certificate in chain] == [True, False]
    assert timedelta(hours=23) < proxy.not_after - NOW < timedelta(hours=25)
    assert Credential.from_pem(proxy.to_pem()) == proxy


def test_reads_what_grid_proxy_init_writes(domain_a: Domain, tmp_path: Path) -> None:
    out = tmp_path / "proxy"
    user = domain_a.user
    subprocess.run(
        ["grid-proxy-init", "-q", "-valid", "2:00", "-out", out]  # noqa: RUF005
        + ["-cert", user.certificate_file, "-key", user.key_file],
        check=True,
        env={"PATH": os.environ["PATH"], "X509_CERT_DIR": str(domain_a.trust_dir)},
    )
    proxy = Credential.from_proxy_file(out)
    assert proxy.subject == "/O=DomA/CN=Alice"
    assert timedelta(hours=1) < proxy.not_after - NOW < timedelta(hours=3)


def test_openssl_verifies_a_proxy_of_a_proxy(domain_a: Domain, tmp_path: Path) -> None:
    second = make_proxy(domain_a.credential, timedelta(hours=1), NOW)
    assert second.subject == "/O=DomA/CN=Alice"
    (tmp_path / "chain.pem").write_bytes(second.chain_pem)
    (authority,) = domain_a.trust_dir.glob("*.0")
    subprocess.run(
        ["openssl", "verify", "-allow_proxy_certs", "-CAfile", authority]  # noqa: RUF005
        + ["-untrusted", tmp_path / "chain.pem", tmp_path / "chain.pem"],
        check=True,
        capture_output=True,
    )


def test_proxy_does_not_outlive_its_signer(domain_a: Domain) -> None:
    proxy = make_proxy(domain_a.credential, timedelta(days=400), NOW)
    assert proxy.not_after == domain_a.credential.not_after


def test_limited_stays_limited(domain_a: Domain) -> None:
    limited = make_proxy(domain_a.credential, timedelta(hours=1), NOW, limited=True)
    again = make_proxy(limited, timedelta(hours=1), NOW)
    oid = x509.ObjectIdentifier(PROXY_CERT_INFO)
    values = [
        certificate.extensions.get_extension_for_oid(oid).value
        for certificate in again.certificates[:3]
    ]
    assert values[0] == values[1] != values[2]


def test_expired(domain_a: Domain) -> None:
    old = domain_a.make_proxy(timedelta(hours=1), now=NOW - timedelta(minutes=59))
    old.require_valid(NOW)
    assert old.expired(NOW + timedelta(minutes=2))
    with pytest.raises(SecurityError, match=r"/O=DomA/CN=Alice expired at \d{4}") as caught:
        old.require_valid(NOW + timedelta(minutes=2))
    assert caught.value.kind is SecurityKind.CREDENTIAL_EXPIRED


def test_key_shows_nowhere(domain_a: Domain) -> None:
    for shown in (repr(domain_a.credential), str(DataCredential(domain_a.credential))):
        assert "PRIVATE" not in shown
        assert "Alice" in shown
    with pytest.raises(TypeError):
        pickle.dumps(domain_a.credential)


def test_refusals(domain_a: Domain, domain_b: Domain) -> None:
    proxy, other = domain_a.credential, domain_b.credential
    with pytest.raises(ValueError, match="no certificate"):
        Credential.from_pem(b"")
    with pytest.raises(ValueError, match="exactly one private key; this has 0"):
        Credential.from_pem(proxy.chain_pem)
    with pytest.raises(ValueError, match="does not belong"):
        Credential.from_pem(proxy.chain_pem + other.key_pem)
    with pytest.raises(ValueError, match="too large"):
        Credential.from_pem(proxy.to_pem() * 200)
    with pytest.raises(ValueError, match="cannot be read"):
        Credential.from_pem(proxy.to_pem().replace(b"CERTIFICATE-----\nM", b"CERTIFICATE-----\nA"))
    encrypted = proxy.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    with pytest.raises(ValueError, match="encrypted"):
        Credential.from_pem(proxy.chain_pem + encrypted)


def test_context_is_shared_and_leaves_no_file(domain_a: Domain, domain_b: Domain) -> None:
    proxy = Credential.from_proxy_file(domain_a.proxy_file)
    before = len(list(Path("/proc/self/fd").iterdir()))
    context = proxy.ssl_context(domain_a.trust)
    assert proxy.ssl_context(domain_a.trust) is context
    assert proxy.ssl_context(domain_b.trust) is not context
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_delegation_takes_only_the_key_of_a_request(domain_a: Domain) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "I am Bob")])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    proxy = x509.load_der_x509_certificate(
        sign_proxy_request(domain_a.credential, request, timedelta(hours=1), NOW)
    )
    assert proxy.public_key() == key.public_key()
    assert proxy.issuer == domain_a.credential.certificates[0].subject
    with pytest.raises(x509.ExtensionNotFound):
        proxy.extensions.get_extension_for_class(x509.BasicConstraints)
    forged = request[:-1] + bytes([request[-1] ^ 1])
    with pytest.raises(ValueError, match="not valid"):
        sign_proxy_request(domain_a.credential, forged, timedelta(hours=1), NOW)


@pytest.mark.parametrize("key_type", ["ec", "rsa"])
def test_data_credential_accepts_itself_only(key_type: str) -> None:
    ours = DataCredential.create(NOW, key_type="rsa" if key_type == "rsa" else "ec")
    other = DataCredential.create(NOW)
    der = ours.credential.certificates[0].public_bytes(Encoding.DER)
    assert ours.is_peer(der)
    assert not other.is_peer(der)
    assert not ours.is_peer(None)
    assert ours.client_context.check_hostname is False
    assert ours.server_context.num_tickets == 0
