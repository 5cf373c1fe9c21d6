"""The plan: what a task still has to do. Items, the frontier of the walk, files.

Every function that writes takes the connection of a `fenced` transaction. Paths are bytes in the
database and `str` with surrogate escapes outside, so that names in any encoding survive.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from towpath.transfer.store import restart_points
from towpath.transfer.store.rows import ROWS_AT_ONCE, fetch, fetch_one

# From here on a file goes in ranges, each a restart point; also the bound of the partial index.
LARGE_FILE_BYTES = 64 * 1024 * 1024

# A directory that goes into the plan in parts has numbers of its own; no other has so many files.
BLOCK_OF_NUMBERS = 1 << 32


class State(IntEnum):
    """Of a file in the plan. Each comment says who moves it on."""

    PENDING = 1  # a lane takes it
    IN_FLIGHT = 2  # the recorder, with the outcome; or a takeover
    CONTESTED = 3  # settlement: a lost lease's or session's command may still write it (I3)
    COMPARE = 4  # the comparison of sync level 3


@dataclass(frozen=True, slots=True)
class Item:
    """What the user asked for. `recursive` None: find out at the source."""

    item_no: int
    source_path: str
    destination_path: str | None
    recursive: bool | None
    checksum_algorithm: str | None = None
    """None: the servers' fastest."""
    external_checksum: str | None = None
    """The digest that the file must have, lower case."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory (or an item not looked at yet) on the frontier; `path` '' is the item itself."""

    dir_no: int
    item_no: int
    path: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class File:
    """A file in the plan. `size` in bytes and `modified` (UTC seconds) are as listed."""

    file_no: int
    item_no: int
    path: str
    size: int
    modified: int | None
    attempt: int = 0
    compare: bool = False
    """Whether it is compared first, and perhaps not copied."""
    sent_before: bool = False
    """Whether something of it may be at the destination, from us."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a task stands when its lease begins."""

    open_files: int
    contested_files: int
    last_file_no: int
    last_dir_no: int
    longest_wait_s: float = 0.0
    """Until the last of its files and directories is due."""
    still_files: int = 0
    """That were in flight under a lost lease of which nothing writes any more."""


@dataclass(frozen=True, slots=True)
class Returned:
    """A file that goes back into the plan, `delay_s` from now; `failed`: it was itself at fault."""

    file_no: int
    state: State
    failed: bool = False
    delay_s: float | None = None
    sent: bool = True
    """Whether something of it may be at the destination, from us."""


def encode(path: str) -> bytes:
    """Path as the server sent it."""
    return path.encode("utf-8", "surrogateescape")


def decode(path: bytes) -> str:
    """Path as the rest of the program handles it."""
    return bytes(path).decode("utf-8", "surrogateescape")


async def items(conn: AsyncConnection[Any], task_no: int) -> list[Item]:
    """All items of a task, by number."""
    async with conn.cursor(row_factory=class_row(Item)) as cur:
        await cur.execute(
            "SELECT item_no, source_path, destination_path, recursive, checksum_algorithm,"
            " external_checksum FROM item WHERE task_no = %s ORDER BY item_no",
            (task_no,),
        )
        return await cur.fetchall()


async def resume(conn: AsyncConnection[Any], task_no: int, epoch: int) -> Progress:
    """Take the plan over: in-flight files of earlier epochs become contested (I3), but those of an
    epoch that is known to be still; they are pending.

    Rows of a directory that was not listed to its end go; it is listed again.
    """
    await forget_unlisted(conn, task_no)
    moved_on = await fetch(
        conn,
        "UPDATE file f SET state = CASE WHEN f.epoch = t.still_epoch THEN %s ELSE %s END"
        " FROM task t WHERE t.task_no = %s AND f.task_no = t.task_no"
        " AND f.state = %s AND f.epoch <> %s RETURNING f.state",
        (State.PENDING, State.CONTESTED, task_no, State.IN_FLIGHT, epoch),
    )
    row = await fetch_one(
        conn,
        """
            SELECT f.files,
                   (SELECT count(*) FROM file WHERE task_no = %(t)s AND state = %(contested)s),
                   f.last_no, d.last_no,
                   coalesce(extract(epoch FROM greatest(f.due, d.due) - now()), 0)::float8
            FROM (SELECT count(*) AS files, coalesce(max(file_no), 0) AS last_no,
                         max(not_before) AS due FROM file WHERE task_no = %(t)s) f,
                 (SELECT coalesce(max(dir_no), 0) AS last_no,
                         max(not_before) AS due FROM frontier WHERE task_no = %(t)s) d
            """,
        {"t": task_no, "contested": State.CONTESTED},
    )
    assert row is not None
    still = sum(state == State.PENDING for (state,) in moved_on)
    return replace(Progress(*row), still_files=still)


