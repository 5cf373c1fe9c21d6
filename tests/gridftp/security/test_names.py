"""Names: spelled as OpenSSL does, and host names matched as RFC 6125 asks."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from towpath.gridftp.security.certificates import Certificate
from towpath.gridftp.security.names import canonical, one_line, speaks_for

KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(
    name: x509.Name, dns: tuple[str, ...] = (), addresses: tuple[str, ...] = ()
) -> Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if dns or addresses:
        names = [*map(x509.DNSName, dns), *(x509.IPAddress(ip_address(a)) for a in addresses)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Certificate(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER))


def common_name(value: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value)])


def test_every_spelling_is_openssls(tmp_path: Path) -> None:
    oids = [
        NameOID.COUNTRY_NAME,
        NameOID.STATE_OR_PROVINCE_NAME,
        NameOID.LOCALITY_NAME,
        NameOID.ORGANIZATION_NAME,
        NameOID.ORGANIZATIONAL_UNIT_NAME,
        NameOID.DOMAIN_COMPONENT,
        NameOID.USER_ID,
        NameOID.EMAIL_ADDRESS,
        NameOID.SERIAL_NUMBER,
        NameOID.SURNAME,
        NameOID.GIVEN_NAME,
        NameOID.TITLE,
        NameOID.STREET_ADDRESS,
        NameOID.POSTAL_CODE,
        NameOID.PSEUDONYM,
        NameOID.DN_QUALIFIER,
        NameOID.GENERATION_QUALIFIER,
        NameOID.BUSINESS_CATEGORY,
        NameOID.ORGANIZATION_IDENTIFIER,
        NameOID.INITIALS,
        NameOID.UNSTRUCTURED_NAME,
        x509.ObjectIdentifier("1.2.3.4.5.6"),
    ]
    attributes = [x509.NameAttribute(oid, "XY") for oid in oids]
    attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, "Zoë/host = a,b"))
    name = x509.Name(attributes)
    file = tmp_path / "name.pem"
    file.write_text(ssl.DER_cert_to_PEM_cert(certificate(name).der))
    openssl = subprocess.run(
        ["openssl", "x509", "-in", file, "-noout", "-subject", "-nameopt", "compat"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert one_line(certificate(name).subject) == openssl.removeprefix("subject=").strip()


def test_old_spellings_compare_equal() -> None:
    assert canonical("/C=US/Email=a@b/USERID=x/CN=y") == "/C=US/emailAddress=a@b/UID=x/CN=y"
    assert canonical("/O=A/CN=host/ftp.org") == r"/O=A/CN=host\/ftp.org"
    assert canonical("/O=A/CN=host/*.org") == r"/O=A/CN=host\/*.org"
    assert canonical("/O=A/*") == "/O=A/*"
    assert canonical("/CN=a+b") == canonical(r"/CN=a\+b") == r"/CN=a\+b"


@pytest.mark.parametrize("value", ["host/ftp.example.org", "a/CN=b", "a+b", "a/b=c/d"])
def test_our_own_spelling_is_canonical(value: str) -> None:
    spelled = one_line(certificate(common_name(value)).subject)
    assert canonical(spelled) == spelled


@pytest.mark.parametrize(
    ("dns", "host", "expected"),
    [
        ("ftp.example.org", "ftp.example.org", True),
        ("ftp.example.org", "FTP.Example.ORG.", True),
        ("ftp.example.org", "evil.ftp.example.org", False),
        ("*.example.org", "ftp.example.org", True),
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
        ("*.org", "example.org", False),
        ("f*.example.org", "ftp.example.org", False),
        ("ftp.example.org", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", False),
    ],
)
def test_alternative_names(dns: str, host: str, expected: bool) -> None:
    assert speaks_for(certificate(common_name("other"), (dns,)), host) is expected


def test_addresses() -> None:
    host = certificate(common_name("10.0.0.2"), (), ("10.0.0.1", "::1"))
    assert speaks_for(host, "10.0.0.1")
    assert speaks_for(host, "::1")
    assert not speaks_for(host, "10.0.0.2")


def test_common_name_counts_only_without_alternative_names() -> None:
    assert speaks_for(certificate(common_name("host/ftp.example.org")), "ftp.example.org")
    assert speaks_for(certificate(common_name("ftp.example.org")), "ftp.example.org")
    assert not speaks_for(
        certificate(common_name("ftp.example.org"), ("other.org",)), "ftp.example.org"
    )
