"""The client's side of a GSI login: TLS inside ADAT tokens, then wrapped commands (RFC 2228).

A token is whatever bytes the TLS engine wants to send, without framing. After the handshake the
initiator sends one byte of application data: `D` to delegate a credential, `0` not to.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from towpath.gridftp.security.certificates import Certificate
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.names import canonical, identity, one_line, speaks_for
from towpath.gridftp.security.trust import TrustRoots

DELEGATED_LIFETIME = timedelta(hours=12)
"""What grid-proxy-init and globus-url-copy give; never longer than the credential itself."""

MAX_TOKEN_BYTES = 256 * 1024
"""A server flight with a long RSA-4096 chain is 20 KiB; more is an attack or a bug."""

HOST_SUBJECT = "host_subject"
"""The fact of an error: who a server has proven to be that was to be somebody else."""

_READ_BYTES = 64 * 1024

_PORTION_BYTES = 8 * 1024
"""Given to the TLS engine at one go. Its buffer keeps the size it once had to have, so a session
that has listed a large directory would hold 170 KiB for the rest of its life."""


class _State(Enum):
    HANDSHAKE = auto()
    REQUEST = auto()  # delegating: the server's certificate request is still to come
    DONE = auto()


class Initiator:
    """Logs in to one server: a pure state machine, no I/O.

    `step(None)` gives the first token; each token of the server goes into `step`, which gives the
    tokens to send. With TLS 1.3 the second call already gives the last ones, so that everything
    after can be sent without waiting: `wrap` works as soon as `handshake_done`.
    """

    def __init__(
        self,
        credential: Credential | None,
        trust: TrustRoots,
        host: str,
        subject: str | None,
        *,
        delegate: bool = False,
        now: Callable[[], datetime],
    ) -> None:
        """`subject`, when given, is the only name accepted (one line), whatever `host` is.

        Without a credential the login is anonymous, and nothing can be delegated.
        """
        if delegate and credential is None:
            raise ValueError("only a credential can be delegated")
        self._credential = credential
        self._trust = trust
        self._host = host
        self._subject = subject
        self._delegate = delegate
        self._now = now
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._state = _State.HANDSHAKE
        self._first_byte_pending = True
        self._request = b""
        self.peer_subject = ""

    @property
    def handshake_done(self) -> bool:
        """The peer is who it should be: chain, revocation, signing policy and name are checked."""
        return self._state is not _State.HANDSHAKE

    @property
    def complete(self) -> bool:
        """Nothing more to send before commands (the server's 235 may still be on its way)."""
        return self._state is _State.DONE

    def step(self, token: bytes | None) -> list[bytes]:
        """Take the server's token (None at first), give the tokens to send, in order.

        Raises `SecurityError`: CREDENTIAL_EXPIRED before anything is sent, UNTRUSTED_HOST,
        AUTHENTICATION. After an error the login must be given up.
        """
        tls = self.prepare()
        self._feed(token or b"")
        if self._state is _State.HANDSHAKE:
            return self._handshake(tls)
        data = self._read()
        if self._state is _State.REQUEST:
            return self._answer_request(tls, data)
        if data:
            raise SecurityError(
                SecurityKind.AUTHENTICATION, "the server sent data before the login was finished"
            )
        return []

    def prepare(self) -> ssl.SSLObject:
        """What the first step begins with: it reads all authorities, which may take a while."""
        if self._tls is None:
            context = self._context()
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=False)
        return self._tls

    def wrap(self, line: bytes) -> bytes:
        """Encrypt a command line; the result, in base64, is the argument of `ENC`."""
        assert self._tls is not None
        assert self.handshake_done
        self._tls.write(line)
        return self._outgoing.read()

    def unwrap(self, token: bytes) -> bytes:
        """Decrypt the (base64-decoded) arguments of 63x reply lines. Raises `SecurityError`."""
        if len(token) <= _PORTION_BYTES:
            self._feed(token)
            return self._read()
        plain: list[bytes] = []
        for start in range(0, len(token), _PORTION_BYTES):
            self._feed(token[start : start + _PORTION_BYTES])
            plain.append(self._read())
        return b"".join(plain)

    def _context(self) -> ssl.SSLContext:
        if self._credential is None:
            return self._trust.client_context()
        self._credential.require_valid(self._now())
        return self._credential.ssl_context(self._trust)

    def _handshake(self, tls: ssl.SSLObject) -> list[bytes]:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            return [self._outgoing.read()]
        except ssl.SSLCertVerificationError as error:
            raise SecurityError(
                SecurityKind.UNTRUSTED_HOST,
                f"the certificate of {self._host} is not trusted: {error.verify_message}",
            ) from None
        except ssl.SSLError as error:
            raise SecurityError(
                SecurityKind.AUTHENTICATION, f"TLS handshake failed: {error.reason or error}"
            ) from None
        self._check_peer(tls)
        finished = self._outgoing.read()  # nothing left to send with TLS 1.2
        tls.write(b"D" if self._delegate else b"0")
        self._state = _State.REQUEST if self._delegate else _State.DONE
        flag = self._outgoing.read()
        return [finished, flag] if finished else [flag]

    def _check_peer(self, tls: ssl.SSLObject) -> None:
        try:
            chain = [Certificate(der) for der in verified_chain(tls)]
            holder = identity(chain)
            for_host = self._subject is None and speaks_for(holder, self._host)
        except ValueError as error:
            raise SecurityError(
                SecurityKind.UNTRUSTED_HOST,
                f"the certificate of {self._host} makes no sense: {error}",
            ) from None
        self._trust.check_chain(chain, self._now())
        self.peer_subject = one_line(holder.subject)
        if self._subject is not None:
            if self.peer_subject != canonical(self._subject):
                raise SecurityError(
                    SecurityKind.UNTRUSTED_HOST,
                    f"{self._host} is {self.peer_subject}, expected {self._subject}",
                    {HOST_SUBJECT: self.peer_subject},
                )
        elif chain[0].is_proxy or not for_host:
            # A proxy of a host's certificate may have been delegated to anyone.
            raise SecurityError(
                SecurityKind.UNTRUSTED_HOST,
                f"{self._host} showed the certificate of {self.peer_subject}, "
                "which is for another host",
                {HOST_SUBJECT: self.peer_subject},
            )

    def _answer_request(self, tls: ssl.SSLObject, data: bytes) -> list[bytes]:
        from towpath.gridftp.security.proxies import (  # noqa: PLC0415 - see `certificates`
            sign_proxy_request,
        )

        assert self._credential is not None
        self._request += data
        if not is_whole_der(self._request):
            return []
        try:
            certificate = sign_proxy_request(
                self._credential, self._request, DELEGATED_LIFETIME, self._now()
            )
        except ValueError as error:
            raise SecurityError(SecurityKind.AUTHENTICATION, str(error)) from None
        tls.write(certificate)
        self._state = _State.DONE
        return [self._outgoing.read()]

    def _feed(self, token: bytes) -> None:
        if len(token) > MAX_TOKEN_BYTES:
            raise SecurityError(SecurityKind.AUTHENTICATION, "the server's token is too large")
        self._incoming.write(token)

    def _read(self) -> bytes:
        assert self._tls is not None
        parts: list[bytes] = []
        try:
            while part := self._tls.read(_READ_BYTES):
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise SecurityError(
                SecurityKind.AUTHENTICATION,
                f"the secured channel broke: {error.reason or error}",
            ) from None
        data = b"".join(parts)
        if data and self._first_byte_pending:
            # An acceptor with nothing to say ends its handshake with one NUL, which is no text.
            self._first_byte_pending = False
            if data.startswith(b"\0"):
                return data[1:]
        return data


