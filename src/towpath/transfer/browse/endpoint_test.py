"""Tries a GridFTP server step by step, and says which step fails, why, and what to do about it."""

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from ipaddress import ip_address
from typing import Final
from uuid import UUID

import structlog

from towpath.gridftp.client.dial import Server, Timeouts
from towpath.gridftp.client.proof import prove, shown_certificate
from towpath.gridftp.client.reach import greet
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.certificates import Certificate
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.gsi import HOST_SUBJECT
from towpath.gridftp.security.names import one_line
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.wire.addresses import parse_passive
from towpath.transfer.browse.gates import Gates
from towpath.transfer.sessions import EndpointSessions, home_directory

_log = structlog.stdlib.get_logger("towpath.browse")

TEST_S: Final = 20.0
"""For all steps: somebody waits for it at a form."""
CONNECT_S: Final = 5.0
"""Two lost packets are repeated within it."""
LOOK_S: Final = 5.0
"""To look at a certificate that is not trusted, when all else is known."""

AT_ONCE: Final = 2
"""Tests of one user: a page, and one that was left."""
WAIT_S: Final = 5.0

MAX_ENTRIES: Final = 10_000
"""Of a home directory are counted: a second's listing. It is enough that it can be listed."""


class Step(StrEnum):
    """What is tried, in this order."""

    NAME = "name"
    ADDRESS = "address"
    PORT = "port"
    GREETING = "greeting"
    CERTIFICATE = "certificate"
    LOGIN = "login"
    MAPPING = "mapping"
    LISTING = "listing"
    DATA = "data"


class State(StrEnum):
    """What became of a step."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A step; `details` has the server's own words, or what else there is to know."""

    step: Step
    state: State
    message: str
    details: str | None = None
    advice: str | None = None
    ms: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tried, and with what."""

    server: Server
    data_hosts: frozenset[str]
    trust_files: Mapping[str, str]
    credential: Credential | None
    token: Callable[[], Awaitable[Callable[[], str] | None]] | None = None
    """Of an endpoint with agents: makes what a session is opened with (`Session.open`)."""

    @property
    def has_agents(self) -> bool:
        """Whether it is reached through a relay."""
        return self.token is not None


@dataclass(slots=True)
class Report:
    """All steps, also those that were not tried."""

    outcomes: list[Outcome] = field(default_factory=list)
    host_subject: str | None = None
    """Of the certificate that the server shows, be it trusted or not."""
    host_proven: bool = False
    """It has proven to be this, though perhaps another was expected."""
    features: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing failed of what could be tried."""
        return all(outcome.state is not State.FAILED for outcome in self.outcomes)


