"""The embedded PostgreSQL, the pool, and migrations, on a real server."""

import asyncio
import os
import signal
from datetime import UTC
from pathlib import Path

import psycopg
import pytest

from towpath.platform.database import (
    Database,
    EmbeddedPostgres,
    PostgresError,
    at_start,
    wait_for_database,
)
from towpath.platform.migrations import MigrationError, migrate, migrations_of


async def test_pool_speaks_json_and_utc(database: Database) -> None:
    async with database.transaction() as connection:
        cursor = await connection.execute(
            "SELECT now() AS at, '{\"a\": 1}'::jsonb AS doc, current_schema() AS schema"
        )
        row = await cursor.fetchone()
    assert row is not None
    assert row["doc"] == {"a": 1}
    assert row["schema"] == "transfer"
    assert row["at"].utcoffset() == UTC.utcoffset(None)


async def test_numbers_in_documents_are_whole_however_large(database: Database) -> None:
    shown = '{"a": [18446744073709551616, 1e999, 9007199254740993, 0.1, "\\u00e9"]}'
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT %s::jsonb AS b, %s::json AS t", (shown, shown))
        row = await cursor.fetchone()
    assert row is not None
    whole = {"a": [2**64, 10**999, 2**53 + 1, 0.1, "é"]}
    assert row == {"b": whole, "t": {"a": [2**64, float("inf"), *whole["a"][2:]]}}


