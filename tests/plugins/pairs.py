"""Two sessions that move data between their servers, commanded word by word.

For what a lane never does: other modes, other forms of addresses, settings in the wrong order.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from plugins.sessions import OpenSession
from towpath.gridftp.client.session import Session
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.addresses import HostPort, parse_passive
from towpath.gridftp.wire.blocks import EOD, EOF, HEADER_BYTES, BlockHeader
from towpath.gridftp.wire.replies import Reply

ANSWER_S = 10.0
"""For anything to be answered; a server on a busy machine needs a tenth of it."""


@dataclass
class Told:
    """All that one end said to one command: its 1xx replies, then the final one."""

    on_the_way: list[Reply] = field(default_factory=list)
    final: Reply | None = None

    @property
    def codes(self) -> list[int]:
        """In the order they came."""
        final = [] if self.final is None else [self.final.code]
        return [reply.code for reply in self.on_the_way] + final

    @property
    def code(self) -> int | None:
        """The final one; None while there is none."""
        return None if self.final is None else self.final.code

    @property
    def text(self) -> str:
        """The final reply's."""
        return "" if self.final is None else self.final.text


async def fetch(
    session: Session, line: str, streams: int = 1
) -> tuple[bytes, list[BlockHeader], Told]:
    """What a server sends to us in MODE E without authentication: the data, the end of each
    connection, and what it says."""
    data = bytearray()
    ends: list[BlockHeader] = []
    complete = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            header = BlockHeader.decode(await reader.readexactly(HEADER_BYTES))
            if not header.descriptor & EOF and header.length:
                part = await reader.readexactly(header.length)
                data.extend(bytes(max(0, header.offset - len(data))))
                data[header.offset : header.offset + header.length] = part
            if header.descriptor & EOD:
                ends.append(header)
                writer.close()
                break
        if sum(end.offset for end in ends if end.descriptor & EOF) == len(ends):
            complete.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        address = HostPort("127.0.0.1", listener.sockets[0].getsockname()[1])
        settings = ["DCAU N", commands.parallelism(streams), commands.port(address)]
        for reply in await session.answers(session.submit(settings), ANSWER_S):
            session.require(reply)
        told = await tell(session, line)
        if told.code == 226:
            async with asyncio.timeout(ANSWER_S):
                await complete.wait()
    return bytes(data), ends, told


async def tell(session: Session, line: str, timeout_s: float = ANSWER_S) -> Told:
    """Send one command; what came until its final reply, or until the time was over."""
    told = Told()
    (future,) = session.submit([line], told.on_the_way.append)
    await asyncio.wait([future], timeout=timeout_s)
    if future.done():
        told.final = future.result()
    return told


@dataclass
class Pair:
    """A sending and a receiving session."""

    source: Session
    destination: Session

    async def set_both(self, *lines: str) -> None:
        """Settings at both ends, which must be accepted."""
        for session in (self.source, self.destination):
            for reply in await session.answers(session.submit(lines), ANSWER_S):
                session.require(reply)

    async def connect(self, passive: str = "PASV", active: str = "PORT") -> list[HostPort]:
        """The destination listens, the source is told where; the addresses."""
        reply = await self.destination.command(passive, timeout_s=ANSWER_S)
        addresses = parse_passive(reply)
        await self.source.command(f"{active} {' '.join(map(str, addresses))}", timeout_s=ANSWER_S)
        return addresses

    async def move(self, here: str, there: str, timeout_s: float = ANSWER_S) -> tuple[Told, Told]:
        """One data command at each end: what the source and the destination said."""
        destination, source = await asyncio.gather(
            tell(self.destination, there, timeout_s), tell(self.source, here, timeout_s)
        )
        return source, destination

    async def move_each(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
        """Several, one after the other, all of which must be answered; the final codes."""
        codes = []
        for here, there in pairs:
            source, destination = await self.move(here, there)
            assert source.code is not None
            assert destination.code is not None
            codes.append((source.code, destination.code))
        return codes


@pytest.fixture
async def pair(open_a: OpenSession, open_b: OpenSession) -> AsyncIterator[Pair]:
    """Sessions at two servers of two authorities. MODE E and TYPE I are set, nothing else.

    Closed by closing the source first: a destination that is cut off while it waits for data may
    wait for ever.
    """
    source, destination = await asyncio.gather(open_a(), open_b())
    yield Pair(source, destination)
    await source.close()


def data_commands(credential: DataCredential | None = None, protection: str = "C") -> list[str]:
    """DCAU A with a credential of its own, or DCAU N."""
    made = credential or DataCredential.create(datetime.now(UTC))
    return [f"DCSC P {made.blob}", "DCAU A", "PBSZ 1048576", f"PROT {protection}"]
