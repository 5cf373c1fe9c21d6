"""What the database has committed, in the order of its commits: written by triggers, read by us.

A file's row goes in flight before its command is sent, and leaves with its outcome (I4): so these
rows tell what was known to be done whenever something was begun.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

LOOK_EVERY_S = 0.2
AWAY_AFTER_S = 5.0
"""A PostgreSQL that does not answer for so long is away."""

_TRIGGERS = """
CREATE SCHEMA campaign;
CREATE TABLE campaign.seen (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction bigint NOT NULL DEFAULT txid_current(),
    what text NOT NULL, task_no bigint NOT NULL, file_no bigint, item_no integer, path bytea,
    was integer, is_now integer, first bigint, after bigint, code text
);
CREATE INDEX ON campaign.seen (transaction);

CREATE FUNCTION campaign.see_file() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE one record := coalesce(NEW, OLD);
BEGIN
    INSERT INTO campaign.seen (what, task_no, file_no, item_no, path, was, is_now, after)
    VALUES ('file', one.task_no, one.file_no, one.item_no, one.path,
            CASE WHEN TG_OP <> 'INSERT' THEN OLD.state END,
            CASE WHEN TG_OP <> 'DELETE' THEN NEW.state END, one.size);
    RETURN NULL;
END $$;
CREATE TRIGGER seen AFTER INSERT OR DELETE ON transfer.file
    FOR EACH ROW EXECUTE FUNCTION campaign.see_file();
CREATE TRIGGER seen_moved AFTER UPDATE ON transfer.file FOR EACH ROW
    WHEN (OLD.state IS DISTINCT FROM NEW.state) EXECUTE FUNCTION campaign.see_file();

CREATE FUNCTION campaign.see_range() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE one record := coalesce(NEW, OLD);
BEGIN
    INSERT INTO campaign.seen (what, task_no, file_no, first, after, code)
    VALUES ('range', one.task_no, one.file_no, one.first, one.after, TG_OP);
    RETURN NULL;
END $$;
CREATE TRIGGER seen AFTER INSERT OR DELETE ON transfer.file_range
    FOR EACH ROW EXECUTE FUNCTION campaign.see_range();

CREATE FUNCTION campaign.see_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign.seen (what, task_no, code, is_now)
    VALUES ('event', NEW.task_no, NEW.code, NEW.is_error::integer);
    RETURN NULL;
END $$;
CREATE TRIGGER seen AFTER INSERT ON transfer.event
    FOR EACH ROW EXECUTE FUNCTION campaign.see_event();

CREATE FUNCTION campaign.see_resent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign.seen (what, task_no, after)
    VALUES ('resent', NEW.task_no, NEW.bytes_resent - OLD.bytes_resent);
    RETURN NULL;
END $$;
CREATE TRIGGER seen AFTER UPDATE ON transfer.task FOR EACH ROW
    WHEN (NEW.bytes_resent > OLD.bytes_resent) EXECUTE FUNCTION campaign.see_resent();

CREATE FUNCTION campaign.see_cancel() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign.seen (what, task_no) VALUES ('cancel', NEW.task_no);
    RETURN NULL;
END $$;
CREATE TRIGGER seen_cancelled AFTER UPDATE ON transfer.task FOR EACH ROW
    WHEN (NEW.cancel_requested AND NOT OLD.cancel_requested) EXECUTE FUNCTION campaign.see_cancel();

CREATE FUNCTION campaign.see_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO campaign.seen (what, task_no, is_now) VALUES ('history', NEW.task_no, NEW.kind);
    RETURN NULL;
END $$;
CREATE TRIGGER seen AFTER INSERT ON transfer.history_segment
    FOR EACH ROW EXECUTE FUNCTION campaign.see_history();
"""

_TASKS = """
SELECT task_no, id, status, lease_worker, lease_epoch, files_transferred, files, faults,
       source_endpoint_id, destination_endpoint_id, paused_at IS NOT NULL