_UNLISTED = (
    ("file", "file_no >= (SELECT hidden_from FROM task WHERE task_no = %(task_no)s)"),
    ("frontier", "listing"),
)


async def forget_some(conn: AsyncConnection[Any], task_no: int) -> bool:
    """The first rows of what `forget_unlisted` drops; whether there may be more than it should."""
    for table, where in _UNLISTED:
        if await _delete_some(conn, table, task_no, where):
            return True
    return False


async def _delete_some(conn: AsyncConnection[Any], table: str, task_no: int, where: str) -> bool:
    """Delete at most ROWS_AT_ONCE of a task's rows; whether there may be more."""
    cursor = await conn.execute(
        f"DELETE FROM {table} WHERE ctid = ANY(ARRAY("  # noqa: S608 - constants of this package
        f" SELECT ctid FROM {table} WHERE task_no = %(task_no)s AND {where}"
        " LIMIT %(most)s))",
        {"task_no": task_no, "most": ROWS_AT_ONCE},
    )
    return cursor.rowcount >= ROWS_AT_ONCE


async def forget_unlisted(conn: AsyncConnection[Any], task_no: int) -> None:
    """Drop what is known of a directory that was not listed to its end; `forget_some` first."""
    await conn.execute(
        "DELETE FROM file USING task"
        " WHERE task.task_no = %s AND file.task_no = %s AND file_no >= hidden_from",
        (task_no, task_no),
    )
    await _show(conn, task_no)
    await conn.execute("DELETE FROM frontier WHERE task_no = %s AND listing", (task_no,))


async def _show(conn: AsyncConnection[Any], task_no: int) -> None:
    await conn.execute("UPDATE task SET hidden_from = NULL WHERE task_no = %s", (task_no,))


async def next_directory(
    conn: AsyncConnection[Any], task_no: int, *, but: Collection[int] = ()
) -> Directory | None:
    """The directory to list now: depth first, so the frontier stays short. None: none is due.

    `but`: the numbers of those that are being listed.
    """
    found = await next_directories(conn, task_no, but=but, limit=1)
    return found[0] if found else None


async def next_directories(
    conn: AsyncConnection[Any], task_no: int, *, but: Collection[int] = (), limit: int
) -> list[Directory]:
    """The same, and those that come after it."""
    rows = await fetch(
        conn,
        "SELECT dir_no, item_no, path, attempt FROM frontier WHERE task_no = %s AND NOT listing"
        " AND (not_before IS NULL OR not_before <= now()) AND dir_no <> ALL(%s)"
        " ORDER BY dir_no DESC LIMIT %s",
        (task_no, list(but), limit),
    )
    return [Directory(row[0], row[1], decode(row[2]), row[3]) for row in rows]


async def next_directory_due_s(conn: AsyncConnection[Any], task_no: int) -> float | None:
    """Seconds until a directory can be listed: at most 0 for now, None if none is left.

    Call it when none is being listed.
    """
    row = await fetch_one(
        conn,
        "SELECT extract(epoch FROM min(coalesce(not_before, now())) - now())::float8"
        " FROM frontier WHERE task_no = %s",
        (task_no,),
    )
    return None if row is None else row[0]


async def list_later(
    conn: AsyncConnection[Any], task_no: int, dir_no: int, *, delay_s: float
) -> None:
    """A directory that could not be listed waits; the others go on."""
    await conn.execute(
        "UPDATE frontier SET attempt = attempt + 1,"
        " not_before = now() + make_interval(secs => %s) WHERE task_no = %s AND dir_no = %s",
        (delay_s, task_no, dir_no),
    )


async def directory_skipped(
    conn: AsyncConnection[Any], task_no: int, dir_no: int, *, is_directory: bool
) -> None:
    """A directory, or an item, that cannot be read and is left out."""
    await conn.execute("DELETE FROM frontier WHERE task_no = %s AND dir_no = %s", (task_no, dir_no))
    await conn.execute(
        "UPDATE task SET files = files + %s, directories = directories + %s WHERE task_no = %s",
        (int(not is_directory), int(is_directory), task_no),
    )


