"""What the routes share: the service's parts, the caller, and who may see which endpoint."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from math import ceil
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Request

from towpath.gridftp.security.authority import Authority
from towpath.platform.database import Connection, Database
from towpath.platform.dial import DialPolicy
from towpath.platform.errors import ApiError, current_address
from towpath.platform.guard import Guard, Principal
from towpath.platform.rates import Rates, TooOften
from towpath.platform.secrets import Sealer
from towpath.platform.settings import (
    EngineSettings,
    GridftpSettings,
    LimitSettings,
    SharingSettings,
)
from towpath.platform.together import Together
from towpath.transfer.api.documents import event_document, files_document, progress_document
from towpath.transfer.browse.browser import Browser
from towpath.transfer.browse.endpoint_test import EndpointTests
from towpath.transfer.browse.logon import MyProxyLogons
from towpath.transfer.connect.carrying import Dials
from towpath.transfer.connect.keys import ConnectKeys
from towpath.transfer.connect.nodes import Nodes
from towpath.transfer.connect.setup_keys import setup_key
from towpath.transfer.consents import DataConsents
from towpath.transfer.issuing import Issuing
from towpath.transfer.live.hub import Documents, Hub
from towpath.transfer.rights import Standing, Who
from towpath.transfer.sessions import EndpointSessions
from towpath.transfer.store import endpoints, rights, tasks
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.tasks import Task, TaskKey
from towpath.transfer.watches.pauses import PauseWatch
from towpath.transfer.watches.principals import Heard

SETUP_TRIES = 30
"""In a minute from one address. Nobody guesses a setup key, but each try is work; behind one
address may be a whole site that is being set up."""
SHOWN_AT_ONCE = 100
"""Tasks that are looked up together: some milliseconds."""

PREFIX = "/v0.10"
SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"
"""A fixed literal inside the clients, on any deployment."""
RENDERED_AT_ONCE = 2
"""Parts of manifests, for all who ask: each is a thread's work, and the API has other work too."""


K = TypeVar("K")
V = TypeVar("V")
Joint = Callable[["TransferService", Sequence[K]], Awaitable[Sequence[V | Exception]]]


