"""Events: bounded, whatever goes wrong, and they still explain (I5)."""

import json
from typing import Any

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.transfer.store import events
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.rows import fetch, fetch_one

MOST = 100


def fault(number: int, code: EventCode = EventCode.PERMISSION_DENIED) -> Event:
    return Event(code, "it failed", {"path": f"/f{number}", "advice": "ask"}, is_error=True)


async def append(database: Database, task_no: int, *told: Event) -> None:
    async with database.transaction() as conn:
        await events.append(conn, task_no, told, most=MOST)


async def listed(database: Database, task_no: int) -> list[tuple[str, Any]]:
    """Code and details of all, oldest first."""
    async with database.connection() as conn:
        rows = await fetch(
            conn, "SELECT code, details FROM event WHERE task_no = %s ORDER BY seq", (task_no,)
        )
    return [(code, json.loads(details) if details[0] == "{" else details) for code, details in rows]


async def test_a_thousand_faults_are_few_rows_and_all_counted(
    database: Database, make_task: MakeTask
) -> None:
    task_no, other = await make_task(), await make_task()
    await append(database, task_no, Event(EventCode.STARTED, "started", {}))
    for first in range(0, 1000, 7):
        await append(database, task_no, *(fault(n) for n in range(first, min(first + 7, 1000))))
    rows = await listed(database, task_no)
    assert len(rows) <= MOST
    assert [code for code, _ in rows] == ["STARTED"] + ["PERMISSION_DENIED"] * (len(rows) - 1)
    own = rows[1:-1]
    assert [details["path"] for _, details in own] == [f"/f{n}" for n in range(len(own))]
    assert rows[-1][1] == {"path": "/f999", "advice": "ask", events.MORE: 999 - len(own)}
    await append(database, other, fault(1))
    assert len(await listed(database, other)) == 1, "another task has room of its own"
    async with database.connection() as conn:
        task = await fetch_one(
            conn, "SELECT faults, nice_status FROM task WHERE task_no = %s", (task_no,)
        )
    assert task == (1000, "PERMISSION_DENIED")


async def test_what_happens_once_is_never_lost(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    await append(database, task_no, *(fault(n) for n in range(500)))
    for code in EventCode:
        await append(database, task_no, fault(1000, code), fault(1001, code))
    await append(database, task_no, Event(EventCode.SUCCEEDED, "succeeded", "Done."))
    rows = await listed(database, task_no)
    assert len(rows) <= MOST
    last = dict(rows)
    assert last.keys() == set(EventCode)
    assert rows[-1] == ("SUCCEEDED", "Done.")
    assert last["TIMEOUT"] == {"path": "/f1001", "advice": "ask", events.MORE: 1}


async def test_old_progress_is_put_together(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    for number in range(1, 1001):
        await append(database, task_no, events.progress(number * 1_000_000, 60))
    rows = [details for _, details in await listed(database, task_no)]
    assert events.PROGRESS_AT_LEAST / 2 <= len(rows) <= events.PROGRESS_AT_LEAST
    assert sum(row["duration"] for row in rows) == 60_000
    assert sum(row["bytes_transferred"] for row in rows) == 500_500 * 1_000_000
    assert rows[-1]["bytes_transferred"] > 900_000_000, "the last is among the last"
    assert rows[-1]["duration"] <= rows[0]["duration"]
    for row in rows:
        rate = row["bytes_transferred"] * 8 / row["duration"] / 1e6
        assert abs(row["mbps"] - rate) <= 0.1


async def test_garbage_in_details_is_kept_readable(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    odd = b"caf\xe9".decode("utf-8", "surrogateescape")
    await append(database, task_no, Event(EventCode.CANCELED, "x", f"{odd}\0"), fault(1))
    assert (await listed(database, task_no))[0] == ("CANCELED", "caf\\udce9\\0")
