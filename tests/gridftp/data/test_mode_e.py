"""The receiver of block mode, where two things happen at the same time."""

import socket
import threading
import time

import pytest

from plugins.data_ends import HOST, Running
from towpath.gridftp.data.link import Link
from towpath.gridftp.data.mode_e import EMPTY_BLOCKS, Receiver
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, BlockHeader

LAST = BlockHeader(EOD | EOF, 0, 1).encode()
HELLO = BlockHeader(0, 5, 0).encode() + b"hello" + LAST


class Sink:
    def __init__(self) -> None:
        self.content = b""

    def write(self, data: memoryview, offset: int) -> None:
        end = offset + len(data)
        self.content = self.content.ljust(end, b".")
        self.content = self.content[:offset] + bytes(data) + self.content[end:]


def a_receiver(secure: object = None) -> tuple[Receiver, tuple[str, int]]:
    listener = socket.create_server((HOST, 0))
    made = Receiver(
        listener,
        secure=secure,  # type: ignore[arg-type]
        admits=lambda _host: True,
        where="peer",
        connect_s=20,
        stall_s=20,
    )
    return made, listener.getsockname()


def test_who_is_not_known_yet_when_all_has_come_is_not_kept() -> None:
    """Whether he turns out to be a stranger or is still being asked."""
    asked, answer = threading.Event(), threading.Event()
    known: list[Link] = []

    def secure(link: Link) -> None:
        if known:
            asked.set()
            link.receive(memoryview(bytearray(1)))  # until the connection ends
            raise AssertionError
        known.append(link)

    receiver, address = a_receiver(secure)
    sink = Sink()
    with socket.create_connection(address) as peer:
        receiving = Running(lambda: receiver.receive(sink))
        peer.sendall(HELLO[:-20])
        with socket.create_connection(address) as stranger:
            assert asked.wait(20)
            peer.sendall(HELLO[-20:])
            receiving.join()
            answer.set()
            assert sink.content == b"hello"
            assert stranger.recv(1) == b""
        assert list(receiver._links.values()) == known
        peer.sendall(HELLO)
        again = Sink()
        receiver.receive(again)
        assert again.content == b"hello"
    receiver.close()


def test_a_stranger_who_fails_ends_the_transfer() -> None:
    def secure(_link: Link) -> None:
        raise GridFTPError(Kind.DATA_AUTH, "a stranger", "")

    receiver, address = a_receiver(secure)
    with socket.create_connection(address), pytest.raises(GridFTPError, match="a stranger"):
        receiver.receive(Sink())
    receiver.close()


def test_connections_that_end_before_they_say_anything() -> None:
    """They took no part; but without any other there is nothing to wait for."""
    receiver, address = a_receiver()
    with socket.create_connection(address) as peer:
        socket.create_connection(address).close()
        sink = Sink()
        receiving = Running(lambda: receiver.receive(sink))
        peer.sendall(HELLO)
        receiving.join()
        assert sink.content == b"hello"
    with pytest.raises(GridFTPError) as caught:
        receiver.receive(Sink())
    assert caught.value.kind is Kind.DATA_BROKEN
    receiver.close()


def test_the_sender_closes_after_its_end() -> None:
    receiver, address = a_receiver()
    for _ in range(2):
        with socket.create_connection(address) as peer:
            peer.sendall(BlockHeader(EOD | EOF | CLOSE, 0, 1).encode())
            receiver.receive(Sink())
            assert not receiver.is_connected
            assert peer.recv(1) == b""
    receiver.close()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (BlockHeader(0, 2**63, 0).encode(), "beyond any file"),
        (BlockHeader(0, 1, 2**63 - 1).encode(), "beyond any file"),
        (BlockHeader(0, 0, 0).encode() * (EMPTY_BLOCKS + 1), "blocks without data"),
        (BlockHeader(EOD | EOF, 0, 129).encode(), "more streams than it may"),
        (BlockHeader(EOD | EOF, 1, 1).encode(), "end block carries data"),
        (BlockHeader(CLOSE, 0, 0).encode(), "ended early"),
    ],
)
def test_what_no_sender_says(said: bytes, why: str) -> None:
    receiver, address = a_receiver()
    with socket.create_connection(address) as peer:
        peer.sendall(said)
        with pytest.raises(GridFTPError, match=why):
            receiver.receive(Sink())
    receiver.close()


@pytest.mark.parametrize("pause_s", [0, 0.03])
def test_what_comes_in_small_parts(pause_s: float) -> None:
    """Headers and data in pieces, faster and slower than the receiver would wait by itself."""
    receiver, address = a_receiver()
    with socket.create_connection(address) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            sink = Sink()
            receiving = Running(lambda to=sink: receiver.receive(to))
            for at in range(0, len(HELLO), 4):
                peer.sendall(HELLO[at : at + 4])
                time.sleep(pause_s)
            receiving.join()
            assert sink.content == b"hello"
    receiver.close()


def test_one_that_is_slow_does_not_keep_others_waiting() -> None:
    receiver, address = a_receiver()
    sink = Sink()
    receiving = Running(lambda: receiver.receive(sink))
    with socket.create_connection(address) as slow:
        slow.sendall(BlockHeader(0, 5, 5).encode() + b"wo")
        time.sleep(0.1)
        with socket.create_connection(address) as other:
            other.sendall(BlockHeader(0, 5, 0).encode() + b"hello")
            while not sink.content.startswith(b"hello"):
                time.sleep(0.001)
            slow.sendall(b"rld" + BlockHeader(EOD | EOF, 0, 2).encode())
            other.sendall(BlockHeader(EOD, 0, 0).encode())
            receiving.join()
    assert sink.content == b"helloworld"
    receiver.close()
