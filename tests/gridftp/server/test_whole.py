"""The whole server with our client: what its sessions do better than others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from plugins.lanes import wrong
from plugins.own_server import OwnServer
from plugins.pairs import Pair
from plugins.sessions import opener
from towpath.demo.gct import GctServer
from towpath.gridftp.client.lane import Lane, Piece
from towpath.gridftp.wire.replies import Reply

Server = OwnServer | GctServer


@asynccontextmanager
async def pair_of(
    source: Server, destination: Server, domains: dict[int, object]
) -> AsyncIterator[Pair]:
    async with (
        opener(domains[source.port], source) as open_source,
        opener(domains[destination.port], destination) as open_destination,
    ):
        yield Pair(await open_source(), await open_destination())


async def codes(pair: Pair, pieces: list[Piece]) -> tuple[list[int], list[int]]:
    """All commands of both ends sent ahead; the codes of the source and of the destination."""
    there = pair.destination.submit([f"STOR {piece.destination_path}" for piece in pieces])
    here = pair.source.submit([f"RETR {piece.source_path}" for piece in pieces])

    async def of(futures: list[asyncio.Future[Reply]]) -> list[int]:
        return [(await asyncio.wait_for(future, 30)).code for future in futures]

    return await of(here), await of(there)


MIDDLE = 2


@pytest.mark.parametrize("ends", ["own to own", "GCT to own"])
async def test_a_destination_that_fails_shifts_nothing(
    own_a, own_b, server_a, domain_a, domain_b, tree: Callable[[int], list[Piece]], ends: str
) -> None:
    """With GCT the files behind the failed one get the bytes of others, and 226."""
    source = own_a if ends.startswith("own") else server_a
    domains = {own_a.port: domain_a, server_a.port: domain_a, own_b.port: domain_b}
    pieces = tree(6)
    for piece in pieces[MIDDLE + 1 :]:
        Path(piece.destination_path).write_bytes(b"as it was")
    Path(pieces[MIDDLE].destination_path).mkdir()
    async with pair_of(source, own_b, domains) as pair:
        await Lane.open(pair.source, pair.destination, data_credential=None)
        there = pair.destination.submit([f"STOR {piece.destination_path}" for piece in pieces])
        pair.source.submit([f"RETR {piece.source_path}" for piece in pieces])
        replies = [(await asyncio.wait_for(future, 30)).code for future in there]
        await pair.source.give_up()
    assert replies == [226, 226, 550, 500, 500, 500]
    assert wrong(pieces[:MIDDLE]) == []
    for piece in pieces[MIDDLE + 1 :]:
        assert Path(piece.destination_path).read_bytes() == b"as it was"


async def test_a_source_that_fails_shifts_nothing(
    own_a, own_b, domain_a, domain_b, tree: Callable[[int], list[Piece]]
) -> None:
    domains = {own_a.port: domain_a, own_b.port: domain_b}
    pieces = tree(6)
    Path(pieces[MIDDLE].source_path).unlink()
    async with pair_of(own_a, own_b, domains) as pair:
        await Lane.open(pair.source, pair.destination, data_credential=None)
        here, there = await codes(pair, pieces)
    assert here == [226, 226, 550, 500, 500, 500]
    assert there[: MIDDLE + 1] == [226, 226, 426]
    assert there[MIDDLE + 1 :] == [500, 500, 500]
    assert wrong(pieces[:MIDDLE]) == []
    assert not any(Path(piece.destination_path).exists() for piece in pieces[MIDDLE + 1 :])


async def test_abort_and_go_on(
    own_a, own_b, domain_a, domain_b, tree: Callable[[int], list[Piece]]
) -> None:
    """Both sessions live on, and move files again."""
    domains = {own_a.port: domain_a, own_b.port: domain_b}
    pieces = tree(3)
    async with pair_of(own_a, own_b, domains) as pair:
        await pair.set_both("TYPE I", "MODE E", "DCAU N")
        await pair.connect()
        waiting = pair.destination.submit([f"STOR {pieces[0].destination_path}", "ABOR", "NOOP"])
        assert [(await future).code for future in waiting] == [426, 226, 200]
        await pair.connect()
        assert await codes(pair, pieces) == ([226] * 3, [226] * 3)
    assert wrong(pieces) == []