async def add_files(conn: AsyncConnection[Any], task_no: int, files: Sequence[File]) -> None:
    """Bulk insert."""
    if not files:
        return
    async with (
        conn.cursor() as cur,
        cur.copy(
            "COPY file (task_no, file_no, item_no, state, size, modified, path) FROM STDIN"
        ) as copy,
    ):
        for f in files:
            state = int(State.COMPARE if f.compare else State.PENDING)
            await copy.write_row(
                (task_no, f.file_no, f.item_no, state, f.size, f.modified, encode(f.path))
            )


async def add_directories(
    conn: AsyncConnection[Any], task_no: int, directories: Sequence[Directory], *, listing: bool
) -> None:
    """Bulk insert. `listing`: not to be seen before their own directory is listed to its end."""
    if not directories:
        return
    async with (
        conn.cursor() as cur,
        cur.copy("COPY frontier (task_no, dir_no, item_no, path, listing) FROM STDIN") as copy,
    ):
        for d in directories:
            await copy.write_row((task_no, d.dir_no, d.item_no, encode(d.path), listing))


async def hide(conn: AsyncConnection[Any], task_no: int, first_file_no: int) -> None:
    """Before the parts of a large directory: files from this number on are not to be seen yet."""
    await conn.execute(
        "UPDATE task SET hidden_from = %s WHERE task_no = %s", (first_file_no, task_no)
    )


async def add_part(
    conn: AsyncConnection[Any],
    task_no: int,
    files: Sequence[File],
    directories: Sequence[Directory],
) -> None:
    """Part of a large directory; `directory_listed` shows it, `forget_unlisted` drops it."""
    await add_files(conn, task_no, files)
    await add_directories(conn, task_no, directories, listing=True)


async def directory_listed(
    conn: AsyncConnection[Any],
    task_no: int,
    directory: Directory,
    *,
    files: Sequence[File],
    directories: Sequence[Directory],
    in_parts: bool = False,
    files_found: int,
    files_skipped: int = 0,
    bytes_found: int = 0,
    links_found: int,
    is_directory: bool,
) -> None:
    """One directory done: its last files, its subdirectories and its removal in one commit (I4).

    `in_parts`: others came before, by `add_part`. `files_skipped` of those found are not in the
    plan; the others have `bytes_found`.
    """
    await conn.execute(
        "DELETE FROM frontier WHERE task_no = %s AND dir_no = %s", (task_no, directory.dir_no)
    )
    await add_directories(conn, task_no, directories, listing=False)
    await add_files(conn, task_no, files)
    if in_parts:
        await _show(conn, task_no)
        await conn.execute(
            "UPDATE frontier SET listing = false WHERE task_no = %s AND listing", (task_no,)
        )
    await conn.execute(
        "UPDATE task SET files = files + %s, files_skipped = files_skipped + %s,"
        " bytes_found = bytes_found + %s, directories = directories + %s,"
        " symlinks = symlinks + %s WHERE task_no = %s",
        (files_found, files_skipped, bytes_found, int(is_directory), links_found, task_no),
    )


async def visited(
    conn: AsyncConnection[Any],
    task_no: int,
    done: Sequence[Directory],
    found: Sequence[Directory],
) -> None:
    """Directories whose files are not sent, and those found in them: one commit (I4)."""
    await conn.execute(
        "DELETE FROM frontier WHERE task_no = %s AND dir_no = ANY(%s)",
        (task_no, [one.dir_no for one in done]),
    )
    await add_directories(conn, task_no, found, listing=False)


_HEAD = """
SELECT file_no, epoch, size FROM file
WHERE task_no = %(task_no)s AND state = {pending} AND {visible} AND {which} AND {due}
ORDER BY file_no LIMIT {most}
"""
_TAKE = """
WITH fresh AS ({fresh}), head AS (
    SELECT * FROM fresh
    UNION ALL
    SELECT * FROM ({failed}) AS failed WHERE NOT EXISTS (SELECT FROM fresh)
)
UPDATE file f SET state = %(in_flight)s, epoch = %(epoch)s, lane = %(lane)s
FROM (
    SELECT file_no, epoch, sum(size) OVER (ORDER BY file_no) - size AS before FROM head
) AS chosen
WHERE f.task_no = %(task_no)s AND f.file_no = chosen.file_no AND chosen.before < %(bytes)s
RETURNING f.file_no, f.item_no, f.path, f.size, f.modified, f.attempt, chosen.epoch IS NOT NULL
"""
# Of a directory that is being listed nothing is to be seen.
_VISIBLE = (
    "file_no < coalesce((SELECT hidden_from FROM task WHERE task_no = %(task_no)s),"
    " 9223372036854775807)"
)


