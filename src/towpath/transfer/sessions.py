"""Opens sessions at endpoints with what belongs to them: the caller's credential, the endpoint's
trust roots, and the operator's rule of which addresses may be dialled. Used by browse and engine.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
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
from towpath.platform.database import AWAY, Connection, Database
from towpath.platform.dial import DialPolicy, DialRefused
from towpath.platform.secrets import Sealer
from towpath.platform.settings import GridftpSettings
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
from towpath.transfer.issuing import Issuing
from towpath.transfer.rights import Who
from towpath.transfer.store import credentials, endpoints, principals, relays
from towpath.transfer.store.endpoints import Endpoint
from towpath.tunnel.names import endpoint_of_host

CACHED_IDENTITIES = 256
"""Parsed credentials with trust roots kept; each costs some 100 KiB with its TLS context."""


PROBE_CONNECT_S = 4.0
"""Two lost packets are repeated within it. After an outage of the network a new attempt is sooner
through than one that has become slow in repeating itself."""
PROBE_GREETING_S = 20.0
"""A server that looks up in vain who connects greets after up to 15 s. Who says nothing for longer
does not hold up the probes of others."""


_log = structlog.stdlib.get_logger("towpath.sessions")


class SessionUnavailable(Exception):  # noqa: N818 - a state, named as one
    """No session can be tried: something is missing here, not at the server. `advice` helps."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


class NoEndpoint(SessionUnavailable):
    """The endpoint is not registered (any more)."""


class NotFunctional(SessionUnavailable):
    """There are no files in the endpoint itself."""


class NotAllowed(SessionUnavailable):
    """The user may not use the endpoint."""


class NoCredential(SessionUnavailable):
    """The user has given no credential for this endpoint."""


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

    @property
    def namespace(self) -> str:
        """Equal where the same paths lead to the same files."""
        return storage_of(self.server.host, self.server.port) + self.base_path

    @property
    def for_pool(self) -> pool.Login:
        """Equal for logins that may share a session: same user, endpoint, credential, trust.

        Each endpoint has trust roots of its own, read anew when they or the credential change.
        """
        return pool.Login(self.server, self.credential, self.trust, owner=str(self.who.id))


def home_directory(session: Session) -> str:
    """Where a session begins: the home of the account that the server maps the user to."""
    if session.home is None or not session.home.startswith("/"):
        raise GridFTPError(
            Kind.PROTOCOL, "the server does not tell its home directory", where=str(session.server)
        )
    return session.home


class EndpointSessions:
    """Opens, and for short operations shares, sessions with registered endpoints.

    Raises NoEndpoint, NoCredential, or GridFTPError (CREDENTIAL_EXPIRED, ADDRESS_REFUSED,
    UNTRUSTED_HOST, CONNECT, ...).
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        policy: DialPolicy,
        settings: GridftpSettings,
        issuing: Issuing | None = None,
        connect: ConnectKeys | None = None,
    ) -> None:
        """`issuing`: where users may be given credentials (workers take what is there).
        `connect`: with which agents are logged in to."""
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
            if endpoint.is_connect:
                return await self._agent_login(conn, endpoint, who, writes=writes)
            stored = await self._issuing.credential(conn, endpoint_id, who.id)
            if stored is None:
                raise NoCredential(
                    f"you have given no credential for endpoint {endpoint.display_name!r}",
                    f"add one: towpath credential add {endpoint_id} --proxy FILE",
                )
            trust_files = await endpoints.get_trust_roots(conn, endpoint_id)
        server = Server(endpoint.host, endpoint.port, endpoint.subject)
        if not trust_files:
            raise GridFTPError(
                Kind.UNTRUSTED_HOST,
                "the endpoint has no trust roots: no host certificate can be accepted",
                where=str(server),
            )
        version = (stored.updated_at, hash(tuple(sorted(trust_files.items()))))
        identity = self._identities.get((endpoint_id, who.id, version))
        if identity is None:
            context = credentials.seal_context(endpoint_id, who.id)
            # Parsing certificates takes tens of milliseconds for a whole directory of authorities.
            identity = await asyncio.to_thread(
                lambda: (
                    Credential.from_pem(self._sealer.unseal(stored.sealed, context)),
                    TrustRoots.from_files(trust_files),
                )
            )
            self._identities[(endpoint_id, who.id, version)] = identity
            if len(self._identities) > CACHED_IDENTITIES:
                self._identities.popitem(last=False)
        credential, trust = identity
        return Login(
            endpoint_id,
            who,
            server,
            frozenset(endpoint.data_hosts),
            credential,
            trust,
        )

    async def _agent_login(
        self,
        conn: Connection,
        endpoint: Endpoint,
        who: Who,
        *,
        writes: bool,
    ) -> Login:
        assert self._connect is not None, "whoever serves agents has their keys"
        name = endpoint.display_name
        if not endpoint.functional:
            raise NotFunctional(
                f"“{name}” has no files of its own", "use one of its collections instead"
            )
        permit = await permit_for(conn, endpoint, who, writes=writes)
        if isinstance(permit, Refused):
            raise NotAllowed(permit.message, permit.advice)
        if endpoint.host_endpoint_id is not None:
            host = await endpoints.get(conn, endpoint.host_endpoint_id)
            assert host is not None, "endpoints are never removed from the table"
            name = host.display_name
        label = label_of(name, endpoint.connect_id)
        return Login(
            endpoint.id,
            who,
            Server(endpoint.host, endpoint.port, label=label),
            await relays.data_addresses(conn, endpoint.connect_id),
            await self._connect.service_credential(),
            await self._connect.trust(),
            permit,
            endpoint.base,
        )

    async def person(self, identity_id: UUID, username: str) -> Who:
        """Whoever has submitted a task, as last heard; else alone, as the task knows him."""
        async with self._database.connection() as conn:
            known = await principals.get(conn, identity_id)
        return known or Who.alone(identity_id, username)

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
        reply: it comes in its turn, perhaps after a checksum of an hour."""
        while True:
            await asyncio.wait([session.channel.lost], timeout=RENEW_EVERY_S)
            if session.closed:
                return
            try:
                permit = await self._permit_now(login)
                grants = await self.token_for(login)
            except AWAY as error:
                _log.warning("session.not_renewed", error=str(error))
                continue
            if permit != login.permit:
                # It ends by itself when the last grant is over; a new login is told why.
                _log.warning("session.not_permitted", endpoint=str(login.endpoint_id))
                return
            assert grants is not None
            session.renew(grants()).add_done_callback(_renewed)

    async def _permit_now(self, login: Login) -> Permit | None:
        """What the owner of a session may do there by now."""
        assert login.permit is not None, "who looks after a session has one"
        try:
            now = await self.login(login.endpoint_id, login.who, writes=login.permit.writes)
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
    ) -> AsyncIterator[Borrowed]:
        """A session for one short operation; parked afterwards for the next (see `login`)."""
        login = await self.login(endpoint_id, who, writes=writes)
        token = await self.token_for(login)
        async with self._pool.borrow(replace(login.for_pool, token=token)) as borrowed:
            self.look_after(borrowed.session, login)
            yield borrowed

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
