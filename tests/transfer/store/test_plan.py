"""The plan: nothing is listed twice, sent twice or forgotten, whatever is committed last (I4)."""

from typing import Any

import pytest

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.transfer.store import counters, leases, plan, removals, restart_points
from towpath.transfer.store.plan import LARGE_FILE_BYTES, Directory, File, Returned, State
from towpath.transfer.store.restart_points import Range
from towpath.transfer.store.rows import fetch, fetch_one


async def begin(database: Database, make_task: MakeTask) -> int:
    task_no = await make_task()
    async with database.transaction() as conn:
        await leases.start(conn, task_no)
    return task_no


async def listed(database: Database, task_no: int, files: list[File]) -> None:
    async with database.transaction() as conn:
        root = await plan.next_directory(conn, task_no)
        assert root is not None
        await plan.directory_listed(
            conn,
            task_no,
            root,
            files=files,
            directories=[],
            files_found=len(files),
            links_found=0,
            is_directory=True,
        )


async def take(database: Database, task_no: int, **options: int) -> list[File]:
    async with database.transaction() as conn:
        return await plan.take(
            conn,
            task_no,
            epoch=options.get("epoch", 1),
            lane=1,
            large=bool(options.get("large", 0)),
            files=options.get("files", 100),
            size_bytes=options.get("size_bytes", 1 << 40),
        )


