"""Buckets that fill with each attempt and leak with time (a leaky bucket as a meter)."""

from dataclasses import dataclass

from towpath.nexus.hashing import digest
from towpath.platform.database import Connection

_SWEPT_AT_ONCE = 10
_FORGOTTEN_AFTER_S = 6 * 3600
"""No bucket takes longer to run empty: an account's takes two and a half hours."""


@dataclass(frozen=True)
class Bucket:
    """Whose attempts are counted, and how many there may be."""

    key: str
    """The kind and the name of what is counted; only its hash is stored."""
    size: int
    """So many attempts at once ..."""
    every_s: float
    """... and one more each so many seconds."""


async def take(connection: Connection, bucket: Bucket) -> float:
    """Count an attempt; 0 if there may be one, else seconds until there may be, uncounted.

    One statement, so that attempts at the same time cannot all pass. Another one forgets some
    buckets that are empty: a crowd of names adds no more than it takes away.
    """
    cursor = await connection.execute(
        "INSERT INTO throttle AS t (key, level, at) VALUES (%(key)s, 1, clock_timestamp())"
        " ON CONFLICT (key) DO UPDATE SET at = clock_timestamp(), level = 1 + greatest(0,"
        "   t.level - extract(epoch FROM clock_timestamp() - t.at) / %(every)s)"
        " WHERE t.level - extract(epoch FROM clock_timestamp() - t.at) / %(every)s"
        "   <= %(size)s - 1 RETURNING level",
        {"key": digest(bucket.key), "every": bucket.every_s, "size": bucket.size},
    )
    if await cursor.fetchone() is not None:
        await connection.execute(
            "DELETE FROM throttle WHERE key IN (SELECT key FROM throttle"
            " WHERE at < now() - make_interval(secs => %s) LIMIT %s FOR UPDATE SKIP LOCKED)",
            (_FORGOTTEN_AFTER_S, _SWEPT_AT_ONCE),
        )
        return 0.0
    cursor = await connection.execute(
        "SELECT extract(epoch FROM at - clock_timestamp())::float8 + (level - %s) * %s AS wait"
        " FROM throttle WHERE key = %s",
        (bucket.size - 1, bucket.every_s, digest(bucket.key)),
    )
    row = await cursor.fetchone()
    return 0.0 if row is None else max(float(row["wait"]), 0.001)


async def give_back(connection: Connection, bucket: Bucket) -> None:
    """The attempt was no failure: it does not count."""
    await connection.execute(
        "UPDATE throttle SET level = greatest(0, level - 1) WHERE key = %s", (digest(bucket.key),)
    )


async def browser_is_known(connection: Connection, browser: str, username: str) -> bool:
    """Whether somebody of this name has logged in in this browser."""
    cursor = await connection.execute(
        "SELECT 1 FROM known_browser k JOIN identity i ON i.id = k.identity_id"
        " WHERE k.browser_hash = %s AND lower(i.username) = lower(%s)",
        (digest(browser), username),
    )
    return await cursor.fetchone() is not None


async def know_browser(
    connection: Connection, browser: str, identity_id: object, *, keep: int
) -> None:
    """Note that the identity has logged in in this browser; the latest ``keep`` are known."""
    await connection.execute(
        "INSERT INTO known_browser (browser_hash, identity_id) VALUES (%s, %s)"
        " ON CONFLICT (browser_hash, identity_id) DO UPDATE SET used_at = now()",
        (digest(browser), identity_id),
    )
    await connection.execute(
        "DELETE FROM known_browser WHERE identity_id = %(id)s AND browser_hash IN"
        " (SELECT browser_hash FROM known_browser WHERE identity_id = %(id)s"
        "  ORDER BY used_at DESC OFFSET %(keep)s)",
        {"id": identity_id, "keep": keep},
    )
