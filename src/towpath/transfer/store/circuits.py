"""Open circuits: servers that did not answer, one row each, shared by all workers.

A row is there from the first doubt until a probe finds the server, or nobody needs it any more.
Tasks of such a server are not admitted (`store.leases`). All times are the database's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from towpath.platform.database import Connection, Database
from towpath.transfer.store.rows import TASK_CHANNEL, fetch_one

CLAIM_S = 10.0
"""A probe is one worker's for so long, and held while it runs. If the worker is lost, another one
asks after it. A probe that is due later than this after the longest wait was dated by a clock that
has been set back, and is due."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """An open circuit whose probe is due."""

    host: str
    port: int
    failed_probes: int
    outage_s: float


UNREACHABLE = """
    SELECT e.id FROM circuit c JOIN endpoint e USING (host, port) WHERE e.deleted_at IS NULL
"""
"""Endpoints whose tasks wait: a subquery. Those of a deleted one fail, which needs no server."""

OUTAGE_COLUMN = "to_jsonb(o) AS outage_row"
"""For which server a task `t` waits, with OUTAGE_JOIN: `Outage.from_row`, or null."""

OUTAGE_JOIN = """
    LEFT JOIN LATERAL (
        SELECT c.*, e.id = t.source_endpoint_id AS at_source,
               CASE WHEN e.share_path IS NULL THEN coalesce(h.display_name, e.display_name)
                    ELSE e.display_name END AS name,
               e.share_path IS NOT NULL AS guest
        FROM circuit c JOIN endpoint e USING (host, port)
             LEFT JOIN endpoint h ON h.id = e.host_endpoint_id
        WHERE e.id IN (t.source_endpoint_id, t.destination_endpoint_id) AND c.failed_probes > 0
          AND e.deleted_at IS NULL
          AND t.status = 'ACTIVE' AND (t.lease_until IS NULL OR t.lease_until <= now())
        ORDER BY at_source DESC LIMIT 1
    ) o ON true
"""


async def doubt(db: Database, host: str, port: int) -> None:
    """A login failed as if the server were not there: it is probed at once."""
    async with db.connection() as conn:
        await conn.execute(
            "WITH doubted AS (INSERT INTO circuit (host, port) VALUES (%s, %s)"
            " ON CONFLICT DO NOTHING RETURNING host)"
            " SELECT pg_notify(%s, '') FROM doubted",
            (host, port, TASK_CHANNEL),
        )


# Who has no unfinished task any more needs no probe either.
_CLAIM = """
WITH due AS (
    SELECT host, port FROM circuit
    WHERE next_probe <= now() OR next_probe > now() + make_interval(secs => %(bound_s)s)
    ORDER BY next_probe LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), needed AS (
    SELECT host, port FROM due d WHERE EXISTS (
        SELECT FROM endpoint e JOIN task t
               ON e.id IN (t.source_endpoint_id, t.destination_endpoint_id)
        WHERE e.host = d.host AND e.port = d.port AND t.status = 'ACTIVE')
), dropped AS (
    DELETE FROM circuit c USING due d
    WHERE c.host = d.host AND c.port = d.port
      AND NOT EXISTS (SELECT FROM needed n WHERE n.host = d.host AND n.port = d.port)
)
UPDATE circuit c SET next_probe = now() + make_interval(secs => %(claim_s)s)
FROM needed n WHERE c.host = n.host AND c.port = n.port
RETURNING c.host, c.port, c.failed_probes,
          extract(epoch FROM now() - c.since)::double precision AS outage_s
"""


async def claim_due(db: Database, *, limit: int, longest_s: float) -> Sequence[Circuit]:
    """Up to `limit` circuits whose probe is due, for this worker to probe.

    `longest_s`: between two probes.
    """
    async with db.transaction() as conn, conn.cursor(row_factory=class_row(Circuit)) as cur:
        await cur.execute(
            _CLAIM, {"limit": limit, "claim_s": CLAIM_S, "bound_s": longest_s + CLAIM_S}
        )
        return await cur.fetchall()


async def next_due_s(db: Database) -> float | None:
    """Seconds until the next probe is due; None: there is no open circuit."""
    async with db.connection() as conn:
        row = await fetch_one(
            conn,
            "SELECT extract(epoch FROM min(next_probe) - now())::double precision FROM circuit",
        )
    assert row is not None
    return None if row[0] is None else float(row[0])


async def hold(db: Database, circuit: Circuit) -> None:
    """The probe still runs: nobody else begins one."""
    async with db.connection() as conn:
        await conn.execute(
            "UPDATE circuit SET next_probe = now() + make_interval(secs => %s)"
            " WHERE host = %s AND port = %s",
            (CLAIM_S, circuit.host, circuit.port),
        )


async def stays_open(
    db: Database, circuit: Circuit, *, probe_after_s: float, code: str, error: str
) -> None:
    """A probe failed: the server is asked again after `probe_after_s`."""
    async with db.connection() as conn:
        await conn.execute(
            "UPDATE circuit SET failed_probes = failed_probes + 1, code = %s, error = %s,"
            " next_probe = now() + make_interval(secs => %s) WHERE host = %s AND port = %s",
            (code, error, probe_after_s, circuit.host, circuit.port),
        )


# Rows of tasks that are being written to are those of tasks that run.
_CLOSE = """
WITH closed AS (
    DELETE FROM circuit WHERE host = %(host)s AND port = %(port)s RETURNING failed_probes
), waiting AS (
    SELECT t.task_no FROM task t
    WHERE t.status = 'ACTIVE' AND t.not_before > now()
      AND (t.lease_until IS NULL OR t.lease_until <= now())
      AND EXISTS (SELECT FROM endpoint e WHERE e.host = %(host)s AND e.port = %(port)s
                  AND e.id IN (t.source_endpoint_id, t.destination_endpoint_id))
      AND (%(surely)s OR EXISTS (SELECT FROM closed WHERE failed_probes > 0))
    FOR NO KEY UPDATE OF t SKIP LOCKED
), woken AS (
    UPDATE task t SET not_before = now() FROM waiting w WHERE t.task_no = w.task_no
)
SELECT pg_notify(%(channel)s, '')
WHERE EXISTS (SELECT FROM closed) OR EXISTS (SELECT FROM waiting)
"""


async def close(db: Database, circuit: Circuit) -> None:
    """The server answers: all its tasks may go on, those that back off too if it was away.

    A task whose login failed though the server answered the first probe goes on backing off.
    """
    async with db.transaction() as conn:
        await _close(conn, circuit.host, circuit.port, surely=False)


async def close_now(conn: Connection, host: str, port: int) -> None:
    """The server has said itself that it is there: all tasks that wait for it may go on, also those
    that back off while no circuit is open."""
    await _close(conn, host, port, surely=True)


async def _close(conn: Connection, host: str, port: int, *, surely: bool) -> None:
    values = {"host": host, "port": port, "channel": TASK_CHANNEL, "surely": surely}
    await conn.execute(_CLOSE, values)
