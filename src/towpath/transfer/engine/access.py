"""What a task's owner may log in with, and what access rules let him do at guest collections: when
a session is opened there, and now and then while the task runs.

Every path of a task is below one of its items, so it is these that are held against the rules.
"""

import asyncio
import posixpath
from collections.abc import Iterable
from uuid import UUID

import structlog

from towpath.gridftp.errors import GridFTPError
from towpath.platform.secrets import NoKeyError
from towpath.transfer import names
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.faults import key_missing, unavailable
from towpath.transfer.guests import demand
from towpath.transfer.sessions import Login, SessionUnavailable
from towpath.transfer.store.plan import Item

NARROWED = "the access rules allow less than before: it is done with a session for what they allow"

log = structlog.get_logger()


async def log_in(
    context: TaskContext, endpoint_id: UUID, *, at_source: bool, writes: bool
) -> Login:
    """With what its owner logs in at one end, read afresh. Raises TaskFaultError; and GridFTPError
    as `EndpointSessions.login` does."""
    try:
        who = await context.sessions.person(context.owner)
        return await context.sessions.login(endpoint_id, who, writes=writes)
    except SessionUnavailable as error:
        raise TaskFaultError(unavailable(error, at_source=at_source)) from error
    except NoKeyError as error:
        raise TaskFaultError(key_missing(at_source=at_source)) from error


async def hold_to_rules(context: TaskContext, login: Login, *, at_source: bool) -> None:
    """Whether the items, as far as they are known, may be where they are. Raises TaskFaultError."""
    guest = login.guest
    if guest is None or context.reached.get(at_source) == guest.reach:
        return
    writes = not at_source or context.deletes
    globs = bool(context.grant.options.get("interpret_globs"))
    paths = asked(context.items.values(), at_source=at_source, globs=globs)
    try:
        # in a thread: a task may have very many items
        await asyncio.to_thread(demand, guest.name, guest.reach, paths, writes=writes)
    except SessionUnavailable as error:
        raise TaskFaultError(unavailable(error, at_source=at_source)) from error
    if context.items:
        context.reached[at_source] = guest.reach


def asked(items: Iterable[Item], *, at_source: bool, globs: bool = False) -> list[str]:
    """The absolute paths that items name at one end. A delete's pattern stands for the directory
    that it looks at."""
    paths = (item.source_path if at_source else item.destination_path for item in items)
    return [
        posixpath.dirname(path) if globs and names.is_pattern(path) else path
        for path in paths
        if path is not None
    ]


async def look_again(context: TaskContext) -> None:
    """Whether all that the task does at guest collections is still allowed. Sessions that may more
    than that are closed: the task goes on with others. Raises TaskFaultError."""
    for at_source, login in list(context.guest_logins.items()):
        writes = not at_source or context.deletes
        try:
            now = await log_in(context, login.endpoint_id, at_source=at_source, writes=writes)
        except GridFTPError:
            continue  # what else is wrong with it, whoever opens the next session there will hear
        await hold_to_rules(context, now, at_source=at_source)
        await _close_wider(context, now)


async def _close_wider(context: TaskContext, now: Login) -> None:
    """Of sessions at a server which holds each to what the rules were when it began. That of an
    agent gets another grant instead (`transfer.sessions`)."""
    if now.guest is None or now.permit is not None:
        return
    reach = now.guest.reach
    wider = [
        session
        for session, login in list(context.own_sessions.items())
        if login.endpoint_id == now.endpoint_id
        and login.guest is not None
        and not login.guest.reach.within(reach)
        and not session.closed
    ]
    if not wider:
        return
    for end, (session, _) in list(context.opened.items()):
        if session in wider:
            del context.opened[end]
    log.info("access.sessions_narrowed", sessions=len(wider), endpoint=str(now.endpoint_id))
    await asyncio.gather(*(session.close(NARROWED) for session in wider))
