"""Our end of a data channel, as a server has it, with a real GCT server at the other end.

The server is commanded over a control channel as another server's client would do it.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plugins.data_ends import (  # noqa: F401 - a fixture
    FileReader,
    MemoryWriter,
    _channels_closed,
    channel,
)
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.server.channel import SELF, DataChannel, Markers, Mode
from towpath.gridftp.wire.addresses import parse_passive

SIZES = {"small": 1000, "empty": 0, "large": 5_000_001, "last": 70_000}


@pytest.fixture
async def session(domain_a: Domain, server_a: GctServer) -> AsyncIterator[Session]:
    """Its server has a delegated credential of the user's."""
    opened = await Session.open(
        Server("localhost", server_a.port),
        credential=domain_a.credential,
        trust=domain_a.trust,
        delegate=True,
    )
    yield opened
    await opened.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    for name, size in SIZES.items():
        (directory / name).write_bytes(os.urandom(size))
    return directory


async def told(session: Session, *lines: str) -> str:
    for line in lines:
        reply = await session.command(line)
        assert reply.code < 400, (line, reply)
    return reply.text


async def agree(session: Session, ours: DataChannel, security: str, domain: Domain) -> None:
    """The same security at both ends."""
    authentication, _, level = security.partition("-")
    if authentication == "N":
        await told(session, "DCAU N")
        return
    if authentication == "dcsc":
        common = DataCredential.create(datetime.now(UTC))
        await told(session, f"DCSC P {common.blob}")
        ours.set_credential(common.credential.to_pem() + common.credential.chain_pem)
    else:
        ours.set_credential(domain.credential.to_pem(), trust=domain.trust)
    ours.set_authentication(SELF)
    ours.set_protection(Protection(level))
    await told(session, "DCAU A", "PBSZ 1048576", f"PROT {level}")


SECURITY = ["N", "dcsc-C", "dcsc-S", "dcsc-P", "delegated-C", "delegated-P"]


@pytest.mark.parametrize("security", SECURITY)
@pytest.mark.parametrize("streams", [1, 4])
async def test_extended(
    session: Session, domain_a: Domain, source: Path, tmp_path: Path, security: str, streams: int
) -> None:
    """File after file on kept connections, in both directions."""
    ours = channel()
    ours.parallelism = streams
    ours.markers = Markers(0, 0)
    await told(session, "TYPE I", "MODE E", f"OPTS RETR Parallelism={streams},{streams},{streams};")
    await agree(session, ours, security, domain_a)

    passive = await session.command("PASV")
    ours.active(parse_passive(passive))
    for name in SIZES:
        reader = FileReader(source / name)
        answer = asyncio.ensure_future(session.command(f"STOR {tmp_path / name}"))
        await asyncio.to_thread(ours.send, reader, reader.all)
        assert (await answer).code == 226
        assert (tmp_path / name).read_bytes() == (source / name).read_bytes()
        assert ours.is_kept
        reader.close()

    (address,) = ours.passive()
    await told(session, f"PORT {address}")
    for name in SIZES:
        writer = MemoryWriter()
        answer = asyncio.ensure_future(session.command(f"RETR {source / name}"))
        await asyncio.to_thread(ours.receive, writer, tell=lambda _: None)
        assert (await answer).code == 226
        assert writer.content == (source / name).read_bytes()
        assert ours.is_kept
    ours.close()


@pytest.mark.parametrize("security", SECURITY)
@pytest.mark.parametrize("we_listen", [False, True])
async def test_streams(
    session: Session, domain_a: Domain, source: Path, tmp_path: Path, security: str, we_listen: bool
) -> None:
    """Either end may connect, in either direction."""
    ours = channel(Mode.STREAM)
    ours.markers = Markers(0, 0)
    await told(session, "TYPE I", "MODE S")
    await agree(session, ours, security, domain_a)

    async def address() -> None:
        if we_listen:
            (own,) = ours.passive()
            await told(session, f"PORT {own}")
        else:
            ours.active(parse_passive(await session.command("PASV")))

    for name in SIZES:
        await address()
        reader = FileReader(source / name)
        answer = asyncio.ensure_future(session.command(f"STOR {tmp_path / name}"))
        await asyncio.to_thread(ours.send, reader, reader.all)
        assert (await answer).code == 226
        assert (tmp_path / name).read_bytes() == (source / name).read_bytes()
        reader.close()

        await address()
        writer = MemoryWriter()
        answer = asyncio.ensure_future(session.command(f"RETR {source / name}"))
        await asyncio.to_thread(ours.receive, writer, tell=lambda _: None)
        assert (await answer).code == 226
        assert writer.content == (source / name).read_bytes()
    ours.close()


async def test_a_part_counts_from_its_start(session: Session, source: Path) -> None:
    """ERET P: what `send(..., at=0)` is for."""
    ours = channel()
    await told(session, "TYPE I", "MODE E", "DCAU N")
    (address,) = ours.passive()
    await told(session, f"PORT {address}")
    writer = MemoryWriter()
    answer = asyncio.ensure_future(session.command(f"ERET P 1000 500 {source / 'large'}"))
    await asyncio.to_thread(ours.receive, writer, tell=lambda _: None)
    assert (await answer).code == 226
    assert writer.content == (source / "large").read_bytes()[1000:1500]
    ours.close()


@pytest.mark.parametrize("we_listen", [False, True])
async def test_another_subject_is_refused(
    session: Session, domain_a: Domain, source: Path, tmp_path: Path, we_listen: bool
) -> None:
    ours = channel()
    await told(session, "TYPE I", "MODE E", "DCAU A")
    ours.set_credential(domain_a.credential.to_pem(), trust=domain_a.trust)
    ours.set_authentication("/O=DomA/CN=Somebody else")
    if we_listen:
        (address,) = ours.passive()
        await told(session, f"PORT {address}")
        answer = asyncio.ensure_future(session.command(f"RETR {source / 'small'}"))
        moving = asyncio.to_thread(ours.receive, MemoryWriter(), tell=lambda _: None)
    else:
        ours.active(parse_passive(await session.command("PASV")))
        answer = asyncio.ensure_future(session.command(f"STOR {tmp_path / 'small'}"))
        reader = FileReader(source / "small")
        moving = asyncio.to_thread(ours.send, reader, reader.all)
    with pytest.raises(GridFTPError, match="Somebody else was expected") as caught:
        await moving
    assert caught.value.kind is Kind.DATA_AUTH
    with pytest.raises(GridFTPError):
        await answer
