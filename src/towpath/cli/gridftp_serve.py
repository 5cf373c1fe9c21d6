"""``towpath gridftp serve``: puts a GridFTP server together and runs it until SIGTERM.

As root the parts run in processes of their own: the launcher (root) here, the acceptor as `user`,
and one process for each account that somebody is mapped to. Otherwise all of them run here, and
serve the account that runs the command, and no other.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import uvloop
from prometheus_client import start_http_server

from towpath.cli.password_file import PasswordFile
from towpath.cli.server_observer import AccessLog, Metrics, Observer
from towpath.dsi.digests import ALGORITHMS, new_digest
from towpath.dsi.posix import PosixStorage
from towpath.dsi.rules import FREE, Rules
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustDirectory, TrustRoots
from towpath.gridftp.server.acceptor import (
    REFRESH_S,
    ControlServer,
    FreshSecurity,
    fit_descriptors,
    listen,
)
from towpath.gridftp.server.account_process import Sessions
from towpath.gridftp.server.accounts import Accounts
from towpath.gridftp.server.commands.base import Report
from towpath.gridftp.server.control import OpenSession, Service
from towpath.gridftp.server.data_paths import PortRange
from towpath.gridftp.server.frames import Opening
from towpath.gridftp.server.gridmap import Gridmap
from towpath.gridftp.server.launcher import Launcher
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.server.reports import ReportReceiver, ReportSender, report_pair
from towpath.gridftp.server.session import SessionHost
from towpath.platform import logs
from towpath.platform.files import PRIVATE_FILE
from towpath.platform.settings import LogSettings

DESCRIPTORS_OF_CONTROL: Final = 2
"""Of a session in the acceptor: the connection, and the socket to the session half."""
DESCRIPTORS_OF_SESSION: Final = 10
"""Of a session with its files: its end of that socket, a file, a listening socket, and some data
connections."""
STDOUT: Final = Path("-")
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - a server's usual place


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked for on the command line."""

    root: Path
    hosts: tuple[str, ...]
    port: int
    certificate: Path
    key: Path
    trust_dir: Path
    gridmap: Path
    rules: Rules
    anonymous: str | None
    password_file: Path | None
    metrics: tuple[str, int] | None
    access_log: Path | None
    user: str
    allow_root: bool
    data_ports: tuple[int, int] | None
    durable: bool
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def given(cls, *, rules: str | None, hosts: tuple[str, ...], **others: Any) -> Options:
        """As the command line has them."""
        try:
            parsed = FREE if rules is None else Rules.parse(rules)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--rules") from None
        return cls(rules=parsed, hosts=hosts or EVERYWHERE, **others)


