"""Reaching a server: a connection, and the greeting that shows that one of its kind is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from towpath.gridftp.client.channel import ControlChannel, Receiver
from towpath.gridftp.client.dial import Dial, Server, Timeouts, keep_alive, round_trip_s
from towpath.gridftp.client.login import Banner, quiet_future
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.replies import Reply


async def connect(
    server: Server,
    dial: Dial,
    times: Timeouts,
    *,
    clear_text: bool,
    greeted: Callable[[ControlChannel], Receiver] = Banner,
) -> tuple[ControlChannel, float]:
    """A control channel, and the way there and back in seconds.

    `greeted` makes the receiver of the greeting, which may come before this returns. Raises
    GridFTPError.
    """
    where = str(server)
    try:
        async with asyncio.timeout(times.connect_s):
            connection = await dial(server.host, server.port)
    except TimeoutError:
        raise GridFTPError(
            Kind.CONNECT, f"no connection within {times.connect_s:g} s", where
        ) from None

    def channel_with_receiver() -> ControlChannel:
        channel = ControlChannel(where, clear_text=clear_text)
        greeted(channel)
        return channel

    try:
        keep_alive(connection)
        rtt_s = round_trip_s(connection)
        _, channel = await asyncio.get_running_loop().create_connection(
            channel_with_receiver, sock=connection
        )
    except OSError as error:
        connection.close()
        raise GridFTPError(
            Kind.CONNECTION_LOST, f"the connection broke ({error.strerror})", where
        ) from None
    except BaseException:
        connection.close()
        raise
    return channel, rtt_s


class _Awaited(Banner):
    """A greeting that somebody waits for."""

    def __init__(self, channel: ControlChannel) -> None:
        super().__init__(channel)
        self.heard = quiet_future()

    def reply(self, reply: Reply) -> None:
        super().reply(reply)
        if self._channel.error is None:
            self.heard.set_result(None)
        else:
            self.heard.set_exception(self._channel.error)

    def lost(self, error: GridFTPError) -> None:
        if not self.heard.done():
            self.heard.set_exception(error)


async def greet(server: Server, *, dial: Dial, timeouts: Timeouts) -> None:
    """Connect, wait for the greeting, hang up: the server is there, whoever may log in.

    Raises GridFTPError: CONNECT, ADDRESS_REFUSED, CONNECTION_LOST, PROTOCOL, or TIMEOUT when it
    says nothing within `login_s`.
    """
    receivers: list[_Awaited] = []

    def awaited(channel: ControlChannel) -> _Awaited:
        receivers.append(_Awaited(channel))
        return receivers[0]

    channel, _ = await connect(server, dial, timeouts, clear_text=True, greeted=awaited)
    try:
        async with asyncio.timeout(timeouts.login_s):
            await receivers[0].heard
    except TimeoutError:
        raise GridFTPError(
            Kind.TIMEOUT, f"no greeting within {timeouts.login_s:g} s", str(server)
        ) from None
    finally:
        channel.fail(GridFTPError(Kind.CONNECTION_LOST, "we hung up", str(server)))