class Onlooker(Initiator):
    """Sees the certificate that a server shows, without trusting it: to tell people what is there.

    It must not log in, and has nothing to do it with.
    """

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        super().__init__(None, TrustRoots({}), "", None, now=now)
        self.certificate: Certificate | None = None
        """What was shown, once the handshake is done."""

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def _check_peer(self, tls: ssl.SSLObject) -> None:
        shown = tls.getpeercert(binary_form=True)
        try:
            self.certificate = None if shown is None else Certificate(shown)
        except ValueError:
            self.certificate = None


def verified_chain(tls: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """The peer's chain as OpenSSL verified it, leaf to root, DER. Public only since Python 3.13."""
    if hasattr(tls, "get_verified_chain"):
        return list(tls.get_verified_chain())
    inner: Any = tls._sslobj  # type: ignore[union-attr]  # noqa: SLF001
    return [ssl.PEM_cert_to_DER_cert(item.public_bytes()) for item in inner.get_verified_chain()]


def is_whole_der(data: bytes) -> bool:
    """Whether a DER element with its announced length is there."""
    if len(data) < 2:
        return False
    length, head = data[1], 2
    if length & 0x80:
        head += length & 0x7F
        length = int.from_bytes(data[2:head], "big")
    return len(data) >= head + length
