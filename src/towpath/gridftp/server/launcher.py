"""The only part that stays root: it starts the acceptor as an unprivileged user, and a process for
each mapped account, and hands the sockets of sessions from the one to the other.

It reads nothing from the network, no line of a client, no certificate. What comes to it is the name
of an account and a socket, from the acceptor; a name that the gridmap does not know is refused, so
who takes over the acceptor gets no account that no user has. It forks, and never starts a thread:
what its children share with it stays shared.

All die together: an acceptor that is gone has taken every control connection with it, so then the
launcher ends, and who watches it starts it again.
"""

from __future__ import annotations

import asyncio
import math
import os
import pwd
import resource
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from towpath.gridftp.server import account_process
from towpath.gridftp.server.account_process import Host, receive_socket, send_socket
from towpath.gridftp.server.control import OpenSession
from towpath.gridftp.server.frames import Opening
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.server.privileges import become

STOP_S = 10.0
"""How long children may take to end when asked; then they are killed."""


class AcceptorProgram(Protocol):
    """What the acceptor's process does."""

    def prepare(self) -> None:
        """Called as root, in that process only: for the host's key, which only root may read."""

    def run(self, open_session: OpenSession) -> None:
        """Called as the unprivileged user; until SIGTERM."""


@dataclass
class _Child:
    pid: int
    pid_descriptor: int
    until: float = math.inf
    """Of the monotonic clock: how long it takes sessions."""
    link: socket.socket | None = None


