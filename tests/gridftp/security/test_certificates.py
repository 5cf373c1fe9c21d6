"""Certificates as we read and write them, compared with what `cryptography` reads and writes."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from towpath.demo.authority import Domain
from towpath.gridftp.security.certificates import (
    PROXY_CERT_INFO,
    Certificate,
    certificates_in,
    issuer_of_revocation_list,
    revocation_lists_in,
)
from towpath.gridftp.security.dcsc import CLOCK_SKEW, DataCredential

SIGNER = ed25519.Ed25519PrivateKey.generate()
"""Of a kind whose signatures are always the same for the same content."""

HOLDERS = [
    SIGNER.public_key(),
    ec.generate_private_key(ec.SECP256R1()).public_key(),
    ec.generate_private_key(ec.SECP384R1()).public_key(),
    rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(),
]
REFUSALS = (
    ValueError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for a certificate that it does not take."""

NOW = datetime(2026, 7, 1, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)
types = st.sampled_from(
    [
        NameOID.COMMON_NAME,
        NameOID.ORGANIZATION_NAME,
        NameOID.USER_ID,
        ObjectIdentifier("2.999.1234567.1"),
        ObjectIdentifier("1.2.840.113549.1.9.99999"),
    ]
)
forms = st.sampled_from(
    [_ASN1Type.UTF8String, _ASN1Type.BMPString, _ASN1Type.UniversalString, _ASN1Type.T61String]
)
moments = st.integers(-7305, 2932896).map(
    lambda days: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days, 7)
)


@st.composite
def attributes(draw: st.DrawFn) -> x509.NameAttribute:
    form, text = draw(forms), draw(texts)
    if form is _ASN1Type.BMPString:
        text = "".join(letter for letter in text if ord(letter) < 0x10000) or "x"
    return x509.NameAttribute(draw(types), text, form)


@st.composite
def names(draw: st.DrawFn) -> x509.Name:
    groups = st.lists(
        attributes(), min_size=1, max_size=2, unique_by=lambda item: (item.oid, item.value)
    )
    return x509.Name(
        [x509.RelativeDistinguishedName(group) for group in draw(st.lists(groups, max_size=4))]
    )


@st.composite
def certificates(draw: st.DrawFn) -> x509.Certificate:
    first, last = sorted(draw(st.tuples(moments, moments)))
    builder = (
        x509.CertificateBuilder()
        .subject_name(draw(names()))
        .issuer_name(draw(names()))
        .public_key(draw(st.sampled_from(HOLDERS)))
        .serial_number(draw(st.integers(1, 2**159 - 1)))
        .not_valid_before(first)
        .not_valid_after(last)
    )
    alternatives: list[x509.GeneralName] = [
        *map(x509.DNSName, draw(st.lists(st.text("abc.*-", min_size=1), max_size=3))),
        *(x509.IPAddress(address) for address in draw(st.lists(st.ip_addresses(), max_size=2))),
        *map(x509.RFC822Name, draw(st.lists(st.just("a@b.org"), max_size=1))),
    ]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    for dotted in draw(st.sets(st.sampled_from([PROXY_CERT_INFO, "1.2.3"]))):
        extension = x509.UnrecognizedExtension(ObjectIdentifier(dotted), draw(st.binary()))
        builder = builder.add_extension(extension, critical=draw(st.booleans()))
    return builder.sign(SIGNER, None)


def plain(name: x509.Name) -> list[tuple[str, bytes]]:
    found = []
    for attribute in name:
        value = attribute.value
        text = value.encode() if isinstance(value, str) else value
        found.append((attribute.oid.dotted_string, text))
    return found


def alternative_names(certificate: x509.Certificate) -> tuple[list[str], list[bytes]]:
    for item in certificate.extensions:
        if isinstance(item.value, x509.SubjectAlternativeName):
            addresses = item.value.get_values_for_type(x509.IPAddress)
            return (
                item.value.get_values_for_type(x509.DNSName),
                [ip_address(str(address)).packed for address in addresses],
            )
    return [], []


def agree(got: Certificate, expected: x509.Certificate) -> None:
    assert list(got.subject) == plain(expected.subject)
    assert list(got.issuer) == plain(expected.issuer)
    assert got.serial == expected.serial_number
    assert got.not_before == expected.not_valid_before_utc
    assert got.not_after == expected.not_valid_after_utc
    assert got.key_algorithm == expected.public_key_algorithm_oid.dotted_string
    assert list(got.extensions) == [item.oid.dotted_string for item in expected.extensions]
    assert got.alternative_names() == alternative_names(expected)


@given(certificates())
def test_reads_what_cryptography_reads(expected: x509.Certificate) -> None:
    got = Certificate(expected.public_bytes(Encoding.DER))
    agree(got, expected)
    contents = {item.oid.dotted_string: item.value.public_bytes() for item in expected.extensions}
    assert got.extensions == contents
    assert got.is_proxy == (PROXY_CERT_INFO in contents)
    assert certificates_in(expected.public_bytes(Encoding.PEM).decode()) == [got.der]


