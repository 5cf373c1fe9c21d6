"""Claims of unfinished tasks: made once, all of a task's together, and dropped at its end (I9).

Who claims gets a number that is higher than that of everyone who claimed on this storage before.
A task may write when no overlapping claim has a lower number. So tasks that wait for each other's
places do it in order, and never in a circle.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from towpath.transfer import names
from towpath.transfer.claims import Claim, Wait, above
from towpath.transfer.store.endpoints import BASE_PATH
from towpath.transfer.store.rows import fetch, fetch_one

ROWS_AT_ONCE = 2000
"""Rows copied before others get their turn: a few milliseconds."""

_LOCKS = 0x746F  # this table's half of the key of an advisory lock; the other is the storage's hash

WAIT_COLUMNS = """
    h.task_no IS NOT NULL AS waits, t.waits_at,
    CASE WHEN h.owner_id = t.owner_id THEN h.id END AS holder_id,
    CASE WHEN h.owner_id = t.owner_id THEN h.label END AS holder_label,
    CASE WHEN h.owner_id <> t.owner_id THEN NULL
         WHEN h.paused_at IS NOT NULL OR h.held_at IS NOT NULL THEN 'paused'
         WHEN h.suspended_from IS NOT NULL THEN 'suspended'
         WHEN h.status = 'INACTIVE' THEN 'inactive'
         WHEN h.waits_for IS NOT NULL THEN 'waiting'
         ELSE 'active' END AS holder_state
"""
"""Whom a task `t` waits for, with WAIT_JOIN; of others' tasks only that they are there (I7)."""

WAIT_JOIN = " LEFT JOIN task h ON h.task_no = t.waits_for AND h.status IN ('ACTIVE', 'INACTIVE') "


async def make(
    conn: AsyncConnection[Any], task_no: int, storage: str, claims: Sequence[Claim]
) -> None:
    """Claim `claims` (reduced), unless the task has claimed on this storage; inside `fenced`.

    A task whose endpoint was given another server gives up what it had and queues there.
    """
    had = await fetch_one(conn, "SELECT storage FROM claim WHERE task_no = %s LIMIT 1", (task_no,))
    if had is not None:
        if had[0] == storage:
            return
        await drop(conn, task_no)
    # Held until the commit: who has a higher number sees the claims of all lower ones.
    await conn.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_LOCKS, storage))
    row = await fetch_one(conn, "SELECT nextval('claim_seq')")
    assert row is not None
    async with (
        conn.cursor() as cursor,
        cursor.copy("COPY claim (task_no, seq, storage, path, is_tree) FROM STDIN") as copy,
    ):
        for number, one in enumerate(claims, 1):
            await copy.write_row((task_no, row[0], storage, one.path, one.is_tree))
            if number % ROWS_AT_ONCE == 0:
                await asyncio.sleep(0)


async def made(conn: AsyncConnection[Any], task_no: int) -> bool:
    """Whether the task has claimed."""
    row = await fetch_one(conn, "SELECT FROM claim WHERE task_no = %s LIMIT 1", (task_no,))
    return row is not None


async def granted(conn: AsyncConnection[Any], task_no: int) -> str | None:
    """Where the task may write; None: nowhere yet, or it waits for another task there."""
    row = await fetch_one(
        conn,
        "SELECT storage FROM claim JOIN task USING (task_no)"
        " WHERE task_no = %s AND waits_for IS NULL LIMIT 1",
        (task_no,),
    )
    return None if row is None else str(row[0])


async def drop(conn: AsyncConnection[Any], task_no: int) -> None:
    """The task's claims are over; inside `fenced`."""
    await conn.execute("DELETE FROM claim WHERE task_no = %s", (task_no,))


# Others' claims that overlap with the task's and came first: trees above one of its paths, the
# same path, and what is below one of its trees.
_AHEAD = """
WITH me AS MATERIALIZED (SELECT seq, storage FROM claim WHERE task_no = %(task_no)s LIMIT 1)
SELECT DISTINCT ON (seq) seq, task_no, own, other FROM (
    SELECT c.seq, c.task_no, NULL::bytea AS own, c.path AS other
    FROM me, unnest(%(above)b::bytea[]) AS a (path), LATERAL (
        SELECT * FROM claim c
        WHERE c.storage = me.storage AND c.path = a.path AND c.seq < me.seq AND c.is_tree
        OFFSET 0
    ) c
    UNION ALL
    SELECT c.seq, c.task_no, m.path, c.path
    FROM claim m, LATERAL (
        SELECT * FROM claim c
        WHERE c.storage = m.storage AND c.path >= m.path AND c.seq < m.seq
          AND c.path < CASE WHEN m.is_tree
              THEN substring(m.path FOR length(m.path) - 1) || '\\x30'::bytea
              ELSE m.path || '\\x00'::bytea END
        OFFSET 0
    ) c
    WHERE m.task_no = %(task_no)s
) AS overlapping
ORDER BY seq DESC
"""


async def wait_or_go(
    conn: AsyncConnection[Any], task_no: int, claims: Sequence[Claim]
) -> Wait | None:
    """Whom the task has to wait for, noted in its row; None: it may write. Inside `fenced`.

    Of several it is the last in the queue: when that one has ended, most often all have.
    """
    parameters = {"task_no": task_no, "above": await asyncio.to_thread(_above, claims)}
    while ahead := await fetch(conn, _AHEAD, parameters):
        _, holder, own, other = ahead[0]
        await _note(conn, task_no, holder, own, other)
        if (wait := await waits(conn, task_no)) is not None:
            return wait  # else that one has ended since we looked
    await conn.execute(
        "UPDATE task SET waits_for = NULL, waits_at = NULL"
        " WHERE task_no = %s AND waits_for IS NOT NULL",
        (task_no,),
    )
    return None


async def _note(
    conn: AsyncConnection[Any], task_no: int, holder: int, own: bytes | None, other: bytes
) -> None:
    if own is None:
        row = await fetch_one(
            conn,
            "SELECT path FROM claim WHERE task_no = %s AND path >= %s ORDER BY path LIMIT 1",
            (task_no, other),
        )
        assert row is not None, "what is above one of its paths"
        own = row[0]
    row = await fetch_one(
        conn,
        f"SELECT {BASE_PATH} FROM task t JOIN endpoint e"  # noqa: S608 - a constant
        " ON e.id = coalesce(t.destination_endpoint_id, t.source_endpoint_id)"
        " WHERE t.task_no = %s",
        (task_no,),
    )
    assert row is not None
    base = names.to_wire(row[0].rstrip("/")).encode("utf-8", "surrogateescape")
    within = bytes(own).removeprefix(base)
    path = "/" + within.strip(b"/").decode("utf-8", "surrogateescape")
    await conn.execute(
        "UPDATE task SET waits_for = %s, waits_at = %s WHERE task_no = %s",
        (holder, names.to_text(path), task_no),
    )


def _above(claims: Sequence[Claim]) -> list[bytes]:
    return list(above(claims))


async def waits(conn: AsyncConnection[Any], task_no: int) -> Wait | None:
    """Whom the task waits for."""
    row = await fetch_one(
        conn,
        f"SELECT {WAIT_COLUMNS} FROM task t {WAIT_JOIN} WHERE t.task_no = %s",  # noqa: S608
        (task_no,),
    )
    return Wait(row[1], *row[2:]) if row is not None and row[0] else None
