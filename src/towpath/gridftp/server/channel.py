"""The data connections of one session: made, protected, kept from file to file, and given up.

In MODE E the sender connects and connections are kept; in MODE S either end connects, and the end
of the connection is the end of the file. Whatever fails closes everything: a file that comes after
a failure can never get the bytes of the one that failed.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final, Self, TypeVar

from towpath.dsi.storage import Reader, Writer
from towpath.gridftp.data import mode_s
from towpath.gridftp.data.link import Link, accepted
from towpath.gridftp.data.mode_e import Receiver, Sender
from towpath.gridftp.data.pace import Pace
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.data_identity import ChannelCredential
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.server.data_paths import DataPaths, Direct, Listening, PortRange
from towpath.gridftp.server.dialling import DataPolicy
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.markers import PerformanceMarker, performance_reply, restart_reply
from towpath.gridftp.wire.ranges import ByteRange, RangeSet

T = TypeVar("T")

WAITING_RANGES: Final = 1000
"""Separate ranges that one restart marker tells of. What does not fit is not told of, and would be
sent again: only a sender that jumps about gets there."""


class Mode(Enum):
    """How bytes lie on a data connection (MODE)."""

    STREAM = "S"
    EXTENDED = "E"


class Own(Enum):
    """The peer of a data connection must have our own identity (DCAU A)."""

    SELF = auto()


SELF: Final = Own.SELF


@dataclass(frozen=True, slots=True)
class Markers:
    """Seconds between markers, fractions allowed; 0: none."""

    performance_s: float = 5.0
    restart_s: float = 5.0


class DataChannel:
    """For one thread, which runs the session's commands; `abort` for any.

    Everything that moves data raises `GridFTPError` (CHANNEL_GONE: no PASV or PORT that would do;
    DATA_REFUSED, DATA_AUTH, DATA_BROKEN, STALLED, PROTOCOL) or the OSError of the storage, and has
    closed all connections and the listener then.
    """

    def __init__(
        self,
        *,
        local_host: str,
        policy: DataPolicy,
        limits: Limits | None = None,
        ports: PortRange | None = None,
        paths: DataPaths | None = None,
        pace: Pace | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`local_host` is the address of the control connection: there we listen.

        `ports`: where listeners may be; None: anywhere. `paths`: how connections come about; None:
        they are made here. `pace`: a bandwidth limit. `now` gives the time of day for markers.
        """
        self._local_host = local_host
        self._policy = policy
        self._limits = limits or Limits()
        self._listens = paths or Direct(ports, backlog=self._limits.data_connections)
        self._paths = paths
        self._pace = pace
        self._now = now
        self._mode = Mode.STREAM
        self._authentication: Own | str | None = None
        self._protection = Protection.CLEAR
        self._credential: ChannelCredential | None = None
        self.parallelism = 1
        """Connections we make as sender in MODE E."""
        self.block_bytes = 0
        """What the client would like blocks to be; ours are of the size that is fastest."""
        self.markers = Markers()
        self.moved_bytes = 0
        """By the last transfer, for the log."""
        self._addresses: list[HostPort] = []
        self._listener: Listening | None = None
        self._receiver: Receiver | None = None
        self._sender: Sender | None = None
        self._lock = threading.Lock()
        self._abort: Callable[[], None] | None = None  # of what runs now
        self._aborted = False
        self._running = False

    # -- settings

    def set_mode(self, mode: Mode) -> None:
        """MODE. A change ends what is kept."""
        if mode is not self._mode:
            self._forget_connections()
            self._mode = mode

    def set_authentication(self, authentication: Own | str | None) -> None:
        """DCAU: nobody is asked, or the peer must be who we are, or have this subject (one line).

        Ends what is kept, even if it changes nothing, as GCT does.
        """
        self._forget_connections()
        self._authentication = authentication

    def set_protection(self, protection: Protection) -> None:
        """PROT. Ends what is kept, even if it changes nothing."""
        self._forget_connections()
        self._protection = protection

    def set_credential(self, pem: bytes | None, *, trust: TrustRoots | None = None) -> None:
        """Who we are on connections that are still to be made: certificate, key, chain.

        With `trust` a delegated credential; without it one of DCSC, which brings along whom to
        believe. Raises ValueError when it is none. What is kept stays, as with GCT.
        """
        if pem is None:
            self._credential = None
        else:
            self._credential = ChannelCredential.from_pem(
                pem, trust, lambda: datetime.fromtimestamp(self._now(), UTC)
            )

    # -- addresses

    def passive(self, stripes: int = 1) -> list[HostPort]:
        """Listen, and drop what was there. One address, however many stripes are asked for.

        Raises OSError when there is no port.
        """
        del stripes  # one machine has one
        self.drop()
        self._listener = self._listens.listen(self._local_host)
        return [self._listener.address]

    def active(self, addresses: Sequence[HostPort]) -> None:
        """Connect there when there is something to move, and drop what was there.

        Raises GridFTPError(ADDRESS_REFUSED) for addresses that the session may not dial.
        """
        if len(addresses) > self._limits.data_connections:
            raise GridFTPError(Kind.ADDRESS_REFUSED, "too many addresses", "")
        for address in addresses:
            if not self._policy.may_dial(address):
                raise GridFTPError(
                    Kind.ADDRESS_REFUSED,
                    f"data connections to {address.host}:{address.port} are not allowed here",
                    "",
                )
        self.drop()
        self._addresses = list(addresses)

    @property
    def is_kept(self) -> bool:
        """Whether the next transfer uses connections that are there already (125, not 150)."""
        if self._receiver is not None:
            return self._receiver.is_connected
        return self._sender is not None

    # -- transfers

    def demand(self, *, receive: bool) -> None:
        """Raise GridFTPError(CHANNEL_GONE) if there is nothing that a transfer could use.

        For before its file is opened: what was sent ahead of a failure must not empty files.
        """
        if self._mode is Mode.STREAM:
            usable = self._listener is not None or len(self._addresses) == 1
        elif receive:
            usable = self._listener is not None or self._receiver is not None
        else:
            usable = self._sender is not None or bool(self._addresses)
        if not usable:
            raise _gone("no data connection can be made: PASV or PORT first")

    def send(self, reader: Reader, ranges: Sequence[ByteRange], *, at: int | None = None) -> None:
        """Send these bytes of a file.

        `at` is the offset on the wire of the first of them, in MODE E; None: its place in the file.
        """
        shift = 0 if at is None or not ranges else at - ranges[0].first
        with self._transfer():
            if self._mode is Mode.STREAM:
                if len(ranges) > 1:
                    raise GridFTPError(Kind.UNSUPPORTED, "a stream has one range", "")
                part = ranges[0] if ranges else ByteRange(0, 0)
                with closing(self._stream_link()) as link:
                    self._abortable(link.abort, lambda: mode_s.send(link, reader, part))
            else:
                sender = self._ready_sender()
                self._abortable(sender.abort, lambda: sender.send(reader, ranges, shift))
        self.moved_bytes = sum(part.length for part in ranges)

    def send_bytes(self, chunks: Iterable[bytes]) -> None:
        """Send what is made while it is sent: a listing. Raises what `chunks` raise, too."""
        with self._transfer():
            if self._mode is Mode.STREAM:
                with closing(self._stream_link()) as link:
                    self._abortable(
                        link.abort, lambda: mode_s.send_chunks(link, self._counted(chunks))
                    )
            else:
                sender = self._ready_sender()
                self._abortable(sender.abort, lambda: sender.send_chunks(self._counted(chunks)))

    def receive(self, writer: Writer, *, at: int = 0, tell: Callable[[bytes], None]) -> None:
        """Write what comes, from offset `at` on; `tell` sends markers while it runs.

        All of it is with the writer when this returns; to finish it is left to the caller.
        """
        report = _Report(self.markers, tell, self._now, ranges=self._mode is Mode.EXTENDED)
        sink = _Sink(writer, at, report)
        with self._transfer():
            if self._mode is Mode.STREAM:
                with closing(self._stream_link()) as link:
                    self._abortable(
                        link.abort, lambda: mode_s.receive(link, sink, tick=report.tick)
                    )
            else:
                receiver = self._ready_receiver()
                self._abortable(receiver.abort, lambda: receiver.receive(sink, tick=report.tick))
        self.moved_bytes = report.bytes_received
        report.end()

    def abort(self) -> None:
        """Make the transfer that runs fail soon; nothing when none runs. From any thread."""
        with self._lock:
            if not self._running:
                return
            self._aborted = True
            if self._abort is not None:
                self._abort()  # under the lock: what it acts on is still there

    def drop(self) -> None:
        """Close connections and listener; forget addresses."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        self._addresses = []

    def close(self) -> None:
        """The session ends."""
        self.drop()

    # -- the parts

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.moved_bytes += len(chunk)
            yield chunk

    @contextmanager
    def _transfer(self) -> Iterator[None]:
        with self._lock:
            self._running = True
            self._aborted = False
        self.moved_bytes = 0
        try:
            yield
        except BaseException:
            self.drop()
            raise
        finally:
            with self._lock:
                self._running = False
                self._abort = None
        if self._mode is Mode.STREAM:
            self.drop()

    def _abortable(self, abort: Callable[[], None], run: Callable[[], T]) -> T:
        """Run something that `abort` makes fail."""
        with self._lock:
            self._abort = abort
            if self._aborted:
                abort()
        try:
            result = run()
        finally:
            with self._lock:
                self._abort = None
                aborted = self._aborted
        if aborted:  # the end of a stream looks the same when it is ours
            raise _given_up()
        return result

    def _forget_connections(self) -> None:
        """A setting has changed for which connections that are there were not made.

        A listener or an address that nobody has used yet stays. One that was used goes, even if its
        connections are gone: it would take new ones by the old settings.
        """
        if self._receiver is not None or self._sender is not None:
            self.drop()

    def _ready_receiver(self) -> Receiver:
        if self._receiver is None:
            if self._listener is None:
                raise _gone("nothing listens: PASV first")
            self._receiver = Receiver(
                self._listener,
                secure=self._security(server_side=True),
                admits=self._policy.may_accept,
                where="",
                max_links=self._limits.data_connections,
                connect_s=self._limits.data_connect_s,
                stall_s=self._limits.data_stall_s,
                pace=self._pace,
            )
            self._listener = None
        return self._receiver

    def _ready_sender(self) -> Sender:
        if self._sender is None:
            if not self._addresses:
                raise _gone("in MODE E the sender connects: PORT first")
            receivers = len(self._addresses)
            most = max(1, self._limits.data_connections // receivers)
            each = max(1, min(self.parallelism, most))
            links = self._connect([address for address in self._addresses for _ in range(each)])
            self._sender = Sender(links, receivers=receivers)
        return self._sender

    def _stream_link(self) -> Link:
        if self._listener is not None:
            listener, self._listener = self._listener, None
            with closing(listener):
                return self._secured([self._accept(listener)], server_side=True)[0]
        if len(self._addresses) == 1:
            return self._connect(self._addresses)[0]
        raise _gone("no data connection can be made: PASV or PORT first")

    def _accept(self, listener: Listening) -> Link:
        deadline = time.monotonic() + self._limits.data_connect_s
        with _Waiter() as waiter:
            waiter.add(listener, select.POLLIN)
            while True:
                self._abortable(waiter.abort, lambda: waiter.wait(deadline))
                found = accepted(listener)
                if found is None:
                    continue
                connection, host = found
                if self._policy.may_accept(host):
                    return self._link(connection)
                connection.close()

    def _connect(self, addresses: Sequence[HostPort]) -> list[Link]:
        """All at the same time: on a long way each takes a round trip."""
        deadline = time.monotonic() + self._limits.data_connect_s
        if self._paths is not None:
            dialled = self._dialled(self._paths, addresses, deadline)
            return self._secured([self._link(item) for item in dialled], server_side=False)
        connections: list[socket.socket] = []
        try:
            with _Waiter() as waiter:
                pending: dict[int, tuple[socket.socket, HostPort]] = {}
                for address in addresses:
                    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
                    connection = socket.socket(family, socket.SOCK_STREAM)
                    connections.append(connection)
                    connection.setblocking(False)
                    code = connection.connect_ex(tuple(address))
                    if code not in (0, errno.EINPROGRESS):
                        raise _refused(address, code)
                    pending[connection.fileno()] = (connection, address)
                    waiter.add(connection, select.POLLOUT)
                while pending:
                    for descriptor in self._abortable(waiter.abort, lambda: waiter.wait(deadline)):
                        connection, address = pending.pop(descriptor)
                        waiter.remove(connection)
                        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                        if code:
                            raise _refused(address, code)
        except BaseException:
            for connection in connections:
                connection.close()
            raise
        return self._secured([self._link(item) for item in connections], server_side=False)

    def _dialled(
        self, paths: DataPaths, addresses: Sequence[HostPort], deadline: float
    ) -> list[socket.socket]:
        """The same by other ways. Each is a thread's, which nobody waits for once it is in vain."""
        with _Waiter() as waiter:
            dials = _Dials(paths, addresses, deadline, waiter.abort)
            try:
                while not dials.over:
                    self._abortable(waiter.abort, lambda: waiter.pause(deadline))
                return dials.take()
            finally:
                dials.forget()

    def _link(self, connection: socket.socket) -> Link:
        return Link(connection, "", self._limits.data_stall_s, self._pace)

    def _secured(self, links: list[Link], *, server_side: bool) -> list[Link]:
        """All at the same time. Closes all of them when one fails."""
        try:
            secure = self._security(server_side=server_side)
        except BaseException:
            for link in links:
                link.close()
            raise
        if secure is None:
            return links
        errors: list[Exception] = []

        def run(link: Link) -> None:
            try:
                secure(link)
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append(error)
                give_up()

        def give_up() -> None:
            for link in links:
                link.abort()

        def run_all() -> None:
            others = [threading.Thread(target=run, args=(link,), daemon=True) for link in links[1:]]
            for thread in others:
                thread.start()
            run(links[0])
            for thread in others:
                thread.join()
            if errors:
                raise errors[0]

        try:
            self._abortable(give_up, run_all)
        except BaseException:
            for link in links:
                link.close()
            raise
        return links

    def _security(self, *, server_side: bool) -> Callable[[Link], None] | None:
        """What makes a connection safe; None when nothing does (DCAU N)."""
        if self._authentication is None:
            return None
        if self._credential is None:
            raise GridFTPError(
                Kind.DATA_AUTH,
                "no credential for the data channel: delegate one, or send DCSC",
                "",
            )
        expected = None if self._authentication is Own.SELF else self._authentication
        identity = self._credential.expecting(expected)
        protection, within_s = self._protection, self._limits.data_connect_s
        return lambda link: link.secure(
            identity, protection, server_side=server_side, within_s=within_s
        )


