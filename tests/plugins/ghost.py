"""A worker that did this and that under a lease, and was never heard of again.

The test plays it with the store's functions, so that it is known to the row what was committed.
What its commands do to the destination the test does itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from towpath.gridftp.wire.ranges import ByteRange
from towpath.platform.database import Database
from towpath.transfer.claims import storage_of
from towpath.transfer.engine.claiming import destinations
from towpath.transfer.store import claims, counters, endpoints, leases, plan, restart_points
from towpath.transfer.store.leases import Grant
from towpath.transfer.store.plan import Directory, File
from towpath.transfer.store.restart_points import Range

GHOST = "ghost"
LEASE_S = 600.0
"""Longer than a test; it is ended when the ghost is done."""

PAIR = 4097
"""Its sessions."""

Haunt = Callable[[AsyncConnection[Any], Grant], Awaitable[None]]


def haunted(database_url: str, haunt: Haunt) -> None:
    """The only task that waits gets a lease; what `haunt` does is committed; the lease is lost."""

    async def run() -> None:
        async with Database(database_url, schema="transfer") as database:
            [grant] = await leases.admit(
                database, worker=GHOST, limit=1, lease_s=LEASE_S, per_owner=100
            )
            async with leases.fenced(database, grant.task_no, grant.lease_epoch) as conn:
                await plan.resume(conn, grant.task_no, grant.lease_epoch)
                await haunt(conn, grant)
            await leases.expire_worker(database, GHOST)

    asyncio.run(run())


async def take_all(conn: AsyncConnection[Any], grant: Grant, files: Sequence[File]) -> None:
    """The only item is a directory with these files, all of which are in flight now."""
    await leases.start(conn, grant.task_no)
    await _claim(conn, grant)
    await plan.directory_listed(
        conn,
        grant.task_no,
        Directory(0, 0, ""),
        files=files,
        directories=[],
        files_found=len(files),
        links_found=0,
        is_directory=True,
    )
    for large in (False, True):
        while await plan.take(
            conn,
            grant.task_no,
            epoch=grant.lease_epoch,
            lane=int(not large),
            large=large,
            files=100,
            size_bytes=1 << 40,
        ):
            pass


async def _claim(conn: AsyncConnection[Any], grant: Grant) -> None:
    """Nobody sends anything before (I9)."""
    assert grant.destination_endpoint_id is not None
    endpoint = await endpoints.get(conn, grant.destination_endpoint_id)
    assert endpoint is not None
    wanted = destinations(await plan.items(conn, grant.task_no), globs=False)
    storage = storage_of(endpoint.host, endpoint.port)
    await claims.make(conn, grant.task_no, storage, wanted)


async def confirm(
    conn: AsyncConnection[Any], grant: Grant, file: File, parts: Sequence[ByteRange]
) -> None:
    """Both servers have, and their digests of these ranges were equal."""
    points = [(file.file_no, Range(part.first, part.after, True, PAIR)) for part in parts]
    await counters.transferred(
        conn,
        grant.task_no,
        files=0,
        transferred_bytes=await restart_points.add(conn, grant.task_no, points),
        checksummed_bytes=sum(part.length for part in parts),
        resent_bytes=0,
        deadline_after_h=1,
    )


def listed(root: Path) -> list[File]:
    """The files of a directory, as a walk puts them into the plan."""
    return [
        File(number, 0, path.name, path.stat().st_size, int(path.stat().st_mtime))
        for number, path in enumerate(sorted(root.iterdir()), 1)
    ]
