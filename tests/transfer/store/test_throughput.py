"""A task's throughput is one row, which whoever has the lease goes on writing."""

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.transfer.store import leases, throughput
from towpath.transfer.throughput import Point, Throughput


async def test_a_successor_goes_on_with_it(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    async with database.transaction() as conn:
        assert (await throughput.of_task(conn, task_no)).points == []
        assert (await throughput.until_now(conn, task_no)).points == []
        await leases.start(conn, task_no)
    async with database.transaction() as conn:
        known = await throughput.of_task(conn, task_no)
        [start] = known.points
        assert start[1:] == (0, 0, 0)
        await conn.execute(
            "UPDATE task SET bytes_transferred = 7, files_transferred = 2, faults = 1"
            " WHERE task_no = %s",
            (task_no,),
        )
        done = await throughput.now(conn, task_no)
        assert done[1:] == (7, 2, 1)
        noted = known.note(start, done._replace(at=start.at + 1))
        await throughput.write(conn, task_no, noted)
    async with database.transaction() as conn:
        again = await throughput.of_task(conn, task_no)
        assert again == Throughput(1.0, [start, Point(start.at + 1, 7, 2, 1)])
        await throughput.write(conn, task_no, Throughput(2.0, [start]))
        assert await throughput.of_task(conn, task_no) == Throughput(2.0, [start])
        await conn.execute(
            "UPDATE task SET completion_time = now() + interval '1 hour' WHERE task_no = %s",
            (task_no,),
        )
        [_, last] = (await throughput.until_now(conn, task_no)).points
        assert last[1:] == (7, 2, 1)
        assert 3000 < last.at - start.at < 4000