class _Waiter:
    """Waits for sockets; `abort` ends it from any thread."""

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._wake)

    def add(self, item: socket.socket | Listening, event: int) -> None:
        self._poll.register(item, event)

    def remove(self, item: socket.socket) -> None:
        self._poll.unregister(item)

    def abort(self) -> None:
        os.eventfd_write(self._wake, 1)

    def wait(self, deadline: float) -> list[int]:
        """The descriptors that are ready. Raises GridFTPError(STALLED) after the deadline."""
        left = deadline - time.monotonic()
        ready = [item for item, _event in self._poll.poll(max(0.0, left) * 1000)]
        if not ready:
            raise GridFTPError(Kind.STALLED, "data connection timed out", "")
        if self._wake in ready:
            raise _given_up()
        return ready

    def pause(self, deadline: float) -> None:
        """Until `abort` is called, which means no more here than to look again."""
        if not self._poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise GridFTPError(Kind.STALLED, "data connection timed out", "")
        os.eventfd_read(self._wake)


class _Dials:
    """Connections that are being made by `DataPaths`, each in a thread."""

    def __init__(
        self,
        paths: DataPaths,
        addresses: Sequence[HostPort],
        deadline: float,
        wake: Callable[[], None],
    ) -> None:
        self._paths = paths
        self._deadline = deadline
        self._wake: Callable[[], None] | None = wake
        self._lock = threading.Lock()
        self._made: dict[int, socket.socket] = {}
        self._error: GridFTPError | None = None
        self._wanted = len(addresses)
        for number, address in enumerate(addresses):
            threading.Thread(target=self._dial, args=(number, address), daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether all are there, or one has failed."""
        with self._lock:
            return self._error is not None or len(self._made) == self._wanted

    def take(self) -> list[socket.socket]:
        """All of them, in order; the caller's from now on. Raises what one has failed with."""
        with self._lock:
            if self._error is not None:
                raise self._error
            made, self._made = self._made, {}
        return [made[number] for number in sorted(made)]

    def forget(self) -> None:
        """Close what nobody has taken, also what is still to come."""
        with self._lock:
            self._wake = None
            for connection in self._made.values():
                connection.close()
            self._made.clear()

    def _dial(self, number: int, address: HostPort) -> None:
        connection: socket.socket | None = None
        error: GridFTPError | None = None
        try:
            connection = self._paths.dial(address, max(0.0, self._deadline - time.monotonic()))
        except TimeoutError:
            error = GridFTPError(Kind.STALLED, "data connection timed out", "")
        except OSError as failure:
            error = _unreachable(address, failure.strerror or str(failure))
        except Exception as failure:  # noqa: BLE001 - it is told to who waits
            error = _unreachable(address, repr(failure))
        with self._lock:
            if self._wake is None:
                if connection is not None:
                    connection.close()
                return
            if connection is not None:
                self._made[number] = connection
            else:
                self._error = self._error or error
            self._wake()


class _Sink:
    """A writer, and what is told of what it got."""

    def __init__(self, writer: Writer, at: int, report: _Report) -> None:
        self._writer = writer
        self._at = at
        self._report = report

    def write(self, data: memoryview, offset: int) -> None:
        self._writer.write(data, offset + self._at)
        self._report.add(offset, len(data))


class _Report:
    """Counts what was received, and tells of it in markers."""

    def __init__(
        self,
        markers: Markers,
        tell: Callable[[bytes], None],
        now: Callable[[], float],
        *,
        ranges: bool,
    ) -> None:
        self._tell = tell
        self._now = now
        self._performance_s = markers.performance_s
        self._restart_s = markers.restart_s if ranges else 0.0
        self._lock = threading.Lock()
        self.bytes_received = 0
        self._ranges = RangeSet()
        began = time.monotonic()
        self._next_performance = began
        self._next_restart = began + self._restart_s

    def add(self, offset: int, count: int) -> None:
        """These bytes are written. From any thread; offsets count from where the data begin."""
        with self._lock:
            self.bytes_received += count
            if self._restart_s and len(self._ranges) < WAITING_RANGES:
                self._ranges.add(ByteRange(offset, offset + count))

    def tick(self) -> float | None:
        """Tell what is due; the seconds until something is again."""
        now = time.monotonic()
        waits: list[float] = []
        if self._restart_s:
            if now >= self._next_restart:
                self._tell_ranges()
                self._next_restart = now + self._restart_s
            waits.append(self._next_restart - now)
        if self._performance_s:
            if now >= self._next_performance:
                self._tell_performance()
                self._next_performance = now + self._performance_s
            waits.append(self._next_performance - now)
        return min(waits, default=None)

    def end(self) -> None:
        """Tell the rest."""
        if self._restart_s:
            self._tell_ranges()
        if self._performance_s:
            self._tell_performance()

    def _tell_performance(self) -> None:
        with self._lock:
            count = self.bytes_received
        self._tell(performance_reply(PerformanceMarker(self._now(), 0, count, 1)))

    def _tell_ranges(self) -> None:
        with self._lock:
            ranges, self._ranges = self._ranges, RangeSet()
        if len(ranges):
            self._tell(restart_reply(ranges))


def _gone(message: str) -> GridFTPError:
    return GridFTPError(Kind.CHANNEL_GONE, message, "")


def _given_up() -> GridFTPError:
    return GridFTPError(Kind.DATA_BROKEN, "the transfer was given up", "")


def _refused(address: HostPort, code: int) -> GridFTPError:
    return _unreachable(address, os.strerror(code))


def _unreachable(address: HostPort, reason: str) -> GridFTPError:
    said = f"Unable to connect to {address.host}:{address.port}: {reason}"
    return GridFTPError(Kind.DATA_REFUSED, said, "")
