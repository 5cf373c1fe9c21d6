"""Symbolic links still to be made, in compressed segments: a task may have very many of them.

They are made when all files are there, because a server makes no link to what does not exist.
"""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from towpath.transfer.store.rows import fetch, fetch_one

SEGMENT_LINKS = 2_000
"""What is held unpacked at a time."""

SEGMENTS_AT_ONCE = 200


class Link(NamedTuple):
    """A link of the source. `path` is below its item's source path, `target` as the server has
    it."""

    item_no: int
    path: str
    target: str
    replaces: str | None = None
    """The target of the only link that may be replaced; "": none may. None: any."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Packed links."""

    links: int
    data: bytes


def pack(links: Sequence[Link]) -> Segment:
    """Deflated lines of JSON; names may hold any bytes (surrogates)."""
    return Segment(len(links), zlib.compress("\n".join(map(json.dumps, links)).encode("ascii")))


def unpack(data: bytes) -> list[Link]:
    """The links of a segment, in their order."""
    return [Link(*json.loads(line)) for line in zlib.decompress(data).decode().splitlines()]


async def add(conn: AsyncConnection[Any], task_no: int, segments: Iterable[Segment]) -> None:
    """Links to be made; inside `fenced`, in the commit of the directory that has them."""
    rows = [(task_no, segment.links, segment.data) for segment in segments]
    if rows:
        async with conn.cursor() as cur:
            await cur.executemany(
                "INSERT INTO link_segment (task_no, links, data) VALUES (%s, %s, %s)", rows
            )


async def last_segment(conn: AsyncConnection[Any], task_no: int) -> int:
    """The number of the last segment; 0: there is none."""
    row = await fetch_one(
        conn, "SELECT coalesce(max(segment_no), 0) FROM link_segment WHERE task_no = %s", (task_no,)
    )
    assert row is not None
    return int(row[0])


async def take(
    conn: AsyncConnection[Any], task_no: int, *, last: int
) -> tuple[list[int], list[Link]]:
    """The next links up to segment `last`, and the numbers of their segments."""
    rows = await fetch(
        conn,
        "SELECT segment_no, data FROM ("
        " SELECT segment_no, data, sum(links) OVER (ORDER BY segment_no) - links AS before FROM"
        " (SELECT segment_no, data, links FROM link_segment"
        "  WHERE task_no = %s AND segment_no <= %s ORDER BY segment_no LIMIT %s) AS head"
        ") AS summed WHERE before < %s ORDER BY segment_no",
        (task_no, last, SEGMENTS_AT_ONCE, SEGMENT_LINKS),
    )
    return [row[0] for row in rows], [link for row in rows for link in unpack(row[1])]


async def remove(conn: AsyncConnection[Any], task_no: int, segments: Sequence[int]) -> None:
    """Segments that are done; inside `fenced`."""
    await conn.execute(
        "DELETE FROM link_segment WHERE task_no = %s AND segment_no = ANY(%s)",
        (task_no, list(segments)),
    )
