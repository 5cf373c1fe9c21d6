"""Setting up a data channel between a session's server and ourselves, and watching it."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.session import Dial, Session, default_dial
from towpath.gridftp.data.link import Link
from towpath.gridftp.data.mode_e import MAX_LINKS, Receiver
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.addresses import HostPort, parse_passive
from towpath.gridftp.wire.markers import parse_performance
from towpath.gridftp.wire.replies import Reply

T = TypeVar("T")


def _ignore(_count: int) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class DataOptions:
    """How data moves between here and a server."""

    security: DataSecurity = field(default_factory=DataSecurity)
    streams: int = 1
    """Parallel connections. More than one means one file a channel."""
    checksum: str | None = None
    """Compare digests of this algorithm (as the server spells it) computed at both ends."""
    data_hosts: frozenset[str] = frozenset()
    """Addresses of data channels accepted beside that of the control channel."""
    dial: Dial = default_dial
    stall_s: float = 60.0
    """Seconds without a byte or a sign of life after which a transfer is given up."""
    on_progress: Callable[[int], None] = _ignore
    """Told how many bytes moved; called from threads."""


class Watch:
    """Knows when something was last heard of a transfer; `touch` may come from any thread."""

    def __init__(self, stall_s: float, where: str) -> None:
        self._stall_s = stall_s
        self._where = where
        self._last = time.monotonic()
        self._told_bytes = 0

    def touch(self) -> None:
        """A sign of life."""
        self._last = time.monotonic()

    def heard(self, reply: Reply) -> None:
        """Of the intermediate replies only a marker of more bytes is a sign of life: a server could
        send others for ever."""
        marker = parse_performance(reply)
        if marker is not None and marker.stripe_bytes > self._told_bytes:
            self._told_bytes = marker.stripe_bytes
            self.touch()

    def progress(self, report: Callable[[int], None]) -> Callable[[int], None]:
        """A callback for bytes moved that counts as a sign of life too."""

        def moved(count: int) -> None:
            self.touch()
            report(count)

        return moved

    async def reply(self, future: "asyncio.Future[Reply]", extra_s: float = 0.0) -> Reply:
        """The final reply. Raises what the session raises, and STALLED after silence."""
        self.touch()
        self._told_bytes = 0
        while not future.done():
            left = self._last + self._stall_s + extra_s - time.monotonic()
            if left <= 0:
                raise GridFTPError(
                    Kind.STALLED, f"nothing moved for {self._stall_s + extra_s:g} s", self._where
                )
            await asyncio.wait([future], timeout=left)
        return future.result()


async def connect(session: Session, options: DataOptions) -> list[Link]:
    """Connections to the server's listener: we are going to send. Raises `GridFTPError`.

    TLS is still to come (`Link.secure`): a server takes part in it only during a transfer.
    """
    (passive,) = (await _told(session, [*options.security.commands(), "PASV"]))[-1:]
    where = str(session.server)
    (address,) = parse_passive(passive, where=where)
    if address.host != session.peer_ip and address.host not in options.data_hosts:
        raise GridFTPError(
            Kind.ADDRESS_REFUSED, f"the server wants data sent to {address.host}", where
        )
    links: list[Link] = []
    try:
        for _ in range(options.streams):
            async with asyncio.timeout(options.stall_s):
                connection = await options.dial(address.host, address.port)
            links.append(Link(connection, where, options.stall_s))
    except BaseException as error:
        for link in links:
            link.close()
        if isinstance(error, TimeoutError):
            raise GridFTPError(
                Kind.DATA_REFUSED, "the server's data port does not answer", where
            ) from None
        raise
    return links


async def listen(session: Session, options: DataOptions) -> Receiver:
    """A receiver the server has been told to connect to. Raises `GridFTPError`."""
    listener = socket.create_server((local_address(session.peer_ip), 0), backlog=options.streams)
    try:
        host, port = listener.getsockname()[:2]
        await _told(
            session,
            [
                *options.security.commands(),
                commands.parallelism(options.streams),
                commands.port(HostPort(host, port)),
            ],
        )
    except BaseException:
        listener.close()
        raise

    hosts = options.data_hosts | {session.peer_ip}
    security = options.security
    return Receiver(
        listener,
        secure=security_of_links(security, server_side=True),
        admits=lambda host: security.credential is not None or host in hosts,
        where=str(session.server),
        max_links=1 if options.streams == 1 else MAX_LINKS,
        connect_s=options.stall_s,
        stall_s=options.stall_s,
    )


def security_of_links(
    security: DataSecurity, *, server_side: bool
) -> Callable[[Link], None] | None:
    """What makes a connection safe; None when nothing does."""
    credential = security.credential
    if credential is None:
        return None
    return lambda link: link.secure(credential, security.protection, server_side=server_side)


def in_thread(function: Callable[[], T]) -> "asyncio.Future[T]":
    """Run a long transfer in a thread of its own; cancelling the future does not stop it.

    Not in the loop's executor: that has a few threads for everybody, and a transfer may take days.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
            future.exception()  # asked for by whoever cares; not worth a complaint
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has gone; so has whoever waited
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, daemon=True).start()
    return future


async def result_of(running: "asyncio.Future[T]") -> T:
    """Wait for a thread's result. Whoever is cancelled meanwhile leaves the future as it is."""
    await asyncio.wait([running])
    return running.result()


async def ended(*running: "asyncio.Future[Any]") -> None:
    """Wait for threads to end, however often cancelled: then what they use can be given back."""
    cancelled: asyncio.CancelledError | None = None
    while not all(one.done() for one in running):
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _told(session: Session, lines: list[str]) -> list[Reply]:
    """Send settings in one flight; the replies, all of them good. Raises `GridFTPError`."""
    replies = await session.answers(session.submit(lines))
    return [session.require(reply) for reply in replies]


def local_address(peer_ip: str) -> str:
    """Our address as seen on the way to the peer. Sends nothing."""
    family = socket.AF_INET6 if ":" in peer_ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((peer_ip, 9))
        return str(probe.getsockname()[0])
