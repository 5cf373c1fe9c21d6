"""The keys that sign id tokens, and their succession (OpenID Connect Core 1.0, 10.1.1).

They are in the database, the private part sealed, so that all processes sign with the same one. A
new key is published before it signs, so that whoever keeps our keys for a while has it in time; an
old one stays until the last token that it signed is over.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey

from towpath.nexus import audit
from towpath.nexus.store import keys as store
from towpath.nexus.store.keys import SigningKey
from towpath.platform.database import Connection, Database
from towpath.platform.secrets import Sealer

ALGORITHM = "RS512"
"""What Globus signs with. The CLI takes the first key of the list, and it must be RSA."""
KEY_BITS = 2048
PUBLISHED_AHEAD_S = 3600
"""How long a key is published before it signs; our answer with the keys may be kept as long."""
ID_TOKEN_LIFETIME_S = 3600
"""An id token says who has just logged in; it is no credential to be kept."""


@dataclass(frozen=True)
class Succession:
    """Which key does what at one moment."""

    signer: SigningKey
    published: Sequence[SigningKey]
    """The signer first."""
    over: Sequence[SigningKey]


def succession(keys: Sequence[SigningKey], now: datetime) -> Succession | None:
    """Sort the keys (by ``signs_from``) out; None if there is none that may sign."""
    begun = [key for key in keys if key.signs_from <= now]
    if not begun:
        return None
    signer = begun[-1]
    over = [
        key
        for key, successor in pairwise(begun)
        if successor.signs_from + timedelta(seconds=ID_TOKEN_LIFETIME_S) <= now
    ]
    others = [key for key in reversed(keys) if key is not signer and key not in over]
    return Succession(signer, [signer, *others], over)


def generate() -> RSAKey:
    """A new key. Takes a tenth of a second or more: call it in a thread."""
    return RSAKey.generate_key(KEY_BITS)


async def add(connection: Connection, sealer: Sealer, key: RSAKey, *, ahead_s: int) -> datetime:
    """Publish a key that will sign in ``ahead_s``, and forget those that are over. Returns when it
    begins. With 0 it is the first key, and nothing happens if there is one. In a transaction.
    """
    kid = key.thumbprint()
    public = key.as_dict(private=False) | {"kid": kid, "use": "sig", "alg": ALGORITHM}
    await store.lock(connection)
    now = await store.now(connection)
    known = succession(await store.all_keys(connection), now)
    if known is not None and ahead_s == 0:  # another process was faster
        return known.signer.signs_from
    for one in known.over if known is not None else ():
        await store.delete(connection, one.kid)
    signs_from = now + timedelta(seconds=ahead_s)
    await store.add(
        connection,
        kid=kid,
        public_key=public,
        private_key=sealer.seal(key.as_pem(private=True), key_context(kid)),
        signs_from=signs_from,
    )
    await audit.append(connection, audit.Act("key.added", subject=kid))
    return signs_from


class KeyRing:
    """The deployment's keys."""

    def __init__(
        self, database: Database, sealer: Sealer, *, generate: Callable[[], RSAKey] = generate
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._generate = generate
        self._opened: dict[str, RSAKey] = {}

    async def ensure(self) -> None:
        """Make the first key, if there is none."""
        async with self._database.connection() as connection:
            found = await store.all_keys(connection)
            if succession(found, await store.now(connection)) is not None:
                return
        key = await asyncio.to_thread(self._generate)
        async with self._database.transaction() as connection:
            await add(connection, self._sealer, key, ahead_s=0)

    async def published(self, connection: Connection) -> dict[str, Any]:
        """The JWK set (RFC 7517, 5)."""
        known = await self._succession(connection)
        return {"keys": [one.public_key for one in known.published]}

    async def sign(self, connection: Connection, claims: dict[str, Any]) -> str:
        """A JWT (RFC 7519) by the key whose turn it is."""
        signer = (await self._succession(connection)).signer
        key = self._opened.get(signer.kid)
        if key is None:
            key = RSAKey.import_key(
                self._sealer.unseal(signer.private_key, key_context(signer.kid))
            )
            self._opened = {signer.kid: key}
        header = {"alg": ALGORITHM, "kid": signer.kid, "typ": "JWT"}
        return jwt.encode(header, claims, key, algorithms=[ALGORITHM])

    async def verified(self, connection: Connection, token: str) -> dict[str, Any] | None:
        """The claims of a JWT that one of the published keys signed, also of one that has expired;
        None for anything else.
        """
        try:
            keys = KeySet.import_key_set(await self.published(connection))  # type: ignore[arg-type]
            return jwt.decode(token, keys, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError):
            return None

    async def _succession(self, connection: Connection) -> Succession:
        known = succession(await store.all_keys(connection), await store.now(connection))
        assert known is not None, "ensure() was called at the start"
        return known


def key_context(kid: str) -> bytes:
    return b"nexus signing key " + kid.encode()