@dataclass(kw_only=True)
class Launcher:
    """Use `run`, in a process of root's without threads."""

    acceptor: AcceptorProgram
    user: str
    """Whom the acceptor runs as."""
    make_host: Callable[[str], Host]
    """Makes what runs the sessions of an account; called in its process, as that account."""
    may_open: Callable[[str], bool]
    """Whether anyone may use this account at all."""
    limits: Limits
    listening: Sequence[socket.socket] = ()
    """Sockets for the acceptor alone; no other process has them. The launcher's are closed."""
    tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr)  # noqa: T201
    _accounts: dict[str, _Child] = field(default_factory=dict, init=False)
    """Those that take sessions."""
    _children: dict[int, _Child] = field(default_factory=dict, init=False)
    """All that live, by pid."""
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector, init=False)
    _stopping: bool = field(default=False, init=False)
    _acceptor_user: int = field(default=0, init=False)
    _wakers: tuple[socket.socket, ...] = field(default=(), init=False)

    def run(self) -> int:
        """Until SIGTERM or SIGINT, or until the acceptor ends. Returns the exit status.

        Raises `KeyError` when `user` does not exist.
        """
        woken, wakes = socket.socketpair()
        woken.setblocking(False)
        wakes.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.set_wakeup_fd(wakes.fileno())
        self._wakers = (woken, wakes)
        self._acceptor_user = pwd.getpwnam(self.user).pw_uid
        acceptor = self._start_acceptor()
        for one in self.listening:
            one.close()
        self._selector.register(woken, selectors.EVENT_READ, lambda: woken.recv(64))
        status = 0
        while not self._stopping:
            self._turn(None)
            if acceptor.pid not in self._children:
                self.tell("the acceptor has ended")
                status = 1
                break
        self._end_all()
        return status

    def _stop(self, *_signal: object) -> None:
        self._stopping = True

    def _turn(self, timeout_s: float | None) -> None:
        registered = self._selector.get_map()
        for key, _events in self._selector.select(timeout_s):
            if registered.get(key.fd) is key:  # else what came first has closed it
                key.data()

    # -- children

    def _start_acceptor(self) -> _Child:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        launcher = os.getpid()

        def main() -> None:
            ours.close()
            self.acceptor.prepare()
            become(self.user, parent=launcher)
            self.acceptor.run(_Handover(theirs).open_session)

        child = self._fork(main, ours, keep=self.listening)
        theirs.close()
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._take(child, ours))
        return child

    def _start_account(self, account: str, first: socket.socket) -> _Child:
        """`first`: the socket of the session that it is started for, which we have open."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        launcher = os.getpid()
        acceptor_user = self._acceptor_user

        def failed(error: BaseException) -> None:
            self.tell(f"a session of {account} has failed: {error!r}")

        def main() -> None:
            ours.close()
            first.close()  # it gets its own: one that is open twice does not tell its end
            # A process of the acceptor's own user could reach into it: there is the host's key.
            become(account, parent=launcher, never=acceptor_user)
            _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # files and data connections
            asyncio.run(
                account_process.serve(
                    theirs,
                    self.make_host(account),
                    account,
                    idle_s=self.limits.account_idle_s,
                    failed=failed,
                )
            )

        child = self._fork(main, ours)
        theirs.close()
        child.until = time.monotonic() + self.limits.account_age_s
        self._accounts[account] = child
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(child, ours))
        return child

    def _fork(
        self, main: Callable[[], None], link: socket.socket, keep: Sequence[socket.socket] = ()
    ) -> _Child:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._be_child(main, keep)
        child = _Child(pid, os.pidfd_open(pid), link=link)
        self._children[pid] = child
        self._selector.register(
            child.pid_descriptor, selectors.EVENT_READ, lambda: self._reap(child)
        )
        return child

    def _be_child(self, main: Callable[[], None], keep: Sequence[socket.socket]) -> NoReturn:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            self._forget(keep)
            main()
            status = 0
        except BaseException:  # noqa: BLE001 - nothing of the launcher's must run here
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _forget(self, keep: Sequence[socket.socket]) -> None:
        """In a child: close what is the launcher's."""
        self._selector.close()
        for one in self._wakers:
            one.close()
        for child in self._children.values():
            os.close(child.pid_descriptor)
            if child.link is not None:
                child.link.close()
        for one in self.listening:
            if one not in keep:
                one.close()

    def _reap(self, child: _Child) -> None:
        _pid, status = os.waitpid(child.pid, 0)
        self._selector.unregister(child.pid_descriptor)
        os.close(child.pid_descriptor)
        del self._children[child.pid]
        self._let_go(child)
        code = os.waitstatus_to_exitcode(status)
        if code and not self._stopping:
            self.tell(f"process {child.pid} has ended with status {code}")

    def _let_go(self, child: _Child) -> None:
        """It gets no more sessions."""
        if child.link is not None:
            self._selector.unregister(child.link)
            child.link.close()
            child.link = None
        for account in [name for name, one in self._accounts.items() if one is child]:
            del self._accounts[account]

    # -- sessions

    def _take(self, acceptor: _Child, link: socket.socket) -> None:
        """The acceptor has a session for an account."""
        with suppress(BlockingIOError):
            received = receive_socket(link)
            if received is None:
                self._let_go(acceptor)
                return
            account, connection = received
            if connection is not None:
                self._hand_over(account, connection)

    def _hand_over(self, account: str, connection: socket.socket) -> None:
        child = self._accounts.get(account)
        if child is not None and time.monotonic() >= child.until:
            self._let_go(child)
            child = None
        if child is None:
            if (refusal := self._refusal(account)) is not None:
                self.tell(f"no process for {account!r}: {refusal}")
                connection.close()
                return
            try:
                child = self._start_account(account, connection)
            except OSError as error:
                self.tell(f"no process for {account!r}: {error}")
                connection.close()
                return
        assert child.link is not None
        try:
            send_socket(child.link, account, connection)
        except OSError as error:
            self.tell(f"the process of {account!r} takes no session: {error}")

    def _refusal(self, account: str) -> str | None:
        try:
            if not self.may_open(account):
                return "nobody may use it"
        except (OSError, ValueError) as error:
            return str(error)
        if len(self._children) > self.limits.account_processes:  # the acceptor is one of them
            return "too many processes"
        return None

    def _hear(self, child: _Child, link: socket.socket) -> None:
        """A process has been idle for long, unless a session is on its way to it: then it runs
        that one, and ends after it."""
        with suppress(BlockingIOError):
            received = receive_socket(link)
            if received is not None and received[1] is not None:
                received[1].close()
            self._let_go(child)

    # -- the end

    def _end_all(self) -> None:
        self._stopping = True
        for child in list(self._children.values()):
            os.kill(child.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_S
        while self._children and (left := until - time.monotonic()) > 0:
            self._turn(left)
        for child in list(self._children.values()):
            os.kill(child.pid, signal.SIGKILL)
            self._reap(child)


class _Handover:
    """The acceptor's way to open a session: through the launcher."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link

    def open_session(self, opening: Opening, connection: socket.socket) -> None:
        """As `control.OpenSession`."""
        send_socket(self._link, opening.account, connection)