@st.composite
def damaged_certificates(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(certificates()).public_bytes(Encoding.DER))
    for _ in range(draw(st.integers(1, 3))):
        at, byte = draw(st.integers(0, len(data) - 1)), draw(st.integers(0, 255))
        data[at : at + draw(st.integers(0, 1))] = bytes([byte])[: draw(st.integers(0, 1))]
    return bytes(data)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of cryptography, about odd names
@given(damaged_certificates())
def test_any_certificate_damaged_is_refused_or_read_as_cryptography_does(data: bytes) -> None:
    try:
        got = Certificate(data)
        got.alternative_names()
        expected = x509.load_der_x509_certificate(data)
        _ = expected.subject, expected.issuer, expected.extensions
    except REFUSALS:
        return
    agree(got, expected)


def damaged(whole: bytes) -> Iterator[bytes]:
    chance = random.Random(5)
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        yield bytes(data)
    for length in range(len(whole)):
        yield whole[:length]


@pytest.mark.filterwarnings("ignore::UserWarning")  # of cryptography, about odd names
def test_damage_is_refused_or_read_as_cryptography_does(domain_a: Domain) -> None:
    (whole,) = certificates_in(domain_a.host.certificate_file.read_text())
    refused = both = 0
    for data in damaged(whole):
        try:
            got = Certificate(data)
            got.alternative_names()
        except ValueError:
            refused += 1
            continue
        try:
            expected = x509.load_der_x509_certificate(data)
            list(expected.extensions)
            names = plain(expected.subject), plain(expected.issuer)
        except REFUSALS:
            continue
        assert all(names)
        agree(got, expected)
        both += 1
    assert refused > len(whole)
    assert both > 100


@pytest.mark.parametrize(
    ("der", "why"),
    [
        ("", "0 elements where 1"),
        ("30", "ends within"),
        ("3003", "ends within"),
        ("3080", "shortest"),
        ("308101ff", "shortest"),
        ("30820005", "shortest"),
        ("1f01", "unknown kind"),
        ("0400", "where 0x30 was expected"),
        ("30003000", "2 elements where 1"),
    ],
)
def test_only_der(der: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Certificate(bytes.fromhex(der))


def replaced(domain: Domain, old: bytes, new: bytes) -> Certificate:
    (whole,) = certificates_in(domain.host.certificate_file.read_text())
    assert len(old) == len(new)
    assert old in whole
    return Certificate(whole.replace(old, new, 1))


def test_an_extension_twice(domain_a: Domain) -> None:
    usage, alternative_names = bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d11")
    with pytest.raises(ValueError, match="twice"):
        replaced(domain_a, usage, alternative_names)


def test_alternative_names_that_are_none(domain_a: Domain) -> None:
    host = b"\x82\x09localhost"
    with pytest.raises(ValueError, match="ascii"):
        replaced(domain_a, host, b"\x82\x09localh\xf6st").alternative_names()
    with pytest.raises(ValueError, match="address"):
        replaced(domain_a, host, b"\x87\x09localhost").alternative_names()


def test_issuer_of_a_revocation_list(tmp_path: Path) -> None:
    domain = Domain.create(tmp_path / "d", "DomC")
    domain.revoke(domain.host)
    (file,) = domain.trust_dir.glob("*.r0")
    (der,) = revocation_lists_in(f"text before\n{file.read_text()}")
    assert list(issuer_of_revocation_list(der)) == plain(x509.load_der_x509_crl(der).issuer)
    with pytest.raises(ValueError, match="no certificate"):
        certificates_in(file.read_text())


@pytest.mark.parametrize("key_type", ["ec", "rsa"])
def test_what_we_write_is_a_certificate(key_type: Literal["ec", "rsa"]) -> None:
    made = DataCredential.create(NOW, timedelta(hours=2), key_type).credential
    certificate = x509.load_pem_x509_certificate(made.chain_pem)
    key = load_pem_private_key(made.key_pem, None)
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(certificate)
    assert certificate.version is x509.Version.v3
    assert certificate.not_valid_before_utc == NOW - CLOCK_SKEW
    assert certificate.not_valid_after_utc == made.not_after == NOW + timedelta(hours=2)
    assert (
        certificate.subject.rfc4514_string()
        == made.subject.replace("/O=Towpath/CN=", "CN=") + ",O=Towpath"
    )


def test_two_data_credentials_have_nothing_in_common() -> None:
    first, second = (DataCredential.create(NOW).credential for _ in range(2))
    one, other = (x509.load_pem_x509_certificate(item.chain_pem) for item in (first, second))
    assert one.serial_number != other.serial_number
    assert first.subject != second.subject
    assert first.key_pem != second.key_pem


@pytest.mark.parametrize("year", [2049, 2050, 9999])
def test_dates_of_both_forms(year: int) -> None:
    moment = datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    made = DataCredential.create(moment, timedelta(0)).credential
    assert x509.load_pem_x509_certificate(made.chain_pem).not_valid_after_utc == moment
