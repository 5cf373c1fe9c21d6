"""Tunnels of agents: SSH connections in which we are the server.

An agent logs in with the key that it registered at its setup, under the name of its node. It may
then do two things and nothing else: have control connections forwarded to it, and open one channel
with the subsystem in which it asks us for listeners and tickets.
"""

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncssh
import structlog

from towpath import __version__
from towpath.platform.files import private_directory, write_private
from towpath.relay.agents import Agent, Agents
from towpath.relay.limits import (
    CONTROL_CHUNK,
    CONTROL_UNANSWERED,
    CONTROL_WINDOW,
    HANDSHAKE_S,
    HELLO_S,
    KEEPALIVE_S,
    KEEPALIVES_LOST,
    LOGIN_KEYS,
    SUBSYSTEM_WINDOW,
    TUNNELS,
    UNREAD_BYTES,
    AgentLimits,
)
from towpath.relay.requests import Desk, Inbox
from towpath.relay.service import Service, ServiceAwayError, ServiceRefusedError
from towpath.relay.sockets import plain_ip
from towpath.tunnel import CONTROL_FORWARD, SUBSYSTEM
from towpath.tunnel.messages import (
    Answer,
    Event,
    Failed,
    Lines,
    MessageError,
    Request,
    TunnelError,
    decode_request,
    encode,
)

KEY_TYPE: Final = "ssh-ed25519"
_KEY_EXCHANGES: Final = ("curve25519-sha256", "curve25519-sha256@libssh.org")
_CIPHERS: Final = ("chacha20-poly1305@openssh.com", "aes128-gcm@openssh.com")

_log = structlog.stdlib.get_logger("towpath.relay.tunnels")


def host_key(directory: Path) -> asyncssh.SSHKey:
    """The relay's key: agents are told it by the service, and trust no other. Made once.

    Raises OSError, `asyncssh.KeyImportError`.
    """
    file = directory / "host_key"
    if not file.exists():
        private_directory(directory)
        made = asyncssh.generate_private_key(KEY_TYPE)
        write_private(file, made.export_private_key())
    return asyncssh.read_private_key(file)


def public_key_line(key: asyncssh.SSHKey) -> str:
    """As in an `authorized_keys` file, without a comment."""
    words = key.export_public_key("openssh").decode().split()
    return " ".join(words[:2])


class Tunnels:
    """Makes tunnels out of connections that begin with SSH."""

    def __init__(
        self,
        *,
        key: asyncssh.SSHKey,
        agents: Agents,
        service: Service,
        desk: Callable[[], Desk],
        arrived: Callable[[Agent], None],
        left: Callable[[Agent, datetime], None],
        accepting: Callable[[], bool],
    ) -> None:
        """``arrived``: told of an agent that has said hello and takes control connections.
        ``left``: of one whose tunnel is gone, and when it was last heard of.
        """
        self.agents = agents
        self.service = service
        self.desk = desk
        self.arrived = arrived
        self.left = left
        self.accepting = accepting
        self._key = key
        self._options: asyncssh.SSHServerConnectionOptions | None = None

    async def make(self, connection: socket.socket) -> None:
        """Own the connection; until the agent is logged in, or was refused."""
        if self._options is None:
            self._options = await self._make_options()
        try:
            await asyncssh.run_server(connection, options=self._options)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            _log.info("relay.no_tunnel", reason=str(error) or type(error).__name__)
            connection.close()

    async def _make_options(self) -> asyncssh.SSHServerConnectionOptions:
        made: asyncssh.SSHServerConnectionOptions
        made = await asyncssh.SSHServerConnectionOptions.construct(
            server_factory=lambda: _Server(self),
            server_host_keys=[self._key],
            server_version=f"towpath-relay-{__version__}",
            kex_algs=_KEY_EXCHANGES,
            encryption_algs=_CIPHERS,
            signature_algs=(KEY_TYPE,),
            compression_algs=None,
            login_timeout=HANDSHAKE_S,
            connect_timeout=HANDSHAKE_S,
            keepalive_interval=KEEPALIVE_S,
            keepalive_count_max=KEEPALIVES_LOST,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_auth=False,
            gss_kex=False,
            gss_host=None,
            agent_forwarding=False,
            x11_forwarding=False,
            allow_pty=False,
            allow_scp=False,
            line_editor=False,
        )
        return made


