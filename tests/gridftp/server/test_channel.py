"""Data channels of the server, as they should be; with GCT see test_channel_with_gct."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.data_ends import (  # noqa: F401 - a fixture
    HOST,
    SIZES,
    FileReader,
    MemoryWriter,
    Running,
    _channels_closed,
    channel,
    give,
    move,
    nobody_told,
    raises,
)
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.server.channel import DataChannel, Markers, Mode
from towpath.gridftp.server.data_paths import PortRange
from towpath.gridftp.server.dialling import AnyHost
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, BlockHeader
from towpath.gridftp.wire.ranges import ByteRange


@pytest.mark.parametrize("protection", [None, *Protection])
@pytest.mark.parametrize("streams", [1, 4])
def test_file_after_file_over_kept_connections(
    ends: tuple[DataChannel, DataChannel],
    files: dict[str, Path],
    credential: DataCredential,
    protection: Protection | None,
    streams: int,
) -> None:
    sender, receiver = ends
    if protection is not None:
        give(credential, *ends)
        sender.set_protection(protection)
        receiver.set_protection(protection)
    sender.parallelism = streams
    sender.active(receiver.passive())
    assert not sender.is_kept
    assert not receiver.is_kept
    for plain in (False, True):
        for path in files.values():
            assert move(sender, receiver, path, plain=plain).content == path.read_bytes()
            assert sender.is_kept
            assert receiver.is_kept


@pytest.mark.parametrize("protection", [None, *Protection])
@pytest.mark.parametrize("sender_listens", [False, True])
def test_streams(
    files: dict[str, Path],
    credential: DataCredential,
    protection: Protection | None,
    sender_listens: bool,
) -> None:
    sender, receiver = ends = channel(Mode.STREAM), channel(Mode.STREAM)
    receiver.markers = Markers(0, 0)
    if protection is not None:
        give(credential, *ends)
        sender.set_protection(protection)
        receiver.set_protection(protection)
    for path in files.values():
        if sender_listens:
            receiver.active(sender.passive())
        else:
            sender.active(receiver.passive())
        assert move(sender, receiver, path).content == path.read_bytes()
        assert not sender.is_kept
        assert not receiver.is_kept


@pytest.mark.parametrize("streams", [1, 3])
def test_ranges_keep_their_places_or_are_moved(
    ends: tuple[DataChannel, DataChannel], files: dict[str, Path], streams: int
) -> None:
    sender, receiver = ends
    sender.parallelism = streams
    sender.active(receiver.passive())
    path = files["large"]
    whole = path.read_bytes()

    ranges = [ByteRange(10, 20), ByteRange(1_000_000, 6_000_000)]
    got = move(sender, receiver, path, ranges=ranges).content
    assert got[10:20] == whole[10:20]
    assert got[1_000_000:] == whole[1_000_000:6_000_000]
    assert not any(got[20:1_000_000])

    # ERET P 1000000 5000000, ESTO A 500
    part = [ByteRange(1_000_000, 6_000_000)]
    got = move(sender, receiver, path, ranges=part, at=0, receive_at=500).content
    assert got[500:] == whole[1_000_000:6_000_000]

    few = [ByteRange(5, 10), ByteRange(20, 25)]
    got = move(sender, receiver, path, ranges=few, at=0).content
    assert got == whole[5:10] + bytes(10) + whole[20:25]


@pytest.mark.parametrize("mode", Mode)
def test_listing(mode: Mode) -> None:
    sender, receiver = channel(mode), channel(mode)
    receiver.markers = Markers(0, 0)
    sender.active(receiver.passive())
    for lines in ([b"a\r\n", b"b" * 100_000], []):
        if mode is Mode.STREAM and not sender.is_kept:
            sender.active(receiver.passive())
        sending = Running(lambda lines=lines: sender.send_bytes(lines))
        writer = MemoryWriter()
        receiver.receive(writer, tell=nobody_told)
        sending.join()
        assert writer.content == b"".join(lines)
    sender.close()
    receiver.close()


def test_markers(ends: tuple[DataChannel, DataChannel], files: dict[str, Path]) -> None:
    sender, receiver = ends
    receiver.markers = Markers(5, 5)
    sender.active(receiver.passive())
    told: list[bytes] = []
    move(sender, receiver, files["large"], told=told)
    assert [reply[:4] for reply in told] == [b"112-", b"111 ", b"112-"]
    assert b"Stripe Bytes Transferred: 0\r\n" in told[0]
    assert told[1] == b"111 Range Marker 0-9000001\r\n"
    assert b"Stripe Bytes Transferred: 9000001\r\n" in told[2]
    assert all(reply.endswith(b"112 End.\r\n") for reply in (told[0], told[2]))

    told.clear()
    move(sender, receiver, files["empty"], told=told)
    assert [reply[:4] for reply in told] == [b"112-", b"112-"]


@pytest.mark.parametrize("mode", Mode)
def test_markers_come_while_nothing_moves_under_tls(mode: Mode, credential: DataCredential) -> None:
    sender, receiver = channel(mode), channel(mode)
    give(credential, sender, receiver)
    for one in (sender, receiver):
        one.set_protection(Protection.PRIVATE)
    receiver.markers = Markers(0.05, 0.05)
    sender.active(receiver.passive())
    enough = threading.Event()
    told: list[bytes] = []

    def tell(reply: bytes) -> None:
        told.append(reply)
        if len([reply for reply in told if b"Transferred: 100000\r\n" in reply]) >= 3:
            enough.set()

    def chunks() -> Iterator[bytes]:
        yield bytes(100_000)
        assert enough.wait(20)

    sending = Running(lambda: sender.send_bytes(chunks()))
    receiver.receive(MemoryWriter(), tell=tell)
    sending.join()


@pytest.mark.parametrize("mode", Mode)
def test_markers_come_while_nothing_moves(mode: Mode) -> None:
    """Each as often as was asked for, fractions of a second too; ranges once."""
    receiver = channel(mode)
    receiver.markers = Markers(0.05, 0.08)
    (address,) = receiver.passive()
    told: list[bytes] = []
    enough = threading.Event()

    def tell(reply: bytes) -> None:
        told.append(reply)
        if len([reply for reply in told if b"Transferred: 100000\r\n" in reply]) >= 3:
            enough.set()

    writer = MemoryWriter()
    receiving = Running(lambda: receiver.receive(writer, tell=tell))
    with socket.create_connection(address) as peer:
        head = BlockHeader(0, 200_000, 0).encode() if mode is Mode.EXTENDED else b""
        peer.sendall(head + bytes(100_000))
        assert enough.wait(20)
        tail = BlockHeader(EOD | EOF, 0, 1).encode() if mode is Mode.EXTENDED else b""
        peer.sendall(bytes(100_000) + tail)
    receiving.join()
    assert len(writer.content) == 200_000
    ranges = [reply for reply in told if reply.startswith(b"111 ")]
    assert all(reply.startswith(b"112-") for reply in told if reply not in ranges)
    if mode is Mode.EXTENDED:
        assert ranges == [b"111 Range Marker 0-100000\r\n", b"111 Range Marker 100000-200000\r\n"]
    else:
        assert not ranges


def test_connections_that_come_late() -> None:
    """One after the other, each with its share; the end is announced by the first."""
    receiver = channel()
    receiver.markers = Markers(0, 0)
    (address,) = receiver.passive()
    for _round in range(2):
        writer = MemoryWriter()
        receiving = Running(lambda to=writer: receiver.receive(to, tell=nobody_told))
        peers = []
        for number in range(3):
            peer = socket.create_connection(address)
            peers.append(peer)
            end = BlockHeader(EOD | EOF, 0, 3) if number == 0 else BlockHeader(EOD | CLOSE, 0, 0)
            block = BlockHeader(0, 100, number * 100).encode() + bytes([number]) * 100
            peer.sendall(block + end.encode())
        receiving.join()
        assert writer.content == b"\0" * 100 + b"\1" * 100 + b"\2" * 100
        assert receiver.is_kept  # the first one did not say that it closes
        peers[0].sendall(BlockHeader(EOD | EOF, 0, 1).encode())
        receiver.receive(MemoryWriter(), tell=nobody_told)
        for peer in peers:
            peer.close()
        (address,) = receiver.passive()
    receiver.close()


def test_the_next_files_bytes_wait(files: dict[str, Path]) -> None:
    """A sender that is ahead: what it sends after its end belongs to the next transfer."""
    receiver = channel()
    receiver.markers = Markers(0, 0)
    (address,) = receiver.passive()
    with socket.create_connection(address) as one, socket.create_connection(address) as two:
        last = BlockHeader(EOD | EOF, 0, 2).encode()
        plain = BlockHeader(EOD, 0, 0).encode()
        for size in (10, 100_000, 10):
            two.sendall(BlockHeader(0, 5, size).encode() + b"12345" + plain)
        shares = [BlockHeader(0, n, 0).encode() + bytes(n) + last for n in (10, 100_000, 10)]
        sending = Running(lambda: one.sendall(b"".join(shares)))
        for size in (10, 100_000, 10):
            writer = MemoryWriter()
            receiver.receive(writer, tell=nobody_told)
            assert writer.content == bytes(size) + b"12345"
        sending.join()
    receiver.close()


def test_ports_of_the_operators_range() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
    one = DataChannel(local_host=HOST, policy=AnyHost(HOST), ports=PortRange(port, port))
    assert one.passive() == [HostPort(HOST, port)]
    assert one.passive() == [HostPort(HOST, port)]
    other_channel = DataChannel(local_host=HOST, policy=AnyHost(HOST), ports=PortRange(port, port))
    with pytest.raises(OSError, match="no port is free"):
        other_channel.passive()
    one.close()


@pytest.mark.parametrize("protection", [None, Protection.CLEAR, Protection.PRIVATE])
def test_the_last_bytes_of_a_block_are_not_waited_for(
    ends: tuple[DataChannel, DataChannel],
    credential: DataCredential,
    protection: Protection | None,
) -> None:
    """However large blocks are: each is taken when it is whole, though nothing follows it."""
    sender, receiver = ends
    if protection is not None:
        give(credential, *ends)
        sender.set_protection(protection)
        receiver.set_protection(protection)
    sender.active(receiver.passive())
    writer = MemoryWriter()
    around = 128 * 1024, 160 * 1024, 288 * 1024, 1024 * 1024, 1024 * 1024 + 160 * 1024
    sizes = [size + more for size in around for more in (-1, 0, 1)]
    seen: list[int] = []

    def chunks() -> Iterator[bytes]:
        total = 0
        for size in sizes:
            yield bytes(size)
            total += size
            while sum(item.length for item in writer.writes) < total:
                time.sleep(0.001)
            seen.append(size)

    sending = Running(lambda: sender.send_bytes(chunks()))
    receiver.receive(writer, tell=nobody_told)
    sending.join()
    assert seen == sizes


@pytest.mark.parametrize("name", ["empty", "small", "large"])
def test_several_machines_receive(files: dict[str, Path], name: str) -> None:
    """SPOR: each gets a part, and is told of its own connections only."""
    sender, *receivers = channel(), channel(), channel(), channel()
    sender.parallelism = 2
    sender.active([address for one in receivers for address in one.passive()])
    writer = MemoryWriter()
    for _ in range(2):
        receiving = []
        for one in receivers:
            one.markers = Markers(0, 0)
            receiving.append(Running(lambda one=one: one.receive(writer, tell=nobody_told)))
        reader = FileReader(files[name])
        sender.send(reader, reader.all)
        reader.close()
        for running in receiving:
            running.join()
        assert writer.content == files[name].read_bytes()
        assert all(one.is_kept for one in receivers)