async def test_transaction_is_rolled_back_by_an_exception(database: Database) -> None:
    async def fail_half_way() -> None:
        async with database.transaction() as connection:
            await connection.execute("CREATE TABLE half (a int)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_half_way()
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT to_regclass('half') AS half")
        assert (await cursor.fetchone()) == {"half": None}


async def test_dedicated_connection_hears_notifications(database: Database) -> None:
    listener = await database.dedicated()
    try:
        await listener.execute("LISTEN towpath_task")
        async with database.transaction() as connection:
            await connection.execute("NOTIFY towpath_task, 'x'")
        heard = [n.payload async for n in listener.notifies(timeout=10, stop_after=1)]
    finally:
        await listener.close()
    assert heard == ["x"]


async def test_who_is_cancelled_while_a_connection_is_handed_over_ends(database_url: str) -> None:
    async with Database(database_url, schema="transfer", max_size=1) as database:

        async def wait() -> None:
            async with database.connection():
                await asyncio.sleep(60)

        for turns in range(12):
            async with database.connection():
                waiting = asyncio.create_task(wait())
                while not database._pool.get_stats().get("requests_waiting"):
                    await asyncio.sleep(0)
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            done, _ = await asyncio.wait([waiting], timeout=5)
            assert done, f"cancelled after {turns} turns, it goes on"
            assert waiting.cancelled()


async def test_who_is_cancelled_in_the_middle_of_many_statements_ends(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psycopg.waiting.MAX_BUSY_TIME", 0)  # it gives way wherever it can
    async with Database(database_url, schema="transfer", max_size=1) as database:

        async def write() -> None:
            async with database.transaction() as connection, connection.cursor() as cursor:
                await cursor.executemany("SELECT %s", [(1,), (2,)])

        for turns in range(40):
            writing = asyncio.create_task(write())
            for _ in range(turns):
                await asyncio.sleep(0)
            writing.cancel()
            await asyncio.wait([writing])
            assert writing.cancelled() or writing.exception() is None
        await write()


async def test_migrations_are_applied_once_even_by_many_at_once(
    postgres: EmbeddedPostgres, database_url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("DROP SCHEMA transfer CASCADE")
    results = await asyncio.gather(
        *(
            migrate(database_url, schema="transfer", package="towpath.transfer.store")
            for _ in range(4)
        )
    )
    wanted = [m.number for m in migrations_of("towpath.transfer.store")]
    assert sorted(results, key=len) == [[], [], [], wanted]


async def test_changed_migration_is_refused(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("UPDATE transfer.migration SET digest = 'other' WHERE number = 1")
    with pytest.raises(MigrationError, match="do not belong together"):
        await migrate(database_url, schema="transfer", package="towpath.transfer.store")


async def _count(server: EmbeddedPostgres) -> int:
    async with await psycopg.AsyncConnection.connect(server.url) as connection:
        cursor = await connection.execute("SELECT count(*) FROM kept")
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
async def test_committed_rows_survive_a_killed_server(
    tmp_path: Path, number: signal.Signals
) -> None:
    """kill -9 leaves postmaster.pid, the socket, and backends that hold shared memory."""
    server = EmbeddedPostgres(tmp_path / "pg")
    await server.start()
    backend = await psycopg.AsyncConnection.connect(server.url, autocommit=True)
    await backend.execute("CREATE TABLE kept (a int)")
    await backend.execute("INSERT INTO kept VALUES (1)")
    assert server.pid is not None
    os.kill(server.pid, number)
    again = EmbeddedPostgres(tmp_path / "pg")
    await again.start()
    try:
        assert await _count(again) == 1
    finally:
        await again.stop()
        await backend.close()
        await server.stop()


async def test_a_server_that_cannot_run_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens when it can is in faults/test_postgres.py."""
    monkeypatch.setattr("towpath.platform.postgres.AGAIN_MAX_S", 0.1)
    monkeypatch.setattr("towpath.platform.postgres.STARTS_IN_A_ROW", 3)
    server = EmbeddedPostgres(tmp_path / "pg")
    await server.start()
    try:
        (tmp_path / "pg" / "data" / "postgresql.auto.conf").write_text("nonsense = 1\n")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            with pytest.raises(PostgresError, match=r"ended 4 times.*nonsense"):
                await server.keep_running(lambda: pytest.fail("it cannot run"))
    finally:
        await server.stop()


async def test_a_server_that_recovers_for_long_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a start may take."""
    server = EmbeddedPostgres(tmp_path / "pg")
    await server.start()
    monkeypatch.setattr("towpath.platform.postgres.START_TIMEOUT_S", 0.0)
    started = asyncio.Event()
    keeping = asyncio.create_task(server.keep_running(started.set))
    try:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            await started.wait()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await server.stop()


async def test_a_pool_whose_server_is_away_says_so_soon_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon: long before POOL_WAIT_S, which is for a server that is only slow."""
    monkeypatch.setattr("towpath.platform.database.POOL_WAIT_S", 600.0)
    monkeypatch.setattr("towpath.platform.database.AWAY_WAIT_S", 0.5)
    server = EmbeddedPostgres(tmp_path / "pg", options={"fsync": "off"})
    await server.start()
    try:
        async with Database(server.url, schema="public") as database:

            async def use(seconds: float) -> None:
                async with database.connection() as connection:
                    await connection.execute("SELECT pg_sleep(%s)", (seconds,))

            await asyncio.gather(*(use(0.2) for _ in range(10)))  # many to lose
            await server.stop()
            async with asyncio.timeout(60):
                for _ in range(3):
                    with pytest.raises(psycopg.OperationalError):
                        await use(0)
            await server.start()
            async with asyncio.timeout(60):
                while True:
                    try:
                        await asyncio.gather(*(use(0) for _ in range(10)))
                        break
                    except psycopg.OperationalError:
                        await asyncio.sleep(0.1)
    finally:
        await server.stop()


async def test_a_full_pool_is_waited_for_longer_than_one_that_is_away(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.platform.database.AWAY_WAIT_S", 0.1)
    async with Database(database_url, schema="transfer", max_size=1) as database:

        async def use() -> None:
            async with database.connection() as connection:
                await connection.execute("SELECT pg_sleep(0.3)")

        await asyncio.gather(*(use() for _ in range(4)))


async def test_a_start_waits_for_a_database_that_starts_too(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    await server.start()
    try:
        with pytest.raises(psycopg.OperationalError, match="nobody_knows"):
            await wait_for_database(server.url_of("nobody_knows"))
        await server.stop()
        waiting = asyncio.create_task(wait_for_database(server.url))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done
        await server.start()
        async with asyncio.timeout(60):
            await waiting
    finally:
        await server.stop()


async def test_a_start_does_not_wait_for_what_does_not_pass() -> None:
    async def work() -> None:
        raise psycopg.errors.DiskFull

    with pytest.raises(psycopg.errors.DiskFull):
        await at_start(work)


async def test_orphaned_server_is_taken_over(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    await server.start()
    orphan = server.pid
    assert orphan is not None
    again = EmbeddedPostgres(tmp_path / "pg")
    await again.start()
    try:
        assert again.pid not in (None, orphan)
        assert server.pid is None, "the orphan was ended"
    finally:
        await again.stop()
        await server.stop()


async def test_orphan_that_dies_unreaped_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves its pid file, and a zombie that answers to that pid until its parent waits."""
    monkeypatch.setattr("towpath.platform.postgres.ORPHAN_TIMEOUT_S", 0.5)
    server = EmbeddedPostgres(tmp_path / "pg")
    await server.start()
    orphan = server.pid
    assert orphan is not None
    os.kill(orphan, signal.SIGSTOP)  # deaf to all but SIGKILL
    again = EmbeddedPostgres(tmp_path / "pg")
    await again.start()
    try:
        assert Path(f"/proc/{orphan}/stat").read_text().rpartition(") ")[2].startswith("Z")
    finally:
        await again.stop()
        await server.stop()


async def test_pid_of_something_else_does_not_stop_us(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    await server.start()
    await server.stop()
    stale = tmp_path / "pg" / "data" / "postmaster.pid"
    stale.write_text(f"{os.getppid()}\n{tmp_path}\n")
    await server.start()
    await server.stop()


async def test_deep_directory_gets_a_short_socket(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("d" * 60) / ("e" * 60))
    await server.start()
    try:
        async with await psycopg.AsyncConnection.connect(server.url) as connection:
            await connection.execute("SELECT 1")
    finally:
        await server.stop()


async def test_cluster_of_an_unknown_version_is_explained(tmp_path: Path) -> None:
    (tmp_path / "pg" / "data").mkdir(parents=True)
    (tmp_path / "pg" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresError, match="dump and restore"):
        await EmbeddedPostgres(tmp_path / "pg").start()
