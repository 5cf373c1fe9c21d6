"""Passkeys, and challenges that wait for their one answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from psycopg.rows import class_row

from towpath.nexus.hashing import digest, digest_bytes
from towpath.platform.database import Connection

Purpose = Literal["register", "login", "second"]
_SWEPT_AT_ONCE = 100


@dataclass(frozen=True)
class Passkey:
    """A WebAuthn credential of an identity."""

    id: UUID
    identity_id: UUID
    credential_id: bytes
    public_key: bytes
    sign_count: int
    name: str
    transports: list[str]
    synced: bool
    created_at: datetime
    used_at: datetime | None


_PASSKEY = (
    "SELECT id, identity_id, credential_id, public_key, sign_count, name, transports, synced,"
    " created_at, used_at FROM passkey"
)


async def of_identities(connection: Connection, identity_ids: Sequence[UUID]) -> list[Passkey]:
    """The identities' passkeys, the oldest first."""
    async with connection.cursor(row_factory=class_row(Passkey)) as cursor:
        await cursor.execute(
            f"{_PASSKEY} WHERE identity_id = ANY (%s) ORDER BY created_at, id",
            (list(identity_ids),),
        )
        return await cursor.fetchall()


async def by_credential(connection: Connection, credential_id: bytes) -> Passkey | None:
    """The passkey that an authenticator calls so; locked until the transaction ends, so that its
    counter is compared with the newest.
    """
    async with connection.cursor(row_factory=class_row(Passkey)) as cursor:
        await cursor.execute(f"{_PASSKEY} WHERE credential_id = %s FOR UPDATE", (credential_id,))
        return await cursor.fetchone()


async def add(
    connection: Connection,
    *,
    passkey_id: UUID,
    identity_id: UUID,
    credential_id: bytes,
    public_key: bytes,
    sign_count: int,
    name: str,
    transports: Sequence[str],
    synced: bool,
) -> bool:
    """Store a new one; whether there was none with this credential id."""
    cursor = await connection.execute(
        "INSERT INTO passkey (id, identity_id, credential_id, public_key, sign_count, name,"
        " transports, synced) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (credential_id) DO NOTHING",
        (
            passkey_id,
            identity_id,
            credential_id,
            public_key,
            sign_count,
            name,
            list(transports),
            synced,
        ),
    )
    return cursor.rowcount == 1


async def used(connection: Connection, passkey_id: UUID, *, sign_count: int, synced: bool) -> None:
    """Note a login by it."""
    await connection.execute(
        "UPDATE passkey SET sign_count = %s, synced = %s, used_at = now() WHERE id = %s",
        (sign_count, synced, passkey_id),
    )


async def rename(
    connection: Connection, passkey_id: UUID, identity_ids: Sequence[UUID], name: str
) -> bool:
    """Give one of the identities' passkeys another name; whether it is theirs."""
    cursor = await connection.execute(
        "UPDATE passkey SET name = %s WHERE id = %s AND identity_id = ANY (%s)",
        (name, passkey_id, list(identity_ids)),
    )
    return cursor.rowcount == 1


async def remove(
    connection: Connection, passkey_id: UUID, identity_ids: Sequence[UUID]
) -> UUID | None:
    """Remove one of the identities' passkeys; whose it was. The last one takes the wish to be
    asked for it along.
    """
    cursor = await connection.execute(
        "DELETE FROM passkey WHERE id = %s AND identity_id = ANY (%s) RETURNING identity_id",
        (passkey_id, list(identity_ids)),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    await connection.execute(
        "DELETE FROM passkey_wanted w WHERE identity_id = %s AND NOT EXISTS"
        " (SELECT 1 FROM passkey p WHERE p.identity_id = w.identity_id)",
        (row["identity_id"],),
    )
    return UUID(str(row["identity_id"]))


async def remove_all(connection: Connection, identity_ids: Sequence[UUID]) -> list[UUID]:
    """Remove the identities' passkeys, and the wish to be asked for one; whose each was."""
    cursor = await connection.execute(
        "DELETE FROM passkey WHERE identity_id = ANY (%s) RETURNING identity_id",
        (list(identity_ids),),
    )
    removed = [row["identity_id"] for row in await cursor.fetchall()]
    await connection.execute(
        "DELETE FROM passkey_wanted WHERE identity_id = ANY (%s)", (list(identity_ids),)
    )
    return removed


async def is_wanted(connection: Connection, identity_id: UUID) -> bool:
    """Whether a password alone does not log the identity in."""
    cursor = await connection.execute(
        "SELECT 1 FROM passkey_wanted WHERE identity_id = %s", (identity_id,)
    )
    return await cursor.fetchone() is not None


async def set_wanted(connection: Connection, identity_id: UUID, *, wanted: bool) -> None:
    """Ask for a passkey after the password, or not any more. Only an identity that has one."""
    if wanted:
        await connection.execute(
            "INSERT INTO passkey_wanted (identity_id) SELECT %(id)s WHERE EXISTS"
            " (SELECT 1 FROM passkey WHERE identity_id = %(id)s) ON CONFLICT DO NOTHING",
            {"id": identity_id},
        )
    else:
        await connection.execute(
            "DELETE FROM passkey_wanted WHERE identity_id = %s", (identity_id,)
        )


async def add_challenge(
    connection: Connection,
    challenge: bytes,
    browser: str,
    purpose: Purpose,
    identity_id: UUID | None,
    *,
    lifetime_s: float,
) -> None:
    """Store a challenge. It replaces the browser's last one for the same purpose."""
    await connection.execute(
        "DELETE FROM passkey_challenge WHERE hash IN (SELECT hash FROM passkey_challenge"
        " WHERE made_at < now() - make_interval(secs => %s) LIMIT %s FOR UPDATE SKIP LOCKED)",
        (lifetime_s, _SWEPT_AT_ONCE),
    )
    await connection.execute(
        "DELETE FROM passkey_challenge WHERE browser_hash = %s AND purpose = %s",
        (digest(browser), purpose),
    )
    await connection.execute(
        "INSERT INTO passkey_challenge (hash, browser_hash, purpose, identity_id)"
        " VALUES (%s, %s, %s, %s)",
        (digest_bytes(challenge), digest(browser), purpose, identity_id),
    )


async def take_challenge(
    connection: Connection, challenge: bytes, browser: str, purpose: Purpose, *, lifetime_s: float
) -> tuple[bool, UUID | None]:
    """Whether this browser was given the challenge for this, and for which identity.

    It is gone then, whatever comes of it.
    """
    cursor = await connection.execute(
        "DELETE FROM passkey_challenge WHERE hash = %s AND browser_hash = %s AND purpose = %s"
        " AND made_at > now() - make_interval(secs => %s) RETURNING identity_id",
        (digest_bytes(challenge), digest(browser), purpose, lifetime_s),
    )
    row = await cursor.fetchone()
    return (False, None) if row is None else (True, row["identity_id"])