class _Server(asyncssh.SSHServer):
    """One agent's SSH connection."""

    def __init__(self, tunnels: Tunnels) -> None:
        self._tunnels = tunnels
        self._connection: asyncssh.SSHServerConnection | None = None
        self._address = ""
        self._agent: Agent | None = None
        self._words: _Words | None = None
        self._takes_control = False
        self._hello = False
        self._confirmed: str | None = None
        self._tried = 0
        self._unanswered = 0
        """Control connections."""
        self._impatience: asyncio.TimerHandle | None = None

    # --- login -----------------------------------------------------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        peer = conn.get_extra_info("peername")
        self._address = plain_ip(str(peer[0])) if peer else ""

    def public_key_auth_supported(self) -> bool:
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Ask the service. Asked twice for each login: does it exist, and is it signed with."""
        try:
            node_id = str(UUID(username))
        except ValueError:
            return False
        line = public_key_line(key)
        if self._confirmed is not None:
            return line == self._confirmed
        connection = self._connection
        assert connection is not None, "it was made"
        self._tried += 1
        if self._tried > LOGIN_KEYS:
            connection.disconnect(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "too many keys")
            return False
        agents = self._tunnels.agents
        if not self._tunnels.accepting() or (
            len(agents) >= TUNNELS and agents.get(node_id) is None
        ):
            connection.disconnect(
                asyncssh.DISC_TOO_MANY_CONNECTIONS, "this relay takes no more agents"
            )
            return False
        try:
            known = await self._tunnels.service.agent(node_id, line, self._address)
        except (ServiceAwayError, ServiceRefusedError) as error:
            _log.warning("relay.agent_not_confirmed", node=node_id, reason=str(error))
            connection.disconnect(
                asyncssh.DISC_SERVICE_NOT_AVAILABLE, "the service does not answer; try again"
            )
            return False
        if known is None:
            _log.warning("relay.agent_unknown", node=node_id, address=self._address)
            return False
        self._confirmed = line
        self._agent = Agent(
            node_id,
            known.endpoint_id,
            known.kind,
            self._address,
            self,
            limits=AgentLimits().narrowed(known.limits),
        )
        return True

    def auth_completed(self) -> None:
        loop = asyncio.get_running_loop()
        self._impatience = loop.call_later(HELLO_S, self.close, "it does not say hello")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._impatience is not None:
            self._impatience.cancel()
        agent = self._agent
        self._connection = None
        if agent is None:
            return
        if self._words is not None:
            self._words.inbox.close()
        silent = isinstance(exc, asyncssh.ConnectionLost) and "keepalive" in str(exc)
        silent_s = KEEPALIVE_S * (1 + KEEPALIVES_LOST) if silent else 0.0
        _log.info("relay.tunnel_ended", node=agent.node_id, reason=str(exc) if exc else "closed")
        self._tunnels.left(agent, datetime.now(UTC) - timedelta(seconds=silent_s))

    # --- what an agent may open ------------------------------------------------------------------

    def server_requested(self, listen_host: str, listen_port: int) -> asyncssh.SSHListener | bool:
        if (listen_host, listen_port) != CONTROL_FORWARD or self._takes_control:
            return False
        self._takes_control = True
        self._perhaps_arrived()
        return asyncssh.SSHListener()

    def session_requested(
        self,
    ) -> "tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]] | bool":
        connection, agent = self._connection, self._agent
        if self._words is not None or connection is None or agent is None:
            return False
        self._words = _Words(agent, self._tunnels.desk(), self.close)
        channel = connection.create_server_channel(
            encoding=None, window=SUBSYSTEM_WINDOW, max_pktsize=CONTROL_CHUNK
        )
        return channel, self._words

    # --- for the rest of the relay ---------------------------------------------------------------

    def said_hello(self) -> None:
        if not self._hello:
            self._hello = True
            self._perhaps_arrived()

    def _perhaps_arrived(self) -> None:
        if not (self._hello and self._takes_control and self._agent is not None):
            return
        if self._impatience is not None:
            self._impatience.cancel()
        self._tunnels.arrived(self._agent)

    def tell(self, message: Answer | Event) -> None:
        if self._words is not None:
            self._words.tell(message)

    async def open_control(
        self, ip: str, port: int
    ) -> tuple[asyncssh.SSHServerConnection, asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]:
        """The tunnel, and the channel in it, which may be closed again by then."""
        connection = self._connection
        if connection is None or not self._takes_control:
            raise ConnectionError("the agent takes no control connections")
        try:
            reader, writer = await connection.open_connection(
                *CONTROL_FORWARD,
                ip,
                port,
                encoding=None,
                window=CONTROL_WINDOW,
                max_pktsize=CONTROL_CHUNK,
            )
        except asyncio.CancelledError:
            self._unanswered += 1
            if self._unanswered >= CONTROL_UNANSWERED:
                self.close("it does not answer to control connections")
            raise
        return connection, reader, writer

    def close(self, reason: str) -> None:
        if self._connection is not None:
            self._connection.disconnect(asyncssh.DISC_BY_APPLICATION, reason)


class _Words(asyncssh.SSHServerSession[bytes]):
    """The channel with the subsystem."""

    def __init__(self, agent: Agent, desk: Desk, close: Callable[[str], None]) -> None:
        self._agent = agent
        self._desk = desk
        self._close = close
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._lines = Lines()
        self.inbox = Inbox(self._begin, self._pause, self._resume)

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan
        chan.set_write_buffer_limits(high=UNREAD_BYTES)

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == SUBSYSTEM

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype is not None:
            return
        try:
            for line in self._lines.feed(data):
                self._take(line)
        except MessageError as error:
            self._close(f"malformed: {error}")

    def _take(self, line: bytes) -> None:
        try:
            self.inbox.put(decode_request(line))
        except MessageError as error:
            if error.id is None:
                raise
            self.tell(Failed(error.id, TunnelError.MALFORMED, str(error)))

    def eof_received(self) -> bool:
        self._close("it ended its requests")
        return False

    def pause_writing(self) -> None:
        self._close("it does not read what it is told")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncssh's
        self._channel = None
        self.inbox.close()
        self._close("its channel is closed")

    def tell(self, message: Answer | Event) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(encode(message))

    def _begin(self, request: Request) -> "asyncio.Future[None]":
        return asyncio.ensure_future(self._answer(request))

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self._desk.answer(self._agent, request)
        except Exception:  # noqa: BLE001 - of one agent; the others go on
            _log.exception("relay.request_failed", node=self._agent.node_id)
            self._close("a mistake of the relay's own")
            return
        if answer is not None:
            self.tell(answer)

    def _pause(self) -> None:
        if self._channel is not None:
            self._channel.pause_reading()

    def _resume(self) -> None:
        if self._channel is not None:
            self._channel.resume_reading()
