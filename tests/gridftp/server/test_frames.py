"""Frames between the acceptor and a session."""

import asyncio
import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.server.frames import (
    FrameError,
    FrameReader,
    Opening,
    frame,
    frames,
    read_opening,
)

OPENING = Opening(
    session_id="7",
    subject="/O=Lab/CN=Ana \\xC3\\xA9",
    account="ana",
    peer_host="2001:db8::1",
    local_host="192.0.2.1",
    secured=True,
    credential="a secret",
    home="/home/ana",
)


@given(st.lists(st.binary(max_size=200), max_size=20), st.data())
def test_any_portions_give_the_same_frames(contents: list[bytes], data: st.DataObject) -> None:
    stream = frames(contents)
    assert stream == b"".join(map(frame, contents))
    reader = FrameReader(200)
    found: list[bytes] = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:cut])
        stream = stream[cut:]
    assert found == contents
    assert not reader.inside


def test_a_frame_that_is_too_long_is_refused_before_it_is_there() -> None:
    reader = FrameReader(10)
    assert reader.feed(frame(b"x" * 10)) == [b"x" * 10]
    with pytest.raises(FrameError, match="11 bytes"):
        reader.feed((11).to_bytes(4, "big"))


def test_opening_there_and_back() -> None:
    assert Opening.from_frame(OPENING.to_frame()) == OPENING
    assert "secret" not in repr(OPENING)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        json.dumps({"session_id": "1"}).encode(),
        OPENING.to_frame().replace(b'"ana"', b"0"),
        OPENING.to_frame().replace(b'"secured"', b'"more"'),
    ],
)
def test_an_opening_that_makes_no_sense(content: bytes) -> None:
    with pytest.raises(FrameError):
        Opening.from_frame(content)


async def test_the_opening_is_read_and_no_byte_more() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        ours.sendall(frame(OPENING.to_frame()) + frame(b"PWD"))
        assert await read_opening(theirs) == OPENING
        assert await asyncio.get_running_loop().sock_recv(theirs, 100) == frame(b"PWD")


async def test_a_socket_that_ends_before_the_opening() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        ours.sendall(frame(OPENING.to_frame())[:20])
        ours.close()
        with pytest.raises(FrameError, match="before it was opened"):
            await read_opening(theirs)
