"""The items of a task as its servers spell them: paths like `/~/x` mean a home directory there."""

from collections.abc import Sequence
from dataclasses import replace

from towpath.gridftp.errors import GridFTPError, Phase
from towpath.transfer import names
from towpath.transfer.engine.access import hold_to_rules
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.pairs import open_both, open_session
from towpath.transfer.sessions import home_directory
from towpath.transfer.store.plan import Item


async def place_items(context: TaskContext, items: Sequence[Item], *, log_in: bool) -> None:
    """Give the context its items, with absolute paths. Raises TaskFaultError.

    `log_in`: where the task writes, in any case. Who may not do that claims nothing there (I9),
    or anyone could hold everybody up.
    """
    need = [
        at_source
        for at_source in (True, False)
        if any(_needs_home(item, at_source=at_source) for item in items)
    ]
    if log_in or need:
        await _log_in(context)
    homes = {at_source: _home(context, at_source=at_source) for at_source in need}
    here, there = homes.get(True, ""), homes.get(False, "")
    context.items = {item.item_no: _on_server(item, here, there) for item in items}
    for at_source, login in context.guest_logins.items():
        await hold_to_rules(context, login, at_source=at_source)


async def _log_in(context: TaskContext) -> None:
    """At both ends at once: who comes next needs both."""
    grant = context.grant
    source_id, destination_id = grant.source_endpoint_id, grant.destination_endpoint_id
    if destination_id is None:
        opened = await open_session(context, source_id, at_source=True)
        context.opened[source_id, True] = opened
    else:
        source, destination = await open_both(context)
        context.opened |= {(source_id, True): source, (destination_id, False): destination}


def _home(context: TaskContext, *, at_source: bool) -> str:
    [session] = [one for (_, side), (one, _) in context.opened.items() if side is at_source]
    try:
        return home_directory(session)
    except GridFTPError as error:
        raise TaskFaultError(context.judge(error, Phase.LOGIN, at_source=at_source)) from error


def _needs_home(item: Item, *, at_source: bool) -> bool:
    path = item.source_path if at_source else item.destination_path
    return path is not None and names.needs_home(path)


def _on_server(item: Item, here: str, there: str) -> Item:
    """`here`, `there`: the home directories at source and destination."""
    destination = item.destination_path
    return replace(
        item,
        source_path=names.absolute(names.to_wire(item.source_path), here),
        destination_path=None
        if destination is None
        else names.absolute(names.to_wire(destination), there),
    )
