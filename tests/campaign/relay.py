"""The program that all connections to the campaign's servers pass through, and that breaks them.

nftables redirects what is dialled to it; it asks the kernel where the way should have led. A trap
waits for bytes on a connection of its class and acts on them before they are forwarded: so what is
hit is surely in use, whatever the machine's speed. Commands come as lines of JSON on standard
input, each answered by one on standard output.
"""

import argparse
import asyncio
import json
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import uvloop

MARK = 0x70A7
"""Of our own connections, which are not redirected again."""

_ORIGINAL_DESTINATION = 80
"""SO_ORIGINAL_DST of netfilter."""

_READ_AHEAD_BYTES = 512 * 1024
"""Taken from one side before the other has taken it."""

_RECORD_HEADER_BYTES = 5
_TLS_RECORDS = range(20, 24)
_BLOCK_HEADER = struct.Struct(">BQQ")
_END_OF_FILE = 0x40
"""Then there is no data, and the offset is a number of connections."""


class Span(NamedTuple):
    """A part of a chunk that is a file's data: chunk[first:after]. `header`: where its block
    begins, if all of that is in this chunk."""

    header: int | None
    first: int
    after: int


class Blocks:
    """Follows a data channel in MODE E, in clear after its handshake: where files' data is."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._skip = 0
        self._data = False

    def spans(self, chunk: bytes) -> list[Span]:
        """All of the next chunk."""
        found = []
        at = 0
        header: int | None = None
        while at < len(chunk):
            if self._skip:
                length = min(self._skip, len(chunk) - at)
                self._skip -= length
                if self._data:
                    found.append(Span(None if self._skip else header, at, at + length))
                at += length
                header = None
                continue
            if not self._header:
                header = at
            self._header.append(chunk[at])
            at += 1
            if self._header[0] in _TLS_RECORDS:
                if len(self._header) == _RECORD_HEADER_BYTES:
                    self._skip = int.from_bytes(self._header[3:], "big")
                    self._data = False
                    self._header.clear()
            elif len(self._header) == _BLOCK_HEADER.size:
                descriptor, length, _offset = _BLOCK_HEADER.unpack(self._header)
                self._data = not descriptor & _END_OF_FILE
                self._skip = length if self._data else 0
                self._header.clear()
        return found


@dataclass
class Trap:
    """Waits for the `after`-th byte that passes `direction` to one of `ports`, then does `what`."""

    what: str
    ports: list[range]
    direction: str
    after: int
    for_s: float
    sprung: asyncio.Future[dict[str, Any]]

    def matches(self, port: int, direction: str) -> bool:
        """Whether bytes on their way concern it."""
        return direction == self.direction and any(port in ports for ports in self.ports)

    def wanted(self, spans: list[Span]) -> Span | None:
        """What `drop` takes: a block with data that is all at hand."""
        whole = (one for one in spans if one.header is not None and one.after > one.first)
        return next(whole, None)

    def springs(self, spans: list[Span], *, is_data: bool) -> bool:
        """Whether there is at hand what it needs."""
        if self.what == "drop":
            return self.wanted(spans) is not None
        return not is_data or self.what != "corrupt" or bool(spans)


class Side(asyncio.Protocol):
    """One end of a relayed connection."""

    def __init__(
        self, connection: "Connection", direction: str, on_made: Callable[[], None] | None = None
    ) -> None:
        self._connection = connection
        self._on_made = on_made
        self.direction = direction
        """Of what is read here: `up` from the client to the server, `down` back."""
        self.transport: asyncio.Transport | None = None
        self.other: Side
        self.ended = False
        self.held = False
        self._full = False
        self._told_end = False
        self._early = bytearray()
        """What is to be written as soon as there is a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by type
        self.transport.set_write_buffer_limits(_READ_AHEAD_BYTES)
        if self._early:
            self.transport.write(bytes(self._early))
            self._early.clear()
        if self._on_made is not None:
            self._on_made()

    def data_received(self, data: bytes) -> None:
        self._connection.received(self, data)

    def eof_received(self) -> bool:
        self.ended = True
        self._connection.ended(self)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._connection.lost(self)

    def pause_writing(self) -> None:
        self.other._full = True
        self.other.regulate()

    def resume_writing(self) -> None:
        self.other._full = False
        self.other.regulate()

    def hold(self, held: bool) -> None:
        """Do not read on, for now."""
        self.held = held
        self.regulate()

    def regulate(self) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self.held or self._full:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Nothing, if it has been told that no more will come."""
        if self.transport is None:
            self._early += data
        elif not self._told_end and not self.transport.is_closing():
            self.transport.write(data)

    def end(self) -> None:
        """No more comes from us."""
        if self.transport is None or self._told_end or self.transport.is_closing():
            return
        self._told_end = True
        self.transport.write_eof()

    def cut(self, *, reset: bool) -> None:
        if self.transport is None:
            return
        if reset:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()


class Connection:
    """From a client, by way of us, to where it wanted to go."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self.client = Side(self, "up", self._dial)
        self.server = Side(self, "down")
        self.client.other, self.server.other = self.server, self.client
        self.port = 0
        self.client_port = 0
        self._blocks = Blocks()
        self._deaf: set[str] = set()
        """Directions of which nothing arrives any more."""
        self._dialling: asyncio.Task[None] | None = None

    def _dial(self) -> None:
        """Go where the client wanted to."""
        assert self.client.transport is not None
        raw = self.client.transport.get_extra_info("socket")
        packed = raw.getsockopt(socket.SOL_IP, _ORIGINAL_DESTINATION, 16)
        self.port = struct.unpack_from(">2xH", packed)[0]
        address = socket.inet_ntoa(packed[4:8])
        self.client_port = raw.getpeername()[1]
        self._dialling = asyncio.create_task(self._join(address))

    async def _join(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        raw = socket.socket()
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        try:
            await loop.sock_connect(raw, (address, self.port))
            await loop.create_connection(lambda: self.server, sock=raw)
        except OSError:
            raw.close()
            self.client.cut(reset=True)
            return
        assert self.client.transport is not None
        if self.client.transport.is_closing():  # it did not wait
            self.server.cut(reset=False)
            return
        self._relay.connections.add(self)

    def received(self, side: Side, data: bytes) -> None:
        """Forward, unless a trap has it otherwise."""
        relay = self._relay
        relay.passed[side.direction] += len(data)
        spans: list[Span] = []
        if side is self.client and relay.is_data(self.port):
            relay.data_bytes += len(data)
            spans = self._blocks.spans(data)
        trap = relay.trap_for(self.port, side.direction, len(data), spans)
        if trap is not None:
            data = self._spring(trap, side, data, spans)
        if side.direction not in self._deaf and data:
            side.other.write(data)

    def _spring(self, trap: Trap, side: Side, data: bytes, spans: list[Span]) -> bytes:
        """Do what the trap is for; what is forwarded of the bytes at hand."""
        if trap.what in ("cut", "reset"):
            for one in (self.client, self.server):
                one.cut(reset=trap.what == "reset")
            data = b""
        elif trap.what == "half-close":
            # the receiver hears the end; what it says still arrives
            side.other.end()
            self._deaf.add(side.direction)
        elif trap.what == "hold":
            self.client.hold(True)
            self.server.hold(True)
            asyncio.get_running_loop().call_later(trap.for_s, self._release, side, data)
            data = b""
        elif trap.what == "corrupt":
            at = spans[0].first if spans else len(data) // 2
            data = data[:at] + bytes([data[at] ^ 0x03]) + data[at + 1 :]
        elif trap.what == "drop":
            whole = trap.wanted(spans)
            assert whole is not None, "or it would not have sprung"
            data = data[: whole.header] + data[whole.after :]
        self._relay.sprung(trap, self)
        return data

    def _release(self, side: Side, data: bytes) -> None:
        side.other.write(data)
        self.client.hold(False)
        self.server.hold(False)

    def ended(self, side: Side) -> None:
        """One direction has come to its end."""
        if side.direction not in self._deaf:
            side.other.end()
        if self.client.ended and self.server.ended:
            self.client.cut(reset=False)
            self.server.cut(reset=False)

    def lost(self, side: Side) -> None:
        """One side is gone; so is the other, when it has got what was on the way."""
        self._relay.connections.discard(self)
        side.other.cut(reset=False)


@dataclass
class Relay:
    """All connections, and the traps that are set."""

    data_ports: list[range]
    connections: set[Connection] = field(default_factory=set)
    traps: list[Trap] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    data_bytes: int = 0
    """On data channels, to the receiver."""

    def is_data(self, port: int) -> bool:
        """Whether a port is one of data channels."""
        return any(port in ports for ports in self.data_ports)

    def trap_for(self, port: int, direction: str, size: int, spans: list[Span]) -> Trap | None:
        """The first trap that these bytes spring."""
        for trap in self.traps:
            if trap.matches(port, direction):
                trap.after -= size
                if trap.after <= 0 and trap.springs(spans, is_data=self.is_data(port)):
                    self.traps.remove(trap)
                    return trap
        return None

    def sprung(self, trap: Trap, connection: Connection) -> None:
        """Tell who waits for it."""
        if not trap.sprung.done():
            hit = {"port": connection.port, "client_port": connection.client_port}
            trap.sprung.set_result(hit)

    async def set_trap(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Set one and wait; what it hit, or None if nothing came by in time."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        trap = Trap(
            request["what"],
            [range(*ports) for ports in request["ports"]],
            request["direction"],
            request["after"],
            request["for_s"],
            future,
        )
        self.traps.append(trap)
        try:
            async with asyncio.timeout(request["within_s"]):
                return await future
        except TimeoutError:
            return None
        finally:
            if trap in self.traps:
                self.traps.remove(trap)

    async def answer(self, request: dict[str, Any]) -> None:
        """Carry one command out."""
        if request["do"] == "trap":
            result: Any = await self.set_trap(request)
        else:
            result = {"open": len(self.connections), "data": self.data_bytes, **self.passed}
        print(json.dumps({"id": request["id"], "result": result}), flush=True)


async def main() -> None:
    """Relay until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", nargs=2, type=int, action="append", default=[])
    options = parser.parse_args()
    relay = Relay([range(first, after) for first, after in options.data])
    loop = asyncio.get_running_loop()

    server = await loop.create_server(
        lambda: Connection(relay).client, "127.0.0.1", options.port, backlog=1024
    )
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"id": 0, "result": "ready"}), flush=True)
    working = set()
    while line := await reader.readline():
        task = asyncio.create_task(relay.answer(json.loads(line)))
        working.add(task)
        task.add_done_callback(working.discard)
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
