"""Setup keys: one word that a user carries to a computer, with all that an agent needs to begin.

`HOST:PORT/AUTHORITY/SECRET`: where the service is, the SHA-256 of the authority that its https
certificate is from (`public`: one that everybody trusts), and what may be used once.
"""

import base64
import hashlib
import secrets

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

SECRET_BYTES = 32
VALID_S = 7 * 86_400.0
"""A week: one person makes it and perhaps mails it to another, who comes to it after a holiday."""
PUBLIC = "public"


def new_secret() -> str:
    """256 random bits; a setup key's, or an agent's token."""
    return base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode()


def digest(secret: str) -> bytes:
    """What is kept of it. Nobody guesses 256 random bits: a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).digest()


def setup_key(address: str, authority_pem: bytes | None, secret: str) -> str:
    """The word. `address`: `HOST:PORT` of the API; no `authority_pem`: a public one."""
    if authority_pem is None:
        return f"{address}/{PUBLIC}/{secret}"
    fingerprint = x509.load_pem_x509_certificate(authority_pem).fingerprint(SHA256()).hex()
    return f"{address}/{fingerprint}/{secret}"
