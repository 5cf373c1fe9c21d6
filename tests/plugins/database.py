"""Fixtures: one embedded PostgreSQL for the session, one fresh, migrated database for each test."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from importlib.resources import files
from itertools import count
from pathlib import Path

import psycopg
import pytest

from towpath.platform.database import Database, EmbeddedPostgres
from towpath.platform.migrations import migrate

TEMPLATE = "migrated"
SCHEMAS = {
    "nexus": "towpath.nexus.store",
    "transfer": "towpath.transfer.store",
    "timers": "towpath.timers.store",
}

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 << 30
"""For three servers with some databases each. Containers often have 64 MiB."""

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL, with a template database that has every service's schema."""
    with _in_memory(tmp_path_factory) as directory:
        yield from _running(directory)


@contextmanager
def _in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new database is some 400 files: ten times as fast in memory, where there is room for it."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < ROOM_BYTES:
        yield tmp_path_factory.mktemp("postgres")
        return
    with tempfile.TemporaryDirectory(prefix="towpath-tests-", dir=MEMORY) as directory:
        yield Path(directory) / "postgres"


def _running(directory: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(
        directory,
        options={"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"},
    )
    asyncio.run(server.start())
    try:
        with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {TEMPLATE}")
        for schema, package in SCHEMAS.items():
            if files(package).joinpath("migrations").is_dir():
                asyncio.run(migrate(server.url_of(TEMPLATE), schema=schema, package=package))
        yield server
    finally:
        asyncio.run(server.stop())


@pytest.fixture
def database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a fresh, migrated database; dropped after the test, whoever is connected."""
    name = f"test_{next(_numbers)}"
    yield new_database(postgres, name)
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def shared_database_url(postgres: EmbeddedPostgres) -> str:
    """The URL of a database that tests share which clear it themselves: a new one takes longer."""
    return new_database(postgres, "test_shared")


def new_database(postgres: EmbeddedPostgres, name: str) -> str:
    """The URL of a database of that name, with every service's schema."""
    with psycopg.connect(postgres.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
    return postgres.url_of(name)


@pytest.fixture
async def untold_database(shared_database_url: str) -> AsyncIterator[Database]:
    """The transfer service's pool on the shared database, where nobody is to be told anything."""
    async with Database(shared_database_url, schema="transfer") as pool:
        async with pool.connection() as connection:
            for table in ("outbox", "webhook", "mail_off", "owner_state"):
                await connection.execute(f"DELETE FROM {table}".encode())
        yield pool


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The transfer service's pool on a fresh database."""
    async with Database(database_url, schema="transfer") as pool:
        yield pool


@pytest.fixture
async def nexus_database(database_url: str) -> AsyncIterator[Database]:
    """Nexus' pool on the same fresh database."""
    async with Database(database_url, schema="nexus") as pool:
        yield pool
