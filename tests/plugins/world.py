"""A world of tasks for stateful tests: the store's functions, called one after the other.

A worker is played by the test: it asks for leases, begins, and ends or loses them as it is told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from towpath.platform.database import Database
from towpath.transfer.claims import Claim, Wait
from towpath.transfer.store import claims, credentials, leases, plan, tasks
from towpath.transfer.store.leases import Grant
from towpath.transfer.store.tasks import Change

T = TypeVar("T")
Connection = AsyncConnection[Any]

STORAGE = "gridftp.example.org:2811"
ALL = 1000
"""More than there are: the order of admission has tests of its own."""
EVENTS_MOST = 200
LEASE_S = 600.0
"""Longer than a test: leases end when the test says so."""


class World:
    """A database with one endpoint; `close` it. `reset` empties it for the next example."""

    def __init__(self, database_url: str) -> None:
        self._runner = asyncio.Runner()
        self._database = Database(database_url, schema="transfer")
        self._runner.run(self._database.open())
        self.endpoint = uuid4()
        self.write(self._prepare)

    def close(self) -> None:
        """The rows stay."""
        self._runner.run(self._database.close())
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def reset(self) -> None:
        """No tasks, no credentials, nobody who waits to be told."""
        tables = ("item", "frontier", "file", "event", "claim", "credential", "outbox", "task")
        self.sql(";".join(f"DELETE FROM {table}" for table in tables))

    async def _prepare(self, conn: Connection) -> None:
        await conn.execute(
            "INSERT INTO endpoint (id, owner_id, owner_string, display_name, host, port)"
            " VALUES (%s, %s, 'o', 'e', 'gridftp.example.org', 2811)",
            (self.endpoint, uuid4()),
        )

    def write(self, change: Callable[[Connection], Awaitable[T]]) -> T:
        """In a transaction of its own."""

        async def run() -> T:
            async with self._database.transaction() as conn:
                return await change(conn)

        return self._runner.run(run())

    def fenced(self, grant: Grant, change: Callable[[Connection], Awaitable[T]]) -> T:
        """Under a lease. Raises LeaseLostError."""

        async def run() -> T:
            async with leases.fenced(self._database, grant.task_no, grant.lease_epoch) as conn:
                return await change(conn)

        return self._runner.run(run())

    def sql(self, statement: str, *parameters: object) -> None:
        """What no function does: time passes."""

        async def run(conn: Connection) -> None:
            await conn.execute(statement.encode(), parameters or None)

        self.write(run)

    def heard_during(self, act: Callable[[], object]) -> list[str]:
        """What workers are told when `act` is done."""
        with psycopg.connect(self._database.url, autocommit=True) as listener:
            listener.execute(f"LISTEN {tasks.TASK_CHANNEL}")
            act()
            return [note.payload for note in listener.notifies(timeout=0.2)]

    def rows(self) -> dict[int, dict[str, Any]]:
        """All tasks, by number."""

        async def run(conn: Connection) -> list[dict[str, Any]]:
            async with conn.cursor(row_factory=dict_row) as cursor:
                await cursor.execute(
                    "SELECT *, lease_until > now() AS leased, not_before <= now() AS due,"
                    " extract(epoch FROM deadline - now())::float8 AS left_s,"
                    " (SELECT count(*) FROM outbox o"
                    "  WHERE o.document ->> 'task_id' = task.id::text) AS told"
                    " FROM task ORDER BY task_no"
                )
                return await cursor.fetchall()

        return {row["task_no"]: row for row in self.write(run)}

    def submit(self, owner: UUID, *, deadline_given: bool = False) -> tuple[int, UUID]:
        """A task; its number and id."""
        task_id = uuid4()

        async def run(conn: Connection) -> int:
            cursor = await conn.execute(
                "INSERT INTO task (id, owner_id, username, submission_id, type, label, options,"
                " source_endpoint_id, destination_endpoint_id, deadline)"
                " VALUES (%s, %s, 'u', %s, 'TRANSFER', 'l', %s, %s, %s, now() + interval '1 day')"
                " RETURNING task_no",
                (
                    task_id,
                    owner,
                    uuid4(),
                    psycopg.types.json.Jsonb({"deadline_given": True} if deadline_given else {}),
                    self.endpoint,
                    self.endpoint,
                ),
            )
            row = await cursor.fetchone()
            assert row is not None
            task_no: int = row["task_no"]
            return task_no

        return self.write(run), task_id

    def admit(self, worker: str = "w", limit: int = ALL) -> list[Grant]:
        """Leases of all tasks that may run."""
        return self._runner.run(
            leases.admit(self._database, worker=worker, limit=limit, lease_s=LEASE_S, per_owner=ALL)
        )

    def renew(self, worker: str, grants: Collection[Grant]) -> dict[int, leases.Renewal]:
        """What a renewal tells, by task."""
        renewals = self._runner.run(
            leases.renew(
                self._database,
                worker=worker,
                held=[(grant.task_no, grant.lease_epoch) for grant in grants],
                lease_s=LEASE_S,
            )
        )
        return {renewal.task_no: renewal for renewal in renewals}

    def claim(self, grant: Grant, wanted: Sequence[Claim], storage: str = STORAGE) -> Wait | None:
        """As a driver does when it begins: claim, and give the lease back if another goes first."""

        async def run(conn: Connection) -> Wait | None:
            await claims.make(conn, grant.task_no, storage, wanted)
            wait = await claims.wait_or_go(conn, grant.task_no, wanted)
            if wait is not None:
                await leases.release(conn, grant.task_no)
            return wait

        return self.fenced(grant, run)

    def begin(self, grant: Grant) -> leases.Standing:
        """The first look at the task's row."""
        return self.fenced(grant, lambda conn: _begin(conn, grant))

    def finish(self, grant: Grant, status: str = "SUCCEEDED") -> None:
        """The task's last word."""

        async def run(conn: Connection) -> None:
            fatal = None if status == "SUCCEEDED" else {"code": "X", "description": "x"}
            await leases.finish(conn, grant.task_no, status=status, fatal_error=fatal)
            await leases.release(conn, grant.task_no)

        self.fenced(grant, run)

    def suspend(self, grant: Grant, renewed: Sequence[datetime]) -> bool:
        """For want of a credential; tries again at once if there is another than these."""

        async def run(conn: Connection) -> bool:
            suspended = await leases.suspend(conn, grant.task_no, renewed=renewed)
            await leases.release(conn, grant.task_no)
            return suspended

        return self.fenced(grant, run)

    def pause(self, owner: UUID, task_id: UUID, *, resume: bool = False) -> bool:
        """Pause, or resume, as its owner."""
        change = Change(
            by="u", deadline=timedelta(days=1 if resume else 90), events_most=EVENTS_MOST
        )
        do = tasks.resume if resume else tasks.pause
        return self.write(lambda conn: do(conn, owner, task_id, change))

    def cancel(self, owner: UUID, task_id: UUID) -> bool:
        """Ask for its end, as its owner."""
        return self.write(lambda conn: tasks.request_cancel(conn, owner, task_id))

    def renew_credential(self, owner: UUID) -> None:
        """As the API does."""

        async def run(conn: Connection) -> None:
            await credentials.put(
                conn,
                endpoint_id=self.endpoint,
                owner_id=owner,
                sealed=b"",
                subject="s",
                not_after=datetime.now(UTC),
            )
            await tasks.credential_renewed(conn, owner, self.endpoint)

        self.write(run)

    def back_off(self, grant: Grant, delay_s: float) -> None:
        """Give the lease back until later."""

        async def run(conn: Connection) -> None:
            await leases.back_off(conn, grant.task_no, delay_s=delay_s, failures_in_a_row=1)
            await leases.release(conn, grant.task_no)

        self.fenced(grant, run)


async def _begin(conn: Connection, grant: Grant) -> leases.Standing:
    standing = await leases.standing(conn, grant.task_no)
    if grant.first_start and not (standing.cancel_requested or standing.expired):
        await leases.start(conn, grant.task_no)
    await plan.resume(conn, grant.task_no, grant.lease_epoch)
    return standing
