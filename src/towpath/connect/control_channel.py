"""A control connection that comes through the tunnel, as the GridFTP server sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncssh

from towpath.gridftp.server.control import Control

NewControl = Callable[[str, str], Control]
"""Makes what takes a control connection, for the addresses (in numbers) of the relay and of us.
They stand for those of its ends: data connections listen at ours, and who comes through a relay on
this machine is on this machine."""


class ControlChannel(asyncssh.SSHTCPSession[bytes]):
    """One forwarded channel."""

    def __init__(self, control: Control, over: Callable[[], None]) -> None:
        """`over`: called when it is closed."""
        self._control = control
        self._over = over

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        """It is open."""
        self._control.connection_made(_ChannelTransport(chan))

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Commands, or parts of them."""
        del datatype
        self._control.data_received(data)

    def eof_received(self) -> bool:
        """Nobody says more: it is over, as with a socket."""
        self._control.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, or the tunnel is."""
        self._over()
        self._control.connection_lost(exc)

    def pause_writing(self) -> None:
        """See `Control`."""
        self._control.pause_writing()

    def resume_writing(self) -> None:
        """See `Control`."""
        self._control.resume_writing()


class _ChannelTransport(asyncio.Transport):
    """A channel of `asyncssh` in the place of a socket's transport."""

    def __init__(self, channel: asyncssh.SSHTCPChannel[bytes]) -> None:
        super().__init__()
        self._channel = channel

    def write(self, data: bytes | bytearray | memoryview) -> None:
        with suppress(OSError):  # it is closed; `connection_lost` says so
            self._channel.write(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._channel.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._channel.get_write_buffer_size()

    def pause_reading(self) -> None:
        self._channel.pause_reading()

    def resume_reading(self) -> None:
        self._channel.resume_reading()

    def is_closing(self) -> bool:
        return self._channel.is_closing()

    def close(self) -> None:
        self._channel.close()

    def abort(self) -> None:
        self._channel.abort()
