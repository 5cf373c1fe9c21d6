"""Numbered SQL files, each applied once, in order, in its own transaction.

A service keeps ``migrations/NNNN_what.sql`` beside its store. They expand first and contract a
release later, so a database may be one release ahead of the code: numbers that we do not know are
left alone.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

import psycopg
import structlog
from psycopg import sql

_log = structlog.stdlib.get_logger("towpath.migrations")
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
LOCK = 0x746F7770
"""Advisory ("towp"), held while migrating: several processes may start at once."""


class MigrationError(Exception):
    """The schema cannot be brought up to date; the message says why."""


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text, to notice a file that was changed after it was applied."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations_of(package: str) -> list[Migration]:
    """The migrations of ``package`` (its folder ``migrations``) in order.

    A number may be missing while work that took it has not landed: files do not build on each
    other's numbers. Raises :class:`MigrationError` for a duplicate one.
    """
    found: list[Migration] = []
    for entry in files(package).joinpath("migrations").iterdir():
        matched = _NAME.fullmatch(entry.name)
        if matched is not None:
            text = entry.read_text(encoding="utf-8")
            found.append(Migration(int(matched[1]), matched[2], text))
    found.sort(key=lambda migration: migration.number)
    if len({migration.number for migration in found}) != len(found):
        raise MigrationError(f"two migrations of {package} have one number")
    return found


async def migrate(url: str, *, schema: str, package: str) -> list[int]:
    """Bring ``schema`` up to date with ``package``; returns the numbers applied now.

    Raises :class:`MigrationError`, or ``psycopg.Error`` from a statement.
    """
    wanted = migrations_of(package)
    name = sql.Identifier(schema)
    applied_now: list[int] = []
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
        await connection.execute(sql.SQL("SET search_path TO {}").format(name))
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration (number integer PRIMARY KEY, name text NOT NULL,"
            " digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = await connection.execute("SELECT number, digest FROM migration")
        applied: dict[int, str] = {number: digest async for number, digest in rows}
        for migration in wanted:
            digest = applied.pop(migration.number, None)
            if digest == migration.digest:
                continue
            if digest is not None:
                raise MigrationError(
                    f"migration {migration.number} of {schema} was changed after it was applied: "
                    "this database and this version of towpath do not belong together"
                )
            async with connection.transaction():
                # our own file, not input
                await connection.execute(migration.text)
                await connection.execute(
                    "INSERT INTO migration (number, name, digest) VALUES (%s, %s, %s)",
                    (migration.number, migration.name, migration.digest),
                )
            applied_now.append(migration.number)
        if applied:
            _log.warning("migrations.newer_database", schema=schema, numbers=sorted(applied))
    if applied_now:
        _log.info("migrations.applied", schema=schema, numbers=applied_now)
    return applied_now
