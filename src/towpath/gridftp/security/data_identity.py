"""Who a server is on its data connections: a delegated credential, or one from a client (DCSC)."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import Any

from towpath.gridftp.security.certificates import Certificate, certificates_in
from towpath.gridftp.security.chains import verify_chain
from towpath.gridftp.security.credentials import Credential, load_key
from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.gsi import verified_chain
from towpath.gridftp.security.names import canonical, identity, one_line
from towpath.gridftp.security.trust import TrustRoots


class ChannelCredential:
    """A credential for data connections, with the authorities that are believed there.

    A credential of DCSC brings them along: every certificate but its first. For a delegated one
    they are the server's, with their signing policies and revocation lists.
    """

    def __init__(
        self, credential: Credential, trust: TrustRoots | None, now: Callable[[], datetime]
    ) -> None:
        """Without `trust`: a credential of DCSC."""
        self.subject = credential.subject
        self._credential = credential
        self._trust = trust
        self._now = now
        self._shown = certificates_in(credential.chain_pem.decode("ascii"))

    @classmethod
    def from_pem(
        cls, pem: bytes, trust: TrustRoots | None, now: Callable[[], datetime]
    ) -> ChannelCredential:
        """Raises ValueError."""
        return cls(Credential.from_pem(pem), trust, now)

    def __repr__(self) -> str:
        return f"ChannelCredential({self._credential!r})"

    def expecting(self, subject: str | None) -> ChannelIdentity:
        """To be had with peers of this subject (one line); None: our own."""
        return ChannelIdentity(self, canonical(self.subject if subject is None else subject))

    @cached_property
    def client_context(self) -> ssl.SSLContext:
        """Verifies nothing: that is left to `check`, see `chains`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return self._equip(context)

    @cached_property
    def server_context(self) -> ssl.SSLContext:
        """Asks for a certificate, and verifies it against the authorities."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VerifyFlags.VERIFY_ALLOW_PROXY_CERTS
        context.load_verify_locations(cadata=b"".join(self._anchors))
        return self._equip(context)

    def check(self, tls: ssl.SSLObject | ssl.SSLSocket, subject: str) -> None:
        """Whether the peer of a finished handshake has this subject. Raises `SecurityError`."""
        now = self._now()
        if tls.context.verify_mode is ssl.CERT_NONE:
            chain = verify_chain(_shown_chain(tls), self._anchors, now)
        else:
            chain = [Certificate(der) for der in verified_chain(tls)]
        if self._trust is not None:
            self._trust.check_chain(chain, now)
        found = one_line(identity(chain).subject)
        if found != subject:
            raise SecurityError(
                SecurityKind.AUTHENTICATION,
                f"{found} is on the data channel, {subject} was expected",
            )

    @cached_property
    def _anchors(self) -> tuple[bytes, ...]:
        if self._trust is not None:
            return self._trust.authorities
        anchors = tuple(dict.fromkeys(self._shown[1:]))
        if not anchors:
            raise SecurityError(
                SecurityKind.AUTHENTICATION, "the credential brings no authority to believe"
            )
        return anchors

    def _equip(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL")
        load_key(context, self._credential.to_pem())
        return context


class ChannelIdentity:
    """A credential, and whom it is shown to (`data.protection.Identity`)."""

    def __init__(self, credential: ChannelCredential, subject: str) -> None:
        self._credential = credential
        self._subject = subject

    @property
    def client_context(self) -> ssl.SSLContext:
        """For the end that connects. Raises `SecurityError`."""
        return self._credential.client_context

    @property
    def server_context(self) -> ssl.SSLContext:
        """For the end that accepts. Raises `SecurityError`."""
        return self._credential.server_context

    def check_peer(self, tls: ssl.SSLObject | ssl.SSLSocket) -> None:
        """After the handshake. Raises `SecurityError`."""
        self._credential.check(tls, self._subject)


def _shown_chain(tls: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """What the peer showed, its own certificate first, DER. Public only since Python 3.13."""
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain())
    inner: Any = tls._sslobj  # type: ignore[union-attr]  # noqa: SLF001
    return [ssl.PEM_cert_to_DER_cert(item.public_bytes()) for item in inner.get_unverified_chain()]
