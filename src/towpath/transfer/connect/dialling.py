"""How the agents of an endpoint are reached: which node, through which relay."""

import asyncio
import socket
import time
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from uuid import UUID

from towpath.grants import passes
from towpath.grants.passes import Pass
from towpath.gridftp.client.dial import default_dial
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.database import Database
from towpath.transfer.connect.keys import ConnectKeys
from towpath.transfer.store import endpoints, relays
from towpath.transfer.store.relays import Presence
from towpath.tunnel import prologue
from towpath.tunnel.prologue import AnswerReader, Joined, NotJoined, PassShown, Refusal

_OK = len(prologue.OK)


def label_of(name: str, endpoint_id: UUID) -> str:
    """What errors call the agents of an endpoint. Names are not unique."""
    return f"“{name}” ({endpoint_id})"


class Agents:
    """Dials agents. Every connection is good for one control session."""

    def __init__(
        self,
        database: Database,
        keys: ConnectKeys,
        now: Callable[[], float] = time.time,
        random: Random | None = None,
    ) -> None:
        self._database = database
        self._keys = keys
        self._now = now
        self._random = random or Random()  # noqa: S311 - to spread, not to hide
        self._sessions: Counter[UUID] = Counter()
        """Of this process, by node."""

    async def dial(self, endpoint_id: UUID) -> socket.socket:
        """A connection to one of an endpoint's agents, on which it greets next.

        Raises GridFTPError: AWAY, PAUSED, DRAINING; CONNECT where the relay fails.
        """
        async with self._database.connection() as conn:
            endpoint = await endpoints.get(conn, endpoint_id)
            nodes = await relays.presence(conn, endpoint_id)
        name = "?" if endpoint is None else endpoint.display_name
        where = label_of(name, endpoint_id)
        node = self._choose(name, where, nodes)
        # in this order: none of these may be missing for a node that is connected
        assert node.relay_id is not None
        assert node.relay_host is not None
        assert node.relay_port is not None
        relay = f"{node.relay_host}:{node.relay_port}"
        keys = await self._keys.keys()
        shown = Pass.issue(
            issuer=self._keys.issuer,
            audience=str(node.relay_id),
            endpoint=str(endpoint_id),
            node=str(node.node_id),
            now=self._now(),
        )
        self._sessions[node.node_id] += 1  # now: others are choosing meanwhile
        try:
            connection = await default_dial(node.relay_host, node.relay_port)
        except BaseException as error:
            self._ended(node.node_id)
            if not isinstance(error, GridFTPError):
                raise
            raise GridFTPError(
                Kind.CONNECT, f"the relay {relay} cannot be reached: {error.message}", where
            ) from error
        weakref.finalize(connection, self._ended, node.node_id)
        try:
            await _join(connection, passes.mint(shown, keys.signer), relay, name, where)
        except BaseException:
            connection.close()
            raise
        return connection

    def _ended(self, node_id: UUID) -> None:
        self._sessions[node_id] -= 1
        if self._sessions[node_id] <= 0:
            del self._sessions[node_id]

    def _choose(self, name: str, where: str, nodes: Sequence[Presence]) -> Presence:
        """The node with the fewest of our sessions, of those that take one; of equal ones any, as
        other workers choose as well."""
        connected = [node for node in nodes if node.relay_id is not None]
        if not connected:
            raise GridFTPError(Kind.AWAY, _away(name, nodes, self._now()), where)
        awake = [node for node in connected if not node.paused]
        if not awake:
            message = f"“{name}” is paused by its user; the transfer resumes when it is resumed"
            raise GridFTPError(Kind.PAUSED, message, where)
        open_ones = [node for node in awake if not node.draining]
        if not open_ones:
            message = f"“{name}” takes no new sessions: its administrator is draining it"
            raise GridFTPError(Kind.DRAINING, message, where)
        fewest = min(self._sessions[node.node_id] for node in open_ones)
        return self._random.choice(
            [node for node in open_ones if self._sessions[node.node_id] == fewest]
        )


def _away(name: str, nodes: Sequence[Presence], now: float) -> str:
    heard = [node.heard_at for node in nodes if node.heard_at is not None]
    if not nodes:
        return f"“{name}” has not been set up on any computer yet"
    if not heard:
        return f"“{name}” has been set up and was never connected"
    return (
        f"“{name}” has not been connected since {_clock(max(heard), now)} (asleep, off, or without"
        " network); the transfer resumes when it is back"
    )


def _clock(moment: datetime, now: float) -> str:
    today = datetime.fromtimestamp(now, UTC).date()
    at = moment.astimezone(UTC)
    return at.strftime("%H:%M UTC" if at.date() == today else "%Y-%m-%d %H:%M UTC")


async def _join(connection: socket.socket, token: str, relay: str, name: str, where: str) -> None:
    """Show the pass, and take the relay's answer: not a byte of what follows."""
    loop = asyncio.get_running_loop()
    reader = AnswerReader()
    answer: Joined | NotJoined | None = None
    # A refusal is longer than the shortest answer: so many bytes are no part of what follows.
    size = _OK
    try:
        async with asyncio.timeout(prologue.PROLOGUE_S):
            await loop.sock_sendall(connection, prologue.prologue(PassShown(token)))
            while answer is None:
                data = await loop.sock_recv(connection, size)
                if not data:
                    message = f"the relay {relay} hung up"
                    raise GridFTPError(Kind.CONNECTION_LOST, message, where)
                answer = reader.feed(data)
                size = max(1, size - len(data))
    except TimeoutError:
        raise GridFTPError(
            Kind.TIMEOUT,
            f"the relay {relay} did not answer within {prologue.PROLOGUE_S:g} s",
            where,
        ) from None
    except OSError as error:
        raise GridFTPError(
            Kind.CONNECTION_LOST, f"the relay {relay} hung up ({error.strerror})", where
        ) from error
    except prologue.PrologueError as error:
        raise GridFTPError(
            Kind.PROTOCOL, f"what answers at {relay} is no relay: {error}", where
        ) from error
    if isinstance(answer, NotJoined):
        if answer.reason is Refusal.GONE:
            message = f"“{name}” has just lost its connection; the transfer resumes when it is back"
            raise GridFTPError(Kind.AWAY, message, where, reply=answer.text)
        raise GridFTPError(
            Kind.CONNECT,
            f"the relay {relay} does not connect us with “{name}”",
            where,
            reply=answer.text,
        )
