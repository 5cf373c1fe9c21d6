"""What a task was asked for, item by item. Items are stored with their task and never change."""

from collections.abc import Collection
from dataclasses import replace

from psycopg.rows import dict_row

from towpath.platform.database import Connection
from towpath.transfer import names
from towpath.transfer.store.tasks import NewItem

_COLUMNS = "source_path, destination_path, recursive, checksum_algorithm, external_checksum"


async def page(
    conn: Connection, task_no: int, *, limit: int | None, offset: int
) -> tuple[list[NewItem], int]:
    """Items in their order, and the number of all. `limit` None: the rest of them."""
    # Numbers have no gaps, so that a page far behind costs no more than the first.
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM item WHERE task_no = %s AND item_no >= %s"  # noqa: S608 - a constant
            " ORDER BY item_no LIMIT %s",
            (task_no, offset, limit),
        )
        rows = await cursor.fetchall()
        await cursor.execute(
            "SELECT coalesce(max(item_no) + 1, 0) AS total FROM item WHERE task_no = %s", (task_no,)
        )
        row = await cursor.fetchone()
    assert row is not None
    return [NewItem(**one) for one in rows], row["total"]


async def roots(
    conn: Connection, task_no: int, item_nos: Collection[int], *, globs: bool
) -> dict[int, NewItem]:
    """Items by number, as what paths of the task are below: of a pattern, the directory that it
    looks at. `globs`: whether the task has any."""
    found = await some(conn, task_no, item_nos)
    if not globs:
        return found
    return {
        number: replace(item, source_path=names.above_pattern(item.source_path))
        if names.is_pattern(item.source_path)
        else item
        for number, item in found.items()
    }


async def some(conn: Connection, task_no: int, item_nos: Collection[int]) -> dict[int, NewItem]:
    """Items by number, as they were submitted."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT item_no, {_COLUMNS} FROM item"  # noqa: S608 - a constant
            " WHERE task_no = %s AND item_no = ANY(%s)",
            (task_no, list(item_nos)),
        )
        rows = await cursor.fetchall()
    return {row.pop("item_no"): NewItem(**row) for row in rows}
