"""Checking a chain of certificates ourselves (RFC 5280, RFC 3820).

Only where OpenSSL cannot: as TLS client it insists that a peer's certificate is one for servers
(extended key usage), and who listens on a data connection may show a user's proxy.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from towpath.gridftp.security.certificates import (
    PROXY_CERT_INFO,
    Certificate,
    proxy_path_length,
)
from towpath.gridftp.security.errors import SecurityError, SecurityKind

if TYPE_CHECKING:
    from cryptography import x509

LONGEST_CHAIN: Final = 20
"""Certificates from a peer's to a root's. A user's has three; each delegation adds one."""

_BROKEN_DIGESTS: Final = ("md5", "sha1")

_COMMON_NAME: Final = "2.5.4.3"

# Those whose meaning is checked here, or is only for who asks for it. Name constraints are not
# among them: a chain that has them is refused.
_UNDERSTOOD: Final = frozenset(
    {
        "2.5.29.14",  # subject key identifier
        "2.5.29.15",  # key usage
        "2.5.29.17",  # subject alternative name
        "2.5.29.19",  # basic constraints
        "2.5.29.31",  # CRL distribution points
        "2.5.29.32",  # certificate policies
        "2.5.29.35",  # authority key identifier
        "2.5.29.37",  # extended key usage: for data connections any will do
        PROXY_CERT_INFO,
    }
)


def verify_chain(
    shown: Sequence[bytes], anchors: Sequence[bytes], now: datetime
) -> list[Certificate]:
    """The chain from the certificate a peer showed first up to a self-signed anchor. All in DER.

    Names, signatures, validity, authority and proxy rules are checked; signing policies and
    revocation lists are left to `TrustRoots.check_chain`. Raises `SecurityError(AUTHENTICATION)`.
    """
    try:
        chain = _build(shown, anchors)
        for link in chain:
            link.check_alone(now)
        for below, (link, issuer) in enumerate(pairwise(chain)):
            link.check_issued_by(issuer, chain[: below + 1], is_root=issuer is chain[-1])
    except ValueError as error:
        raise _refused(f"the peer's certificate makes no sense: {error}") from None
    return [link.facts for link in chain]


class _Link:
    """A certificate, read in both ways."""

    def __init__(self, der: bytes) -> None:
        from cryptography import x509  # noqa: PLC0415 - see `certificates`

        self.facts = Certificate(der)
        self.parsed = x509.load_der_x509_certificate(der)
        self.is_proxy = self.facts.is_proxy
        self._basic: x509.BasicConstraints | None = None
        self._usage: x509.KeyUsage | None = None
        for extension in self.parsed.extensions:
            if isinstance(extension.value, x509.BasicConstraints):
                self._basic = extension.value
            elif isinstance(extension.value, x509.KeyUsage):
                self._usage = extension.value

    @property
    def is_self_issued(self) -> bool:
        return self.facts.subject == self.facts.issuer

    def is_signed_by(self, issuer: _Link) -> bool:
        from cryptography.exceptions import (  # noqa: PLC0415
            InvalidSignature,
            UnsupportedAlgorithm,
        )

        try:
            algorithm = self.parsed.signature_hash_algorithm
            if algorithm is not None and algorithm.name in _BROKEN_DIGESTS:
                return False
            self.parsed.verify_directly_issued_by(issuer.parsed)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True

    def check_alone(self, now: datetime) -> None:
        if not self.facts.not_before <= now <= self.facts.not_after:
            raise _refused("a certificate of the peer's has expired, or is not valid yet")
        for extension in self.parsed.extensions:
            kind = extension.oid.dotted_string
            if extension.critical and kind not in _UNDERSTOOD:
                raise _refused(f"a certificate of the peer's has the unknown rule {kind}")

    def check_issued_by(self, issuer: _Link, below: Sequence[_Link], *, is_root: bool) -> None:
        """`below`: the chain from the peer's certificate up to this one; `is_root`: the issuer."""
        if self.is_proxy:
            proxies = sum(1 for link in below if link.is_proxy)
            issuer.check_may_delegate(self.facts, proxies)
        else:
            # Neither the end of the path nor who issued to himself counts (RFC 5280, 4.2.1.9).
            holders = [link for link in below if not link.is_proxy]
            authorities = sum(1 for link in holders[1:] if not link.is_self_issued)
            issuer.check_may_certify(authorities, is_root=is_root)

    def check_may_delegate(self, proxy: Certificate, proxies: int) -> None:
        """Whether the holder of this certificate may make this proxy (RFC 3820, 4.1)."""
        if self._basic is not None and self._basic.ca:
            raise _refused("an authority has issued a proxy certificate")
        if self._usage is not None and not self._usage.digital_signature:
            raise _refused("a certificate of the peer's is not for signing")
        *base, last = proxy.subject
        if tuple(base) != self.facts.subject or last.type != _COMMON_NAME:
            raise _refused("the name of a proxy certificate is not its issuer's with one more part")
        if self.is_proxy:
            allowed = proxy_path_length(self.facts.extensions[PROXY_CERT_INFO])
            if allowed is not None and proxies > allowed:
                raise _refused("a credential was delegated more often than it allows")

    def check_may_certify(self, authorities: int, *, is_root: bool) -> None:
        """Whether this is an authority, and may have so many others below it."""
        if is_root and not self.facts.extensions:
            return  # as old roots are
        if self._basic is None or not self._basic.ca:
            raise _refused("a certificate was issued by what is no authority")
        if self._basic.path_length is not None and authorities > self._basic.path_length:
            raise _refused("there are more authorities in a chain than it allows")
        if self._usage is not None and not self._usage.key_cert_sign:
            raise _refused("a certificate was issued by a key that is not for it")


def _build(shown: Sequence[bytes], anchors: Sequence[bytes]) -> list[_Link]:
    if not shown:
        raise _refused("the peer showed no certificate")
    if len(shown) > LONGEST_CHAIN:
        raise _refused("the peer showed too many certificates")
    trusted = set(anchors)
    chain = [_Link(shown[0])]
    used = {shown[0]}
    while True:
        top = chain[-1]
        if top.is_self_issued and top.facts.der in trusted:
            return chain
        if len(chain) >= LONGEST_CHAIN:
            raise _refused("the peer's chain of certificates is too long")
        for der in (*anchors, *shown[1:]):
            if der in used or Certificate(der).subject != top.facts.issuer:
                continue
            candidate = _Link(der)
            if top.is_signed_by(candidate):
                chain.append(candidate)
                used.add(der)
                break
        else:
            raise _refused("no trusted authority has issued the peer's certificate")


def _refused(message: str) -> SecurityError:
    return SecurityError(SecurityKind.AUTHENTICATION, message)
