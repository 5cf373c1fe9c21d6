"""A small authority of one's own: it signs certificates of hosts and of users for GSI.

For servers and users of one deployment that need no other authority's word. Its keys are
elliptic-curve keys (P-256), made in less than a millisecond.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from towpath.gridftp.security.credentials import Credential

CLOCK_SKEW = timedelta(hours=1)
"""Starts this much in the past: those who check it have clocks of their own."""


class Authority:
    """Signs under one organization's name; use `create`, or `load` what `to_pem` gave."""

    def __init__(self, credential: Credential, organization: str) -> None:
        self._credential = credential
        self._organization = organization

    @classmethod
    def create(cls, organization: str, now: datetime, lifetime: timedelta) -> Authority:
        """A new one, self-signed."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(organization, f"{organization} authority")
        certificate = (
            _builder(name, name, key, now, now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        return cls(_credential(certificate, key), organization)

    @classmethod
    def load(cls, pem: bytes) -> Authority:
        """From certificate and key. Raises `ValueError`."""
        credential = Credential.from_pem(pem)
        certificate = x509.load_pem_x509_certificate(credential.chain_pem)
        found = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if not found:
            raise ValueError("the authority's certificate names no organization")
        return cls(credential, str(found[0].value))

    def to_pem(self) -> bytes:
        """Certificate and key. A secret."""
        return self._credential.to_pem()

    @property
    def not_after(self) -> datetime:
        """When it expires."""
        return self._credential.not_after

    @property
    def trust_files(self) -> dict[str, str]:
        """What a trusted-certificates directory of those who trust it has in it."""
        stem = subject_hash(x509.load_pem_x509_certificate(self._credential.chain_pem).subject)
        return {
            f"{stem}.0": self._credential.chain_pem.decode("ascii"),
            f"{stem}.signing_policy": (
                f"access_id_CA   X509   '{self._credential.subject}'\n"
                "pos_rights     globus CA:sign\n"
                f"cond_subjects  globus '\"/O={self._organization}/*\"'\n"
            ),
        }

    def host(self, names: Sequence[str], now: datetime, lifetime: timedelta) -> Credential:
        """For a server, by all its names and addresses; the first is its common name."""
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(names[0], purposes, now, lifetime, alternatives)

    def user(self, common_name: str, now: datetime, lifetime: timedelta) -> Credential:
        """For a user, as `/O=ORGANIZATION/CN=common_name`."""
        return self._issue(common_name, [ExtendedKeyUsageOID.CLIENT_AUTH], now, lifetime)

    def _issue(
        self,
        common_name: str,
        purposes: Sequence[x509.ObjectIdentifier],
        now: datetime,
        lifetime: timedelta,
        alternatives: x509.SubjectAlternativeName | None = None,
    ) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.load_pem_x509_certificate(self._credential.chain_pem)
        end = min(now + lifetime, self.not_after)
        builder = (
            _builder(_name(self._organization, common_name), issuer.subject, key, now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        )
        if alternatives is not None:
            builder = builder.add_extension(alternatives, critical=False)
        return _credential(builder.sign(self._credential.private_key, hashes.SHA256()), key)


def subject_hash(name: x509.Name) -> str:
    """By which OpenSSL finds an authority's files: eight hex digits (`openssl x509 -subject_hash`).

    The first bytes of the SHA-1 of the name in a canonical form: text in UTF-8, lower case, with
    single blanks (X509_NAME_hash_ex).
    """
    canonical = x509.Name(
        [
            x509.RelativeDistinguishedName(
                [
                    x509.NameAttribute(one.oid, _plain(str(one.value)), _type=_ASN1Type.UTF8String)
                    for one in part
                ]
            )
            for part in name.rdns
        ]
    )
    der = canonical.public_bytes()
    head = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    digest = hashlib.sha1(der[head:], usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _plain(text: str) -> str:
    return b" ".join(text.encode().lower().split()).decode()  # of bytes: ASCII only


def _credential(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Credential:
    return Credential.from_pem(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


def _name(organization: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(end)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_encipherment=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
