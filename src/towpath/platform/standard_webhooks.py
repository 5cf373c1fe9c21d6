"""Signatures of webhooks, as Standard Webhooks has them (https://www.standardwebhooks.com).

HMAC-SHA256 over `ID.TIMESTAMP.BODY`; a message that two secrets sign has both signatures.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Sequence
from typing import Final

SECRET_BYTES: Final = 32
"""The specification has 24 to 64."""
_PREFIX: Final = "whsec_"


def new_secret() -> bytes:
    """Of a webhook."""
    return os.urandom(SECRET_BYTES)


def shown(secret: bytes) -> str:
    """As its owner gets it."""
    return _PREFIX + base64.b64encode(secret).decode("ascii")


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """`v1,` and base64."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode("ascii")


def headers(
    secrets: Sequence[bytes], message_id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """What tells a receiver that the body is from us, and new."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(
            signature(secret, message_id, timestamp, body) for secret in secrets
        ),
    }
