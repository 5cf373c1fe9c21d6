"""Accounts: a person with one or more identities."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from psycopg.rows import class_row

from towpath.platform.database import Connection

Change = Literal["suspended", "restored", "deleted"]


@dataclass(frozen=True)
class Account:
    """A person. Tokens are for the primary identity."""

    id: UUID
    primary_identity: UUID
    administrator: bool
    suspended_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class AccountChange:
    """What other services must learn of an account."""

    n: int
    identity_ids: list[UUID]
    what: Change
    at: datetime


_ACCOUNT = "SELECT id, primary_identity, administrator, suspended_at, created_at FROM account"


async def create(
    connection: Connection, *, account_id: UUID, primary_identity: UUID, administrator: bool = False
) -> None:
    """Make an account for an identity that has none."""
    await connection.execute(
        "INSERT INTO account (id, primary_identity, administrator) VALUES (%s, %s, %s)",
        (account_id, primary_identity, administrator),
    )
    await link(connection, account_id=account_id, identity_id=primary_identity)


async def link(connection: Connection, *, account_id: UUID, identity_id: UUID) -> None:
    """Make an identity one of the account's; it is in use from now on."""
    await connection.execute(
        "UPDATE identity SET account_id = %s, status = 'used' WHERE id = %s",
        (account_id, identity_id),
    )


async def unlink(connection: Connection, *, account_id: UUID, identity_id: UUID) -> bool:
    """Take an identity out of the account, unless it is the primary one; whether it was in it."""
    cursor = await connection.execute(
        "UPDATE identity i SET account_id = NULL FROM account a WHERE i.id = %s"
        " AND i.account_id = %s AND a.id = i.account_id AND a.primary_identity <> i.id",
        (identity_id, account_id),
    )
    return cursor.rowcount == 1


async def set_primary(connection: Connection, *, account_id: UUID, identity_id: UUID) -> bool:
    """Make one of the account's identities the primary one; whether it is one of them."""
    cursor = await connection.execute(
        "UPDATE account a SET primary_identity = i.id FROM identity i"
        " WHERE a.id = %s AND i.id = %s AND i.account_id = a.id",
        (account_id, identity_id),
    )
    return cursor.rowcount == 1


async def account(connection: Connection, account_id: UUID) -> Account | None:
    """The account."""
    async with connection.cursor(row_factory=class_row(Account)) as cursor:
        await cursor.execute(f"{_ACCOUNT} WHERE id = %s", (account_id,))
        return await cursor.fetchone()


async def hold(connection: Connection, account_id: UUID) -> bool:
    """Keep the account from being suspended or deleted until the transaction ends: what is given to
    it meanwhile ends with the others. Whether it is there, and not suspended.
    """
    cursor = await connection.execute(
        "SELECT 1 FROM account WHERE id = %s AND suspended_at IS NULL FOR SHARE", (account_id,)
    )
    return await cursor.fetchone() is not None


async def lock(connection: Connection, account_id: UUID) -> None:
    """Wait for all who :func:`hold` the account, and let nobody hold it until the transaction
    ends.
    """
    await connection.execute("SELECT 1 FROM account WHERE id = %s FOR UPDATE", (account_id,))


async def account_of_identity(connection: Connection, identity_id: UUID) -> Account | None:
    """Whose identity it is; None for a client's, and for one that nobody has logged in with."""
    async with connection.cursor(row_factory=class_row(Account)) as cursor:
        await cursor.execute(
            f"{_ACCOUNT} WHERE id IN (SELECT account_id FROM identity WHERE id = %s)",  # noqa: S608
            (identity_id,),
        )
        return await cursor.fetchone()


async def all_accounts(connection: Connection, *, after: UUID | None, limit: int) -> list[Account]:
    """A page of them, by id; ``after`` is the last one of the page before."""
    async with connection.cursor(row_factory=class_row(Account)) as cursor:
        await cursor.execute(
            f"{_ACCOUNT} WHERE %(after)s::uuid IS NULL OR id > %(after)s ORDER BY id"
            " LIMIT %(limit)s",
            {"after": after, "limit": limit},
        )
        return await cursor.fetchall()


@dataclass(frozen=True)
class Found:
    """An account as administrators see it in a list."""

    account_id: UUID
    identity_id: UUID
    username: str
    name: str | None
    email: str | None
    administrator: bool
    suspended_at: datetime | None
    last_authentication: datetime | None


async def search(connection: Connection, text: str, limit: int) -> list[Found]:
    """Accounts with an identity whose name, username or address contains ``text``; by username."""
    pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    async with connection.cursor(row_factory=class_row(Found)) as cursor:
        await cursor.execute(
            "SELECT a.id AS account_id, p.id AS identity_id, p.username, p.name, p.email,"
            " a.administrator, a.suspended_at, p.last_authentication"
            " FROM account a JOIN identity p ON p.id = a.primary_identity"
            " WHERE EXISTS (SELECT 1 FROM identity i WHERE i.account_id = a.id"
            "  AND (i.username ILIKE %(p)s OR i.name ILIKE %(p)s OR i.email ILIKE %(p)s))"
            " ORDER BY lower(p.username) LIMIT %(limit)s",
            {"p": pattern, "limit": limit},
        )
        return await cursor.fetchall()


async def there_are_administrators(connection: Connection) -> bool:
    """Whether somebody who can log in is an administrator."""
    cursor = await connection.execute(
        "SELECT 1 FROM account WHERE administrator AND suspended_at IS NULL LIMIT 1"
    )
    return await cursor.fetchone() is not None


async def set_suspended(connection: Connection, account_id: UUID, *, suspended: bool) -> bool:
    """Suspend or restore; whether that changed anything."""
    cursor = await connection.execute(
        "UPDATE account SET suspended_at = CASE WHEN %(suspended)s THEN now() END"
        " WHERE id = %(id)s AND (suspended_at IS NOT NULL) <> %(suspended)s",
        {"id": account_id, "suspended": suspended},
    )
    return cursor.rowcount == 1


async def note_change(connection: Connection, account_id: UUID, what: Change) -> None:
    """Tell the other services. The numbers must become visible in their order, so that no service
    passes one by: one at a time, until the transaction ends.
    """
    await connection.execute("LOCK TABLE account_change IN SHARE ROW EXCLUSIVE MODE")
    await connection.execute(
        "INSERT INTO account_change (identity_ids, what)"
        " SELECT array_agg(id ORDER BY created_at, id), %s FROM identity WHERE account_id = %s"
        " HAVING count(*) > 0",
        (what, account_id),
    )


async def changes_after(connection: Connection, after: int, limit: int) -> list[AccountChange]:
    """What is newer than number ``after``, in order."""
    async with connection.cursor(row_factory=class_row(AccountChange)) as cursor:
        await cursor.execute(
            "SELECT n, identity_ids, what, at FROM account_change WHERE n > %s ORDER BY n LIMIT %s",
            (after, limit),
        )
        return await cursor.fetchall()


async def close(connection: Connection, account_id: UUID) -> None:
    """Delete the account itself. Its identities stay as tombstones without a name: what was done
    under their ids stays readable, and the names become free.
    """
    await connection.execute(
        "UPDATE identity SET username = id || '@deleted.invalid', name = NULL, email = NULL,"
        " organization = NULL, email_verified = false, status = 'closed',"
        " last_authentication = NULL WHERE account_id = %s",
        (account_id,),
    )
    await connection.execute("DELETE FROM account WHERE id = %s", (account_id,))
