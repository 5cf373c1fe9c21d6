"""The deployment's own keys for Connect, shared by all its processes through the database.

The authority signs the certificates of agents' servers, and the one with which each of our
processes logs in there. Keys of grants sign grants and passes: a new one is published before it is
used, since agents ask for the set of keys only now and then, and the one before it stays until the
last grant it has signed is over. What signs manifests stays published for ever: they are read years
later.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog

from towpath.grants import LIFETIME_S, SKEW_S, KeySet, SigningKey
from towpath.gridftp.security.authority import Authority
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustRoots
from towpath.platform.database import AWAY, Connection, Database
from towpath.platform.secrets import Sealer
from towpath.transfer.store import connect_keys as store
from towpath.transfer.store.connect_keys import seal_context

ORGANIZATION = "Towpath Connect"
SERVICE_NAME = "service"
SERVICE_SUBJECT = f"/O={ORGANIZATION}/CN={SERVICE_NAME}"
AUTHORITY_ID = "authority"
AUTHORITY_LIFETIME = timedelta(days=3650)
HOST_LIFETIME = timedelta(days=90)
"""Of an agent's certificate: it asks for another one when 30 days are left."""
SERVICE_LIFETIME = timedelta(days=7)
SERVICE_RENEW_BEFORE = timedelta(days=3)
"""A session renews its grant with the certificate that it logged in with, as long as it lasts."""
ROTATE_AFTER_S = 90 * 86_400.0
PUBLISHED_AHEAD_S = 2 * 3600.0
"""How long a key is published before it signs: agents ask for the keys every hour."""
STAYS_S = float(LIFETIME_S + 2 * SKEW_S)
"""How long the key before it stays after that: until no grant that it signed is taken any more."""
READ_AGAIN_S = 30.0
"""How old a process' own copy of the keys may be; far less than PUBLISHED_AHEAD_S."""

_log = structlog.stdlib.get_logger("towpath.connect")


Signs = Literal["grants", "manifests"]


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that sign grants, or manifests, as they are now."""

    signer: SigningKey
    published: KeySet


class ConnectKeys:
    """Makes what is missing, and knows what is there. `issuer`: the URL of the deployment."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        issuer: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self.now = now
        self._database = database
        self._sealer = sealer
        self._monotonic = monotonic
        self._authority: Authority | None = None
        self._trust: TrustRoots | None = None
        self._service: Credential | None = None
        self._keys: dict[Signs, tuple[Keys, float]] = {}
        """With the moment at which they were read."""
        self._lock = asyncio.Lock()

    async def authority(self) -> Authority:
        """The Connect authority, made at its first need."""
        async with self._lock:
            if self._authority is None:
                self._authority = await self._load_authority()
            return self._authority

    async def trust(self) -> TrustRoots:
        """What agents' host certificates are checked against."""
        if self._trust is None:
            self._trust = TrustRoots.from_files((await self.authority()).trust_files)
        return self._trust

    async def service_credential(self) -> Credential:
        """With which this process logs in to agents: in memory only."""
        now = self.now()
        if self._service is None or self._service.not_after - now < SERVICE_RENEW_BEFORE:
            authority = await self.authority()
            self._service = authority.issue(SERVICE_NAME, now, SERVICE_LIFETIME)
        return self._service

    async def keys(self) -> Keys:
        """The keys of grants, made at their first need."""
        return await self._current("grants")

    async def manifest_keys(self) -> Keys:
        """The keys of manifests, made at their first need."""
        return await self._current("manifests")

    async def _current(self, purpose: Signs) -> Keys:
        async with self._lock:
            known = self._keys.get(purpose)
            now = self._monotonic()
            if known is not None and now - known[1] <= READ_AGAIN_S:
                return known[0]
            try:
                keys = await self._load_keys(purpose)
            except AWAY:
                if known is None:
                    raise
                return known[0]  # sessions are renewed while the database is away
            self._keys[purpose] = keys, now
            return keys

    def forget(self) -> None:
        """Read the keys again when they are needed next."""
        self._keys.clear()

    async def _load_authority(self) -> Authority:
        async with self._database.transaction() as conn:
            found = await store.get(conn, "authority")
            if not found:
                await store.lock(conn)
                found = await store.get(conn, "authority")
            if not found:
                made = Authority.create(ORGANIZATION, self.now(), AUTHORITY_LIFETIME)
                sealed = self._sealer.seal(made.to_pem(), seal_context("authority", AUTHORITY_ID))
                await store.add(conn, "authority", AUTHORITY_ID, sealed)
                _log.info("connect.authority_made")
                return made
        pem = self._sealer.unseal(found[0].sealed, seal_context("authority", AUTHORITY_ID))
        return Authority.load(pem)

    async def _load_keys(self, purpose: Signs) -> Keys:
        async with self._database.transaction() as conn:
            found = await store.get(conn, purpose)
            if not any(key.begun for key in found):
                await store.lock(conn)
                if not any(key.begun for key in await store.get(conn, purpose)):
                    await _add(conn, self._sealer, purpose, begins_in_s=0)
                found = await store.get(conn, purpose)
        opened = [(key, self._open(purpose, key)) for key in found]
        signer = next(key for stored, key in opened if stored.begun)
        return Keys(signer, KeySet.of([key for _, key in opened]))

    def _open(self, purpose: Signs, stored: store.StoredKey) -> SigningKey:
        secret = self._sealer.unseal(stored.sealed, seal_context(purpose, stored.id))
        return SigningKey.from_bytes(secret)

    async def rotate_if_due(self) -> bool:
        """Publish a new key if the last one is old; whether it was."""
        async with self._database.transaction() as conn:
            age_s = await store.newest_age_s(conn)
            if age_s is None or age_s < ROTATE_AFTER_S:
                return False
            await store.lock(conn)
            age_s = await store.newest_age_s(conn)
            if age_s is None or age_s < ROTATE_AFTER_S:
                return False
            begins_at = await rotate(conn, self._sealer)
        _log.info("connect.keys_rotated", begins_at=begins_at.isoformat())
        self.forget()
        return True


async def rotate(conn: Connection, sealer: Sealer, *, at_once: bool = False) -> datetime:
    """Publish a new key of grants; when it begins to sign. In a transaction.

    `at_once`: it signs now, and those before it end, as when one may have been stolen. Agents ask
    for it when they first meet it.
    """
    await store.lock(conn)
    begins_in_s = 0 if at_once else PUBLISHED_AHEAD_S
    key_id, begins_at = await _add(conn, sealer, "grants", begins_in_s=begins_in_s)
    await store.end_others(conn, key_id, after_s=0 if at_once else STAYS_S)
    await store.forget_ended(conn)
    return begins_at


async def rotate_manifests(conn: Connection, sealer: Sealer, *, withdraw: bool) -> str:
    """Sign manifests with a new key from now on; its name. In a transaction.

    Those before it stay published, for what they have signed. `withdraw`: they do not, because
    one may have been stolen, and nothing that they signed is to be believed any more.
    """
    await store.lock(conn)
    key_id, _ = await _add(conn, sealer, "manifests", begins_in_s=0)
    if withdraw:
        await store.end_others(conn, key_id, after_s=0)
        await store.forget_ended(conn)
    return key_id


async def _add(
    conn: Connection, sealer: Sealer, purpose: Signs, *, begins_in_s: float
) -> tuple[str, datetime]:
    key = SigningKey.new()
    sealed = sealer.seal(key.to_bytes(), seal_context(purpose, key.key_id))
    begins = await store.add(conn, purpose, key.key_id, sealed, begins_in_s=begins_in_s)
    return key.key_id, begins
