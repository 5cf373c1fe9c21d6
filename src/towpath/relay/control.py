"""Control connections of the service, carried through an agent's tunnel.

They carry commands and listings, not files: what they say goes through this process, between a TCP
socket and a channel of SSH, each with a bounded window; who does not read stops the other side.

The service takes an end of file for the agent's word that its session is over, and that nothing it
was told to do is still being done. So only an end of the channel that the agent itself has made is
passed on as one. Whatever else ends a connection, the tunnel's loss or this process' death, is a
reset: then nobody knows what the agent does.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Final

import asyncssh
import structlog

from towpath.grants.passes import PassRefused, PassVerifier
from towpath.relay.agents import Agents
from towpath.relay.limits import CONTROL_CHUNK, CONTROL_OPEN_S
from towpath.relay.slots import Slots
from towpath.relay.sockets import abort, keep_alive, peer_ip, reset_at_end, say_and_close
from towpath.tunnel.prologue import OK, Refusal, refusal

CONTROLS: Final = 20_000
"""Of all agents together: two descriptors' worth of buffers each, 0.5 MiB where nobody reads."""

_Reader = asyncssh.SSHReader[bytes]
_Writer = asyncssh.SSHWriter[bytes]

_log = structlog.stdlib.get_logger("towpath.relay.control")


class Control:
    """Joins who shows a pass with the agent that it is for."""

    def __init__(self, agents: Agents, verifier: Callable[[], PassVerifier | None]) -> None:
        """``verifier``: None until the service has told its keys."""
        self._agents = agents
        self._verifier = verifier
        self._slots = Slots(CONTROLS)

    @property
    def count(self) -> int:
        """Control connections that are carried."""
        return self._slots.taken

    async def take(self, connection: socket.socket, token: str) -> None:
        """Own a connection that shows a pass, until it ends."""
        verifier = self._verifier()
        if verifier is None:
            _refuse(connection, Refusal.FAILED, "the relay has not heard of its service yet")
            return
        try:
            shown = verifier.verify(token)
        except PassRefused as error:
            _log.warning("relay.pass_refused", reason=str(error), from_address=_from(connection))
            _refuse(connection, Refusal.PASS, str(error))
            return
        agent = self._agents.get(shown.node)
        if agent is None or agent.endpoint_id != shown.endpoint:
            _refuse(connection, Refusal.GONE, "the agent is not connected to this relay")
            return
        slot = self._slots.take(agent.node_id, agent.limits.control_channels)
        if slot is None:
            text = f"an agent has at most {agent.limits.control_channels} control connections"
            _refuse(connection, Refusal.BUSY, text)
            return
        try:
            async with asyncio.timeout(CONTROL_OPEN_S):
                ip, port = connection.getpeername()[:2]
                tunnel, reader, writer = await agent.tunnel.open_control(str(ip), int(port))
        except (asyncssh.Error, OSError, TimeoutError) as error:
            slot.free()
            _log.info("relay.control_not_taken", node=agent.node_id, reason=str(error))
            _refuse(connection, Refusal.FAILED, "the agent did not take the connection")
            return
        try:
            keep_alive(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reset_at_end(connection, on=True)
            connection.send(OK)
            await _carry(connection, tunnel, reader, writer)
        except (asyncssh.Error, OSError):
            abort(connection)
            writer.channel.abort()
        finally:
            slot.free()


async def _carry(
    connection: socket.socket,
    tunnel: asyncssh.SSHServerConnection,
    reader: _Reader,
    writer: _Writer,
) -> None:
    """Until both directions have ended, or one end is gone. Raises OSError."""
    tcp_reader, tcp_writer = await asyncio.open_connection(sock=connection, limit=CONTROL_CHUNK)
    up = asyncio.create_task(_to_agent(tcp_reader, writer))
    down = asyncio.create_task(_from_agent(reader, tcp_writer, tunnel))
    both = asyncio.gather(up, down)
    closed = asyncio.create_task(writer.wait_closed())
    try:
        either: set[asyncio.Future[Any]] = {both, closed}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if both.done():
            both.result()
        else:
            await down  # the agent has ended it: what it said is delivered, the rest is over
        writer.close()
        tcp_writer.close()
    except BaseException:
        writer.channel.abort()
        tcp_writer.transport.abort()
        raise
    finally:
        for task in (both, closed):
            task.cancel()
        await asyncio.gather(both, closed, return_exceptions=True)


async def _to_agent(reader: asyncio.StreamReader, writer: _Writer) -> None:
    while data := await reader.read(CONTROL_CHUNK):
        try:
            writer.write(data)
            await writer.drain()
        except BrokenPipeError:  # the agent has ended it; what it said goes the other way
            return
    with contextlib.suppress(BrokenPipeError):
        writer.write_eof()


async def _from_agent(
    reader: _Reader, writer: asyncio.StreamWriter, tunnel: asyncssh.SSHServerConnection
) -> None:
    while data := await reader.read(CONTROL_CHUNK):
        writer.write(data)
        await writer.drain()
    if tunnel.is_closed():
        raise ConnectionResetError("the tunnel has ended, and not the session in it")
    reset_at_end(writer.get_extra_info("socket"), on=False)
    writer.write_eof()


def _refuse(connection: socket.socket, reason: Refusal, text: str) -> None:
    say_and_close(connection, refusal(reason, text))


def _from(connection: socket.socket) -> str:
    with contextlib.suppress(OSError):
        return peer_ip(connection)
    return "gone"
