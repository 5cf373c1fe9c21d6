"""Opening what a lane needs: a session at each end, set up for one common data channel."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import structlog

from towpath.gridftp.client.lane import Lane, Protection
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.transfer.engine.context import TaskContext, TaskFaultError, unavailable
from towpath.transfer.sessions import Login, SessionUnavailable

log = structlog.get_logger()

# With CPU support SHA-256 is the fastest strong digest the servers have: twice as fast as MD5.
PREFERRED_CHECKSUMS = ("SHA256", "SHA1", "ADLER32")


@dataclass(frozen=True, slots=True)
class Pair:
    """A lane with its two sessions. `generation` names the pair in restart points."""

    source: Session
    destination: Session
    source_login: Login
    destination_login: Login
    lane: Lane
    generation: int


async def open_session(
    context: TaskContext, endpoint_id: UUID, *, at_source: bool
) -> tuple[Session, Login]:
    """A session at one end. Raises TaskFaultError."""
    try:
        login = await context.sessions.login(endpoint_id, context.grant.owner_id)
        return await context.sessions.open_login(login), login
    except GridFTPError as error:
        raise TaskFaultError(context.judge(error, at_source=at_source)) from error
    except SessionUnavailable as error:
        raise unavailable(error, at_source=at_source) from error


async def open_both(context: TaskContext) -> tuple[tuple[Session, Login], tuple[Session, Login]]:
    """Sessions at source and destination, opened at the same time. Raises TaskFaultError."""
    destination_id = context.grant.destination_endpoint_id
    assert destination_id is not None, "a transfer has a destination"
    opened = await asyncio.gather(
        open_session(context, context.grant.source_endpoint_id, at_source=True),
        open_session(context, destination_id, at_source=False),
        return_exceptions=True,
    )
    source, destination = opened
    if isinstance(source, BaseException) or isinstance(destination, BaseException):
        for one in opened:
            if not isinstance(one, BaseException):
                await one[0].close()
        raise source if isinstance(source, BaseException) else destination  # type: ignore[misc]
    return source, destination


async def open_pair(context: TaskContext, *, markers: bool) -> Pair:
    """A lane, ready for pieces. Raises TaskFaultError; nothing is left open then."""
    (source, source_login), (destination, destination_login) = await open_both(context)
    try:
        credential = await context.data_credentials.get(
            context.grant.owner_id, source_login.endpoint_id, destination_login.endpoint_id
        )
        lane = await Lane.open(
            source,
            destination,
            data_credential=credential,
            protection=Protection.PRIVATE if context.options.encrypt_data else Protection.CLEAR,
            streams=context.settings.streams,
            markers=markers,
            data_hosts=destination_login.data_hosts,
        )
    except GridFTPError as error:
        at_source = error.where == str(source.server)
        raise TaskFaultError(context.judge(error, at_source=at_source)) from error
    except BaseException:
        await asyncio.gather(source.close(), destination.close())
        raise
    return Pair(
        source, destination, source_login, destination_login, lane, context.next_generation()
    )


async def remove_spoiled(context: TaskContext, destination: Session) -> None:
    """What a failed source left at the destination is no version of its file: it goes."""
    while context.spoiled:
        path = context.spoiled.pop()
        context.lease.check()
        try:
            await destination.delete_file(path)
        except GridFTPError as error:
            log.info("spoiled file stays", path=path, kind=error.kind)


def checksum_algorithm(context: TaskContext, pair: Pair) -> str:
    """The digest both ends can compute: the task's own, or the fastest strong one they share.

    Raises:
        TaskFaultError: they share none (or not the one that was asked for).
    """
    shared = set(pair.source.features.checksums) & set(pair.destination.features.checksums)
    wanted = context.options.algorithm
    for algorithm in (wanted.upper(),) if wanted else (*PREFERRED_CHECKSUMS, *sorted(shared)):
        if algorithm in shared:
            return algorithm
    raise TaskFaultError(
        context.judge(
            GridFTPError(
                Kind.CHECKSUM_UNSUPPORTED,
                f"the servers {pair.source.server} and {pair.destination.server} share no"
                f" checksum algorithm (wanted: {wanted or 'any'})",
                where=str(pair.destination.server),
            ),
            at_source=False,
        )
    )
