"""What a task deletes: numbers, and a transfer's extras that are still to go.

Every function that writes takes the connection of a `fenced` transaction.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from posixpath import dirname
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import class_row

from towpath.transfer.store.plan import decode, encode
from towpath.transfer.store.rows import fetch, fetch_one

LINKED_PATH_MAX: Final = 2_000
"""Bytes; an index takes no more than 2,700. Of a longer path a directory above it is kept."""

Place = tuple[int, str]
"""Below the destination of an item."""


async def begin(conn: AsyncConnection[Any], task_no: int) -> None:
    """A delete task is about to delete: from now on what is missing may be its own work."""
    await conn.execute("UPDATE task SET deleting = true WHERE task_no = %s", (task_no,))


async def have_begun(conn: AsyncConnection[Any], task_no: int) -> bool:
    """Whether a delete task may have deleted anything yet."""
    row = await fetch_one(
        conn, "SELECT deleting OR files + directories > 0 FROM task WHERE task_no = %s", (task_no,)
    )
    assert row is not None
    return bool(row[0])


async def mark_unsettled(conn: AsyncConnection[Any], task_no: int) -> None:
    """Commands that remove are about to be sent."""
    await conn.execute("UPDATE task SET removals_unsettled = true WHERE task_no = %s", (task_no,))


async def mark_settled(conn: AsyncConnection[Any], task_no: int) -> None:
    """None of them can be running any more."""
    await conn.execute("UPDATE task SET removals_unsettled = false WHERE task_no = %s", (task_no,))


async def count(
    conn: AsyncConnection[Any],
    task_no: int,
    *,
    files: int,
    directories: int,
    deadline_after_h: float,
) -> None:
    """Move the counters of a delete task, or of what a transfer deletes.

    It is progress: what went wrong before is over, and a transfer's deadline that its owner did not
    give moves on.
    """
    await conn.execute(
        "UPDATE task SET failures_in_a_row = 0, nice_status = NULL, nice_status_details = NULL,"
        " files = files + %(files)s, directories = directories + %(directories)s"
        " WHERE task_no = %(task_no)s AND type = 'DELETE'",
        {"files": files, "directories": directories, "task_no": task_no},
    )
    await conn.execute(
        "UPDATE task SET failures_in_a_row = 0, nice_status = NULL, nice_status_details = NULL,"
        " extra_files = extra_files + %(files)s,"
        " extra_directories = extra_directories + %(directories)s,"
        " deadline = CASE WHEN coalesce((options->>'deadline_given')::boolean, false) THEN deadline"
        " ELSE greatest(deadline, now() + make_interval(secs => %(after_s)s)) END"
        " WHERE task_no = %(task_no)s AND type = 'TRANSFER'",
        {
            "files": files,
            "directories": directories,
            "after_s": deadline_after_h * 3600,
            "task_no": task_no,
        },
    )


@dataclass(frozen=True, slots=True)
class Extra:
    """What is at the destination and not at the source; `path` is below the item's."""

    extra_no: int
    item_no: int
    path: str


@dataclass(frozen=True, slots=True)
class Extras:
    """What a transfer has deleted so far, and directories whose extras it leaves alone."""

    files: int
    directories: int
    unsure_directories: int


async def add_extras(
    conn: AsyncConnection[Any],
    task_no: int,
    *,
    dir_no: int,
    item_no: int,
    paths: Sequence[str],
    first: bool,
) -> None:
    """Extras of a directory that is still being listed. `first`: those that an earlier listing of
    it found are forgotten."""
    if first:
        await _forget(conn, task_no, dir_no)
    async with (
        conn.cursor() as cur,
        cur.copy("COPY extra (task_no, dir_no, item_no, path) FROM STDIN") as copy,
    ):
        for path in paths:
            await copy.write_row((task_no, dir_no, item_no, encode(path)))


async def directory_listed(
    conn: AsyncConnection[Any], task_no: int, dir_no: int, *, any_extras: bool, unsure: bool
) -> None:
    """Its extras are known; in the commit in which it leaves the frontier (I4)."""
    if any_extras:
        await conn.execute(
            "UPDATE extra SET dir_no = NULL WHERE task_no = %s AND dir_no = %s", (task_no, dir_no)
        )
    else:
        await _forget(conn, task_no, dir_no)
    if unsure:
        await conn.execute(
            "UPDATE task SET unsure_directories = unsure_directories + 1 WHERE task_no = %s",
            (task_no,),
        )


