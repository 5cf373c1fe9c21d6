"""Opens sessions at endpoints with what belongs to them: the caller's credential, the endpoint's
trust roots, and the operator's rule of which addresses may be dialled. Used by browse and engine.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID
from weakref import WeakKeyDictionary

import structlog

from towpath.gridftp.client import pool
from towpath.gridftp.client.dial import reason_of
from towpath.gridftp.client.pool import Borrowed, SessionPool
from towpath.gridftp.client.reach import greet
from towpath.gridftp.client.session import Server, Session, Timeouts
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.wire.rooted import Root
from towpath.platform.database import AWAY, Connection, Database
from towpath.platform.dial import DialPolicy, DialRefused
from towpath.platform.secrets import Sealer
from towpath.platform.settings import GridftpSettings
from towpath.transfer import sharing
from towpath.transfer.claims import storage_of
from towpath.transfer.connect.dialling import Agents, label_of
from towpath.transfer.connect.keys import ConnectKeys
from towpath.transfer.connect.permits import (
    RENEW_EVERY_S,
    Grants,
    Permit,
    Refused,
    grants_for,
    permit_for,
)
from towpath.transfer.guests import Guest, guest_of
from towpath.transfer.issuing import Issuing
from towpath.transfer.rights import Who
from towpath.transfer.store import credentials, endpoints, principals, relays
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.unavailable import (
    NoCredential,
    NoEndpoint,
    NotAllowed,
    NotFunctional,
    NotShared,
    ServerMoved,
    SessionUnavailable,
    SharerMustAct,
    SharerSuspended,
    giving_a_credential,
)
from towpath.tunnel.names import endpoint_of_host

__all__ = [
    "EndpointSessions",
    "Login",
    "NoCredential",
    "NoEndpoint",
    "NotAllowed",
    "NotFunctional",
    "NotShared",
    "ServerMoved",
    "SessionUnavailable",
    "SharerMustAct",
    "SharerSuspended",
    "home_directory",
]

CACHED_IDENTITIES = 256
"""Parsed credentials with trust roots kept; each costs some 100 KiB with its TLS context."""


PROBE_CONNECT_S = 4.0
"""Two lost packets are repeated within it. After an outage of the network a new attempt is sooner
through than one that has become slow in repeating itself."""
PROBE_GREETING_S = 20.0
"""A server that looks up in vain who connects greets after up to 15 s. Who says nothing for longer
does not hold up the probes of others."""


_NAMES_SERVER = {
    Kind.CONNECT: "its server cannot be connected to",
    Kind.ADDRESS_REFUSED: "its server cannot be connected to",
    Kind.UNTRUSTED_HOST: "its server cannot prove who it is",
    Kind.AUTHENTICATION: "its server refused the credential of who shares it",
    Kind.MAPPING: "its server knows no account for who shares it",
}
"""What guests are told of errors whose words may name the server, or who is known there."""


_log = structlog.stdlib.get_logger("towpath.sessions")


@dataclass(frozen=True, slots=True)
class Login:
    """All that a session is opened with. Sessions are shared only between equal logins."""

    endpoint_id: UUID
    who: Who
    """Whose sessions these are."""
    server: Server
    data_hosts: frozenset[str]
    credential: Credential
    trust: TrustRoots
    permit: Permit | None = None
    """Of an endpoint with agents: what its sessions may do."""
    base_path: str = ""
    """Of a collection: where its root is in the storage of its server; without a slash at the end.
    """
    root: Root | None = None
    """Of a guest collection: the directory that it shares. Paths of its users begin there; what is
    sent is translated by this, and nowhere else."""
    restriction: str | None = None
    """What the server is to keep its sessions to, where no permit says that."""
    guest: Guest | None = None
    """Of a guest collection."""

    @property
    def namespace(self) -> str:
        """Equal where the same paths lead to the same files."""
        storage = storage_of(self.server.host, self.server.port)
        return storage + self.base_path + ("" if self.root is None else self.root.path)

    @property
    def for_pool(self) -> pool.Login:
        """Equal for logins that may share a session: same user, endpoint, credential, trust.

        Each endpoint has trust roots of its own, read anew when they or the credential change.
        """
        return pool.Login(
            self.server,
            self.credential,
            self.trust,
            owner=str(self.who.id),
            restriction=self.restriction,
            root=self.root,
        )

    def demand(self, paths: Sequence[str], *, writes: bool) -> None:
        """Hold what somebody asks for against the access rules, before anything is sent. Raises
        NotShared. `paths`: as he gives them."""
        if self.guest is not None:
            self.guest.demand(paths, writes=writes)

    def hide_server(self, error: GridFTPError) -> None:
        """Guests are not told of which server it is, also where that cannot be reached."""
        if self.guest is None:
            return
        error.where = str(self.server)
        if error.kind in _NAMES_SERVER:
            error.message, error.reply = _NAMES_SERVER[error.kind], None

    def of_sharer(self, error: GridFTPError) -> SharerMustAct | None:
        """Whether a failure is one that only the sharer of a guest collection can do away with."""
        if self.guest is None or error.kind is not Kind.CREDENTIAL_EXPIRED:
            return None
        return self.guest.must_renew(what="has expired")


def home_directory(session: Session) -> str:
    """Where a session begins: the home of the account that the server maps the user to."""
    if session.home is None or not session.home.startswith("/"):
        raise GridFTPError(
            Kind.PROTOCOL, "the server does not tell its home directory", where=str(session.server)
        )
    return session.home


class EndpointSessions:
    """Opens, and for short operations shares, sessions with registered endpoints.

    Raises SessionUnavailable (NoEndpoint, NoCredential, ...), or GridFTPError (CREDENTIAL_EXPIRED,
    ADDRESS_REFUSED, UNTRUSTED_HOST, CONNECT, ...).
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        policy: DialPolicy,
        settings: GridftpSettings,
        issuing: Issuing | None = None,
        connect: ConnectKeys | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`issuing`: where users may be given credentials (workers take what is there).
        `connect`: with which agents are logged in to."""
        self._now = now
        self.access_every_s = settings.access_every_s
        """How often it is looked whether guests may still do what they do."""
        self._connect = connect
        self._agents = None if connect is None else Agents(database, connect)
        self._renewing: WeakKeyDictionary[Session, asyncio.Task[None]] = WeakKeyDictionary()
        self._database = database
        self._issuing = issuing or Issuing(sealer, {})
        self._sealer = sealer
        self._policy = policy
        self._timeouts = Timeouts(
            connect_s=settings.connect_s,
            login_s=settings.login_s,
            reply_s=settings.reply_s,
            stall_s=settings.stall_s,
        )
        self._probe_timeouts = replace(
            self._timeouts,
            connect_s=min(PROBE_CONNECT_S, settings.connect_s),
            login_s=min(PROBE_GREETING_S, settings.login_s),
        )
        self._identities: OrderedDict[tuple[object, ...], tuple[Credential, TrustRoots]] = (
            OrderedDict()
        )
        self._pool = SessionPool(self.dial, self._timeouts)

    async def login(
        self,
        endpoint_id: UUID,
        who: Who,
        *,
        writes: bool = True,
    ) -> Login:
        """What somebody logs in to this endpoint with, read afresh.

        `writes`: whether sessions are to change anything, where that can be narrowed.
        """
        async with self._database.connection() as conn:
            endpoint = await endpoints.get(conn, endpoint_id)
            if endpoint is None or endpoint.deleted_at is not None:
                raise NoEndpoint(
                    f"endpoint {endpoint_id} is not registered any more",
                    "register the server again and submit to the new endpoint",
                )
            guest = None
            if endpoint.is_guest:
                guest = await guest_of(conn, endpoint, who, self._now())
            if endpoint.is_connect:
                return await self._agent_login(conn, endpoint, who, guest, writes=writes)
            host, holder = (endpoint, who) if guest is None else (guest.host, guest.sharer)
            stored = await self._issuing.credential(conn, host.id, holder.id)
            if stored is None and guest is not None:
                raise guest.must_renew(what="is not there any more")
            if stored is None:
                raise NoCredential(
                    f"you have given no credential for endpoint {endpoint.display_name!r}",
                    f"add one {giving_a_credential(endpoint_id)}",
                )
            if stored.moved and guest is not None:
                raise guest.must_renew(what="was given before its server was changed")
            if stored.moved:
                raise ServerMoved(
                    f"endpoint {endpoint.display_name!r} was given another server, or other"
                    " authorities for it, since you gave your credential for it",
                    f"see where it is now (globus endpoint show {endpoint_id}), and if that is"
                    f" right, give it again {giving_a_credential(endpoint_id)}",
                )
            trust_files = await endpoints.get_trust_roots(conn, host.id)
        server = Server(host.host, host.port, host.subject)
        if not trust_files:
            raise GridFTPError(
                Kind.UNTRUSTED_HOST,
                "the endpoint has no trust roots: no host certificate can be accepted",
                where=str(server),
            )
        version = (stored.updated_at, hash(tuple(sorted(trust_files.items()))))
        identity = self._identities.get((host.id, holder.id, version))
        if identity is None:
            context = credentials.seal_context(host.id, holder.id)
            # Parsing certificates takes tens of milliseconds for a whole directory of authorities.
            identity = await asyncio.to_thread(
                lambda: (
                    Credential.from_pem(self._sealer.unseal(stored.sealed, context)),
                    TrustRoots.from_files(trust_files),
                )
            )
            self._identities[(host.id, holder.id, version)] = identity
            if len(self._identities) > CACHED_IDENTITIES:
                self._identities.popitem(last=False)
        credential, trust = identity
        login = Login(
            endpoint_id, who, server, frozenset(host.data_hosts), credential, trust, guest=guest
        )
        if guest is None:
            return login
        # guests are not told of which server it is
        login = replace(login, server=replace(server, label=label_of(guest.name, endpoint_id)))
        if credential.expired(self._now()):
            raise guest.must_renew(what="has expired")
        allowed = sharing.restriction(guest.prefixes(writes=writes))
        return replace(login, root=guest.root, restriction=allowed)

    async def _agent_login(
        self,
        conn: Connection,
        endpoint: Endpoint,
        who: Who,
        guest: Guest | None,
        *,
        writes: bool,
    ) -> Login:
        assert self._connect is not None, "whoever serves agents has their keys"
        name = endpoint.display_name
        if not endpoint.functional:
            raise NotFunctional(
                f"“{name}” has no files of its own", "use one of its collections instead"
            )
        permit = await permit_for(conn, endpoint, who, guest, writes=writes)
        if isinstance(permit, Refused):
            raise NotAllowed(permit.message, permit.advice)
        if guest is None and endpoint.host_endpoint_id is not None:
            host = await endpoints.get(conn, endpoint.host_endpoint_id)
            assert host is not None, "endpoints are never removed from the table"
            name = host.display_name
        label = label_of(name, endpoint.connect_id if guest is None else endpoint.id)
        return Login(
            endpoint.id,
            who,
            Server(endpoint.host, endpoint.port, label=label),
            await relays.data_addresses(conn, endpoint.connect_id),
            await self._connect.service_credential(),
            await self._connect.trust(),
            permit,
            (endpoint if guest is None else guest.host).base,
            root=None if guest is None else guest.root,
            guest=guest,
        )

    async def person(self, known: Who, *, since: datetime | None = None) -> Who:
        """The same as last heard, `since` then; who was not heard of stays as he is `known`."""
        async with self._database.connection() as conn:
            return await principals.get(conn, known.id, since=since) or known

    async def open(self, endpoint_id: UUID, who: Who) -> Session:
        """A session of its own; the caller closes it."""
        return await self.open_login(await self.login(endpoint_id, who))

    async def open_login(self, login: Login) -> Session:
        """A session with a login read earlier (lanes open several)."""
        session = await Session.open(
            login.server,
            credential=login.credential,
            trust=login.trust,
            token=await self.token_for(login),
            restriction=login.restriction,
            root=login.root,
            dial=self.dial,
            timeouts=self._timeouts,
        )
        self.look_after(session, login)
        return session

    async def token_for(self, login: Login) -> Grants | None:
        """What a session at an endpoint with agents is opened with (`Session.open`)."""
        if login.permit is None:
            return None
        assert self._connect is not None, "who has a permit has the keys"
        return await grants_for(self._connect, login.permit, login.credential)

    def look_after(self, session: Session, login: Login) -> None:
        """Of a session with an agent: renew its grant as long as it is open, parked or not."""
        if login.permit is None or session in self._renewing:
            return
        # A relay that has lost the agent resets the connection: the agent may go on by itself.
        session.channel.reset_is_end = False
        self._renewing[session] = asyncio.create_task(self._keep_permitted(session, login))

    async def _keep_permitted(self, session: Session, login: Login) -> None:
        """One grant after the other. Whatever runs at the agent goes on, and nobody waits for the
        reply: it comes in its turn, perhaps after a checksum of an hour. What rules do not allow
        any more to a guest he loses at once."""
        assert login.permit is not None, "who looks after a session has one"
        look_every_s = RENEW_EVERY_S
        if login.guest is not None:
            look_every_s = min(look_every_s, self.access_every_s)
        renewed_at, opened_at = asyncio.get_running_loop().time(), self._now()
        while True:
            await asyncio.wait([session.channel.lost], timeout=look_every_s)
            if session.closed:
                return
            try:
                permit = await self._permit_now(login, opened_at)
                if permit is None or not permit.same_session(login.permit):
                    self._not_permitted(session, login)
                    return
                now = asyncio.get_running_loop().time()
                if permit == login.permit and now - renewed_at < RENEW_EVERY_S - look_every_s / 2:
                    continue
                login = replace(login, permit=permit)
                grants = await self.token_for(login)
            except AWAY as error:
                _log.warning("session.not_renewed", error=str(error))
                continue
            assert grants is not None
            renewed_at = now
            session.renew(grants()).add_done_callback(_renewed)

    @staticmethod
    def _not_permitted(session: Session, login: Login) -> None:
        """It ends by itself when its last grant is over; that of a guest now. A new login is told
        why."""
        _log.warning("session.not_permitted", endpoint=str(login.endpoint_id))
        if login.guest is not None:
            session.channel.fail(
                GridFTPError(
                    Kind.CONNECTION_LOST,
                    "the permission for the session has ended",
                    str(login.server),
                )
            )

    async def _permit_now(self, login: Login, opened_at: datetime) -> Permit | None:
        """What the owner of a session may do there by now. Who has asked with a token is known by
        that; what was heard of him before is older, and may name groups that he has left."""
        assert login.permit is not None, "who looks after a session has one"
        try:
            who = login.who
            if login.guest is not None:
                who = await self.person(login.who, since=opened_at)
            now = await self.login(login.endpoint_id, who, writes=login.permit.writes)
        except SessionUnavailable:
            return None
        return now.permit

    async def greet(self, host: str, port: int) -> None:
        """See whether a server is there, without anybody's credential. Raises GridFTPError."""
        await greet(Server(host, port), dial=self.dial, timeouts=self._probe_timeouts)

    async def dial(self, host: str, port: int) -> socket.socket:
        """Connect where the operator's policy allows it; the `Dial` that sessions are given."""
        return await self.dial_within(self._timeouts.connect_s, host, port)

    async def dial_within(self, connect_s: float, host: str, port: int) -> socket.socket:
        """The same, with another time for it than the operator's. Of an endpoint with agents, a
        connection to one of them through its relay, which is the operator's own."""
        agents_of = endpoint_of_host(host)
        if agents_of is not None:
            assert self._agents is not None, "whoever serves agents has their keys"
            return await self._agents.dial(agents_of)
        where = f"{host}:{port}"
        try:
            return await self._policy.connect(host, port, timeout_s=connect_s)
        except DialRefused as refusal:
            raise GridFTPError(Kind.ADDRESS_REFUSED, str(refusal), where=where) from refusal
        except (OSError, UnicodeError) as error:
            if isinstance(error, TimeoutError) and error.errno is None:
                reason = f"no answer within {connect_s:g} s"
            else:
                reason = _reason(error)
            raise GridFTPError(Kind.CONNECT, f"cannot connect: {reason}", where=where) from error

    async def addresses(self, host: str, port: int) -> list[str]:
        """Where a name leads to. Raises GridFTPError: CONNECT if nowhere, ADDRESS_REFUSED if where
        the operator's policy does not allow it."""
        where = f"{host}:{port}"
        try:
            return list(dict.fromkeys(await self._policy.addresses(host, port)))
        except DialRefused as refusal:
            raise GridFTPError(Kind.ADDRESS_REFUSED, str(refusal), where=where) from refusal
        except (OSError, UnicodeError) as error:
            raise GridFTPError(
                Kind.CONNECT, f"the name {host} cannot be resolved: {_reason(error)}", where=where
            ) from error

    @asynccontextmanager
    async def borrow(
        self,
        endpoint_id: UUID,
        who: Who,
        *,
        writes: bool = True,
        paths: Sequence[str] = (),
        place: Callable[[tuple[str, int]], AbstractAsyncContextManager[None]] | None = None,
    ) -> AsyncIterator[Borrowed]:
        """A session for one short operation; parked afterwards for the next (see `login`).

        `paths`: what is to be read, or changed; `place`: held at the server meanwhile.
        """
        login = await self.login(endpoint_id, who, writes=writes)
        login.demand(paths, writes=writes)
        token = await self.token_for(login)
        at = (login.server.host, login.server.port)
        try:
            async with (
                nullcontext() if place is None else place(at),
                self._pool.borrow(replace(login.for_pool, token=token)) as borrowed,
            ):
                self.look_after(borrowed.session, login)
                yield borrowed
        except GridFTPError as error:
            login.hide_server(error)
            if (theirs := login.of_sharer(error)) is not None:
                raise theirs from error
            raise

    async def close(self) -> None:
        """Close all parked sessions and wait for those that are closing."""
        await self._pool.close()
        for renewing in self._renewing.values():
            renewing.cancel()


def _renewed(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        _log.warning("session.not_renewed", error=str(error))


def _reason(error: OSError | UnicodeError) -> str:
    return reason_of(error) if isinstance(error, OSError) else "it is not a host name"
