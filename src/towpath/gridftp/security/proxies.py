"""Proxy certificates (RFC 3820): making one for ourselves, signing one for a server."""

import secrets
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from towpath.gridftp.security.certificates import PROXY_CERT_INFO
from towpath.gridftp.security.credentials import Credential

CLOCK_SKEW = timedelta(minutes=5)
"""Proxies start this much in the past: the servers' clocks differ from ours."""

KEY_BITS = 2048

_PROXY_CERT_INFO = x509.ObjectIdentifier(PROXY_CERT_INFO)

# ProxyCertInfo without a path length, by policy language (RFC 3820, 3.8; GFD.24).
_INHERIT_ALL = bytes.fromhex("300c300a06082b06010505071501")
_LIMITED = bytes.fromhex("300f300d060b2b060104019b5001010109")


def make_proxy(
    credential: Credential, lifetime: timedelta, now: datetime, *, limited: bool = False
) -> Credential:
    """A new proxy of this credential with its own RSA key. Takes 50 to 300 ms: use a thread."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    certificate = _sign(credential, key.public_key(), lifetime, now, limited=limited)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return Credential.from_pem(
        certificate.public_bytes(Encoding.PEM) + key_pem + credential.chain_pem
    )


def make_proxy_request() -> tuple[bytes, bytes]:
    """A key (PEM) and the request for its certificate (DER). Takes 50 to 300 ms: use a thread."""
    # RSA: MyProxy's online authority takes no other keys.
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    anyone = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "towpath")])
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(anyone).sign(key, hashes.SHA256())
    )
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        request.public_bytes(Encoding.DER),
    )


def signed_by_next(credential: Credential) -> bool:
    """Whether the first certificate was issued and signed by the second of the chain."""
    try:
        first, *rest = credential.certificates
        if not rest:
            return False
        first.verify_directly_issued_by(rest[0])
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion):
        return False
    return True


def sign_proxy_request(
    credential: Credential, request_der: bytes, lifetime: timedelta, now: datetime
) -> bytes:
    """Delegate: a proxy certificate (DER) for the key in a server's PKCS#10 request.

    Only the request's key is used; what else it asks for is not ours to grant.
    Raises `ValueError` when the request is malformed or not signed by its key.
    """
    request = x509.load_der_x509_csr(request_der)
    key = request.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or not request.is_signature_valid:
        raise ValueError("the server's request for a proxy certificate is not valid")
    return _sign(credential, key, lifetime, now, limited=False).public_bytes(Encoding.DER)


def _sign(
    credential: Credential,
    key: rsa.RSAPublicKey,
    lifetime: timedelta,
    now: datetime,
    *,
    limited: bool,
) -> x509.Certificate:
    issuer = credential.certificates[0]
    serial = secrets.randbelow(2**31 - 1) + 1
    last_name = x509.RelativeDistinguishedName(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, str(serial))]
    )
    information = _LIMITED if limited or _is_limited(issuer) else _INHERIT_ALL
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*issuer.subject.rdns, last_name]))
        .issuer_name(issuer.subject)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(max(now - CLOCK_SKEW, issuer.not_valid_before_utc))
        .not_valid_after(min(now + lifetime, credential.not_after))
        .add_extension(x509.UnrecognizedExtension(_PROXY_CERT_INFO, information), critical=True)
        .add_extension(usage, critical=True)
    )
    return builder.sign(credential.private_key, hashes.SHA256())


def _is_limited(certificate: x509.Certificate) -> bool:
    """A proxy of a limited proxy is limited too (GFD.24), or servers refuse the chain."""
    try:
        extension = certificate.extensions.get_extension_for_oid(_PROXY_CERT_INFO)
    except x509.ExtensionNotFound:
        return False
    value = extension.value
    return isinstance(value, x509.UnrecognizedExtension) and _LIMITED[4:] in value.value