@dataclass(frozen=True, slots=True)
class TransferService:
    """The API's parts. `close` what was opened here."""

    database: Database
    guard: Guard
    sealer: Sealer
    dial: DialPolicy
    limits: LimitSettings = field(default_factory=LimitSettings)
    gridftp: GridftpSettings = field(default_factory=GridftpSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    sharing: SharingSettings = field(default_factory=SharingSettings)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    authorities: Mapping[UUID, Authority] = field(default_factory=dict)
    """Of endpoints for which the deployment issues credentials itself."""
    origin: str = "https://localhost:8443"
    """The URL of the deployment, as its users have it."""
    authority_file: Path | None = None
    """Of the authority, PEM, that the API's certificate is from; None: a public one."""
    allow_http: bool = False
    """Whether webhooks may go to http:// addresses."""
    connect_begins: Callable[[], None] = lambda: None
    """Called when there is a Connect endpoint: from now on a relay is needed."""
    connect_keys: ConnectKeys = field(init=False)
    nodes: Nodes = field(init=False)
    dials: Dials = field(init=False)
    setup_tries: Rates[str] = field(init=False)
    """To set a node up, by their addresses."""
    issuing: Issuing = field(init=False)
    sessions: EndpointSessions = field(init=False)
    browser: Browser = field(init=False)
    logons: MyProxyLogons = field(init=False)
    data_consents: DataConsents = field(init=False)
    hub: Hub = field(init=False)
    tests: EndpointTests = field(init=False)
    rendering: asyncio.Semaphore = field(init=False)
    """Taken while a part of a manifest is made."""
    pauses: PauseWatch = field(init=False)
    requests: Rates[UUID] = field(init=False)
    """By their owners."""
    refusals: Rates[str] = field(init=False)
    """Requests without an accepted token, by their addresses."""
    heard: Heard = field(default_factory=Heard)
    storing: dict[TaskKey, asyncio.Event] = field(default_factory=dict)
    """Submissions that are being stored by themselves, which may take seconds. A repetition waits
    here: in the database it would keep others waiting, or a connection."""
    _together: dict[Any, Together[Any, Any]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        issuing = Issuing(self.sealer, self.authorities, self.now)
        object.__setattr__(self, "issuing", issuing)
        object.__setattr__(self, "data_consents", DataConsents(self.guard.ask))
        keys = ConnectKeys(self.database, self.sealer, self.origin, now=self.now)
        object.__setattr__(self, "connect_keys", keys)
        object.__setattr__(self, "nodes", Nodes(self.database, keys))
        object.__setattr__(self, "dials", Dials(self.database, self.dial))
        object.__setattr__(self, "setup_tries", Rates(SETUP_TRIES))
        sessions = EndpointSessions(
            self.database, self.sealer, self.dial, self.gridftp, issuing, keys
        )
        object.__setattr__(self, "sessions", sessions)
        object.__setattr__(self, "browser", Browser(sessions))
        object.__setattr__(self, "logons", MyProxyLogons(sessions))
        shown = Documents(partial(progress_document, now=self.now), event_document, files_document)
        object.__setattr__(self, "hub", Hub(self.database, shown))
        object.__setattr__(self, "rendering", asyncio.Semaphore(RENDERED_AT_ONCE))
        object.__setattr__(self, "tests", EndpointTests(sessions, self.now))
        pauses = PauseWatch(self.database, limits=self.limits, engine=self.engine)
        object.__setattr__(self, "pauses", pauses)
        object.__setattr__(self, "requests", Rates(self.limits.requests_per_owner))
        object.__setattr__(self, "refusals", Rates(self.limits.refusals_per_address))

    def api_authority(self) -> bytes | None:
        """The authority, PEM, that this API's certificate is from, if it is our own."""
        return None if self.authority_file is None else self.authority_file.read_bytes()

    async def setup_key(self, secret: str) -> str:
        """The word that a user carries to a computer."""
        authority = await asyncio.to_thread(self.api_authority)
        return setup_key(urlsplit(self.origin).netloc, authority, secret)

    def together(self, work: Joint[K, V], *, most: int) -> Together[K, V]:
        """What does `work` for all who ask for it at the same time; `most` of them at once."""
        made: Together[K, V] | None = self._together.get(work)
        if made is None:
            made = Together(partial(work, self), most=most)
            self._together[work] = made
        return made

    async def close(self) -> None:
        """End streams, and close the sessions that browsing parked."""
        await self.hub.close()
        await self.sessions.close()


def _service(request: Request) -> TransferService:
    service = request.app.state.transfer
    assert isinstance(service, TransferService)
    return service


Service = Annotated[TransferService, Depends(_service)]


async def caller_of(request: Request, service: Service) -> Principal:
    """Who asks. Raises ApiError: 401, 403, or 429 for who asks too often."""
    return await counted(request, service, service.guard.require(SCOPE))


async def counted(
    request: Request, service: TransferService, asks: Callable[[Request], Awaitable[Principal]]
) -> Principal:
    """Who `asks`, unless too often. Raises ApiError: what `asks` raises, and 429."""
    address = current_address.get()
    try:
        try:
            service.refusals.check(address)
        except TooOften:
            if not service.guard.accepted_lately(request):
                raise
        try:
            caller = await asks(request)
        except ApiError as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                service.refusals.take(address)
            raise
    except TooOften as often:
        raise _too_often("requests without an accepted token from your address", often) from None
    try:
        service.requests.take(caller.sub)
    except TooOften as often:
        raise _too_often("requests of yours", often) from None
    return caller


def _too_often(what: str, often: TooOften) -> ApiError:
    seconds = ceil(often.retry_after_s)
    return ApiError(
        429,
        "ClientError.TooManyRequests",
        f"There are too many {what}: ask again in {seconds} s",
        headers={"Retry-After": str(seconds)},
    )


Caller = Annotated[Principal, Depends(caller_of)]
"""Who asks; 401 or 403 before anything else is looked at."""


def who(caller: Principal) -> Who:
    """The caller, for decisions on rights."""
    return Who(caller.sub, caller.username, caller.identity_set, caller.groups)


def parse_id(text: str, what: str, code: str) -> UUID:
    """An id of the path: what is no UUID cannot exist (404 with `code`)."""
    try:
        return UUID(text)
    except ValueError:
        raise ApiError.not_found(f"No such {what} '{text[:80]}'", code=code) from None


@dataclass(frozen=True, slots=True)
class Seen:
    """An endpoint, and what the one who asks is there."""

    endpoint: Endpoint
    standing: Standing


async def visible_endpoint(
    conn: Connection, endpoint_id: UUID, viewer: Who, now: datetime, *, lock: bool = False
) -> Seen:
    """An endpoint that the viewer may see. 404 for others: they do not exist for him (I7).

    With `lock`, its row is held until the transaction ends.
    """
    endpoint = await endpoints.get(conn, endpoint_id, lock=lock)
    if endpoint is None:
        raise no_endpoint(endpoint_id)
    return look_at(endpoint, await rights.standing(conn, endpoint, viewer, now))


def look_at(endpoint: Endpoint, standing: Standing) -> Seen:
    """The same of an endpoint that has been read."""
    endpoint_id = endpoint.id
    if not standing.visible:
        raise no_endpoint(endpoint_id)
    if endpoint.deleted_at is not None:
        raise ApiError.not_found(
            f"Endpoint '{endpoint_id}' has been deleted", code="EndpointDeleted"
        )
    return Seen(endpoint, standing)


def no_endpoint(endpoint_id: UUID) -> ApiError:
    """What who does not see an endpoint is told, whether there is one or not (I7)."""
    return ApiError.not_found(f"No such endpoint '{endpoint_id}'", code="EndpointNotFound")


async def administered_endpoint(
    conn: Connection, endpoint_id: UUID, caller: Who, now: datetime
) -> Seen:
    """An endpoint that the caller may change, its row held until the transaction ends."""
    seen = await visible_endpoint(conn, endpoint_id, caller, now, lock=True)
    if not seen.standing.administers:
        raise ApiError.forbidden("Only the owner and administrators may change or delete this")
    return seen


def check_shared(seen: Seen, *, writes: bool) -> None:
    """Of what is shared: whether anything of it is for the one who asks. Which paths, is seen to
    where they are used. Raises ApiError: 403."""
    if not seen.endpoint.is_guest:
        return
    name, owner = seen.endpoint.display_name, seen.endpoint.owner_string
    if seen.standing.closed:
        raise ApiError.forbidden(
            f"“{name}” is closed to all: what it is of may not be shared any more, or the account"
            f" of {owner}, who shares it, is suspended"
        )
    if seen.standing.reach.nothing:
        raise ApiError.forbidden(f"“{name}” is not shared with you: ask {owner}")
    if writes and not seen.standing.reach.writable:
        raise ApiError.forbidden(f"“{name}” is shared with you to read only: ask {owner}")


async def own_task(conn: Connection, task_id: str, caller: UUID) -> Task:
    """A task of the caller's. 404 for others: they do not exist for him (I7)."""
    wanted = parse_id(task_id, "task", "TaskNotFound")
    return _found(await tasks.show(conn, caller, wanted), wanted)


async def own_task_shown(service: TransferService, task_id: str, caller: UUID) -> Task:
    """The same, looked up together with others that are asked for now."""
    wanted = parse_id(task_id, "task", "TaskNotFound")
    look_up = service.together(_look_up, most=SHOWN_AT_ONCE)
    return _found(await look_up((caller, wanted)), wanted)


async def _look_up(
    service: TransferService, asked: Sequence[tuple[UUID, UUID]]
) -> Sequence[Task | None]:
    async with service.database.connection() as conn:
        return await tasks.show_many(conn, asked)


def _found(task: Task | None, wanted: UUID) -> Task:
    if task is None:
        raise ApiError.not_found(f"No such task '{wanted}'", code="TaskNotFound")
    return task
