"""Bookmarks: places to which a user has given a name. Nobody else sees them (I7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg.errors import UniqueViolation
from psycopg.rows import class_row

from towpath.platform.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """A directory at an endpoint, which may be deleted or hidden from the owner by now."""

    id: UUID
    owner_id: UUID
    name: str
    endpoint_id: UUID
    path: str
    pinned: bool


class NameTaken(Exception):  # noqa: N818 - an answer, not a fault
    """The owner has another bookmark of this name."""


_COLUMNS = "id, owner_id, name, endpoint_id, path, pinned"


async def list_all(conn: Connection, owner_id: UUID) -> list[Bookmark]:
    """An owner's bookmarks, by name."""
    async with conn.cursor(row_factory=class_row(Bookmark)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM bookmark WHERE owner_id = %s ORDER BY lower(name), name",  # noqa: S608 - a constant
            (owner_id,),
        )
        return await cursor.fetchall()


async def get(
    conn: Connection, owner_id: UUID, bookmark_id: UUID, *, lock: bool = False
) -> Bookmark | None:
    """One of an owner's bookmarks. With `lock`, its row is held until the transaction ends."""
    query = f"SELECT {_COLUMNS} FROM bookmark WHERE owner_id = %s AND id = %s"  # noqa: S608 - a constant
    async with conn.cursor(row_factory=class_row(Bookmark)) as cursor:
        await cursor.execute(
            (query + (" FOR UPDATE" if lock else "")).encode(), (owner_id, bookmark_id)
        )
        return await cursor.fetchone()


async def insert(conn: Connection, bookmark: Bookmark, *, most: int) -> bool:
    """Keep a bookmark; False if its owner has `most` already. Raises NameTaken."""
    return await _write(
        conn,
        """
        INSERT INTO bookmark (name, endpoint_id, path, pinned, id, owner_id)
        SELECT %s, %s, %s, %s, %s, %s
         WHERE (SELECT count(*) FROM bookmark WHERE owner_id = %s) < %s
        """,
        (*_values(bookmark), bookmark.owner_id, most),
    )


async def update(conn: Connection, bookmark: Bookmark) -> None:
    """Write all fields of a bookmark. Raises NameTaken."""
    await _write(
        conn,
        "UPDATE bookmark SET name = %s, endpoint_id = %s, path = %s, pinned = %s"
        " WHERE id = %s AND owner_id = %s",
        _values(bookmark),
    )


async def delete(conn: Connection, owner_id: UUID, bookmark_id: UUID) -> bool:
    """Forget a bookmark; False if there is none."""
    found = await conn.execute(
        "DELETE FROM bookmark WHERE owner_id = %s AND id = %s", (owner_id, bookmark_id)
    )
    return found.rowcount > 0


def _values(bookmark: Bookmark) -> tuple[object, ...]:
    place = (bookmark.name, bookmark.endpoint_id, bookmark.path, bookmark.pinned)
    return (*place, bookmark.id, bookmark.owner_id)


async def _write(conn: Connection, statement: str, values: Sequence[object]) -> bool:
    try:
        done = await conn.execute(statement.encode(), values)
    except UniqueViolation as error:
        raise NameTaken from error
    return done.rowcount > 0
