"""An agent at work: its tunnel, its GridFTP server, what it asks the service, whom it answers here.

The same for a personal endpoint and for a node of a server; where sessions run is the caller's.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncssh
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from towpath import __version__
from towpath.connect import local_control
from towpath.connect import proxy as proxies
from towpath.connect.admitting import PlaceOf
from towpath.connect.broker import Broker
from towpath.connect.choices import ChoiceError, Choices, Chosen, Collection, Root
from towpath.connect.configuration import Configuration
from towpath.connect.directory import SERVER, AgentDirectory, Identity, certificate_request
from towpath.connect.errors import FINAL, ConnectError, Trouble
from towpath.connect.keeper import Keeper
from towpath.connect.logins import GrantLogins
from towpath.connect.proxy import Proxy
from towpath.connect.service import Service as Api
from towpath.connect.shared_pace import Meter, SessionPace, SharedPace
from towpath.connect.tunnel import Caller
from towpath.connect.ways import Means, Ways
from towpath.grants import KeySet, Verifier
from towpath.gridftp.security.acceptor import HostSecurity
from towpath.gridftp.security.authority import as_trust_files
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.server.acceptor import ControlServer
from towpath.gridftp.server.control import Control, LoginReport, OpenSession, Service
from towpath.gridftp.server.keys_ahead import KeysAhead
from towpath.gridftp.server.limits import Limits

_log: Final = structlog.stdlib.get_logger("towpath.connect")

RENEW_BEFORE: Final = timedelta(days=30)
"""Certificates live 90 days: a laptop that is off for a month comes back with a good one."""
ASKED_AGAIN_S: Final = (2.0, 300.0)
"""Shortest and longest wait before the service is asked again that did not answer."""
APART_S: Final = 10.0
"""Between two questions that nobody but this agent wants: a thousand agents ask the same."""
EVENT_SPREAD_S: Final = 1.0
"""Over which the questions of all agents are spread that were told of the same change."""
KEYS_S: Final = 8.0
"""How long a login waits for keys or a collection that the service has new."""
TOLD_S: Final = 5.0
"""How long a command that chooses waits until the service has been told."""
METER_S: Final = 1.0
"""How often the rate is read."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What an agent's directory holds, read by whoever may read it."""

    identity: Identity
    token: str
    tunnel_key: asyncssh.SSHKey
    host_key: ec.EllipticCurvePrivateKey
    authority: str | None
    configuration: Configuration
    choices: Choices

    @classmethod
    def of(cls, directory: AgentDirectory) -> Loaded:
        """Raises `OSError`, `ConnectError`."""
        return cls(
            identity=directory.identity(),
            token=directory.token(),
            tunnel_key=directory.tunnel_key(),
            host_key=directory.host_key(),
            authority=directory.authority(),
            configuration=directory.configuration(),
            choices=directory.choices(),
        )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where an agent is put up."""

    limits: Limits
    pace: SharedPace
    control: socket.socket | None = None
    """Where commands come (`local_control`)."""
    paths: socket.socket | None = None
    """Where sessions of other processes ask for data connections ..."""
    may_ask: Callable[[int], bool] = lambda _user: False
    """... and whose, by their user ids."""
    keep: Callable[[Configuration], None] = lambda _configuration: None
    """Writes a new configuration down, where that can be done. Blocks; raises `OSError`."""
    applied: Callable[[Choices], None] = lambda _choices: None
    """Told of choices that hold from now on."""
    moving: Mapping[str, SessionPace] = field(default_factory=dict)
    """What sessions of this process move, by their ids."""


class Agent:
    """Use `run`."""

    def __init__(self, loaded: Loaded, setting: Setting) -> None:
        self._loaded = loaded
        self._setting = setting
        self.identity: Final = loaded.identity
        self.configuration = loaded.configuration
        self.chosen: Final = Chosen(loaded.choices)
        self._keys = KeySet({})
        self._security: HostSecurity | None = None
        self._certificate_until: datetime | None = None
        self._stop = asyncio.Event()
        self._final: ConnectError | None = None
        self._asked = asyncio.Event()
        self._asked_at = 0.0
        self._fetched = asyncio.Condition()
        self._chosen = 1
        self._told = 0
        self._refused = 0
        """Counts of choices: that were made, that the service was told of, that it refused."""
        self._service_trouble = ""
        self._refusal = ""
        self._began = time.time()
        self._spread: asyncio.TimerHandle | None = None
        proxy = self._proxy
        means = Means(
            ports=loaded.identity.listen_ports,
            relay_only=loaded.identity.relay_only,
        )
        self.keeper: Final = Keeper(
            Caller(
                node_id=loaded.identity.node_id,
                key=loaded.tunnel_key,
                new_control=self._new_control,
            ),
            relays=lambda: self.configuration.relays,
            proxy=proxy,
            on_configuration=self._ask_soon,
        )
        self.ways: Final = Ways(means, lambda: self.keeper.tunnel, proxy)
        self.keeper.ways = self.ways
        self.broker: Final = Broker(self.ways, setting.may_ask)
        self.meter: Final = Meter(lambda: setting.pace.moved_bytes)
        self._controls: Service | None = None
        self._server: ControlServer | None = None
        self._apply(loaded.configuration)

    def _proxy(self, host: str) -> Proxy | None:
        url = self.identity.proxy or proxies.from_environment(host)
        return None if url is None else Proxy.parse(url)

    # -- running

    def stop(self) -> None:
        """Make `run` return."""
        self._stop.set()

    async def run(self, open_session: OpenSession, place_of: PlaceOf) -> None:
        """Until `stop`. Raises `ConnectError` for what only its owner can put right.

        `open_session` runs its sessions; `place_of` says what a grant opens.
        """
        self._loop = asyncio.get_running_loop()
        setting = self._setting
        threads = ThreadPoolExecutor(setting.limits.handshake_threads, "login")
        loaded = self._loaded
        api = Api(
            loaded.identity.url,
            authority=loaded.authority,
            token=loaded.token,
            proxy=loaded.identity.proxy or proxies.from_environment(_host_of(loaded.identity.url)),
        )
        async with AsyncExitStack() as stack:
            stack.callback(threads.shutdown, wait=False, cancel_futures=True)
            await stack.enter_async_context(api)
            self.broker.start(setting.paths)
            stack.push_async_callback(self.broker.close)
            self._controls = self._service(threads, open_session, place_of)
            self._server = ControlServer(self._controls)
            await self._server.start([])
            stack.push_async_callback(self._server.close)
            self._hold_to_choices()
            works = [self.keeper.run(), self._keep_fresh(api), self._measure()]
            if setting.control is not None:
                works.append(local_control.serve(setting.control, self._answer))
            tasks = [asyncio.create_task(work) for work in works]
            stop = asyncio.create_task(self._stop.wait())
            try:
                await asyncio.wait((*tasks, stop), return_when=asyncio.FIRST_COMPLETED)
            finally:
                await self._server.close()  # while the tunnel is there to say so
                for task in (*tasks, stop):
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
        if self._final is not None:
            raise self._final
        for result in ended:
            if isinstance(result, Exception):
                raise result

    def _service(
        self, threads: ThreadPoolExecutor, open_session: OpenSession, place_of: PlaceOf
    ) -> Service:
        configuration = self.configuration
        return Service(
            accounts=None,
            security=self._current_security,
            open_session=open_session,
            threads=threads,
            limits=self._setting.limits,
            report=self._report_login,
            tokens=GrantLogins(
                Verifier(
                    issuer=configuration.issuer,
                    audience=configuration.audience,
                    keys=lambda: self._keys,
                ),
                place_of,
                fetch_keys=self._fetch_keys,
            ),
        )

    def _new_control(self, relay: str, ours: str) -> Control:
        assert self._server is not None
        assert self._controls is not None
        return Control(self._controls, self._server, (relay, ours))

    def _current_security(self) -> HostSecurity:
        assert self._security is not None
        return self._security

    def _report_login(self, report: LoginReport) -> None:
        _log.info(
            "login" if report.outcome == "ok" else "login refused",
            session=report.session_id,
            account=report.account,
            outcome=report.outcome,
            grant=report.grant,
            renewal=report.renewal,
        )

    # -- the service's word

    def _apply(self, configuration: Configuration) -> None:
        """Raises `ConnectError`(AWAY) when it makes no sense; then all stays as it was."""
        try:
            keys = KeySet.from_jwks(configuration.keys)
            security = self._security
            old = self.configuration
            if security is None or (old.host_certificate, old.authority) != (
                configuration.host_certificate,
                configuration.authority,
            ):
                security = self._new_security(configuration)
            until = x509.load_pem_x509_certificate(
                configuration.host_certificate.encode("ascii")
            ).not_valid_after_utc
        except ValueError as error:
            raise ConnectError(
                Trouble.AWAY, f"what the service says about this endpoint makes no sense: {error}"
            ) from error
        moved = configuration.relays != self.configuration.relays
        self._keys, self._security, self._certificate_until = keys, security, until
        if configuration.warning and configuration.warning != self.configuration.warning:
            _log.warning("the service warns", warning=configuration.warning)
        self.configuration = configuration
        if moved and self.keeper.tunnel is None:
            self.keeper.stir()

    def _new_security(self, configuration: Configuration) -> HostSecurity:
        key = self._loaded.host_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        host = Credential.from_pem(configuration.host_certificate.encode("ascii") + key)
        trust = TrustRoots.from_files(as_trust_files([configuration.authority]))
        return HostSecurity(host, trust, now=lambda: datetime.now(UTC), key=KeysAhead().take)

    def _ask_soon(self) -> None:
        """Something is perhaps new. Questions of all agents come spread over a while."""
        if self._spread is None:
            wait_s = random.uniform(0, EVENT_SPREAD_S)  # noqa: S311 - to spread
            if self.keeper.tunnel is None:  # else a relay has told all agents, and once
                wait_s += max(0.0, self._asked_at + APART_S - time.monotonic())
            self._spread = self._loop.call_later(wait_s, self._ask)

    def _ask(self) -> None:
        self._spread = None
        self._asked.set()

    def _fetch_keys(self) -> None:
        """In a login's thread."""
        if time.monotonic() - self._asked_at >= APART_S:
            self._fetch_news()

    def _fetch_news(self) -> None:
        """In a login's thread."""
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._fetch(), self._loop).result(KEYS_S)

    async def _fetch(self) -> None:
        async with self._fetched:
            self._asked.set()
            await self._fetched.wait()

    async def _keep_fresh(self, api: Api) -> None:
        """Report, renew, ask; again and again."""
        failures = 0
        while True:
            self._asked.clear()
            self._asked_at = time.monotonic()
            try:
                configuration = await self._news(api)
                self._apply(configuration)
                await asyncio.to_thread(self._setting.keep, configuration)
            except ConnectError as error:
                if error.trouble in FINAL:
                    self._final = error
                    return
                if self._service_trouble != error.message:
                    _log.warning("the service was not asked", why=error.message)
                self._service_trouble = error.message
                shortest, longest = ASKED_AGAIN_S
                wait_s = random.uniform(shortest, min(longest, shortest * 2**failures) + 1)  # noqa: S311
                failures = min(failures + 1, 16)
            except OSError as error:
                _log.warning("the configuration is not kept", why=str(error))
                wait_s = self.configuration.interval_s
            else:
                failures, self._service_trouble = 0, ""
                wait_s = 0.0 if self._must_tell else self.configuration.interval_s
            async with self._fetched:
                self._fetched.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._asked.wait()

    async def _news(self, api: Api) -> Configuration:
        until = self._certificate_until
        if until is not None and until - datetime.now(UTC) < RENEW_BEFORE:
            request = certificate_request(self._loaded.host_key, self.identity.node_name)
            self._apply(await api.renew(request))
            _log.info("the host certificate was renewed", until=str(self._certificate_until))
        if not self._must_tell:
            return await api.configuration()
        if self.identity.kind == SERVER:
            # What other nodes have told of since must not go because this one does not know it.
            self._apply(await api.configuration())
        chosen = self._chosen
        report = self.chosen.current.report(
            __version__, self.identity.node_name, known=self.configuration.collections
        )
        try:
            configuration = await api.report(report)
        except ConnectError as error:
            if error.trouble is not Trouble.REFUSED:
                raise
            # The same again would be refused again; the rest goes on.
            self._refused, self._refusal = chosen, error.message
            _log.warning("the service does not take what was chosen", why=error.message)
            return await api.configuration()
        self._told, self._refusal = chosen, ""
        return configuration

    @property
    def _must_tell(self) -> bool:
        return max(self._told, self._refused) < self._chosen

    async def _heard(self) -> None:
        """Until the service has been told of what was chosen, or it cannot be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD_S), self._fetched:
                await self._fetched.wait_for(lambda: not self._must_tell or self._service_trouble)

    # -- the owner's word

    def choose(self, choices: Choices) -> None:
        """From now on this holds."""
        old, self.chosen.current = self.chosen.current, choices
        self._hold_to_choices()
        if self._server is not None and _narrower(old, choices):
            self._server.cut("The owner of this endpoint has changed what it offers.")
        self._chosen += 1
        self._asked.set()
        _log.info("choices changed", paused=choices.paused, draining=choices.draining)

    def _hold_to_choices(self) -> None:
        choices = self.chosen.current
        self._setting.pace.bytes_per_s = choices.limit_bytes_s
        if self._server is not None:
            if choices.paused:
                self._server.pause(PAUSED)
            elif choices.draining:
                self._server.turn_away(DRAINING)
            else:
                self._server.resume()
        self._setting.applied(choices)

    async def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        match asked.get("do"):
            case "status":
                return self.status()
            case "choices":
                try:
                    choices = Choices.from_document(asked["choices"])
                except (ChoiceError, KeyError) as error:
                    return {"error": str(error)}
                self.choose(choices)
                await self._heard()
                return self.status()
            case "stop":
                self._loop.call_soon(self.stop)
                return {"stopping": True}
        return {"error": "this agent does not know that command: it is of another version"}

    async def _measure(self) -> None:
        while True:
            self.meter.read()
            for one in list(self._setting.moving.values()):
                one.meter.read()
            await asyncio.sleep(METER_S)

    def collection_name(self, collection_id: str) -> str | None:
        """By its id at the service."""
        for one in self.configuration.collections:
            if one.id == collection_id:
                return one.name
        return None

    def find_collection(self, collection_id: str) -> tuple[Collection, Root | None] | None:
        """See `admitting.FindCollection`. One that is not known may be new at the service."""
        found = self._known_collection(collection_id)
        if found is None:
            self._fetch_news()  # the service has just signed a grant for it
            found = self._known_collection(collection_id)
        return found

    def _known_collection(self, collection_id: str) -> tuple[Collection, Root | None] | None:
        choices = self.chosen.current
        name = self.collection_name(collection_id)
        if name is not None:
            own = choices.collection(name)
            return None if own is None else (own, None)
        for one in self.configuration.managed_collections:
            if one.id == collection_id:
                return choices.made_at_service(one)
        return None

    def status(self) -> dict[str, Any]:
        """For `towpath connect status`."""
        tunnel = self.keeper.tunnel
        choices = self.chosen.current
        server = self._server
        told = (self.configuration.warning, self._service_trouble, self._refusal)
        warnings = [text for text in told if text]
        return {
            "running": True,
            "version": __version__,
            "since": self._began,
            "connected": None
            if tunnel is None
            else {
                "relay": tunnel.relay.name,
                "since": self.keeper.since,
                "seen_as": tunnel.seen_as,
            },
            "trouble": self.keeper.trouble,
            "open_at": self.ways.open_at,
            "data_connections": {
                "direct": self.ways.moved_directly,
                "relayed": self.ways.moved_by_relay,
            },
            "sessions": 0 if server is None else server.sessions,
            "transfers": [
                {
                    "session": session,
                    "bytes_per_s": round(one.meter.rate),
                    "moved_bytes": one.moved_bytes,
                }
                for session, one in list(self._setting.moving.items())
                if one.moved_bytes
            ],
            "bytes_per_s": round(self.meter.rate),
            "moved_bytes": self._setting.pace.moved_bytes,
            "certificate_until": str(self._certificate_until),
            "told": not self._must_tell and not self._refusal,
            "warnings": warnings,
            "choices": choices.to_document(),
        }


PAUSED: Final = "the owner of this endpoint has paused it."
DRAINING: Final = "this node takes no new sessions: it is to be stopped."


def _narrower(old: Choices, new: Choices) -> bool:
    """Whether sessions that are open may be where they should not be any more. Folders are looked
    at anew by each command; collections and roots are not."""
    return any(new.collection(one.name) != one for one in old.collections) or any(
        one not in new.roots for one in old.roots
    )


def with_limits(limits: Limits, choices: Choices) -> Limits:
    """As many sessions as the owner wants. All come from one address: the relay's."""
    sessions = choices.max_sessions or limits.sessions
    return replace(limits, sessions=sessions, sessions_per_peer=sessions + limits.pending_logins)


def _host_of(url: str) -> str:
    return url.removeprefix("https://").rpartition(":")[0].strip("[]")