async def test_a_directory_leaves_the_frontier_with_what_it_held(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await begin(database, make_task)
    odd = b"d\xe9\xff".decode("utf-8", "surrogateescape")
    async with database.transaction() as conn:
        root = await plan.next_directory(conn, task_no)
        assert root == Directory(0, 0, "")
        await plan.directory_listed(
            conn,
            task_no,
            root,
            files=[File(1, 0, odd, 5, None)],
            directories=[Directory(1, 0, "sub")],
            files_found=1,
            links_found=2,
            is_directory=True,
        )
        assert await plan.next_directory(conn, task_no) == Directory(1, 0, "sub")
        counters = await fetch_one(
            conn, "SELECT files, directories, symlinks FROM task WHERE task_no = %s", (task_no,)
        )
        assert counters == (1, 1, 2)
    (file,) = await take(database, task_no)
    assert file.path == odd


async def test_files_of_a_half_listed_directory_are_not_seen(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await begin(database, make_task)
    async with database.transaction() as conn:
        await plan.hide(conn, task_no, 1)
        await plan.add_part(conn, task_no, [File(1, 0, "a", 1, None)], [Directory(9, 0, "d")])
        assert await plan.next_directory(conn, task_no) == Directory(0, 0, "")
    assert await take(database, task_no) == []
    async with database.transaction() as conn:
        progress = await plan.resume(conn, task_no, epoch=2)
    assert progress.open_files == 0


async def test_take_stops_at_files_and_at_bytes_but_takes_at_least_one(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await begin(database, make_task)
    await listed(database, task_no, [File(i, 0, f"f{i}", 1000, None) for i in range(1, 11)])
    assert [f.file_no for f in await take(database, task_no, files=3)] == [1, 2, 3]
    assert [f.file_no for f in await take(database, task_no, size_bytes=1500)] == [4, 5]
    assert [f.file_no for f in await take(database, task_no, size_bytes=1)] == [6]
    assert len(await take(database, task_no)) == 4
    assert await take(database, task_no) == []


async def test_large_files_are_taken_by_the_large_lane_only(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await begin(database, make_task)
    await listed(
        database,
        task_no,
        [
            File(1, 0, "large", LARGE_FILE_BYTES, None),
            File(2, 0, "small", LARGE_FILE_BYTES - 1, None),
        ],
    )
    assert [f.path for f in await take(database, task_no, large=0)] == ["small"]
    assert [f.path for f in await take(database, task_no, large=1)] == ["large"]


async def test_a_takeover_contests_only_what_an_earlier_epoch_sent(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await begin(database, make_task)
    await listed(database, task_no, [File(i, 0, f"f{i}", 1, None) for i in range(1, 4)])
    await take(database, task_no, files=1, epoch=1)
    await take(database, task_no, files=1, epoch=2)
    async with database.transaction() as conn:
        progress = await plan.resume(conn, task_no, epoch=2)
        assert (progress.open_files, progress.contested_files) == (3, 1)
        assert [f.file_no for f in await plan.contested(conn, task_no, 10)] == [1]
    assert [f.file_no for f in await take(database, task_no, epoch=2)] == [3]


async def test_a_takeover_contests_nothing_of_an_epoch_that_is_still(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await begin(database, make_task)
    await listed(database, task_no, [File(i, 0, f"f{i}", 1, None) for i in range(1, 5)])
    for epoch in (1, 2, 3):
        await take(database, task_no, files=1, epoch=epoch)
    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET still_epoch = 2 WHERE task_no = %s", (task_no,))
        progress = await plan.resume(conn, task_no, epoch=3)
        assert (progress.contested_files, progress.still_files) == (1, 1)
        assert [f.file_no for f in await plan.contested(conn, task_no, 10)] == [1]
    taken = await take(database, task_no, epoch=3)
    assert [(f.file_no, f.sent_before) for f in taken] == [(2, True), (4, False)]


async def test_a_failed_file_comes_back_later_and_alone(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await begin(database, make_task)
    await listed(database, task_no, [File(i, 0, f"f{i}", 1, None) for i in range(1, 4)])
    await take(database, task_no)
    async with database.transaction() as conn:
        await plan.put_back(
            conn,
            task_no,
            [
                Returned(1, State.PENDING, failed=True, delay_s=-1),
                Returned(2, State.PENDING, failed=True, delay_s=-1),
                Returned(3, State.PENDING, failed=True, delay_s=3600),
            ],
        )
    first = await take(database, task_no)
    assert [(f.file_no, f.attempt) for f in first] == [(1, 1)]
    assert [f.file_no for f in await take(database, task_no)] == [2]
    assert await take(database, task_no) == []
    async with database.transaction() as conn:
        waiting = await plan.waiting(conn, task_no)
    assert waiting.files == 1
    assert 3500 < waiting.next_due_s <= 3600


async def test_ranges_written_twice_count_once(database: Database, make_task: MakeTask) -> None:
    task_no = await begin(database, make_task)
    ranges = [(1, Range(0, 100, True, 1)), (1, Range(100, 150, False, 1))]
    async with database.transaction() as conn:
        assert await restart_points.add(conn, task_no, ranges) == 150
        assert await restart_points.add(conn, task_no, ranges) == 0
        await restart_points.drop(conn, task_no, 1, [0])
        assert await restart_points.of_file(conn, task_no, 1) == [Range(100, 150, False, 1)]
        await plan.remove(conn, task_no, [1])
        assert await restart_points.of_file(conn, task_no, 1) == []


async def test_a_live_file_costs_at_most_250_bytes(database: Database, make_task: MakeTask) -> None:
    """I5, with its indexes and a path of 40 characters."""
    task_no = await begin(database, make_task)
    files = [
        File(i, 0, f"run-{i // 100:06d}/detector-image-{i:010d}.h5", 4096, 1) for i in range(20_000)
    ]
    await listed(database, task_no, files)
    async with database.connection() as conn:
        rows = await fetch(conn, "SELECT pg_total_relation_size('file')")
    assert rows[0][0] / len(files) <= 250


async def test_progress_moves_a_deadline_that_nobody_gave(
    database: Database, make_task: MakeTask
) -> None:
    ours, given = await begin(database, make_task), await begin(database, make_task)
    async with database.transaction() as conn:
        await conn.execute(
            "UPDATE task SET options = '{\"deadline_given\": true}' WHERE task_no = %s", (given,)
        )
        for task_no in (ours, given):
            await counters.transferred(
                conn,
                task_no,
                files=1,
                transferred_bytes=1,
                checksummed_bytes=0,
                resent_bytes=0,
                deadline_after_h=72,
            )
        hours = await fetch(
            conn,
            "SELECT extract(epoch FROM deadline - now())::float8 / 3600 FROM task ORDER BY task_no",
        )
    assert [round(row[0]) for row in hours] == [72, 24]


async def test_a_deletes_deadline_stays(database: Database, make_task: MakeTask) -> None:
    task_no = await begin(database, make_task)
    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET type = 'DELETE'")
        before = await fetch(conn, "SELECT deadline FROM task")
        await removals.count(conn, task_no, files=10, directories=1, deadline_after_h=72)
        assert await fetch(conn, "SELECT deadline FROM task") == before


async def test_a_batch_takes_effect_once(database: Database, make_task: MakeTask) -> None:
    task_no = await begin(database, make_task)
    async with database.transaction() as conn:
        assert await counters.begin_batch(conn, task_no, (1 << 32) + 1)
        assert await counters.begin_batch(conn, task_no, (1 << 32) + 2)
        assert not await counters.begin_batch(conn, task_no, (1 << 32) + 2), "its answer was lost"
        assert await counters.begin_batch(conn, task_no, (2 << 32) + 1), "the next lease's first"


async def test_a_directory_that_failed_lets_the_others_go_first(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task(items=2)
    async with database.transaction() as conn:
        await leases.start(conn, task_no)
        first = await plan.next_directory(conn, task_no)
        assert first is not None
        await plan.list_later(conn, task_no, first.dir_no, delay_s=100)
        other = await plan.next_directory(conn, task_no)
        assert other is not None
        assert other.dir_no != first.dir_no
        await plan.list_later(conn, task_no, other.dir_no, delay_s=50)
        assert await plan.next_directory(conn, task_no) is None
        rest = await plan.waiting(conn, task_no)
        assert rest.files == 0
        assert 45 < rest.next_due_s <= 50
        due_s = await plan.next_directory_due_s(conn, task_no)
        assert due_s is not None
        assert 45 < due_s <= 50
        await plan.list_later(conn, task_no, other.dir_no, delay_s=-1)
        again = await plan.next_directory(conn, task_no)
        assert await plan.next_directory_due_s(conn, -1) is None
    assert again is not None
    assert again.attempt == 2


async def test_it_is_known_whether_a_file_was_sent_before(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await begin(database, make_task)
    await listed(database, task_no, [File(n, 0, f"f{n}", 10, None) for n in (1, 2, 3)])
    first = await take(database, task_no)
    assert [file.sent_before for file in first] == [False] * 3
    async with database.transaction() as conn:
        await plan.put_back(
            conn,
            task_no,
            [
                Returned(1, State.PENDING),
                Returned(2, State.PENDING, sent=False),
                Returned(3, State.PENDING, failed=True, delay_s=3600),
            ],
        )
    again = await take(database, task_no)
    assert {file.file_no: file.sent_before for file in again} == {1: True, 2: False}


async def test_a_large_unlisted_directory_is_forgotten_in_parts(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is to be seen stays, and nothing else is seen on the way."""
    monkeypatch.setattr(plan, "ROWS_AT_ONCE", 2)
    task_no = await begin(database, make_task)
    await listed(database, task_no, [File(1, 0, "stays", 5, None)])
    async with database.transaction() as conn:
        await plan.hide(conn, task_no, 100)
        files = [File(100 + i, 0, f"f{i}", 5, None) for i in range(5)]
        directories = [Directory(10 + i, 0, f"d{i}") for i in range(3)]
        await plan.add_part(conn, task_no, files, directories)
    steps = 1
    while await in_transaction(database, plan.forget_some, task_no):
        steps += 1
        assert await plan_size(database, task_no) > (1, 0)
    assert steps == 4, "5 files and 3 directories, two at a time"
    assert await plan_size(database, task_no) == (1, 0)
    await in_transaction(database, plan.forget_unlisted, task_no)
    assert [file.path for file in await take(database, task_no)] == ["stays"]


async def in_transaction(database: Database, do: Any, task_no: int) -> Any:
    async with database.transaction() as conn:
        return await do(conn, task_no)


async def plan_size(database: Database, task_no: int) -> tuple[int, int]:
    """Files and directories."""
    async with database.connection() as conn:
        row = await fetch_one(
            conn,
            "SELECT (SELECT count(*) FROM file WHERE task_no = %(t)s),"
            " (SELECT count(*) FROM frontier WHERE task_no = %(t)s)",
            {"t": task_no},
        )
    assert row is not None
    return row[0], row[1]


async def test_the_bytes_that_will_be_copied_are_known(
    database: Database, make_task: MakeTask
) -> None:
    """As they are found; less those of files that are not copied after all, or have changed."""
    task_no = await make_task()
    root = Directory(0, 0, "")
    files = [File(number, 0, f"f{number}", 10 * number, None) for number in (1, 2, 3, 4)]

    async def found() -> int:
        row = await (
            await conn.execute("SELECT bytes_found FROM task WHERE task_no = %s", (task_no,))
        ).fetchone()
        assert row is not None
        count: int = row["bytes_found"]
        return count

    async with database.transaction() as conn:
        assert await found() == 0
        await plan.directory_listed(
            conn,
            task_no,
            root,
            files=files,
            directories=[],
            files_found=4,
            bytes_found=100,
            links_found=0,
            is_directory=True,
        )
        assert await found() == 100
        await plan.remove(conn, task_no, [1])
        await plan.leave_out(conn, task_no, [2])
        assert await found() == 80
        await plan.changed_at_source(conn, task_no, 3, size=5, modified=None)
        assert await found() == 55
        await plan.leave_out(conn, task_no, [3, 4])
        assert await found() == 10
