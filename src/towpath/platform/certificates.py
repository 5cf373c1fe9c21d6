"""The deployment's own certificate authority, and the certificate its API serves with.

ECDSA P-256. The authority is made once; clients trust its ``ca.pem``. The server's certificate is
made again when it nears its end or the names change.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from towpath.platform.files import private_directory, write_private

AUTHORITY_LIFETIME = timedelta(days=3650)
SERVER_LIFETIME = timedelta(days=397)
"""The longest that browsers accept."""
RENEW_BEFORE = timedelta(days=30)
CLOCK_TOLERANCE = timedelta(hours=1)
"""A client whose clock is behind still accepts a fresh certificate."""
_WILDCARD_HOSTS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


class CertificateError(Exception):
    """The files in the TLS directory cannot be used."""


@dataclass(frozen=True)
class ServerCertificate:
    """The files to serve with, and the authority that clients must trust."""

    cert: Path
    key: Path
    authority: Path


def server_certificate(
    directory: Path, names: Sequence[str], *, now: datetime | None = None
) -> ServerCertificate:
    """Make or renew what is needed in ``directory`` for ``names`` (host names, IP addresses).

    Raises :class:`CertificateError`, OSError.
    """
    moment = now or datetime.now(UTC)
    private_directory(directory)
    wanted = _alternative_names(names)
    files = ServerCertificate(
        directory / "server.pem", directory / "server.key", directory / "ca.pem"
    )
    try:
        authority, authority_key = _authority(files.authority, directory / "ca.key", moment)
        if not _still_good(files, authority, wanted, moment):
            _issue(files, authority, authority_key, wanted, moment)
    except (ValueError, TypeError) as error:
        raise CertificateError(
            f"the files in {directory} cannot be used ({error}); remove them to make new ones, "
            "which clients must then trust anew"
        ) from error
    return files


def _alternative_names(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys((*names, "localhost", "127.0.0.1", "::1")):
        if name in _WILDCARD_HOSTS:
            continue
        try:
            one: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            one = x509.DNSName(name.encode("idna").decode("ascii"))
        if one not in found:
            found.append(one)
    return found


def _authority(
    cert_file: Path, key_file: Path, now: datetime
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if cert_file.exists() and key_file.exists():
        cert = x509.load_pem_x509_certificate(cert_file.read_bytes())
        if cert.not_valid_after_utc > now + SERVER_LIFETIME:
            return cert, _load_key(key_file)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Towpath deployment authority")])
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    cert = (
        _builder(name, name, key, now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .add_extension(key_id, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    _write_key(key_file, key)
    write_private(cert_file, cert.public_bytes(serialization.Encoding.PEM))
    return cert, key


def _issue(
    files: ServerCertificate,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    now: datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Towpath API")])
    cert = (
        _builder(subject, authority.subject, key, now, SERVER_LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()),
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    _write_key(files.key, key)
    write_private(files.cert, cert.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_TOLERANCE)
        .not_valid_after(now + lifetime)
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _still_good(
    files: ServerCertificate,
    authority: x509.Certificate,
    wanted: Sequence[x509.GeneralName],
    now: datetime,
) -> bool:
    if not (files.cert.exists() and files.key.exists()):
        return False
    cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    try:
        cert.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, a new one is made
        return False
    return (
        cert.not_valid_after_utc - now > RENEW_BEFORE
        and set(names) == set(wanted)
        # a crash between the two files leaves a key that is not the certificate's
        and _load_key(files.key).public_key() == cert.public_key()
    )


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path.name} is not an elliptic-curve key")
    return key


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    write_private(
        path,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
