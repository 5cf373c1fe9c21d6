"""A login under way: what binds its answer to the browser and to the request. Pure.

The browser keeps one random value in a cookie. The nonce and the PKCE verifier of each login are
derived from it and the login's state: nothing of them is stored here, and an answer that another
browser brings (RFC 9700, 4.7) can be redeemed by nobody.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass

LIFETIME_S = 600
"""Long enough to find the second factor; short enough that what is left behind is of no use."""


@dataclass(frozen=True)
class Derived:
    """The values of one login that its browser alone can bring back."""

    nonce: str
    verifier: str

    def __repr__(self) -> str:
        return "Derived()"

    @property
    def challenge(self) -> str:
        """S256 (RFC 7636, 4.2)."""
        return _base64url(hashlib.sha256(self.verifier.encode()).digest())


def derive(browser: str, state: str) -> Derived:
    """The values of the login ``state`` in the browser whose cookie is ``browser``."""

    def one(what: str) -> str:
        return _base64url(hmac.digest(browser.encode(), f"{what} {state}".encode(), "sha256"))

    return Derived(nonce=one("nonce"), verifier=one("verifier"))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
