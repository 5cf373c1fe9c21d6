"""Claims the destinations of a task that begins, or lets it wait for who came first (I9).

Sources claim nothing: reading beside a writer does no harm to what is there, and a source that
changed is found by its checksum.
"""

import asyncio
import posixpath
from collections.abc import Collection

from towpath.transfer import names
from towpath.transfer.claims import Claim, Wait, claim, reduced, storage_of
from towpath.transfer.engine.context import TaskContext
from towpath.transfer.store import claims, endpoints, events, leases
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.plan import Item


class WaitsForTaskError(Exception):
    """An earlier task goes first. The lease has been given back; there is nothing to undo."""

    def __init__(self, wait: Wait) -> None:
        super().__init__(wait.path)
        self.wait = wait


def destinations(items: Collection[Item], *, globs: bool, base: str = "") -> list[Claim]:
    """What a task with these items (absolute paths) may write or delete. `base`: where the root of
    their collection is in its storage; two collections of one storage may overlap.

    An item claims a tree unless it is said to be one file. A delete's pattern claims the directory
    that it looks at.
    """
    return reduced(_destination(item, globs=globs, base=base) for item in items)


def _destination(item: Item, *, globs: bool, base: str) -> Claim:
    is_tree = item.recursive is not False
    if item.destination_path is not None:
        return claim(base + item.destination_path, is_tree=is_tree)
    if globs and names.is_pattern(item.source_path):
        return claim(base + posixpath.dirname(item.source_path), is_tree=True)
    return claim(base + item.source_path, is_tree=is_tree)


async def claim_destinations(context: TaskContext) -> None:
    """Return when the task may write. Raises WaitsForTaskError."""
    grant = context.grant
    globs = bool(grant.options.get("interpret_globs"))
    async with context.fenced() as conn:
        endpoint = await endpoints.get(conn, context.written_endpoint_id)
        assert endpoint is not None, "endpoints are never removed from the table"
        storage, base = storage_of(endpoint.host, endpoint.port), endpoint.base
        wanted = await asyncio.to_thread(
            destinations, context.items.values(), globs=globs, base=base
        )
        await claims.make(conn, context.task_no, storage, wanted)
        wait = await claims.wait_or_go(conn, context.task_no, wanted)
        if wait is not None:
            await events.append(
                conn, context.task_no, [_waits(wait)], most=context.settings.events_per_task
            )
            await leases.release(conn, context.task_no)
            context.stopwatch.last_word()
    if wait is not None:
        raise WaitsForTaskError(wait)
    context.claimed_storage = storage


def _waits(wait: Wait) -> Event:
    return Event(EventCode.WAITING_FOR_TASK, "waiting for another task", wait.details())
