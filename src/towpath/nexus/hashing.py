"""Tokens and client secrets: 256 random bits each, of which only SHA-256 is stored.

A slow password hash protects what people choose; against a random 256-bit value it adds nothing but
work for every request.
"""

import base64
import hashlib
import secrets

RANDOM_BYTES = 32


def new_token() -> str:
    """An opaque access token."""
    return secrets.token_urlsafe(RANDOM_BYTES)


def new_secret() -> str:
    """A client secret; base64, which is what the CLI expects one to look like."""
    return base64.b64encode(secrets.token_bytes(RANDOM_BYTES)).decode("ascii")


def digest(value: str) -> bytes:
    """What is stored instead of ``value``."""
    return digest_bytes(value.encode())


def digest_bytes(value: bytes) -> bytes:
    """The same for what is no text."""
    return hashlib.sha256(value).digest()