FROM transfer.task WHERE completion_time IS NULL OR task_no = ANY(%s) OR task_no > %s
"""


class Seen(NamedTuple):
    """One committed change. `was` and `is_now` of a file are its states."""

    seq: int
    transaction: int
    what: str
    task_no: int
    file_no: int | None
    item_no: int | None
    path: bytes | None
    was: int | None
    is_now: int | None
    first: int | None
    after: int | None
    code: str | None


class Standing(NamedTuple):
    """A task as it stood when it was last looked at."""

    task_no: int
    task_id: UUID
    status: str
    worker: str | None
    epoch: int
    files_transferred: int
    files: int
    faults: int
    source: UUID
    destination: UUID | None
    paused: bool

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.status in ("SUCCEEDED", "FAILED")

    @property
    def runs(self) -> bool:
        """Whether a worker acts for it."""
        return self.worker is not None and not self.final


class Unfinished(NamedTuple):
    """A file in the plan of a task: its item, the path below that, and how far it is."""

    item_no: int
    below: str
    state: int


LEFT_OUT = "left out"
"""The code of what is no event: a file has come to the list of skipped errors."""
_SKIPPED = 1
"""The kind of history that is this list."""


class Told(NamedTuple):
    """An event, and when it was seen (monotonic clock)."""

    seen_s: float
    task_no: int
    code: str
    is_error: bool


@dataclass
class Audit:
    """Reads the audit while the campaign runs; survives everything that happens to PostgreSQL."""

    url: str
    tasks: dict[int, Standing] = field(default_factory=dict)
    task_numbers: dict[str, int] = field(default_factory=dict)
    """By the task's id."""
    progress: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Of each task: when outcomes were seen (monotonic clock)."""
    events: list[Told] = field(default_factory=list)
    """All, in the order in which they were seen."""
    unfinished: dict[int, dict[int, Unfinished]] = field(default_factory=lambda: defaultdict(dict))
    """Of each task, the files in its plan by number."""
    seen_at: dict[int, float] = field(default_factory=dict)
    """When rows were seen that say that something is kept, or not any more (seconds since 1970)."""
    outcomes: int = 0
    """Committed so far, of files and ranges."""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _connection: psycopg.AsyncConnection[Any] | None = None
    _seen_before: int = 0
    """All transactions with lower numbers have been seen."""

    async def install(self) -> None:
        """Before the first task."""
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute(_TRIGGERS)

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except (psycopg.Error, TimeoutError):
                await self.close()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Once. Raises psycopg.Error or TimeoutError while PostgreSQL is away."""
        async with asyncio.timeout(AWAY_AFTER_S):
            if self._connection is None or self._connection.closed:
                self._connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
            cursor = await self._connection.execute(
                "SELECT txid_snapshot_xmin(txid_current_snapshot())"
            )
            [(before,)] = await cursor.fetchall()
            cursor = await self._connection.execute(
                "SELECT * FROM campaign.seen WHERE transaction >= %s AND transaction < %s"
                " ORDER BY seq",
                (self._seen_before, before),
            )
            self._note([Seen(*row) for row in await cursor.fetchall()])
            self._seen_before = before
            open_ones = [no for no, one in self.tasks.items() if not one.final]
            newest = max(self.tasks, default=0)
            cursor = await self._connection.execute(_TASKS, (open_ones, newest))
            for row in await cursor.fetchall():
                one = self.tasks[row[0]] = Standing(*row)
                self.task_numbers[str(one.task_id)] = one.task_no
        async with self.changed:
            self.changed.notify_all()

    def _note(self, seen: Sequence[Seen]) -> None:
        now, wall = time.monotonic(), time.time()
        for one in seen:
            if one.what == "range" or (one.what == "file" and one.is_now is None):
                self.seen_at[one.seq] = wall
            if one.what == "history" and one.is_now == _SKIPPED:
                self.events.append(Told(now, one.task_no, LEFT_OUT, is_error=True))
            if one.what == "history" or (one.what == "range" and one.code == "INSERT"):
                self.outcomes += 1
                self.progress[one.task_no].append(now)
            elif one.what == "event":
                assert one.code is not None, "written by the trigger"
                self.events.append(Told(now, one.task_no, one.code, bool(one.is_now)))
            elif one.what == "file":
                assert one.path is not None, "written by the trigger"
                assert one.item_no is not None, "written by the trigger"
                assert one.file_no is not None, "written by the trigger"
                if one.is_now is None:
                    self.unfinished[one.task_no].pop(one.file_no, None)
                else:
                    file = Unfinished(one.item_no, os.fsdecode(one.path), one.is_now)
                    self.unfinished[one.task_no][one.file_no] = file

    async def is_unfinished(self, task_no: int, item_no: int, below: str) -> bool:
        """Whether a file is in its task's plan at this moment; False if that cannot be told."""
        try:
            async with (
                asyncio.timeout(AWAY_AFTER_S),
                await psycopg.AsyncConnection.connect(self.url) as connection,
            ):
                cursor = await connection.execute(
                    "SELECT FROM transfer.file WHERE task_no = %s AND item_no = %s AND path = %s",
                    (task_no, item_no, os.fsencode(below)),
                )
                return bool(await cursor.fetchall())
        except (psycopg.Error, TimeoutError):
            return False

    async def whole_log(self) -> list[Seen]:
        """All that was committed, in order. Raises psycopg.Error."""
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            cursor = await connection.execute("SELECT * FROM campaign.seen ORDER BY seq")
            return [Seen(*row) for row in await cursor.fetchall()]

    def standing(self, task_id: str) -> Standing | None:
        """None: the task has not been seen yet."""
        task_no = self.task_numbers.get(task_id)
        return None if task_no is None else self.tasks[task_no]

    def running(self, endpoint_id: UUID | None = None) -> list[Standing]:
        """Tasks that a worker acts for now, of an endpoint or of all."""
        return [
            one
            for one in self.tasks.values()
            if one.runs and (endpoint_id is None or endpoint_id in (one.source, one.destination))
        ]

    async def close(self) -> None:
        """The rows stay."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
