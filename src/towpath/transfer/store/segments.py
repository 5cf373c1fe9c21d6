"""History: what became of files, in compressed segments (<= 60 bytes a finished file).

Finished files and skipped ones are in segments of their own, one row each. The recorder adds a
small segment with every commit; small ones are merged as they pile up, so that a task of a million
files leaves about a hundred rows.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from psycopg import AsyncConnection

from towpath.transfer.store.rows import fetch, fetch_one

# Large enough to compress paths well, small enough to unpack for one page of the API.
SEGMENT_FILES = 10_000
SEALED_FILES: Final = SEGMENT_FILES // 2
"""A segment with so many is never merged again: two that have less always fit into one."""
# The recorder merges more often than this; after a crash there may be some left over.
MERGED_AT_ONCE = 200


class Finished(NamedTuple):
    """A file that was transferred. `path` is below its item's source path ('' the item itself)."""

    item_no: int
    path: str
    size: int
    algorithm: str | None
    digest: str | None
    attempts: int = 1
    """How often it was sent, or begun to be sent."""
    unix_s: int | None = None
    """When that was known, by the database's clock; None: it was not kept then."""
    ranges: Sequence[Any] | None = None
    """Of a large file that was compared range by range: bytes of a range (the last one has less),
    algorithm, and the SHA-256 of the ranges' digests (`ranges_digest`)."""


class Skipped(NamedTuple):
    """A file or directory that was left out. `path` as above; `code` as events have it."""

    item_no: int
    path: str
    is_directory: bool
    code: str
    details: str
    unix_s: float


Record = TypeVar("Record", Finished, Skipped)

_KINDS: dict[type, int] = {Finished: 0, Skipped: 1}


def pack(records: Iterable[Record]) -> bytes:
    """Encode records as deflated lines of JSON; file names may hold any bytes (surrogates)."""
    return zlib.compress("\n".join(json.dumps(_row(one)) for one in records).encode("ascii"))


def _row(record: Finished | Skipped) -> Sequence[Any]:
    """Without what most do not have."""
    return record[:-1] if isinstance(record, Finished) and record.ranges is None else record


def ranges_digest(digests: Iterable[str]) -> str:
    """One digest for those of all ranges of a file, in their order: each in lower case hex with a
    line feed after it, all of that by SHA-256."""
    return hashlib.sha256(
        "".join(f"{one.lower()}\n" for one in digests).encode("ascii")
    ).hexdigest()


def unpack(data: bytes, record: type[Record]) -> list[Record]:
    """The records of one segment, in the order they came."""
    return [record(*json.loads(line)) for line in zlib.decompress(data).decode().splitlines()]


async def append(conn: AsyncConnection[Any], task_no: int, records: Sequence[Record]) -> None:
    """Add one segment; inside `fenced`."""
    size = sum(getattr(one, "size", 0) for one in records)  # of what was skipped: none
    await conn.execute(
        "INSERT INTO history_segment (task_no, kind, files, bytes, data)"
        " VALUES (%s, %s, %s, %s, %s)",
        (task_no, _KINDS[type(records[0])], len(records), size, pack(records)),
    )


async def merge(conn: AsyncConnection[Any], task_no: int) -> None:
    """Make one segment of up to SEGMENT_FILES records out of the small ones of each kind; inside
    `fenced`."""
    await _merge(conn, task_no, Finished)
    await _merge(conn, task_no, Skipped)


async def _merge(conn: AsyncConnection[Any], task_no: int, record: type[Record]) -> None:
    small = await fetch(
        conn,
        "SELECT segment_no, files, data FROM history_segment"
        " WHERE task_no = %s AND kind = %s AND files < %s ORDER BY segment_no LIMIT %s",
        (task_no, _KINDS[record], SEALED_FILES, MERGED_AT_ONCE),
    )
    numbers: list[int] = []
    files: list[Record] = []
    for segment_no, count, data in small:
        if len(files) + count > SEGMENT_FILES and numbers:
            break
        numbers.append(segment_no)
        files.extend(unpack(data, record))
    if len(numbers) > 1:
        await conn.execute(
            "DELETE FROM history_segment WHERE task_no = %s AND segment_no = ANY(%s)",
            (task_no, numbers),
        )
        await append(conn, task_no, files)


async def read_segment(
    conn: AsyncConnection[Any], task_no: int, record: type[Record], after: int
) -> tuple[int, list[Record]] | None:
    """The first segment of a kind numbered above `after`, with its number; None at the end."""
    row = await fetch_one(
        conn,
        "SELECT segment_no, data FROM history_segment"
        " WHERE task_no = %s AND kind = %s AND segment_no > %s ORDER BY segment_no LIMIT 1",
        (task_no, _KINDS[record], after),
    )
    return None if row is None else (row[0], unpack(row[1], record))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All segments of finished files at one moment, also of a task that goes on.

    Sealed ones do not change any more and are named; small ones, which may be merged at any time,
    are here.
    """

    sealed: Sequence[int]
    small: Sequence[bytes]
    files: int
    size_bytes: int


async def snapshot(conn: AsyncConnection[Any], task_no: int) -> Snapshot:
    """In a transaction that sees one moment (REPEATABLE READ), with whatever else is read there."""
    rows = await fetch(
        conn,
        "SELECT segment_no, files, bytes, CASE WHEN files < %s THEN data END FROM history_segment"
        " WHERE task_no = %s AND kind = %s ORDER BY segment_no",
        (SEALED_FILES, task_no, _KINDS[Finished]),
    )
    return Snapshot(
        [number for number, _, _, data in rows if data is None],
        [data for *_, data in rows if data is not None],
        sum(files for _, files, _, _ in rows),
        sum(size for _, _, size, _ in rows),
    )


async def sealed(conn: AsyncConnection[Any], task_no: int, segment_no: int) -> bytes | None:
    """The data of one of a snapshot's; None: it has been removed since."""
    row = await fetch_one(
        conn,
        "SELECT data FROM history_segment WHERE task_no = %s AND segment_no = %s",
        (task_no, segment_no),
    )
    return None if row is None else row[0]
