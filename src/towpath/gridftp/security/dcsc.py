"""A throw-away credential that both ends of a data channel are given (DCSC, "data channel
security context"), so that servers which trust different authorities can trust each other."""

from __future__ import annotations

import base64
import os
import ssl
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

from towpath.gridftp.security.certificates import certificates_in
from towpath.gridftp.security.credentials import Credential, load_key
from towpath.gridftp.security.errors import SecurityError, SecurityKind

CLOCK_SKEW = timedelta(hours=1)
"""Starts this much in the past: two servers and we each have a clock of our own."""

LIFETIME = timedelta(hours=6)
"""Longest life of one; it must outlive the channels opened with it, not the task."""


class DataCredential:
    """A self-signed certificate with its key, for one pair of endpoints and one owner."""

    def __init__(self, credential: Credential) -> None:
        self.credential = credential

    def __repr__(self) -> str:
        return f"DataCredential({self.credential!r})"

    @classmethod
    def create(
        cls,
        now: datetime,
        lifetime: timedelta = LIFETIME,
        key_type: Literal["ec", "rsa"] = "ec",
    ) -> DataCredential:
        """Make one: below 1 ms for `ec` (P-256); about 150 ms for `rsa`, so in a thread.

        The first one of a process has to import for 30 ms more: in a thread, too, while the logins
        are under way. Servers before GCT 6 may know only RSA keys.
        """
        from cryptography import x509  # noqa: PLC0415 - see `certificates`
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        common_name = f"data channel {os.urandom(16).hex()}"
        not_after = now + lifetime
        key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
        if key_type == "ec":
            key = ec.generate_private_key(ec.SECP256R1())
        else:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name(
            [
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Towpath"),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name),
            ]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(not_after)
            .sign(key, hashes.SHA256())
        )
        # GCT reads an elliptic-curve key only as PKCS#8, and RSA keys of either form.
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return cls(
            Credential(
                certificate.public_bytes(Encoding.PEM),
                key_pem,
                f"/O=Towpath/CN={common_name}",
                not_after.replace(microsecond=0),
            )
        )

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
        return certificates_in(self.credential.chain_pem.decode("ascii"))[0]

    def check_peer(self, tls: ssl.SSLObject | ssl.SSLSocket) -> None:
        """Raises SecurityError(AUTHENTICATION) unless the peer showed this very certificate."""
        if not self.is_peer(tls.getpeercert(binary_form=True)):
            raise SecurityError(
                SecurityKind.AUTHENTICATION, "a stranger connected to the data channel"
            )

    def is_peer(self, certificate_der: bytes | None) -> bool:
        """Whether a peer showed this very certificate."""
        return certificate_der == self._der
