"""Public SSH keys as people paste them (``authorized_keys`` lines, RFC 4253, 6.6)."""

import base64
import hashlib
from dataclasses import dataclass
from uuid import UUID, uuid4

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.store import profiles
from towpath.nexus.store.accounts import Account
from towpath.nexus.store.profiles import SshKeyRow
from towpath.platform.database import Connection

TEXT_LIMIT = 8192
"""Characters; RSA with 16,384 bits has 2,800."""
KEYS_LIMIT = 50
"""Of a person."""
NAME_LIMIT = 200
"""Characters."""
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


async def add(connection: Connection, account: Account, text: str, name: str) -> SshKeyRow:
    """Give the account a key; one that it has already stays as it is. In a transaction. Raises
    :class:`SshKeyError`.
    """
    key = read(text)
    if len(await profiles.ssh_keys(connection, account.id)) >= KEYS_LIMIT:
        raise SshKeyError(f"There are {KEYS_LIMIT} keys already: remove one first.")
    shown = "".join(filter(str.isprintable, name)).strip()[:NAME_LIMIT]
    await profiles.add_ssh_key(
        connection,
        key_id=uuid4(),
        account_id=account.id,
        name=shown or key.comment or key.kind,
        public_key=key.text,
        fingerprint=key.fingerprint,
    )
    await _note(connection, account, key.fingerprint)
    rows = await profiles.ssh_keys(connection, account.id)
    return next(one for one in rows if one.fingerprint == key.fingerprint)


async def remove(connection: Connection, account: Account, key_id: UUID) -> SshKeyRow | None:
    """Forget one of the account's keys; None if it has no such one. In a transaction."""
    known = {one.id: one for one in await profiles.ssh_keys(connection, account.id)}
    found = known.get(key_id)
    if found is not None:
        await profiles.remove_ssh_key(connection, account.id, key_id)
        await _note(connection, account, found.fingerprint)
    return found


async def _note(connection: Connection, account: Account, fingerprint: str) -> None:
    act = Act(
        "account.changed",
        actor=account.primary_identity,
        subject=account.primary_identity,
        details={"what": ["ssh_keys"], "fingerprint": fingerprint},
    )
    await audit.append(connection, act)
