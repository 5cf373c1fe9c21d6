"""Whatever comes over a data connection: no crash, no hang, no growth, no byte out of place."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towpath.gridftp.data.mode_e import Receiver
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, BlockHeader

LIMIT = 200_000
"""Of the file that is received."""

MOST_LINKS = 4


class BoundedSink:
    """Raises as a storage with a quota does; notes what it took."""

    def __init__(self) -> None:
        self.beyond = False
        self.written = 0

    def write(self, data: memoryview, offset: int) -> None:
        if offset < 0 or offset + len(data) > LIMIT:
            raise OSError("beyond the limit")
        self.written += len(data)


def receiver_at(
    secure: Callable[..., None] | None = None,
) -> tuple[Receiver, tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=16)
    made = Receiver(
        listener,
        secure=secure,
        admits=lambda _host: True,
        where="",
        max_links=MOST_LINKS,
        connect_s=0.05,
        stall_s=0.05,
    )
    return made, listener.getsockname()


def say(address: tuple[str, int], sayings: list[list[bytes]]) -> None:
    """Each list over a connection of its own, all at the same time; then close them."""
    peers = []
    with suppress(OSError):
        for _ in sayings:
            peers.append(socket.create_connection(address))  # noqa: PERF401 - those made are closed
        for parts in zip(*sayings, strict=False):
            for peer, part in zip(peers, parts, strict=True):
                with suppress(OSError):
                    peer.sendall(part)
        for peer, parts in zip(peers, sayings, strict=True):
            with suppress(OSError):
                peer.sendall(b"".join(parts[min(map(len, sayings)) :]))
    for peer in peers:
        peer.close()


def ends_well(receiver: Receiver, transfers: int = 2) -> None:
    """Either everything comes, or it fails as it may; and nothing is left."""
    before = threading.active_count()
    try:
        for _ in range(transfers):
            sink = BoundedSink()
            receiver.receive(sink)
            assert sink.written <= LIMIT * 100
    except (GridFTPError, OSError):
        pass
    finally:
        receiver.close()
    assert threading.active_count() <= before


NUMBERS = st.one_of(
    st.integers(0, 300_000), st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64 - 1]), st.just(0)
)

HEADERS = st.builds(
    BlockHeader,
    st.one_of(st.sampled_from([0, EOD, EOF, EOD | EOF, CLOSE, EOD | CLOSE]), st.integers(0, 255)),
    NUMBERS,
    NUMBERS,
).map(BlockHeader.encode)


@st.composite
def good_blocks(draw: st.DrawFn) -> bytes:
    """One that a sender might send."""
    offset = draw(st.integers(0, LIMIT - 1))
    size = draw(st.integers(0, min(70_000, LIMIT - offset)))
    return BlockHeader(0, size, offset).encode() + bytes(size)


ENDS = st.builds(BlockHeader, st.sampled_from([EOD, EOD | EOF]), st.just(0), st.integers(0, 5)).map(
    BlockHeader.encode
)

SAYINGS = st.lists(
    st.lists(st.one_of(good_blocks(), ENDS, HEADERS, st.binary(max_size=40)), max_size=6),
    min_size=1,
    max_size=6,
)


def check_blocks(sayings: list[list[bytes]]) -> None:
    receiver, address = receiver_at()
    peers = threading.Thread(target=say, args=(address, sayings), daemon=True)
    peers.start()
    ends_well(receiver)
    peers.join(20)
    assert not peers.is_alive()


@given(SAYINGS)
@settings(max_examples=60, deadline=None)
def test_blocks(sayings: list[list[bytes]]) -> None:
    check_blocks(sayings)


@pytest.mark.long
@given(SAYINGS)
@settings(max_examples=20_000, deadline=None)
def test_blocks_for_long(sayings: list[list[bytes]]) -> None:
    check_blocks(sayings)


@pytest.fixture(scope="module")
def credential() -> DataCredential:
    return DataCredential.create(datetime.now(UTC))


def hello(credential: DataCredential) -> bytes:
    """What a peer says first."""
    import ssl

    outgoing = ssl.MemoryBIO()
    tls = credential.client_context.wrap_bio(ssl.MemoryBIO(), outgoing)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


CHANGES = st.lists(
    st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=8
)  # bytes of the peer's that are something else


def check_handshake(
    credential: DataCredential,
    protection: Protection,
    changes: list[tuple[int, int]],
    cut: int,
    tail: bytes,
) -> None:
    said = bytearray(hello(credential))
    for place, value in changes:
        said[place % len(said)] = value
    receiver, address = receiver_at(
        lambda link: link.secure(credential, protection, server_side=True)
    )
    sayings = [[bytes(said[: max(0, len(said) - cut)]), tail]]
    peers = threading.Thread(target=say, args=(address, sayings), daemon=True)
    peers.start()
    ends_well(receiver)
    peers.join(20)
    assert not peers.is_alive()


@pytest.mark.parametrize("protection", [Protection.CLEAR, Protection.PRIVATE])
@given(changes=CHANGES, cut=st.integers(0, 20), tail=st.binary(max_size=300))
@settings(max_examples=25, deadline=None)
def test_handshakes(
    credential: DataCredential,
    protection: Protection,
    changes: list[tuple[int, int]],
    cut: int,
    tail: bytes,
) -> None:
    check_handshake(credential, protection, changes, cut, tail)


@pytest.mark.long
@pytest.mark.parametrize("protection", [Protection.CLEAR, Protection.PRIVATE])
@given(changes=CHANGES, cut=st.integers(0, 20), tail=st.binary(max_size=3000))
@settings(max_examples=5_000, deadline=None)
def test_handshakes_for_long(
    credential: DataCredential,
    protection: Protection,
    changes: list[tuple[int, int]],
    cut: int,
    tail: bytes,
) -> None:
    check_handshake(credential, protection, changes, cut, tail)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    yield
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208
