"""History: finished files in compressed segments, one row each (<= 60 bytes a finished file).

The recorder adds a small segment with every commit; small ones are merged as they pile up, so
that a task of a million files leaves about a hundred rows.
"""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from towpath.transfer.store.rows import fetch, fetch_one

# Large enough to compress paths well, small enough to unpack for one page of the API.
SEGMENT_FILES = 10_000
# The recorder merges more often than this; after a crash there may be some left over.
MERGED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Finished:
    """A file that was transferred. `path` is below its item's source path ('' the item itself)."""

    item_no: int
    path: str
    size: int
    algorithm: str | None
    digest: str | None


def pack(files: Iterable[Finished]) -> bytes:
    """Encode files as deflated lines of JSON; file names may hold any bytes (surrogates)."""
    lines = (json.dumps([f.item_no, f.path, f.size, f.algorithm, f.digest]) for f in files)
    return zlib.compress("\n".join(lines).encode("ascii"))


def unpack(data: bytes) -> list[Finished]:
    """The files of one segment, in the order they finished."""
    return [Finished(*json.loads(line)) for line in zlib.decompress(data).decode().splitlines()]


async def append(conn: AsyncConnection[Any], task_no: int, files: Sequence[Finished]) -> None:
    """Add one segment; inside `fenced`."""
    await conn.execute(
        "INSERT INTO history_segment (task_no, files, bytes, data) VALUES (%s, %s, %s, %s)",
        (task_no, len(files), sum(f.size for f in files), pack(files)),
    )


async def merge(conn: AsyncConnection[Any], task_no: int) -> None:
    """Make one segment of up to SEGMENT_FILES files out of the small ones; inside `fenced`."""
    small = await fetch(
        conn,
        "SELECT segment_no, files, data FROM history_segment"
        " WHERE task_no = %s AND files < %s ORDER BY segment_no LIMIT %s",
        (task_no, SEGMENT_FILES, MERGED_AT_ONCE),
    )
    numbers: list[int] = []
    files: list[Finished] = []
    for segment_no, count, data in small:
        if len(files) + count > SEGMENT_FILES and numbers:
            break
        numbers.append(segment_no)
        files.extend(unpack(data))
    if len(numbers) > 1:
        await conn.execute(
            "DELETE FROM history_segment WHERE task_no = %s AND segment_no = ANY(%s)",
            (task_no, numbers),
        )
        await append(conn, task_no, files)


async def read_segment(
    conn: AsyncConnection[Any], task_no: int, after: int
) -> tuple[int, list[Finished]] | None:
    """The first segment numbered above `after`, with its number; None at the end."""
    row = await fetch_one(
        conn,
        "SELECT segment_no, data FROM history_segment WHERE task_no = %s AND segment_no > %s"
        " ORDER BY segment_no LIMIT 1",
        (task_no, after),
    )
    return None if row is None else (row[0], unpack(row[1]))