async def _forget(conn: AsyncConnection[Any], task_no: int, dir_no: int) -> None:
    await conn.execute("DELETE FROM extra WHERE task_no = %s AND dir_no = %s", (task_no, dir_no))


async def next_extras(
    conn: AsyncConnection[Any], task_no: int, *, after: int, limit: int
) -> list[Extra]:
    """The first extras behind number `after`."""
    rows = await fetch(
        conn,
        "SELECT extra_no, item_no, path FROM extra"
        " WHERE task_no = %s AND extra_no > %s AND dir_no IS NULL ORDER BY extra_no LIMIT %s",
        (task_no, after, limit),
    )
    return [Extra(row[0], row[1], decode(row[2])) for row in rows]


async def add_linked(conn: AsyncConnection[Any], task_no: int, places: Iterable[Place]) -> None:
    """Links of the source lead to these."""
    short = {(item_no, _shortened(path)) for item_no, path in places}
    await conn.execute(
        "INSERT INTO linked (task_no, item_no, path)"
        " SELECT %s, * FROM unnest(%s::integer[], %s::bytea[]) ON CONFLICT DO NOTHING",
        (task_no, [one[0] for one in short], [encode(one[1]) for one in short]),
    )


def _shortened(path: str) -> str:
    while len(encode(path)) > LINKED_PATH_MAX:
        path = dirname(path)
    return path


async def linked(conn: AsyncConnection[Any], task_no: int, places: Sequence[Place]) -> set[Place]:
    """Which of these hold, or are, or are in, what links of the source lead to."""
    with_ancestors = {one: [one] for one in places}
    for (item_no, path), those in with_ancestors.items():
        while path := dirname(path):
            those.append((item_no, path))
    asked = list({one for those in with_ancestors.values() for one in those})
    params = {
        "task_no": task_no,
        "items": [one[0] for one in asked],
        "paths": [encode(one[1]) for one in asked],
    }
    above = await fetch(
        conn,
        "SELECT item_no, path FROM linked"
        " JOIN unnest(%(items)s::integer[], %(paths)s::bytea[]) AS asked (item_no, path)"
        " USING (item_no, path) WHERE task_no = %(task_no)s",
        params,
    )
    # What is below a path lies between it with '/' and with '0', the byte behind it.
    below = await fetch(
        conn,
        "SELECT item_no, path"
        " FROM unnest(%(items)s::integer[], %(paths)s::bytea[]) AS asked (item_no, path)"
        " WHERE EXISTS (SELECT FROM linked WHERE linked.task_no = %(task_no)s"
        " AND linked.item_no = asked.item_no"
        " AND linked.path > asked.path || '/'::bytea AND linked.path < asked.path || '0'::bytea)",
        params | {"items": [one[0] for one in places], "paths": [encode(one[1]) for one in places]},
    )
    leads_to = {(row[0], decode(row[1])) for row in above}
    holds = {(row[0], decode(row[1])) for row in below}
    return {
        one
        for one, those in with_ancestors.items()
        if one in holds or not leads_to.isdisjoint(those)
    }


async def extras_stay(
    conn: AsyncConnection[Any], task_no: int, numbers: Sequence[int], *, directories: int
) -> None:
    """These, of so many directories, are left alone."""
    await extras_gone(conn, task_no, numbers)
    await conn.execute(
        "UPDATE task SET unsure_directories = unsure_directories + %s WHERE task_no = %s",
        (directories, task_no),
    )


async def extras_gone(conn: AsyncConnection[Any], task_no: int, numbers: Sequence[int]) -> None:
    """They are not at the destination any more."""
    await conn.execute(
        "DELETE FROM extra WHERE task_no = %s AND extra_no = ANY(%s)", (task_no, list(numbers))
    )


async def extras(conn: AsyncConnection[Any], task_no: int) -> Extras:
    """How it stands with them."""
    async with conn.cursor(row_factory=class_row(Extras)) as cur:
        await cur.execute(
            "SELECT extra_files AS files, extra_directories AS directories, unsure_directories"
            " FROM task WHERE task_no = %s",
            (task_no,),
        )
        found = await cur.fetchone()
    assert found is not None
    return found