def _take_statement(which: str) -> str:
    # States are constants here, so that partial indexes serve.
    def head(due: str, most: str) -> str:
        return _HEAD.format(
            pending=int(State.PENDING), visible=_VISIBLE, which=which, due=due, most=most
        )

    return _TAKE.format(
        fresh=head("not_before IS NULL", "%(files)s"), failed=head("not_before <= now()", "1")
    )


_TAKE_SMALL = _take_statement(f"size < {LARGE_FILE_BYTES}")
_TAKE_LARGE = _take_statement(f"size >= {LARGE_FILE_BYTES}")


async def take(
    conn: AsyncConnection[Any],
    task_no: int,
    *,
    epoch: int,
    lane: int,
    large: bool,
    files: int,
    size_bytes: int,
) -> list[File]:
    """Mark the next pending files in flight and return them; [] if none may go now.

    A file that failed before comes alone, so that its failure voids no other file's pipeline.
    """
    rows = await fetch(
        conn,
        _TAKE_LARGE if large else _TAKE_SMALL,
        {
            "task_no": task_no,
            "epoch": epoch,
            "lane": lane,
            "files": files,
            "bytes": size_bytes,
            "in_flight": State.IN_FLIGHT,
        },
    )
    return [
        File(r[0], r[1], decode(r[2]), r[3], r[4], r[5], sent_before=r[6]) for r in sorted(rows)
    ]


async def take_these(
    conn: AsyncConnection[Any], task_no: int, file_nos: Sequence[int], *, epoch: int
) -> list[int]:
    """Mark those of these files in flight that are pending, and return their numbers."""
    rows = await fetch(
        conn,
        "UPDATE file SET state = %s, epoch = %s"
        " WHERE task_no = %s AND state = %s AND file_no = ANY(%s) RETURNING file_no",
        (State.IN_FLIGHT, epoch, task_no, State.PENDING, list(file_nos)),
    )
    return sorted(row[0] for row in rows)


_LOOK = f"""
SELECT file_no, item_no, path, size, modified, attempt FROM file
WHERE task_no = %(task_no)s AND state = %(state)s AND {_VISIBLE}
  AND (not_before IS NULL OR not_before <= now())
ORDER BY file_no LIMIT %(limit)s
"""  # noqa: S608 - a constant


async def contested(conn: AsyncConnection[Any], task_no: int, limit: int) -> list[File]:
    """The first contested files that are due, by number."""
    return await _due(conn, task_no, State.CONTESTED, limit)


async def to_compare(conn: AsyncConnection[Any], task_no: int, limit: int) -> list[File]:
    """The first files to be compared that are due, by number."""
    return await _due(conn, task_no, State.COMPARE, limit)


async def _due(conn: AsyncConnection[Any], task_no: int, state: State, limit: int) -> list[File]:
    rows = await fetch(
        conn,
        _LOOK,
        {"task_no": task_no, "state": state, "limit": limit},
    )
    return [File(r[0], r[1], decode(r[2]), *r[3:]) for r in rows]


async def unsent(conn: AsyncConnection[Any], task_no: int, *, after: int, limit: int) -> list[File]:
    """The first files behind number `after` that wait for a lane, and of which nothing was sent."""
    rows = await fetch(
        conn,
        "SELECT file_no, item_no, path, size, modified, attempt FROM file WHERE task_no = %s"
        " AND state = %s AND epoch IS NULL AND file_no > %s ORDER BY file_no LIMIT %s",
        (task_no, State.PENDING, after, limit),
    )
    return [File(r[0], r[1], decode(r[2]), *r[3:]) for r in rows]


# States are constants here, too.
_UNSETTLED = f"state IN ({State.IN_FLIGHT:d}, {State.CONTESTED:d})"
_SENT = f"epoch IS NOT NULL AND size < {LARGE_FILE_BYTES}"


async def unsettled(conn: AsyncConnection[Any], task_no: int, most: int) -> list[File]:
    """The first files that a command of this task may still be writing somewhere, by number."""
    return await _files(conn, task_no, _UNSETTLED, most)


async def sent(conn: AsyncConnection[Any], task_no: int, most: int) -> list[File]:
    """The first small files, by number, of which something was sent, and which have not arrived."""
    return await _files(conn, task_no, _SENT, most)


