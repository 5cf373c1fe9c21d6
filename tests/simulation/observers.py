"""Lets the checkers see what the engine commits, at the boundary of the store."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from simulation.checkers import Checks
from towpath.transfer.engine.driver import Driver
from towpath.transfer.store import claims, leases, plan, restart_points, segments
from towpath.transfer.store.rows import fetch
from towpath.transfer.store.segments import Finished


@contextmanager
def installed(checks: Checks) -> Iterator[None]:
    """While it lasts, for all workers."""

    async def admit(database: Any, **options: Any) -> Any:
        grants = await was[leases, "admit"](database, **options)
        for grant in grants:
            checks.grants(grant.task_no, grant.lease_epoch)
        return grants

    async def finish(conn: Any, task_no: int, *, status: Any, fatal_error: Any) -> None:
        await was[leases, "finish"](conn, task_no, status=status, fatal_error=fatal_error)
        checks.commits(task_no)
        conn.on_commit.append(lambda: checks.ends_task(task_no, str(status), fatal_error))

    async def take(conn: Any, task_no: int, **options: Any) -> Any:
        files = await was[plan, "take"](conn, task_no, **options)
        if files:
            conn.on_commit.append(checks.on_taking)
        return files

    async def append(conn: Any, task_no: int, records: Any) -> None:
        await was[segments, "append"](conn, task_no, records)
        if isinstance(records[0], Finished):
            checks.commits(task_no)
            conn.on_commit.append(lambda: checks.counts(task_no, records))

    async def add(conn: Any, task_no: int, ranges: Any) -> int:
        if ranges:
            checks.commits(task_no)
            asked = checks.by_number[task_no].asked
            rows = await fetch(
                conn,
                "SELECT file_no, item_no, path FROM file WHERE task_no = %s AND file_no = ANY(%s)",
                (task_no, [file_no for file_no, _ in ranges]),
            )
            paths = {row[0]: asked.destination(row[1], plan.decode(row[2])) for row in rows}
            told = [(no, paths[no], one.first, one.after) for no, one in ranges if no in paths]
            conn.on_commit.append(lambda: checks.covers(task_no, told))
        new: int = await was[restart_points, "add"](conn, task_no, ranges)
        return new

    async def drop(conn: Any, task_no: int, file_no: int, firsts: Any = None) -> None:
        await was[restart_points, "drop"](conn, task_no, file_no, firsts)
        conn.on_commit.append(lambda: checks.uncovers(task_no, file_no, firsts))

    async def wait_or_go(conn: Any, task_no: int, wanted: Any) -> Any:
        wait = await was[claims, "wait_or_go"](conn, task_no, wanted)
        if wait is not None:
            conn.on_commit.append(lambda: checks.waits(task_no, wait))
        return wait

    async def internal_error(driver: Driver) -> None:
        checks.breaks(str(driver.context.grant.id), traceback.format_exc())
        await was[Driver, "internal_error"](driver)

    instead: dict[tuple[Any, str], Any] = {
        (leases, "admit"): admit,
        (leases, "finish"): finish,
        (plan, "take"): take,
        (segments, "append"): append,
        (restart_points, "add"): add,
        (restart_points, "drop"): drop,
        (claims, "wait_or_go"): wait_or_go,
        (Driver, "internal_error"): internal_error,
    }
    was = {(place, name): getattr(place, name) for place, name in instead}
    for (place, name), observed in instead.items():
        setattr(place, name, observed)
    try:
        yield
    finally:
        for (place, name), original in was.items():
            setattr(place, name, original)
