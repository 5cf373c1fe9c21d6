"""A credential: a private key with the certificate chain that speaks for it."""

from __future__ import annotations

import os
import re
import ssl
import threading
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

from towpath.gridftp.security.certificates import Certificate, certificates_in
from towpath.gridftp.security.errors import SecurityError, SecurityKind
from towpath.gridftp.security.names import identity, one_line
from towpath.gridftp.security.trust import TrustRoots

if TYPE_CHECKING:  # only those who sign need it at run time
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

MAX_PEM_BYTES = 256 * 1024
"""A chain of ten RSA-4096 certificates is 30 KiB; more than this is not a credential."""

_KEY_ALGORITHMS = ("1.2.840.113549.1.1.1", "1.2.840.10045.2.1")
"""RSA and elliptic curves: what GridFTP servers take, and what `proxies` can sign with."""

_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)


class Credential:
    """Private key and chain (leaf first), usually an RFC 3820 proxy. Never shows its key."""

    def __init__(self, chain_pem: bytes, key_pem: bytes, subject: str, not_after: datetime) -> None:
        """Use `from_pem`."""
        self.chain_pem = chain_pem
        self.key_pem = key_pem
        self.subject = subject
        """The identity behind it: of the first certificate that is no proxy, in one line."""
        self.not_after = not_after
        """When (UTC) the first certificate of the chain expires."""
        self._contexts: dict[tuple[tuple[str, str], ...], ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Credential):
            return NotImplemented
        return (self.chain_pem, self.key_pem) == (other.chain_pem, other.key_pem)

    def __hash__(self) -> int:
        return hash(self.chain_pem)

    @classmethod
    def from_pem(cls, pem: bytes) -> Credential:
        """Read certificate, unencrypted key and chain in any order. Raises `ValueError`."""
        if len(pem) > MAX_PEM_BYTES:
            raise ValueError("this is too large to be a credential")
        blocks = [(match[1], match[0] + b"\n") for match in _PEM_BLOCK.finditer(pem)]
        certificates = [block for label, block in blocks if label == b"CERTIFICATE"]
        keys = [block for label, block in blocks if label.endswith(b"PRIVATE KEY")]
        if not certificates:
            raise ValueError("no certificate in this credential")
        if len(keys) != 1:
            raise ValueError(f"a credential holds exactly one private key; this has {len(keys)}")
        try:
            chain = [Certificate(der) for der in certificates_in(b"".join(certificates).decode())]
        except ValueError:
            raise ValueError("a certificate of this credential cannot be read") from None
        if chain[0].key_algorithm not in _KEY_ALGORITHMS:
            raise ValueError("only RSA and elliptic-curve keys are supported")
        _check_key(certificates[0] + keys[0])
        return cls(
            chain_pem=b"".join(certificates),
            key_pem=keys[0],
            subject=one_line(identity(chain).subject),
            not_after=min(certificate.not_after for certificate in chain),
        )

    @classmethod
    def from_proxy_file(cls, path: str | os.PathLike[str]) -> Credential:
        """Read a proxy file as grid-proxy-init writes it. Raises `OSError`, `ValueError`."""
        with Path(path).open("rb") as file:
            return cls.from_pem(file.read(MAX_PEM_BYTES + 1))

    def __repr__(self) -> str:
        return f"Credential({self.subject!r}, until {self.not_after:%Y-%m-%dT%H:%M:%SZ})"

    def __reduce__(self) -> str:
        raise TypeError("a credential is not pickled: its key would leave this process")

    def expired(self, now: datetime) -> bool:
        """Whether any certificate of the chain is past its end at `now` (aware)."""
        return now >= self.not_after

    def require_valid(self, now: datetime) -> None:
        """Raises `SecurityError(CREDENTIAL_EXPIRED)` when `expired`."""
        if self.expired(now):
            raise SecurityError(
                SecurityKind.CREDENTIAL_EXPIRED,
                f"the credential of {self.subject} expired at {self.not_after:%Y-%m-%d %H:%M} UTC",
            )

    def to_pem(self) -> bytes:
        """The proxy file's bytes: certificate, key, rest of the chain. A secret."""
        blocks = [match[0] + b"\n" for match in _PEM_BLOCK.finditer(self.chain_pem)]
        return blocks[0] + self.key_pem + b"".join(blocks[1:])

    @cached_property
    def certificates(self) -> list[x509.Certificate]:
        """The chain, leaf first."""
        from cryptography import x509  # noqa: PLC0415 - see `certificates`

        return x509.load_pem_x509_certificates(self.chain_pem)

    @cached_property
    def private_key(self) -> SigningKey:
        """The key for signing proxies."""
        return _load_key(self.key_pem)

    def has_ssl_context(self, trust: TrustRoots) -> bool:
        """Whether `ssl_context` is at hand, so that asking for it costs nothing."""
        return trust.contents in self._contexts

    def ssl_context(self, trust: TrustRoots) -> ssl.SSLContext:
        """A TLS client context that shows this credential and verifies peers against `trust`.

        The peer's name is not checked here (see `Initiator`). Made once per set of trust roots
        (about 3 ms), and shared: contexts are safe to use from several threads.
        """
        with self._lock:
            context = self._contexts.get(trust.contents)
            if context is None:
                context = trust.client_context()
                load_key(context, self.to_pem())
                self._contexts[trust.contents] = context
        return context


def load_key(
    context: ssl.SSLContext, pem: bytes, password: Callable[[], str] | None = None
) -> None:
    """Give certificate and key to a context without a file that could outlive this call.

    OpenSSL's binding only reads from a path: an anonymous file in memory has one for as long as
    its descriptor is open.
    """
    descriptor = os.memfd_create("credential", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=password)
    finally:
        os.close(descriptor)


def _check_key(pem: bytes) -> None:
    """Raise `ValueError` unless this is a certificate with its own private key.

    OpenSSL is asked, which has to take them anyhow: nothing else needs to be imported for it. The
    arithmetic of an RSA key is not checked, it would take 50 ms: peers check what it signs.
    """

    def no_password() -> NoReturn:
        raise ValueError("the private key is encrypted: make a proxy of it first")

    try:
        load_key(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), pem, no_password)
    except ssl.SSLError as error:
        reason = error.reason or ""
        if reason in ("KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
            message = "the private key does not belong to the first certificate"
        elif reason.endswith(("_TOO_SMALL", "_TOO_WEAK")):
            message = f"OpenSSL does not accept it on this machine ({reason})"
        else:
            message = "the private key of this credential cannot be read"
        raise ValueError(message) from None


def _load_key(pem: bytes) -> SigningKey:
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - see `certificates`
        load_pem_private_key,
    )

    # The key has been checked against its certificate; validating an RSA key takes 50 ms.
    key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    return cast("SigningKey", key)  # as `from_pem` has found
