"""Opening what a lane needs: a session at each end, set up for one common data channel."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from towpath.gridftp.client.lane import Lane, Piece, Protection
from towpath.gridftp.client.session import Server, Session, close_all
from towpath.gridftp.errors import GridFTPError, Kind, Phase
from towpath.gridftp.wire.features import common_checksum
from towpath.transfer.circuits import unreachable
from towpath.transfer.claims import storage_of
from towpath.transfer.engine.access import hold_to_rules, log_in
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.faults import (
    Consequence,
    endpoint_changed,
    until_it_answers,
)
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.stopwatch import LOGIN, RETRY
from towpath.transfer.sessions import Login
from towpath.transfer.store import circuits
from towpath.transfer.store.plan import File


class Ends(Protocol):
    """A session at each end."""

    @property
    def source(self) -> Session:
        """Where files are read."""

    @property
    def destination(self) -> Session:
        """Where they go."""


@dataclass(frozen=True, slots=True)
class BothEnds:
    """A session at each end, and nothing between them."""

    source: Session
    destination: Session


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
    """A session at one end (see `open_another`). Raises TaskFaultError.

    A failure that makes it doubtful that the server is there opens its circuit; not when the task
    has a session there already, and perhaps all that the server allows.
    """
    writes = (not at_source or context.deletes) and not context.planning
    opened = context.opened.pop((endpoint_id, at_source), None)
    if opened is not None:
        try:
            if writes:
                _check_claimed(context, opened[1])
        except TaskFaultError:
            await opened[0].close()
            raise
        return opened
    try:
        login = await log_in(context, endpoint_id, at_source=at_source, writes=writes)
        if login.guest is not None:
            context.guest_logins[at_source] = login
            await hold_to_rules(context, login, at_source=at_source)
        if writes:
            _check_claimed(context, login)
    except GridFTPError as error:
        verdict = context.judge(error, Phase.LOGIN, at_source=at_source)
        raise TaskFaultError(verdict) from error
    try:
        session = await open_another(context, login, writes=writes)
    except GridFTPError as error:
        login.hide_server(error)
        verdict = context.judge(error, Phase.LOGIN, at_source=at_source)
        server = login.server
        if unreachable(error) and not _has_session(context, server):
            await circuits.doubt(context.db, server.host, server.port)
            verdict = until_it_answers(verdict)
        raise TaskFaultError(verdict) from error
    return session, login


def _has_session(context: TaskContext, server: Server) -> bool:
    return any(one.server == server and not one.closed for one in context.own_sessions)


async def open_another(context: TaskContext, login: Login, *, writes: bool) -> Session:
    """One more session, which sends only while the lease lasts (I3). Raises GridFTPError.

    `writes`: commands may be sent that change something. Of a plan's sessions none ever is.
    """
    session = await context.sessions.open_login(login)
    session.channel.only_reads = context.planning
    session.channel.may_send = lambda: context.lease.usable
    if context.witness is not None:
        context.witness.hold(context.grant, session.channel, writes=writes)
    context.own_sessions[session] = login
    return session


async def close_opened(context: TaskContext) -> None:
    """Nobody needs them any more."""
    sessions = [session for session, _ in context.opened.values()]
    context.opened.clear()
    await close_all(sessions)


def _check_claimed(context: TaskContext, login: Login) -> None:
    """The task's claims are for the server that the endpoint had when it began (I9)."""
    now = storage_of(login.server.host, login.server.port)
    if context.claimed_storage in (None, now):
        return
    raise TaskFaultError(endpoint_changed(str(login.server)))


async def open_both(context: TaskContext) -> tuple[tuple[Session, Login], tuple[Session, Login]]:
    """Sessions at source and destination, opened at the same time. Raises TaskFaultError."""
    destination_id = context.grant.destination_endpoint_id
    assert destination_id is not None, "a transfer has a destination"
    both = [
        asyncio.create_task(
            open_session(context, context.grant.source_endpoint_id, at_source=True)
        ),
        asyncio.create_task(open_session(context, destination_id, at_source=False)),
    ]
    try:
        with context.stopwatch.phase(LOGIN):
            source, destination = await asyncio.gather(*both)
    except BaseException:
        await asyncio.shield(asyncio.create_task(_close_opening(both)))
        raise
    return source, destination