async def _files(conn: AsyncConnection[Any], task_no: int, which: str, most: int) -> list[File]:
    rows = await fetch(
        conn,
        "SELECT file_no, item_no, path, size, modified, attempt FROM file"  # noqa: S608 - constants
        f" WHERE task_no = %s AND {which} ORDER BY file_no LIMIT %s",
        (task_no, most),
    )
    return [File(r[0], r[1], decode(r[2]), *r[3:]) for r in rows]


async def count_sent(conn: AsyncConnection[Any], task_no: int, *, after: int) -> int:
    """How many of those `sent` tells have a higher number than `after`."""
    row = await fetch_one(
        conn,
        f"SELECT count(*) FROM file WHERE task_no = %s AND {_SENT} AND file_no > %s",  # noqa: S608
        (task_no, after),
    )
    assert row is not None
    return int(row[0])


async def mark_still(conn: AsyncConnection[Any], task_no: int) -> None:
    """Nothing writes any more. Of a task that goes on each file would have to be compared first."""
    await conn.execute(
        f"UPDATE file SET state = %s WHERE task_no = %s AND {_UNSETTLED}",  # noqa: S608
        (State.PENDING, task_no),
    )


async def remove(conn: AsyncConnection[Any], task_no: int, file_nos: Sequence[int]) -> None:
    """Finished files leave the plan, with their restart points."""
    if not file_nos:
        return
    await conn.execute(
        "WITH points AS (DELETE FROM file_range WHERE task_no = %(t)s AND file_no = ANY(%(n)s))"
        " DELETE FROM file WHERE task_no = %(t)s AND file_no = ANY(%(n)s)",
        {"t": task_no, "n": list(file_nos)},
    )


async def leave_out(conn: AsyncConnection[Any], task_no: int, file_nos: Sequence[int]) -> None:
    """Files that are not copied after all leave the plan, as if they had not been meant to be."""
    if not file_nos:
        return
    await conn.execute(
        "UPDATE task SET bytes_found = bytes_found - (SELECT coalesce(sum(size), 0) FROM file"
        " WHERE task_no = %(t)s AND file_no = ANY(%(n)s)) WHERE task_no = %(t)s",
        {"t": task_no, "n": list(file_nos)},
    )
    await remove(conn, task_no, file_nos)


async def put_back(conn: AsyncConnection[Any], task_no: int, files: Sequence[Returned]) -> None:
    """Files go back into the plan."""
    if not files:
        return
    async with conn.cursor() as cur:
        await cur.executemany(
            "UPDATE file SET state = %s, attempt = attempt + %s,"
            " epoch = CASE WHEN %s THEN epoch END,"
            " not_before = coalesce(now() + make_interval(secs => %s), not_before)"
            " WHERE task_no = %s AND file_no = %s",
            [(f.state, int(f.failed), f.sent, f.delay_s, task_no, f.file_no) for f in files],
        )


async def changed_at_source(
    conn: AsyncConnection[Any], task_no: int, file_no: int, *, size: int, modified: int | None
) -> None:
    """The source is not what was listed: note what it is now and drop the restart points."""
    await conn.execute(
        "UPDATE task SET bytes_found = bytes_found + %s - size FROM file"
        " WHERE task.task_no = %s AND file.task_no = task.task_no AND file_no = %s",
        (size, task_no, file_no),
    )
    await conn.execute(
        "UPDATE file SET size = %s, modified = %s WHERE task_no = %s AND file_no = %s",
        (size, modified, task_no, file_no),
    )
    await restart_points.drop(conn, task_no, file_no)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is left when nobody finds work: files, and seconds until one, or a directory, is due."""

    files: int
    next_due_s: float


async def waiting(conn: AsyncConnection[Any], task_no: int) -> Waiting:
    """How long the rest of the plan has to wait; files in flight do not wait."""
    row = await fetch_one(
        conn,
        """
        WITH rest AS (
            SELECT 1 AS files, not_before FROM file
            WHERE task_no = %(task_no)s AND state = ANY(%(waiting)s)
            UNION ALL
            SELECT 0, not_before FROM frontier WHERE task_no = %(task_no)s
        )
        SELECT coalesce(sum(files), 0),
               coalesce(extract(epoch FROM min(coalesce(not_before, now())) - now()), 0)::float8
        FROM rest
        """,
        {"task_no": task_no, "waiting": [State.PENDING, State.CONTESTED, State.COMPARE]},
    )
    assert row is not None
    return Waiting(*row)