def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT. Raises ClickException for what an operator can put right."""
    logs.configure("gridftp", LogSettings(), None, console=True)
    try:
        PosixStorage(options.root)  # what is wrong with it is told now, not at the first login
        TrustRoots.from_directory(options.trust_dir)
        listening = listen(options.port, options.hosts)
        if os.geteuid() == 0 and not options.allow_root:
            sys.exit(_serve_accounts(options, listening))
        _serve_own(options, listening)
    except (OSError, ValueError, KeyError) as error:
        raise click.ClickException(f"cannot serve: {error}") from None


# In one process, for one account


def _serve_own(options: Options, listening: list[socket.socket]) -> None:
    account = pwd.getpwuid(os.geteuid()).pw_name
    limits = fit_descriptors(
        options.limits, per_session=DESCRIPTORS_OF_CONTROL + DESCRIPTORS_OF_SESSION
    )
    front = _Front(options, listening, only=account, limits=limits)
    front.prepare()

    async def run() -> None:
        host = _make_host(options, front.observer.command)
        sessions = Sessions(host, account=account, failed=_tell_failed)
        try:
            await front.serve(sessions.open)
        finally:
            await sessions.close()
            host.close()

    _run(run())


# As root


def _serve_accounts(options: Options, listening: list[socket.socket]) -> int:
    _import_the_rest()
    outlet, inlet = report_pair()
    front = _Front(options, listening, only=None, limits=options.limits, outlet=outlet)
    return Launcher(
        acceptor=front,
        user=options.user,
        make_host=lambda _account: _make_host(options, ReportSender(inlet)),
        may_open=front.may_open,
        limits=options.limits,
        listening=[*listening, outlet],  # reports tell what others do: no account may read them
        tell=_tell,
    ).run()


class _Front:
    """The acceptor, and what logs and counts. See `launcher.AcceptorProgram`."""

    def __init__(
        self,
        options: Options,
        listening: list[socket.socket],
        *,
        only: str | None,
        limits: Limits,
        outlet: socket.socket | None = None,
    ) -> None:
        self._options = options
        self._listening = listening
        self._limits = limits
        self._outlet = outlet
        self._gridmap = Gridmap(options.gridmap)
        self._passwords = PasswordFile(options.password_file) if options.password_file else None
        self._everybody = options.anonymous
        if self._everybody == "":
            if only is None:
                raise ValueError("as root, name the account: --anonymous=ACCOUNT")
            self._everybody = only
        self._accounts = Accounts(
            self._gridmap,
            only=only,
            anonymous=self._everybody,
            password=None if self._passwords is None else self._passwords.check,
        )
        self._metrics = Metrics()
        self.observer = Observer(self._metrics)

    def may_open(self, account: str) -> bool:
        """Whether anybody may be given this account."""
        return (
            account == self._everybody
            or self._gridmap.names_account(account)
            or (self._passwords is not None and self._passwords.names_account(account))
        )

    def prepare(self) -> None:
        """Read and open what perhaps only root may."""
        options = self._options
        host = Credential.from_pem(options.certificate.read_bytes() + options.key.read_bytes())
        self._security = FreshSecurity(host, options.trust_dir, lambda: datetime.now(UTC))
        file = options.access_log
        if file is not None:
            opened = sys.stdout.buffer if file == STDOUT else _open_log(file)
            self.observer.add(AccessLog(opened))

    def run(self, open_session: OpenSession) -> None:
        """Serve, as the unprivileged user."""
        self._limits = fit_descriptors(self._limits, per_session=DESCRIPTORS_OF_CONTROL)
        _run(self.serve(open_session))

    async def serve(self, open_session: OpenSession) -> None:
        """Until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        threads = ThreadPoolExecutor(self._limits.handshake_threads, "login")
        service = Service(
            accounts=self._accounts,
            security=self._security.current,
            open_session=open_session,
            threads=threads,
            limits=self._limits,
            report=self.observer.login,
        )
        server = ControlServer(
            service,
            refresh=self._security.refresh,
            failed=_tell_old_trust,
        )
        self._watch(server)
        try:
            await server.start(self._listening)
            host, port = self._listening[0].getsockname()[:2]
            print(f"ready gsiftp://{_in_url(host)}:{port}", flush=True)
            await stop.wait()
        finally:
            await server.close()
            # Without waiting: a thread may be looking up an account for long.
            threads.shutdown(wait=False, cancel_futures=True)

    def _watch(self, server: ControlServer) -> None:
        self._metrics.watch(lambda: server.sessions, lambda: server.pending)
        if self._outlet is not None:
            receiver = ReportReceiver(self._outlet, self.observer.command, lost=self._metrics.lost)
            asyncio.get_running_loop().add_reader(self._outlet, receiver.take_waiting)
        if self._options.metrics is not None:
            host, port = self._options.metrics
            start_http_server(port, host, self._metrics.registry)


# Sessions


class _Rooted:
    """Runs sessions whose home is told as the storage presents it, and whose trust is fresh."""

    def __init__(self, host: SessionHost, root: Path, trust: TrustDirectory) -> None:
        self._host = host
        self._root = root.resolve()
        self._trust = trust
        self._looked_at = time.monotonic()

    async def run(self, connection: socket.socket, opening: Opening) -> None:
        """See `account_process.Host`."""
        home = await asyncio.to_thread(self._prepare, opening.home)
        await self._host.run(connection, replace(opening, home=home))

    def _prepare(self, home: str) -> str:
        now = time.monotonic()
        if now - self._looked_at >= REFRESH_S:
            self._looked_at = now
            try:
                self._trust.refresh()
            except (OSError, ValueError) as error:
                _tell_old_trust(error)
        return _home_below(self._root, home)

    def close(self) -> None:
        """See `SessionHost`."""
        self._host.close()


def _home_below(root: Path, home: str) -> str:
    """Where a session starts; at the top, if the home is elsewhere. Blocks."""
    place = Path(home).resolve()
    return str(Path("/") / place.relative_to(root)) if place.is_relative_to(root) else "/"


def _make_host(options: Options, report: Report) -> _Rooted:
    """What runs the sessions of the account that this process runs as."""
    trust = TrustDirectory(options.trust_dir)
    host = SessionHost(
        PosixStorage(options.root, rules=options.rules),
        options.limits,
        trust=lambda: trust.current,
        ports=None if options.data_ports is None else PortRange(*options.data_ports),
        report=report,
        durable=options.durable,
    )
    return _Rooted(host, options.root, trust)


def _run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def _import_the_rest() -> None:
    """What is imported when it is used first: perhaps only root can read where we are installed."""
    "".encode("idna")
    for algorithm in ALGORITHMS:
        new_digest(algorithm)


def _tell(text: str) -> None:
    print(f"towpath: {text}", file=sys.stderr, flush=True)


def _tell_old_trust(error: Exception) -> None:
    _tell(f"trust roots are as old as before: {error}")


def _tell_failed(error: BaseException) -> None:
    _tell(f"a session has failed: {error!r}")


def _open_log(file: Path) -> BinaryIO:
    """It names paths and people: nobody else reads it."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
    return os.fdopen(descriptor, "ab", buffering=0)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