async def _close_opening(opening: Sequence[asyncio.Task[tuple[Session, Login]]]) -> None:
    """A task of its own: whoever is cancelled meanwhile does not cut it short."""
    for one in opening:
        one.cancel()
    await asyncio.wait(opening)
    opened = [one for one in opening if not one.cancelled() and one.exception() is None]
    await close_all([one.result()[0] for one in opened])


async def open_pair(context: TaskContext, *, markers: bool) -> Pair:
    """A lane, ready for pieces. Raises TaskFaultError; nothing is left open then."""
    (source, source_login), (destination, destination_login) = await open_both(context)
    try:
        credential = await context.data_credentials.get(
            context.grant.owner_id, source_login.endpoint_id, destination_login.endpoint_id
        )
        with context.stopwatch.phase(LOGIN):
            lane = await Lane.open(
                source,
                destination,
                data_credential=credential,
                protection=Protection.PRIVATE if context.options.encrypt_data else Protection.CLEAR,
                streams=context.settings.streams,
                markers=markers,
                data_hosts=destination_login.data_hosts,
            )
    except BaseException as error:
        await close_all([source, destination])
        if isinstance(error, GridFTPError):
            at_source = error.where == str(source.server)
            raise TaskFaultError(context.judge(error, Phase.DATA, at_source=at_source)) from error
        raise
    context.accounts()  # sessions may be gone when the next batch is written
    return Pair(
        source, destination, source_login, destination_login, lane, context.next_generation()
    )


class PairOpener:
    """Opens pairs for one of several parts of a task that work side by side."""

    def __init__(self, context: TaskContext, recorder: Recorder, *, markers: bool) -> None:
        self._context = context
        self._recorder = recorder
        self._markers = markers
        self._refusals = 0

    async def open(self) -> Pair | None:
        """A fresh pair. None, after a while, when a server allows no more sessions and the other
        parts go on with theirs. Raises TaskFaultError."""
        try:
            pair = await open_pair(self._context, markers=self._markers)
        except TaskFaultError as fault:
            stops = fault.verdict.consequence is not Consequence.RETRY_TASK
            if stops or self._context.lanes_open == 0:
                raise
            self._recorder.event(fault.verdict.event)
            self._refusals += 1
            with self._context.stopwatch.phase(RETRY):
                await asyncio.sleep(self._context.backoff_s(self._refusals))
            return None
        self._refusals = 0
        return pair


def whole_piece(context: TaskContext, pair: Pair, file: File) -> Piece:
    """A small file in one piece, compared if the task asks for it. Raises TaskFaultError."""
    verify, preserve = context.verifies(file.item_no), context.options.preserve_timestamp
    return Piece(
        source_path=context.source_path(file.item_no, file.path),
        destination_path=context.destination_path(file.item_no, file.path),
        size=file.size,
        modified=file.modified if preserve else None,
        checksum=checksum_algorithm(context, pair, file.item_no) if verify else None,
        anew=pair.destination_login.restriction is not None,
        tag=file,
        sized=True,
    )


def checksum_algorithm(context: TaskContext, pair: Ends, item_no: int) -> str:
    """The digest both ends can compute: the item's own, or the fastest strong one they share.

    Raises:
        TaskFaultError: they share none (or not the one that was asked for).
    """
    offers = (pair.source.features, pair.destination.features)
    wanted = context.items[item_no].checksum_algorithm
    algorithm = wanted or common_checksum(offers)
    if algorithm is not None and all(algorithm in offer.checksums for offer in offers):
        return algorithm
    raise TaskFaultError(
        context.judge(
            GridFTPError(
                Kind.CHECKSUM_UNSUPPORTED,
                f"the servers {pair.source.server} and {pair.destination.server} share no"
                f" checksum algorithm (wanted: {wanted or 'any'})",
                where=str(pair.destination.server),
            ),
            Phase.CHECKSUM,
            at_source=False,
        )
    )