class EndpointTests:
    """The tests of all users. None of them writes anything at a server."""

    def __init__(
        self, sessions: EndpointSessions, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._sessions = sessions
        self._now = now
        self._gates: Gates[UUID] = Gates(
            AT_ONCE, WAIT_S, f"{AT_ONCE} tests of yours are already under way"
        )

    async def test(self, user_id: UUID, subject: Subject) -> Report:
        """Try all steps, up to the first that fails. Raises TooBusy; the rest is in the report."""
        async with self._gates.place(user_id):
            report = await _Test(self._sessions, self._now, subject).run()
        # who tries many hosts looks for something else than a server of his
        server = subject.server
        _log.info(
            "endpoint.tested", user=str(user_id), host=server.host, port=server.port, ok=report.ok
        )
        return report


class _Problem(Exception):  # noqa: N818 - it is told, not raised to anybody
    """What is wrong at a step, with advice of its own."""

    def __init__(self, message: str, advice: str, details: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        self.details = details


class _NotTried(_Problem):
    """Something is missing that the step needs: nothing is wrong with the server."""


class _Test:
    """One test under way."""

    def __init__(
        self, sessions: EndpointSessions, now: Callable[[], datetime], subject: Subject
    ) -> None:
        self._sessions = sessions
        self._dial = partial(sessions.dial_within, CONNECT_S)
        self._now = now
        self._subject = subject
        self._server = subject.server
        self._report = Report()
        self._timeouts = Timeouts(
            connect_s=CONNECT_S, login_s=TEST_S, reply_s=TEST_S, stall_s=TEST_S, close_s=1
        )
        self._refused_address: GridFTPError | None = None
        self._connection: socket.socket | None = None
        self._unmapped: GridFTPError | None = None
        self._session: Session | None = None
        self._home = ""
        self._shown: Certificate | None = None

    async def run(self) -> Report:
        steps: Mapping[Step, Callable[[], Awaitable[tuple[str, str | None]]]] = {
            Step.NAME: self._resolve,
            Step.ADDRESS: self._check_address,
            Step.PORT: self._connect,
            Step.GREETING: self._greet,
            Step.CERTIFICATE: self._prove,
            Step.LOGIN: self._log_in,
            Step.MAPPING: self._find_home,
            Step.LISTING: self._list,
            Step.DATA: self._reach_data_port,
        }
        deadline = asyncio.get_running_loop().time() + TEST_S
        try:
            for step, act in steps.items():
                if not await self._try(step, act, deadline):
                    break
        finally:
            await self._leave()
        for step in list(Step)[len(self._report.outcomes) :]:
            self._report.outcomes.append(Outcome(step, State.SKIPPED, "Not tried."))
        return self._report

    async def _try(
        self, step: Step, act: Callable[[], Awaitable[tuple[str, str | None]]], deadline: float
    ) -> bool:
        """Whether to go on."""
        began = time.monotonic()
        state = State.OK
        advice: str | None = None
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    message, details = await act()
            except TimeoutError:
                raise _timed_out(step) from None
            except GridFTPError as error:
                raise self._judged(step, error) from None
        except _Problem as problem:
            state = State.SKIPPED if isinstance(problem, _NotTried) else State.FAILED
            message, details, advice = problem.message, problem.details, problem.advice
        ms = round((time.monotonic() - began) * 1000)
        self._report.outcomes.append(Outcome(step, state, message, details, advice, ms))
        return state is State.OK

    # -- the steps: what is said when they succeed, and details

    async def _resolve(self) -> tuple[str, str | None]:
        host, port = self._server.host, self._server.port
        if self._subject.has_agents:
            return "The endpoint has agents; there is no name to resolve.", None
        try:
            async with asyncio.timeout(CONNECT_S):
                found = ", ".join(await self._sessions.addresses(host, port))
        except TimeoutError:
            raise _Problem(
                f"The name service did not answer for {host} within {CONNECT_S:g} s.",
                "Try again; if it stays so, tell the operator of this service.",
            ) from None
        except GridFTPError as error:
            if error.kind is not Kind.ADDRESS_REFUSED:
                raise
            self._refused_address, found = error, ""
        if _is_address(host):
            return f"{host} is an address; there is no name to resolve.", None
        return f"The name {host} is known.", found or None

    async def _check_address(self) -> tuple[str, str | None]:
        if self._refused_address is not None:
            raise self._refused_address
        if self._subject.has_agents:
            return "Agents are reached through this service's own relays.", None
        return "This service may connect there.", None

    async def _connect(self) -> tuple[str, str | None]:
        self._connection = await self._dial(self._server.host, self._server.port)
        if self._subject.has_agents:
            return "An agent is connected, and takes sessions.", None
        return f"Port {self._server.port} takes connections.", None

    async def _greet(self) -> tuple[str, str | None]:
        async def connected(_host: str, _port: int) -> socket.socket:
            assert self._connection is not None, "the step before has made it"
            connection, self._connection = self._connection, None
            return connection

        await greet(self._server, dial=connected, timeouts=self._timeouts)
        return "A GridFTP server answers.", None

    async def _prove(self) -> tuple[str, str | None]:
        if not self._subject.trust_files:
            raise _Problem(
                "The endpoint has no trust roots, so that no server can prove who it is.",
                "Add the certificate of the authority that the server's is from.",
                await self._look(),
            )
        trust = await asyncio.to_thread(TrustRoots.from_files, self._subject.trust_files)
        credential = self._subject.credential
        if credential is not None and credential.expired(self._now()):
            credential = None
        try:
            subject = await prove(
                self._server,
                credential=credential,
                trust=trust,
                dial=self._dial,
                timeouts=self._timeouts,
                clock=self._now,
            )
        except GridFTPError as error:
            if error.kind is not Kind.UNTRUSTED_HOST:
                raise
            raise await self._untrusted(error) from None
        self._report.host_subject, self._report.host_proven = subject, True
        return f"The server has proven to be {subject}.", None

    async def _log_in(self) -> tuple[str, str | None]:
        credential = self._subject.credential
        if credential is None:
            raise _NotTried(
                "You have given no credential, so that the login was not tried.",
                "Add your credential for this server and test again.",
            )
        try:
            self._session = await self._open()
        except GridFTPError as error:
            # The credential was taken before an account was looked for.
            if error.kind not in (Kind.MAPPING, Kind.LOGIN):
                raise
            self._unmapped = error
        else:
            self._report.features = tuple(sorted(self._session.features.values))
        if self._subject.has_agents:
            return "The agent lets this service act for you.", None
        return f"The server accepts your credential, {credential.subject}.", None

    async def _find_home(self) -> tuple[str, str | None]:
        if self._unmapped is not None:
            raise self._unmapped
        self._home = home_directory(self._logged_in())
        return f"You have an account there; its home directory is {self._home}.", None

    async def _list(self) -> tuple[str, str | None]:
        count = 0
        async with aclosing(self._logged_in().list(self._home)) as listing:
            async for batch in listing:
                count += len(batch)
                if count >= MAX_ENTRIES:
                    break
        more = "more than " if count >= MAX_ENTRIES else ""
        return f"The home directory can be listed: {more}{count} entries.", None

    async def _reach_data_port(self) -> tuple[str, str | None]:
        session = self._logged_in()
        if session.closed:  # a large listing was left
            await session.give_up()
            session = self._session = await self._open()
        if not session.features.dcsc:
            raise _Problem(
                "The server does not take a credential for its data channels (DCSC P).",
                "This service needs it to transfer with servers of other authorities: ask the"
                " server's administrator for one that has it, such as that of the Grid Community"
                " Toolkit.",
            )
        (address,) = parse_passive(await session.command("PASV"), where=str(self._server))[:1]
        if address.host != session.peer_ip and address.host not in self._subject.data_hosts:
            raise _Problem(
                f"The server wants its data sent to {address.host}, which is neither its own"
                " address nor one of the endpoint's data hosts.",
                f"If this is right, add {address.host} to the endpoint's data hosts. Otherwise the"
                " server is behind a translation of addresses and has to announce its public one"
                " (in the Grid Community Toolkit: data_interface).",
            )
        place = f"{address.host}:{address.port}"
        if self._subject.has_agents:
            return f"Data can be sent to the agent ({place}).", None
        try:
            (await self._dial(address.host, address.port)).close()
        except GridFTPError as error:
            raise _Problem(
                f"The server's data port {place} cannot be reached from here: {error.message}.",
                "Transfers do not pass through this service, but the other server needs these ports"
                " as well: ask the server's administrator to open its range of data ports.",
            ) from None
        return f"The server's data ports can be reached ({place}).", None

    async def _open(self) -> Session:
        trust = await asyncio.to_thread(TrustRoots.from_files, self._subject.trust_files)
        return await Session.open(
            self._server,
            credential=self._subject.credential,
            trust=trust,
            token=None if self._subject.token is None else await self._subject.token(),
            dial=self._dial,
            timeouts=self._timeouts,
            clock=self._now,
        )

    def _logged_in(self) -> Session:
        assert self._session is not None, "the steps before have made it"
        return self._session

    async def _leave(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._session is not None:
            await self._session.close()

    # -- what is wrong

    async def _untrusted(self, error: GridFTPError) -> _Problem:
        details = await self._look()
        if (proven := error.facts.get(HOST_SUBJECT)) is not None:
            self._report.host_subject, self._report.host_proven = str(proven), True
            wanted = self._server.subject or self._server.host
            return _Problem(
                f"The server has proven to be {proven}, and {wanted} was expected.",
                "If this is the server that you mean, accept it: give this subject as the"
                " endpoint's. Otherwise check the host name.",
                details,
            )
        if self._shown is not None and self._shown.not_after <= self._now():
            return _Problem(
                f"The server's certificate expired at {self._shown.not_after:%Y-%m-%d %H:%M} UTC.",
                "Ask the server's administrator to renew it.",
                details,
            )
        advice = "Ask the server's administrator which authority it is from"
        if self._shown is not None:
            advice = f"It is from {one_line(self._shown.issuer)}"
        return _Problem(
            f"The endpoint's trust roots do not vouch for the server: {error.message}.",
            f"{advice}. If you trust this authority, add its certificate to the endpoint.",
            details,
        )

    async def _look(self) -> str | None:
        """What the server's certificate says, trusted or not; nothing if that cannot be seen."""
        try:
            async with asyncio.timeout(LOOK_S):
                shown = await shown_certificate(
                    self._server, dial=self._dial, timeouts=self._timeouts, clock=self._now
                )
        except (GridFTPError, TimeoutError):
            return None
        if shown is None:
            return None
        self._shown = shown
        self._report.host_subject = one_line(shown.subject)
        return (
            f"It shows a certificate of {one_line(shown.subject)} from {one_line(shown.issuer)},"
            f" valid from {shown.not_before:%Y-%m-%d %H:%M} to {shown.not_after:%Y-%m-%d %H:%M} UTC"
        )

    def _judged(self, step: Step, error: GridFTPError) -> _Problem:
        """What an error means at a step; where nothing better is known, what it always means."""
        message = error.message[:1].upper() + error.message[1:].rstrip(".") + "."
        advice = _advice(step, error)
        subject = "" if self._subject.credential is None else self._subject.credential.subject
        if step is Step.MAPPING and error.kind in (Kind.MAPPING, Kind.LOGIN):
            message = f"The server has no account for {subject}."
            advice = (
                "Ask its administrator to map this name to your account there (a line in the"
                " grid-mapfile)."
            )
        elif step is Step.LOGIN and error.kind is Kind.AUTHENTICATION:
            message = f"The server does not accept the credential of {subject}."
        return _Problem(message, advice, error.reply)


_ADVICE: Final[Mapping[tuple[Step, Kind], str]] = {
    (Step.NAME, Kind.CONNECT): "Check how the host name is spelled. A name that only your site"
    " knows does not help: this service has to know it, too.",
    (Step.ADDRESS, Kind.ADDRESS_REFUSED): "Ask the operator of this service to allow the address,"
    " or register the server under one that is public.",
    (Step.GREETING, Kind.PROTOCOL): "Check the port: another kind of server listens there.",
    (Step.GREETING, Kind.TIMEOUT): "Check the port: another kind of server may wait there for us to"
    " begin. A GridFTP server that says nothing is overloaded.",
    (Step.GREETING, Kind.CONNECTION_LOST): "Check the port. If it is right, the server may refuse"
    " connections from this service: ask its administrator.",
    (Step.CERTIFICATE, Kind.UNSUPPORTED): "Only servers with GSI logins can be used: check the"
    " port, and ask the server's administrator.",
    (Step.CERTIFICATE, Kind.AUTHENTICATION): "The server ended the handshake. If you gave a"
    " credential, the server may not trust its authority; else it shows its certificate only to"
    " those who have one.",
    (Step.LOGIN, Kind.AUTHENTICATION): "The credential has expired there, or the server does not"
    " trust the authority that issued it: renew it, or ask the server's administrator.",
}


def _advice(step: Step, error: GridFTPError) -> str:
    if step is Step.PORT and error.kind is Kind.CONNECT:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED:
            return "Nothing listens there: check the port, and that the server is running."
        if isinstance(cause, TimeoutError):
            return (
                "A firewall may drop the connections: ask the server's administrator to open the"
                " port for this service. Check that host and port are right."
            )
    return _ADVICE.get((step, error.kind), error.advice)


def _timed_out(step: Step) -> _Problem:
    error = GridFTPError(Kind.TIMEOUT, f"no answer; the test ended after {TEST_S:g} s", "")
    return _Problem("The server did not answer in time.", _advice(step, error))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
