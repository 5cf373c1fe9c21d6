"""Listens for control connections, and keeps their number in bounds.

Those who have not logged in cost what a login may cost, and no more: there is room for so many, and
when it is full the oldest go, first those of the address that has the most. So neither a port scan
nor a flood of connections reaches the sessions that are open, or takes the last descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from towpath.gridftp.security.acceptor import HostSecurity
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustDirectory
from towpath.gridftp.server.control import Control, Service
from towpath.gridftp.server.keys_ahead import KeysAhead
from towpath.gridftp.server.limits import Limits

BACKLOG = 256
"""Connections that the kernel keeps for us; so many may be taken at one go, too."""

SWEEP_S = 1.0
"""How often the clock is looked at for all connections: their times are seconds."""

REFRESH_S = 60.0
"""How often trust roots are looked at: revocation lists are renewed every some hours."""

_OTHER_DESCRIPTORS = 64
"""Listening sockets, log, event loop, threads."""

_SITE_PREFIX_BITS = 64
"""Of an IPv6 address: what one customer has at least."""


def listen(port: int, hosts: Sequence[str] = ("0.0.0.0", "::")) -> list[socket.socket]:  # noqa: S104
    """Sockets that listen at these addresses (numbers). Port 0: one free port for all.

    An IPv6 address is left out where the machine has no IPv6. Raises `OSError`.
    """
    found: list[socket.socket] = []
    try:
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            try:
                found.append(_bound(family, host, port or _port_of(found)))
            except OSError as error:
                none = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
                if family is not socket.AF_INET6 or error.errno not in none or len(hosts) == 1:
                    raise
    except BaseException:
        for one in found:
            one.close()
        raise
    return found


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    # Named as what it is: asyncio switches Nagle's algorithm off only where it sees TCP. With it a
    # reply waits 40 ms for the client to confirm the one before.
    one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # connections inherit it
        if family is socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((host, port))
        one.listen(BACKLOG)
        one.setblocking(False)
    except BaseException:
        one.close()
        raise
    return one


def _port_of(sockets: list[socket.socket]) -> int:
    return int(sockets[0].getsockname()[1]) if sockets else 0


def fit_descriptors(limits: Limits, *, per_session: int) -> Limits:
    """Raise the soft limit of open files to what these limits need; where the hard limit is lower,
    take fewer sessions. `per_session`: descriptors of one in this process.
    """
    pending = limits.pending_logins + 2 * BACKLOG  # those just dropped are closed a moment later
    needed = pending + _OTHER_DESCRIPTORS + per_session * limits.sessions
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = hard == resource.RLIM_INFINITY
    wanted = needed if endless else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted == needed:
        return limits
    sessions = (wanted - pending - _OTHER_DESCRIPTORS) // per_session
    if sessions < 1:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE) + f": {needed} are needed")
    return replace(limits, sessions=sessions)


class FreshSecurity:
    """What logins need, with trust roots as they are on disk now."""

    def __init__(self, host: Credential, trust_dir: Path, now: Callable[[], datetime]) -> None:
        """Raises `OSError`, `ValueError`, `ssl.SSLError`."""
        self._directory = TrustDirectory(trust_dir)
        trust = self._directory.current
        self._current = HostSecurity(host, trust, now=now, key=KeysAhead().take)

    def current(self) -> HostSecurity:
        """For a new login."""
        return self._current

    def refresh(self) -> None:
        """As `TrustDirectory.refresh`."""
        if self._directory.refresh():
            old, trust = self._current, self._directory.current
            self._current = HostSecurity(old.host, trust, now=old.now, key=old.key)


class ControlServer:
    """All control connections of one server (`control.Door` for each of them)."""

    def __init__(
        self,
        service: Service,
        *,
        refresh: Callable[[], None] | None = None,
        failed: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        """`refresh`: called in a thread now and then, such as `FreshSecurity.refresh`; what it
        raises goes to `failed`."""
        self._service = service
        self._limits = service.limits
        self._refresh = refresh
        self._failed = failed
        self._pending: dict[Control, str] = {}
        """Not logged in, the oldest first, each with whom it is from."""
        self._open: dict[Control, str] = {}
        self._per_peer: Counter[str] = Counter()
        self._pending_per_peer: Counter[str] = Counter()
        self._servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._went = asyncio.Event()
        self._turned_away: str | None = None
        """Why nobody is taken now."""

    @property
    def sessions(self) -> int:
        """Connections that have logged in."""
        return len(self._open)

    @property
    def pending(self) -> int:
        """Connections that have not."""
        return len(self._pending)

    async def start(self, sockets: Iterable[socket.socket]) -> None:
        """Listen at these, which are ours from now on."""
        loop = asyncio.get_running_loop()
        for one in sockets:
            server = await loop.create_server(
                lambda: Control(self._service, self), sock=one, backlog=BACKLOG
            )
            self._servers.append(server)
        self._tasks.append(loop.create_task(self._sweep()))
        if self._refresh is not None:
            self._tasks.append(loop.create_task(self._keep_fresh(self._refresh)))

    async def take(self, connection: socket.socket, *, peer_host: str, local_host: str) -> None:
        """A connection that came by another way than our listening sockets, of any stream kind;
        ours from now on. The addresses, in numbers: who is at its other end, and where data
        connections are to be listened for."""
        loop = asyncio.get_running_loop()
        ways = (peer_host, local_host)
        try:
            await loop.connect_accepted_socket(
                lambda: Control(self._service, self, ways), connection
            )
        except BaseException:
            connection.close()
            raise

    def pause(self, reason: str) -> None:
        """From now on whoever comes is sent away (`421 PAUSED: reason`); who is there is cut."""
        self._turned_away = f"PAUSED: {reason}"
        self.cut(self._turned_away)

    def cut(self, reason: str) -> None:
        """End all connections that are there (`421 reason`)."""
        for control in (*self._pending, *self._open):
            control.drop(reason)

    def turn_away(self, reason: str) -> None:
        """From now on whoever comes is sent away (`421 DRAINING: reason`); who is there stays."""
        self._turned_away = f"DRAINING: {reason}"

    def resume(self) -> None:
        """Take connections again, after `pause` or `turn_away`."""
        self._turned_away = None

    async def close(self) -> None:
        """Stop listening, and end all connections with a 421."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for control in (*self._pending, *self._open):
            control.shut_down()
        while self._pending or self._open:  # each is cut after CLOSE_S at the latest
            self._went.clear()
            await self._went.wait()

    # -- control.Door

    def came(self, control: Control) -> str | None:
        """Count it; make room for it."""
        if self._turned_away is not None:
            return self._turned_away
        peer = _site(control.peer_host)
        if self._per_peer[peer] >= self._limits.sessions_per_peer:
            return "Too many sessions from your address."
        if not self.may_log_in():
            return "Too many sessions; try again later."
        if len(self._pending) >= self._limits.pending_logins:
            oldest = self._oldest()
            self.gone(oldest)  # now, as more connections may come before it is closed
            oldest.drop("Too many logins under way; try again later.")
        self._pending[control] = peer
        self._per_peer[peer] += 1
        self._pending_per_peer[peer] += 1
        return None

    def may_log_in(self) -> bool:
        """Whether there is room for one more session."""
        return self._turned_away is None and len(self._open) < self._limits.sessions

    def logged_in(self, control: Control) -> None:
        """It is a session from now on."""
        peer = self._pending.pop(control, None)
        if peer is not None:  # else it has been dropped a moment ago
            self._less(self._pending_per_peer, peer)
            self._open[control] = peer

    def gone(self, control: Control) -> None:
        """It is closed, or was never counted."""
        peer = self._pending.pop(control, None)
        if peer is not None:
            self._less(self._pending_per_peer, peer)
        else:
            peer = self._open.pop(control, None)
        if peer is not None:
            self._less(self._per_peer, peer)
            self._went.set()

    def _oldest(self) -> Control:
        """Of those of the peer that has the most."""
        most = max(self._pending_per_peer.values())
        for control, peer in self._pending.items():
            if self._pending_per_peer[peer] == most:
                return control
        raise AssertionError

    @staticmethod
    def _less(counter: Counter[str], peer: str) -> None:
        counter[peer] -= 1
        if not counter[peer]:
            del counter[peer]

    # -- time

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_S)
            now = loop.time()
            for control in (*self._pending, *self._open):
                control.check(now)

    async def _keep_fresh(self, refresh: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await loop.run_in_executor(self._service.threads, refresh)
            except (OSError, ValueError) as error:
                self._failed(error)


def _site(host: str) -> str:
    """Whom an address belongs to, as far as it can be told."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> _SITE_PREFIX_BITS << _SITE_PREFIX_BITS))
    return host
