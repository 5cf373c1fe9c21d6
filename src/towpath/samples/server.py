"""The servers of both sample endpoints, in one process."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from towpath.dsi.posix import PosixStorage
from towpath.dsi.rules import Rules
from towpath.gridftp.security.acceptor import HostSecurity
from towpath.gridftp.security.authority import Authority
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.server.acceptor import ControlServer
from towpath.gridftp.server.account_process import Sessions
from towpath.gridftp.server.accounts import Account, Accounts, LoginRefused
from towpath.gridftp.server.control import Service
from towpath.gridftp.server.frames import Opening
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.server.session import SessionHost
from towpath.platform.files import PRIVATE_FILE, private_directory
from towpath.samples.layout import HOST, account_of, home_of, rules_of

LIMITS: Final = Limits(sessions=500)
"""They are for trying things out."""


class SampleAccounts(Accounts):
    """Whoever the deployment issued a credential to has an account."""

    def __init__(self) -> None:
        super().__init__(None, only=None)

    def of_subject(self, subject: str, wanted: str | None) -> Account:
        """See `Accounts`."""
        account = account_of(subject)
        if account is None or wanted not in (None, account):
            raise LoginRefused(f"Gridmap lookup failure: Could not map {subject}")
        return Account(account, home_of(account))


class SampleHost:
    """Runs the sessions of all accounts, each on a view of the tree that is its own."""

    def __init__(self, tree: Path, trust: TrustRoots) -> None:
        self._tree = tree
        self._trust = trust
        self._hosts: dict[str, SessionHost] = {}
        self._sessions: Counter[str] = Counter()

    async def run(self, connection: socket.socket, opening: Opening) -> None:
        """See `account_process.Host`."""
        account = opening.account
        self._sessions[account] += 1
        try:
            await asyncio.to_thread(private_directory, self._tree / home_of(account).lstrip("/"))
            host = self._hosts.get(account)
            if host is None:
                host = self._hosts[account] = self._host(account)
            await host.run(connection, opening)
        finally:
            self._sessions[account] -= 1
            if not self._sessions[account]:
                del self._sessions[account]
                if account in self._hosts:
                    self._hosts.pop(account).close()

    def _host(self, account: str) -> SessionHost:
        rules = Rules.parse(",".join(rules_of(account)))
        storage = PosixStorage(self._tree, rules=rules, file_mode=PRIVATE_FILE)
        return SessionHost(storage, LIMITS, trust=lambda: self._trust)


@asynccontextmanager
async def serving(
    trees: Sequence[Path],
    listeners: Sequence[socket.socket],
    authority: Authority,
    *,
    failed: Callable[[BaseException], None],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> AsyncIterator[None]:
    """Serve each tree at its socket. The host's certificate is made here, and kept nowhere."""
    trust = TrustRoots.from_files(authority.trust_files)
    began = now()
    host = authority.issue(HOST, began, authority.not_after - began, hosts=(HOST, "localhost"))
    security = HostSecurity(host, trust, now=now)
    threads = ThreadPoolExecutor(LIMITS.handshake_threads, "login")
    async with AsyncExitStack() as stack:
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        for tree, listener in zip(trees, listeners, strict=True):
            sessions = Sessions(SampleHost(tree, trust), failed=failed)
            stack.push_async_callback(sessions.close)
            service = Service(
                accounts=SampleAccounts(),
                security=lambda: security,
                open_session=sessions.open,
                threads=threads,
                limits=LIMITS,
            )
            server = ControlServer(service, failed=failed)
            stack.push_async_callback(server.close)
            await server.start([listener])
        yield


async def serve(
    trees: Sequence[Path],
    listeners: Sequence[socket.socket],
    authority: Authority,
    *,
    failed: Callable[[BaseException], None],
) -> None:
    """Until cancelled."""
    async with serving(trees, listeners, authority, failed=failed):
        await asyncio.Event().wait()
