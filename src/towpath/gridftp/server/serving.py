"""A whole server, put together: in one process, or as root with a process for each account."""

from __future__ import annotations

import asyncio
import getpass
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from towpath.gridftp.security.credentials import MAX_PEM_BYTES, Credential
from towpath.gridftp.server.acceptor import ControlServer, FreshSecurity, fit_descriptors
from towpath.gridftp.server.account_process import Host, Sessions
from towpath.gridftp.server.accounts import Accounts, PasswordCheck
from towpath.gridftp.server.control import LoginReport, OpenSession, Service
from towpath.gridftp.server.gridmap import Gridmap
from towpath.gridftp.server.launcher import Launcher
from towpath.gridftp.server.limits import Limits

DESCRIPTORS_OF_CONTROL = 2
"""Of a session in the acceptor: the connection, and the socket to the session half."""

DESCRIPTORS_OF_SESSION = 10
"""Of a session with its files in the same process: its end of that socket, a file, a listening
socket, and some data connections."""


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Security:
    """Files of GSI. The key, and it alone, may be readable by root only."""

    host_certificate: Path
    host_key: Path
    """The same file, where both are in one."""
    trust_dir: Path
    """Trusted authorities (`X509_CERT_DIR`)."""
    gridmap: Path


class AcceptorHalf:
    """The acceptor with what it needs (`launcher.AcceptorProgram`)."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        security: Security | None,
        *,
        only: str | None,
        limits: Limits,
        anonymous: str | None = None,
        password: PasswordCheck | None = None,
        greeting: str = Service.greeting,
        report: Callable[[LoginReport], None] = lambda _report: None,
        failed: Callable[[Exception], None] = lambda _error: None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """`sockets`: that listen. The rest is as in `Accounts`, `Service` and `ControlServer`."""
        self._sockets = sockets
        self._security = security
        self._only = only
        self._limits = limits
        self._anonymous = anonymous
        self._password = password
        self._greeting = greeting
        self._report = report
        self._failed = failed
        self._now = now
        self._fresh: FreshSecurity | None = None

    def prepare(self) -> None:
        """Read what only root may. Raises `OSError`, `ValueError`: it cannot serve."""
        if self._security is not None:
            pem = _read(self._security.host_certificate)
            if self._security.host_key != self._security.host_certificate:
                pem += _read(self._security.host_key)
            host = Credential.from_pem(pem)
            self._fresh = FreshSecurity(host, self._security.trust_dir, self._now)

    def run(self, open_session: OpenSession) -> None:
        """As the acceptor's process, until SIGTERM or SIGINT."""
        self._limits = fit_descriptors(self._limits, per_session=DESCRIPTORS_OF_CONTROL)

        async def main() -> None:
            stop = asyncio.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
            async with self.serving(open_session):
                await stop.wait()

        asyncio.run(main())

    @asynccontextmanager
    async def serving(self, open_session: OpenSession) -> AsyncIterator[ControlServer]:
        """Serve in this process, after `prepare`."""
        fresh = self._fresh
        threads = ThreadPoolExecutor(self._limits.handshake_threads, "login")
        service = Service(
            accounts=Accounts(
                None if self._security is None else Gridmap(self._security.gridmap),
                only=self._only,
                anonymous=self._anonymous,
                password=self._password,
            ),
            security=None if fresh is None else fresh.current,
            open_session=open_session,
            threads=threads,
            limits=self._limits,
            greeting=self._greeting,
            report=self._report,
        )
        server = ControlServer(
            service, refresh=None if fresh is None else fresh.refresh, failed=self._failed
        )
        try:
            await server.start(self._sockets)
            yield server
        finally:
            await server.close()
            # Without waiting: a thread may be looking up an account for long.
            threads.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def serving_here(
    sockets: Sequence[socket.socket],
    security: Security | None,
    host: Host,
    *,
    limits: Limits | None = None,
    anonymous: bool = False,
    password: PasswordCheck | None = None,
    report: Callable[[LoginReport], None] = lambda _report: None,
    failed: Callable[[BaseException], None] = lambda _error: None,
) -> AsyncIterator[ControlServer]:
    """A server in this process, as the account that runs it. `host` runs its sessions.

    Raises `OSError`, `ValueError`.
    """
    limits = fit_descriptors(
        limits or Limits(), per_session=DESCRIPTORS_OF_CONTROL + DESCRIPTORS_OF_SESSION
    )
    account = getpass.getuser()
    half = AcceptorHalf(
        sockets,
        security,
        only=account,
        limits=limits,
        anonymous=account if anonymous else None,
        password=password,
        report=report,
        failed=failed,
    )
    half.prepare()
    sessions = Sessions(host, failed=failed)
    try:
        async with half.serving(sessions.open) as server:
            yield server
    finally:
        await sessions.close()


def serve_as_root(
    sockets: Sequence[socket.socket],
    security: Security,
    make_host: Callable[[str], Host],
    *,
    user: str,
    limits: Limits | None = None,
    anonymous: str | None = None,
    report: Callable[[LoginReport], None] = lambda _report: None,
    failed: Callable[[BaseException], None] = lambda _error: None,
) -> int:
    """A server with privileges separated: see `launcher`. Returns the exit status.

    `user`: whom the acceptor runs as; he needs to read the trust roots and the gridmap.
    `make_host`: makes what runs an account's sessions, in its process and as that account; it gets
    the account's name. `anonymous`: the account of those who do not say who they are.
    """
    limits = limits or Limits()
    gridmap = Gridmap(security.gridmap)

    def may_open(account: str) -> bool:
        return account == anonymous or gridmap.names_account(account)

    return Launcher(
        acceptor=AcceptorHalf(
            sockets,
            security,
            only=None,
            limits=limits,
            anonymous=anonymous,
            report=report,
            failed=failed,
        ),
        user=user,
        make_host=make_host,
        may_open=may_open,
        limits=limits,
        listening=sockets,
    ).run()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_PEM_BYTES + 1)
