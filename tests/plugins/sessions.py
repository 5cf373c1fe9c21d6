"""Sessions and lanes on the two real servers, closed after each test."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.lane import Lane, Piece, Protection
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.security.dcsc import DataCredential

OpenSession = Callable[..., Awaitable[Session]]
OpenLane = Callable[..., Awaitable[Lane]]


@asynccontextmanager
async def opener(domain: Domain, server: GctServer) -> AsyncIterator[OpenSession]:
    """Opens sessions at a server, and closes them in the end."""
    opened: list[Session] = []

    async def open_session(**options: object) -> Session:
        given: dict = {"credential": domain.credential, "trust": domain.trust, **options}
        session = await Session.open(Server("localhost", server.port), **given)
        opened.append(session)
        return session

    yield open_session
    await asyncio.gather(*(session.close() for session in opened))


@pytest.fixture
async def open_a(domain_a: Domain, server_a: GctServer) -> AsyncIterator[OpenSession]:
    """Opens sessions at server A."""
    async with opener(domain_a, server_a) as open_session:
        yield open_session


@pytest.fixture
async def open_b(domain_b: Domain, server_b: GctServer) -> AsyncIterator[OpenSession]:
    """Opens sessions at server B."""
    async with opener(domain_b, server_b) as open_session:
        yield open_session


@pytest.fixture
def data_credential() -> DataCredential:
    """One for this test's lanes."""
    return DataCredential.create(datetime.now(UTC))


@pytest.fixture
async def open_lane(
    open_a: OpenSession, open_b: OpenSession, data_credential: DataCredential
) -> AsyncIterator[OpenLane]:
    """Opens lanes from server A to server B, across their two authorities."""
    lanes: list[Lane] = []

    async def open_lane(session_options: dict | None = None, **options: object) -> Lane:
        sessions = session_options or {}
        source, destination = await asyncio.gather(open_a(**sessions), open_b(**sessions))
        given: dict = {
            "data_credential": data_credential,
            "protection": Protection.CLEAR,
            **options,
        }
        lane = await Lane.open(source, destination, **given)
        lanes.append(lane)
        return lane

    yield open_lane
    await asyncio.gather(*(lane.close() for lane in lanes))


@pytest.fixture
def tree(tmp_path: Path) -> Callable[[int], list[Piece]]:
    """Makes files below `source` and the pieces that move them to `destination`."""
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.mkdir()
    destination.mkdir()

    def make(count: int) -> list[Piece]:
        pieces = []
        for number in range(count):
            content = os.urandom(200 + number % 7 * 300)
            (source / f"f{number}").write_bytes(content)
            pieces.append(
                Piece(
                    str(source / f"f{number}"),
                    str(destination / f"f{number}"),
                    len(content),
                    tag=number,
                )
            )
        return pieces

    return make
