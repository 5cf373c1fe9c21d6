"""Public SSH keys as people paste them (``authorized_keys`` lines, RFC 4253, 6.6)."""

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

TEXT_LIMIT = 8192
"""Characters; RSA with 16,384 bits has 2,800."""
KEYS_LIMIT = 50
"""Of a person."""
RSA_BITS = 2048
"""At least (NIST SP 800-57)."""
_KINDS = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)


class SshKeyError(ValueError):
    """The text is no key that can be taken; the message is for the person."""


@dataclass(frozen=True)
class SshKey:
    """A public key."""

    kind: str
    text: str
    """Kind and key, without the comment."""
    fingerprint: str
    """As ``ssh-keygen -l`` says it."""
    comment: str


def read(text: str) -> SshKey:
    """The key in one line. Raises :class:`SshKeyError`."""
    if "PRIVATE KEY" in text:
        raise SshKeyError("This is a private key: keep it to yourself, and give the .pub file.")
    kind, _, rest = text.strip().partition(" ")
    encoded, _, comment = rest.strip().partition(" ")
    if len(text) > TEXT_LIMIT or "\n" in text.strip() or kind not in _KINDS:
        raise SshKeyError("This is no public SSH key. Give the one line of a .pub file.")
    try:
        blob = base64.b64decode(encoded, validate=True)
        if not kind.startswith("sk-"):
            key = load_ssh_public_key(f"{kind} {encoded}".encode())
            if isinstance(key, rsa.RSAPublicKey) and key.key_size < RSA_BITS:
                raise SshKeyError(f"An RSA key must have {RSA_BITS} bits at least.")
        elif not blob.startswith(len(kind).to_bytes(4, "big") + kind.encode()):
            raise ValueError("kind and key do not belong together")
    except SshKeyError:
        raise
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SshKeyError("This key is damaged. Copy the whole line of the .pub file.") from error
    fingerprint = base64.b64encode(hashlib.sha256(blob).digest()).rstrip(b"=").decode()
    return SshKey(kind, f"{kind} {encoded}", f"SHA256:{fingerprint}", comment.strip()[:200])
