"""Standing still: whether a command whose end no server has confirmed still writes (I3).

From outside it can only be seen: by the size and time of what it was to write.
"""

import asyncio
import math
from collections.abc import Sequence

import structlog

from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, Phase, Scope
from towpath.gridftp.wire.listings import Entry
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.pairs import open_session
from towpath.transfer.store import plan

log = structlog.get_logger()

# One lost lane's worth (100 files) for each of a few lanes; each look sends one command a file.
GROUP_FILES = 400
# Of a task that is to end no more are looked at: many lost leases' worth.
MOST_FILES = 10 * GROUP_FILES
# How often a path that should stand still is looked at.
LOOKS_IN_SETTLE = 5
LOOK_AT_LEAST_EVERY_S = 1.0
# A task that is to end does so: what moves for longer, another may be writing. For all of the end.
END_WITHIN_S = 600.0


async def stand_still(
    context: TaskContext, destination: Session, paths: Sequence[str], *, within_s: float = math.inf
) -> bool:
    """Return when none of the paths has changed for `settle_s`, and that it is so; or after
    `within_s` that it is not. Raises TaskFaultError."""
    settle_s = context.settings.settle_s
    seen: list[object] | None = None
    began = since = context.clock()
    while True:
        asked_at = context.clock()
        now = await asyncio.gather(*(_observe(context, destination, path) for path in paths))
        if now != seen:
            seen, since = now, context.clock()
        elif asked_at - since >= settle_s:
            return True
        if context.clock() - began >= within_s:
            return False
        await asyncio.sleep(min(LOOK_AT_LEAST_EVERY_S, settle_s / LOOKS_IN_SETTLE))


async def _observe(context: TaskContext, destination: Session, path: str) -> object:
    """What of a path must not change: its size and time, or why they cannot be told."""
    try:
        entry = await look(destination, path)
    except GridFTPError as error:
        if error.scope is not Scope.FILE:
            verdict = context.judge(error, Phase.CHECKSUM, at_source=False)
            raise TaskFaultError(verdict) from error
        return error.kind
    return None if entry is None else (entry.size, entry.modified)


async def look(session: Session, path: str) -> Entry | None:
    """What is there; None: nothing."""
    try:
        return await session.stat(path)
    except GridFTPError as error:
        if error.kind is Kind.NOT_FOUND:
            return None
        raise


async def let_settle(context: TaskContext, *, began: float, until: float) -> bool:
    """At the end of a task: return when nothing of it can still write, as far as can be seen; and
    whether that was seen of all files whose commands no server has confirmed.

    These stand still first, or `until` comes. A lost lease's commands may also remove, or make a
    directory or a link, of which the plan knows nothing, even when others have come between: they
    get the time in which they settle. `began`: when this lease did.
    """
    settle_s = context.settings.settle_s
    now = context.clock()
    settled_at = now
    if context.removals_open:
        settled_at = now + settle_s
    elif (lost_s_ago := context.grant.lost_s_ago) is not None:
        # Not less than none: the database's clock may have been set back since.
        settled_at = began + settle_s - max(lost_s_ago, 0.0)
    async with context.db.connection() as conn:
        files = await plan.unsettled(conn, context.task_no, MOST_FILES)
    still = not files or await _files_settle(context, files, until=until)
    if not still:
        settled_at = max(settled_at, now + settle_s)
    await asyncio.sleep(settled_at - context.clock())
    context.removals_open = 0
    return still and len(files) < MOST_FILES


async def _files_settle(context: TaskContext, files: Sequence[plan.File], *, until: float) -> bool:
    """Whether all of them were seen to stand still: not if the destination cannot be asked."""
    destination_id = context.grant.destination_endpoint_id
    if destination_id is None or not context.items:
        return False
    paths = [context.destination_path(file.item_no, file.path) for file in files]
    still = True
    try:
        destination, _ = await open_session(context, destination_id, at_source=False)
        try:
            for first in range(0, len(paths), GROUP_FILES):
                group = paths[first : first + GROUP_FILES]
                left_s = until - context.clock()
                still &= await stand_still(context, destination, group, within_s=left_s)
        finally:
            await destination.close()
    except TaskFaultError as fault:
        context.lease.check()  # without it nothing is asked, and nothing is known of the server
        log.warning("nobody sees whether files stand still", why=fault.verdict.event.code)
        return False
    if not still:
        log.warning("files that still move are left", within_s=END_WITHIN_S)
    return still
