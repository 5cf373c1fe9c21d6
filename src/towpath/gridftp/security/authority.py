"""A small authority of one's own: it signs certificates of hosts and of users for GSI.

For servers and users of one deployment that need no other authority's word.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from towpath.gridftp.security.certificates import Certificate, certificates_in
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.names import one_line

CLOCK_SKEW = timedelta(hours=1)
"""Starts this much in the past: those who check it have clocks of their own."""


Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

MIN_RSA_BITS = 2048
MIN_EC_BITS = 256
"""Of keys that others hold (NIST SP 800-57, part 1: 112 and 128 bits of strength)."""


def new_key() -> Key:
    """An elliptic-curve key (P-256): made in less than a millisecond."""
    return ec.generate_private_key(ec.SECP256R1())


class Authority:
    """Signs under one organization's name; use `create`, or `load` what `to_pem` gave."""

    def __init__(self, credential: Credential, key: Callable[[], Key]) -> None:
        self._credential = credential
        self._key = key
        self._certificate = credential.certificates[0]
        found = self._certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if not found:
            raise ValueError("the authority's certificate names no organization")
        self._organization = str(found[0].value)

    @classmethod
    def create(
        cls,
        organization: str,
        now: datetime,
        lifetime: timedelta,
        key: Callable[[], Key] = new_key,
    ) -> Authority:
        """A new one, self-signed. `key` makes its key, and those of all whom it signs for."""
        own = key()
        name = _name(organization, f"{organization} CA")
        certificate = (
            _builder(name, name, own.public_key(), now, now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False
            )
            .sign(own, hashes.SHA256())
        )
        return cls(_credential(certificate, own), key)

    @classmethod
    def load(cls, pem: bytes, key: Callable[[], Key] = new_key) -> Authority:
        """From certificate and key. Raises `ValueError`."""
        return cls(Credential.from_pem(pem), key)

    def to_pem(self) -> bytes:
        """Certificate and key. A secret."""
        return self._credential.to_pem()

    @property
    def not_after(self) -> datetime:
        """When it expires."""
        return self._credential.not_after

    @property
    def created(self) -> datetime:
        """When it was made."""
        return self._certificate.not_valid_before_utc + CLOCK_SKEW

    @property
    def trust_files(self) -> dict[str, str]:
        """What a trusted-certificates directory of those who trust it has in it."""
        stem = subject_hash(self._certificate.subject)
        return {
            f"{stem}.0": self._credential.chain_pem.decode("ascii"),
            f"{stem}.signing_policy": _policy(
                self._credential.subject, f"/O={self._organization}/*"
            ),
        }

    def issue(
        self,
        common_name: str,
        now: datetime,
        lifetime: timedelta,
        *,
        hosts: Sequence[str] = (),
        organization: str | None = None,
    ) -> Credential:
        """For `/O=ORGANIZATION/CN=common_name`, its own organization unless another is named.

        A user; with `hosts` (names and addresses) a server.
        """
        key = self._key()
        name = _name(organization or self._organization, common_name)
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if hosts:
            purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        certificate = self._certified(name, key.public_key(), now, lifetime, hosts, purposes)
        return _credential(certificate, key)

    def certify_host(self, request: bytes, host: str, now: datetime, lifetime: timedelta) -> bytes:
        """The certificate, PEM, of a server at `host` whose key another holds: that of a request
        (PEM). What else the request asks for is not ours to grant, and it is of no use for a
        client. Raises `ValueError`.
        """
        asked = x509.load_pem_x509_csr(request)
        if not asked.is_signature_valid:
            raise ValueError("the request is not signed with its key")
        key = asked.public_key()
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            raise ValueError("only RSA and elliptic-curve keys are supported")  # noqa: TRY004
        if key.key_size < (MIN_RSA_BITS if isinstance(key, rsa.RSAPublicKey) else MIN_EC_BITS):
            raise ValueError(f"a key of {key.key_size} bits is too short")
        name = _name(self._organization, host)
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH]
        certificate = self._certified(name, key, now, lifetime, [host], purposes)
        return certificate.public_bytes(Encoding.PEM)

    def _certified(
        self,
        name: x509.Name,
        key: PublicKey,
        now: datetime,
        lifetime: timedelta,
        hosts: Sequence[str],
        purposes: Sequence[x509.ObjectIdentifier],
    ) -> x509.Certificate:
        end = min(now + lifetime, self.not_after)
        builder = (
            _builder(name, self._certificate.subject, key, now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        )
        if hosts:
            names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._credential.private_key, hashes.SHA256())

    @property
    def certificate_pem(self) -> str:
        """Its own certificate: for those who trust it."""
        return self._credential.chain_pem.decode("ascii")

    def revocation_list(self, revoked: bytes, now: datetime, end: datetime) -> bytes:
        """PEM of a list that revokes one certificate (PEM), until `end`."""
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(x509.load_pem_x509_certificate(revoked).serial_number)
            .revocation_date(now)
            .build()
        )
        return (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._certificate.subject)
            .last_update(now - CLOCK_SKEW)
            .next_update(end)
            .add_revoked_certificate(entry)
            .sign(self._credential.private_key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )


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


def as_trust_files(texts: Sequence[str]) -> dict[str, str]:
    """The authorities in some PEM texts as files of a trusted-certificates directory: `<hash>.0`
    (`.1` for another one of that hash), and a signing policy that lets each sign any name: who
    gives a certificate by itself trusts it as browsers would. Raises `ValueError` saying which text
    is none.
    """
    files: dict[str, str] = {}
    for number, text in enumerate(texts, 1):
        try:
            for der in certificates_in(text):
                _add_authority(files, der)
        except ValueError as error:
            raise ValueError(f"certificate {number}: {error}") from None
    return files


def _add_authority(files: dict[str, str], der: bytes) -> None:
    certificate = x509.load_der_x509_certificate(der)
    stem = subject_hash(certificate.subject)
    pem = certificate.public_bytes(Encoding.PEM).decode("ascii")
    if pem in files.values():
        return
    free = [digit for digit in range(10) if f"{stem}.{digit}" not in files]
    if not free:
        raise ValueError(f"there are ten authorities with the hash {stem} already")
    files[f"{stem}.{free[0]}"] = pem
    policy = f"{stem}.signing_policy"
    files[policy] = files.get(policy, "") + _policy(one_line(Certificate(der).subject), "*")


def _policy(authority: str, subjects: str) -> str:
    return (
        f"access_id_CA   X509   '{authority}'\n"
        "pos_rights     globus CA:sign\n"
        f"cond_subjects  globus '\"{subjects}\"'\n"
    )


def _plain(text: str) -> str:
    return b" ".join(text.encode().lower().split()).decode()  # of bytes: ASCII only


def _credential(certificate: x509.Certificate, key: Key) -> Credential:
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
    key: PublicKey,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
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
