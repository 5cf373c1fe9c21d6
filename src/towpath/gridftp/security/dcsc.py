"""A throw-away credential that both ends of a data channel are given (DCSC, "data channel
security context"), so that servers which trust different authorities can trust each other."""

import base64
import secrets
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from towpath.gridftp.security.credentials import Credential, load_key

CLOCK_SKEW = timedelta(hours=1)
"""Starts this much in the past: two servers and we each have a clock of our own."""

LIFETIME = timedelta(hours=6)
"""Longest life of one; it must outlive the channels opened with it, not the task."""


@dataclass(frozen=True)
class DataCredential:
    """A self-signed certificate with its key, for one pair of endpoints and one owner."""

    credential: Credential

    @classmethod
    def create(
        cls,
        now: datetime,
        lifetime: timedelta = LIFETIME,
        key_type: Literal["ec", "rsa"] = "ec",
    ) -> "DataCredential":
        """Make one: below 1 ms for `ec` (P-256); about 150 ms for `rsa`, so in a thread.

        Servers before GCT 6 may know only RSA keys.
        """
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
        if key_type == "ec":
            key = ec.generate_private_key(ec.SECP256R1())
        else:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name(
            [
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Towpath"),
                x509.NameAttribute(
                    x509.NameOID.COMMON_NAME, f"data channel {secrets.token_hex(16)}"
                ),
            ]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + lifetime)
            .sign(key, hashes.SHA256())
        )
        # GCT reads an elliptic-curve key only as PKCS#8, and RSA keys of either form.
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(Credential.from_pem(certificate.public_bytes(Encoding.PEM) + key_pem))

    @cached_property
    def blob(self) -> str:
        """The argument of `DCSC P`: certificate, key, and the certificate again. A secret.

        What follows the key is also the trust store; without the repetition GCT refuses the peer
        as self-signed.
        """
        pem = self.credential.to_pem() + self.credential.chain_pem
        return base64.b64encode(pem).decode("ascii")

    @cached_property
    def client_context(self) -> ssl.SSLContext:
        """For the side that connects the data channel."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        return self._equip(context)

    @cached_property
    def server_context(self) -> ssl.SSLContext:
        """For the side that accepts it. No session tickets: a peer that goes back to clear text
        after the handshake (PROT C) would take them for file data."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0
        return self._equip(context)

    def _equip(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self._der)
        load_key(context, self.credential.to_pem())
        return context

    @cached_property
    def _der(self) -> bytes:
        return self.credential.certificates[0].public_bytes(Encoding.DER)

    def is_peer(self, certificate_der: bytes | None) -> bool:
        """Whether a peer showed this very certificate."""
        return certificate_der is not None and secrets.compare_digest(certificate_der, self._der)
