"""What a database had committed when its worker was killed, and whether it was sent again (I4)."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from plugins.rig import Command
from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.transfer.engine.context import join
from towpath.transfer.store import plan, restart_points, segments
from towpath.transfer.store.rows import fetch


class Committed(NamedTuple):
    """Of one task; files by their paths at the source."""

    finished: frozenset[str]
    ranges: dict[str, RangeSet]
    """Restart points of large files that are not finished."""
    in_flight: int
    """Files whose command may have been sent."""


async def committed(conn: AsyncConnection[Any], task_no: int) -> Committed:
    """As it stands."""
    roots = {item.item_no: item.source_path for item in await plan.items(conn, task_no)}
    finished: set[str] = set()
    after = 0
    while (
        found := await segments.read_segment(conn, task_no, segments.Finished, after)
    ) is not None:
        after, files = found
        finished |= {join(roots[file.item_no], file.path) for file in files}
    ranges: dict[str, RangeSet] = {}
    in_flight = 0
    for file_no, item_no, path, state in await fetch(
        conn, "SELECT file_no, item_no, path, state FROM file WHERE task_no = %s", (task_no,)
    ):
        in_flight += state in (plan.State.IN_FLIGHT, plan.State.CONTESTED)
        if points := await restart_points.of_file(conn, task_no, file_no):
            covered = RangeSet(ByteRange(one.first, one.after) for one in points)
            ranges[join(roots[item_no], plan.decode(path))] = covered
    return Committed(frozenset(finished), ranges, in_flight)


def sent_again(before: Committed, later: Iterable[Command]) -> list[Command]:
    """Commands for what had been committed before."""
    return [command for command in later if _covered(before, command)]


def _covered(before: Committed, command: Command) -> bool:
    if command.path in before.finished:
        return True
    if command.first is None or command.path not in before.ranges:
        return False
    assert command.length is not None, "it is of a range"
    part = ByteRange(command.first, command.first + command.length)
    together = RangeSet([*before.ranges[command.path], part])
    return together.total < before.ranges[command.path].total + part.length
