"""Data channels of the server: both ends are ours here; with GCT see test_channel_with_gct."""

import errno
import gc
import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plugins.data_ends import (  # noqa: F401 - a fixture
    HOST,
    FileReader,
    MemoryWriter,
    Running,
    _channels_closed,
    channel,
    give,
)
from towpath.gridftp.data.mode_e import INLINE_BYTES
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.server.channel import SELF, DataChannel, Markers, Mode, PortRange
from towpath.gridftp.server.dialling import AnyHost, PeerOnly
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, BlockHeader
from towpath.gridftp.wire.ranges import ByteRange

SIZES = {
    "small": 1000,
    "empty": 0,
    "edge": INLINE_BYTES,
    "beyond": INLINE_BYTES + 1,
    "large": 9_000_001,
    "last": 7,
}


@pytest.fixture(scope="module")
def credential() -> DataCredential:
    return DataCredential.create(datetime.now(UTC))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("files")
    for name, size in SIZES.items():
        (directory / name).write_bytes(os.urandom(size))
    return {name: directory / name for name in SIZES}


@pytest.fixture
def ends() -> Iterator[tuple[DataChannel, DataChannel]]:
    """Sender and receiver in MODE E, quiet."""
    sender, receiver = channel(), channel()
    receiver.markers = Markers(0, 0)
    yield sender, receiver
    sender.close()
    receiver.close()


def move(
    sender: DataChannel,
    receiver: DataChannel,
    path: Path,
    *,
    ranges: list[ByteRange] | None = None,
    at: int | None = None,
    receive_at: int = 0,
    plain: bool = False,
    told: list[bytes] | None = None,
) -> MemoryWriter:
    """One file, from end to end."""
    reader, writer = FileReader(path, plain=plain), MemoryWriter()
    sending = Running(lambda: sender.send(reader, ranges or reader.all, at=at))
    told = told if told is not None else []
    try:
        receiver.receive(writer, at=receive_at, tell=told.append)
    finally:
        sending.join()
        reader.close()
    return writer


def nobody_told(reply: bytes) -> None:
    raise AssertionError(f"nothing was to be told: {reply!r}")


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


def raises(kind: Kind, call: object) -> GridFTPError:
    with pytest.raises(GridFTPError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.kind is kind, caught.value
    return caught.value


def test_without_an_address_nothing_moves(files: dict[str, Path]) -> None:
    reader = FileReader(files["small"])
    for mode in Mode:
        one = channel(mode)
        raises(Kind.CHANNEL_GONE, lambda one=one: one.send(reader, reader.all))
        raises(Kind.CHANNEL_GONE, lambda one=one: one.send_bytes([b"x"]))
        receive = lambda one=one: one.receive(MemoryWriter(), tell=lambda _: None)  # noqa: E731
        raises(Kind.CHANNEL_GONE, receive)
    extended = channel()
    extended.passive()  # in MODE E the sender connects
    raises(Kind.CHANNEL_GONE, lambda: extended.send(reader, reader.all))
    reader.close()


@pytest.mark.parametrize("mode", Mode)
def test_a_connection_that_does_not_come(mode: Mode) -> None:
    receiver = channel(mode, connect_s=0.1)
    (address,) = receiver.passive()
    raises(Kind.STALLED, lambda: receiver.receive(MemoryWriter(), tell=lambda _: None))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


@pytest.mark.parametrize("mode", Mode)
def test_nobody_listens(mode: Mode, files: dict[str, Path]) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
    sender = channel(mode)
    sender.active([HostPort(HOST, port)])
    reader = FileReader(files["small"])
    error = raises(Kind.DATA_REFUSED, lambda: sender.send(reader, reader.all))
    assert "Connection refused" in error.message
    assert not sender.is_kept


@pytest.mark.parametrize("streams", [1, 3])
def test_stalls(streams: int) -> None:
    receiver = channel(stall_s=0.1)
    (address,) = receiver.passive()
    peers = [socket.create_connection(address) for _ in range(streams)]
    for peer in peers:
        peer.sendall(BlockHeader(0, 100, 0).encode() + b"half")
    raises(Kind.STALLED, lambda: receiver.receive(MemoryWriter(), tell=lambda _: None))
    for peer in peers:
        with suppress(ConnectionResetError):
            assert peer.recv(1) == b""
        peer.close()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("protection", Protection)
def test_a_peer_that_says_nothing(
    mode: Mode, protection: Protection, credential: DataCredential
) -> None:
    """Neither before it has authenticated, nor afterwards."""
    receiver = channel(mode, connect_s=0.1)
    give(credential, receiver)
    receiver.set_protection(protection)
    (address,) = receiver.passive()
    with socket.create_connection(address):
        raises(Kind.STALLED, lambda: receiver.receive(MemoryWriter(), tell=lambda _: None))


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("protection", Protection)
def test_a_peer_that_authenticates_a_byte_at_a_time(
    mode: Mode, protection: Protection, credential: DataCredential
) -> None:
    receiver = channel(mode, connect_s=0.3)
    give(credential, receiver)
    receiver.set_protection(protection)
    (address,) = receiver.passive()
    receiving = Running(lambda: receiver.receive(MemoryWriter(), tell=lambda _: None))
    with socket.create_connection(address) as peer, suppress(ConnectionError):
        for byte in b"\x16\x03\x01\x02\x00" + bytes(200):
            if not receiving.alive:
                break
            peer.send(bytes([byte]))
            time.sleep(0.1)
        assert not receiving.alive
    raises(Kind.STALLED, receiving.join)


def test_stalls_under_tls(credential: DataCredential) -> None:
    sender, receiver = channel(), channel(stall_s=0.1)
    give(credential, sender, receiver)
    for one in (sender, receiver):
        one.set_protection(Protection.PRIVATE)
    sender.active(receiver.passive())
    stalled = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"half"
        stalled.wait(30)

    sending = Running(lambda: sender.send_bytes(chunks()))
    raises(Kind.STALLED, lambda: receiver.receive(MemoryWriter(), tell=lambda _: None))
    stalled.set()
    with suppress(GridFTPError):
        sending.join()


def test_a_receiver_that_takes_nothing_under_tls(
    tmp_path: Path, credential: DataCredential
) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 28)
    sender, receiver = channel(stall_s=0.1), channel()
    give(credential, sender, receiver)
    for one in (sender, receiver):
        one.set_protection(Protection.PRIVATE)
    sender.active(receiver.passive())
    stalled = threading.Event()

    class Stuck(MemoryWriter):
        def write(self, view: bytes | bytearray | memoryview, offset: int) -> None:
            del view, offset
            stalled.wait(30)

    receiving = Running(lambda: receiver.receive(Stuck(), tell=lambda _: None))
    reader = FileReader(tmp_path / "large")
    raises(Kind.STALLED, lambda: sender.send(reader, reader.all))
    stalled.set()
    with suppress(GridFTPError):
        receiving.join()


def test_a_receiver_that_takes_nothing(files: dict[str, Path]) -> None:
    with socket.create_server((HOST, 0)) as listener:
        sender = channel(stall_s=0.1)
        sender.active([HostPort(*listener.getsockname())])
        reader = FileReader(files["large"])
        sending = Running(lambda: sender.send(reader, reader.all))
        peer, _ = listener.accept()
        raises(Kind.STALLED, sending.join)
        peer.close()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("when", ["waiting", "receiving"])
def test_abort_from_another_thread(mode: Mode, when: str) -> None:
    receiver = channel(mode)
    (address,) = receiver.passive()
    begun = threading.Event()
    writer = MemoryWriter()
    receiving = Running(lambda: receiver.receive(writer, tell=lambda _: begun.set()))
    peer = None
    if when == "receiving":
        peer = socket.create_connection(address)
        peer.sendall(BlockHeader(0, 10_000_000, 0).encode() + bytes(2_000_000))
        while not writer.writes:
            time.sleep(0.001)
    else:
        while not receiver._running:
            time.sleep(0.001)
    receiver.abort()
    raises(Kind.DATA_BROKEN, receiving.join)
    assert not receiver.is_kept
    if peer is not None:
        with suppress(ConnectionError):  # closed: else this would never end
            while True:
                peer.sendall(bytes(100_000))
        peer.close()
    receiver.abort()  # nothing runs: nothing happens
    sender = channel(mode)
    receiver.markers = Markers(0, 0)
    sender.active(receiver.passive())
    sending = Running(lambda: sender.send_bytes([b"after"]))
    after = MemoryWriter()
    receiver.receive(after, tell=nobody_told)
    sending.join()
    assert after.content == b"after"
    sender.close()
    receiver.close()


def test_abort_while_connecting(files: dict[str, Path]) -> None:
    """To an address that never answers."""
    with socket.socket() as full:
        full.bind((HOST, 0))
        full.listen(0)
        fillers = []
        for _ in range(4):  # its queue is full now: what comes then gets no answer
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        sender = channel()
        sender.active([HostPort(*full.getsockname())])
        reader = FileReader(files["small"])
        sending = Running(lambda: sender.send(reader, reader.all))
        while sender._abort is None:
            time.sleep(0.001)
        sender.abort()
        raises(Kind.DATA_BROKEN, sending.join)
        for filler in fillers:
            filler.close()


def test_storage_that_fails_ends_the_channel(
    ends: tuple[DataChannel, DataChannel], files: dict[str, Path]
) -> None:
    """No file after it can get bytes of the one that failed."""
    sender, receiver = ends
    for name in ("small", "large"):
        sender.active(receiver.passive())
        move(sender, receiver, files["last"])
        reader = FileReader(files[name])
        full = MemoryWriter(fail=OSError(errno.ENOSPC, "No space left on device"))
        sending = Running(lambda reader=reader: sender.send(reader, reader.all))
        with pytest.raises(OSError, match="No space left"):
            receiver.receive(full, tell=nobody_told)
        assert not receiver.is_kept
        if name == "large":
            raises(Kind.DATA_BROKEN, sending.join)
        else:
            sending.join()  # it is gone before anybody has read it
        with pytest.raises(GridFTPError):
            receiver.receive(MemoryWriter(), tell=nobody_told)


class Broken(FileReader):
    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        if offset > 1_000_000:
            raise OSError(errno.EIO, "Input/output error")
        return super().read_into(view, offset)


def test_a_source_that_fails_ends_the_channel(
    ends: tuple[DataChannel, DataChannel], files: dict[str, Path]
) -> None:
    sender, receiver = ends
    sender.parallelism = 3
    sender.active(receiver.passive())
    reader = Broken(files["large"], plain=True)
    sending = Running(lambda: sender.send(reader, reader.all))
    raises(Kind.DATA_BROKEN, lambda: receiver.receive(MemoryWriter(), tell=nobody_told))
    with pytest.raises(OSError, match="Input/output"):
        sending.join()
    assert not sender.is_kept


def test_a_listing_that_fails_ends_the_channel(ends: tuple[DataChannel, DataChannel]) -> None:
    sender, receiver = ends
    sender.active(receiver.passive())

    def lines() -> Iterator[bytes]:
        yield b"one"
        raise PermissionError(errno.EACCES, "Permission denied")

    sending = Running(lambda: sender.send_bytes(lines()))
    raises(Kind.DATA_BROKEN, lambda: receiver.receive(MemoryWriter(), tell=nobody_told))
    with pytest.raises(PermissionError):
        sending.join()
    assert not sender.is_kept


def test_a_file_that_became_shorter(
    ends: tuple[DataChannel, DataChannel], files: dict[str, Path], tmp_path: Path
) -> None:
    sender, receiver = ends
    for size, told_size in ((10, 20), (100_000, 300_000)):
        path = tmp_path / "short"
        path.write_bytes(bytes(size))
        sender.active(receiver.passive())
        reader = FileReader(path)
        sending = Running(lambda reader=reader, n=told_size: sender.send(reader, [ByteRange(0, n)]))
        raises(Kind.DATA_BROKEN, lambda: receiver.receive(MemoryWriter(), tell=nobody_told))
        raises(Kind.DATA_BROKEN, sending.join)


def test_settings_end_what_is_kept(
    ends: tuple[DataChannel, DataChannel], files: dict[str, Path], credential: DataCredential
) -> None:
    sender, receiver = ends

    def connected() -> None:
        sender.active(receiver.passive())
        move(sender, receiver, files["small"])
        assert sender.is_kept

    connected()
    for keeps in (
        lambda one: one.set_mode(Mode.EXTENDED),
        lambda one: give_only(credential, one),
        lambda one: setattr(one, "parallelism", 1),
        lambda one: setattr(one, "markers", Markers(0, 0)),
    ):
        keeps(sender)
        keeps(receiver)
        assert sender.is_kept
        assert receiver.is_kept
        move(sender, receiver, files["small"])
    for ends_it in (
        lambda one: one.set_mode(Mode.STREAM),
        lambda one: one.set_authentication(None),
        lambda one: one.set_protection(Protection.CLEAR),
        lambda one: one.passive(),
        lambda one: one.active([HostPort(HOST, 5000)]),
        lambda one: one.drop(),
    ):
        ends_it(sender)
        ends_it(receiver)
        assert not sender.is_kept
        assert not receiver.is_kept
        sender.set_mode(Mode.EXTENDED)
        receiver.set_mode(Mode.EXTENDED)
        connected()


def give_only(credential: DataCredential, one: DataChannel) -> None:
    one.set_credential(credential.credential.to_pem() + credential.credential.chain_pem)


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.set_authentication(SELF),
        lambda one: one.set_protection(Protection.PRIVATE),
        lambda one: one.set_mode(Mode.STREAM),
    ],
)
def test_no_old_settings_for_new_connections(
    credential: DataCredential, change: Callable[[DataChannel], None]
) -> None:
    """The sender closes its connections, as it may; the next ones must be as they are asked for."""
    receiver = channel()
    receiver.markers = Markers(0, 0)
    give_only(credential, receiver)
    (address,) = receiver.passive()

    def whole() -> bytes:
        return BlockHeader(0, 2, 0).encode() + b"ok" + BlockHeader(EOD | EOF | CLOSE, 0, 1).encode()

    with socket.create_connection(address) as peer:
        peer.sendall(whole())
        receiver.receive(MemoryWriter(), tell=nobody_told)
    change(receiver)
    with suppress(OSError), socket.create_connection(address) as stranger:
        stranger.sendall(whole())
    receiver.set_mode(Mode.EXTENDED)
    raises(Kind.CHANNEL_GONE, lambda: receiver.receive(MemoryWriter(), tell=nobody_told))


def test_settings_between_address_and_use(
    ends: tuple[DataChannel, DataChannel], files: dict[str, Path], credential: DataCredential
) -> None:
    """An address that nobody has used yet stays."""
    sender, receiver = ends
    sender.active(receiver.passive())
    give(credential, *ends)
    sender.set_protection(Protection.PRIVATE)
    receiver.set_protection(Protection.PRIVATE)
    move(sender, receiver, files["small"])


def test_without_a_credential(ends: tuple[DataChannel, DataChannel]) -> None:
    sender, receiver = ends
    sender.active(receiver.passive())
    sender.set_authentication(SELF)
    receiver.set_authentication(SELF)
    raises(Kind.DATA_AUTH, lambda: receiver.receive(MemoryWriter(), tell=nobody_told))
    sender.active([HostPort(HOST, 5000)])
    with pytest.raises(GridFTPError):
        sender.send_bytes([])


def test_no_bounce() -> None:
    """Where a session may be sent to."""
    anonymous = channel(policy=PeerOnly("192.0.2.7"))
    anonymous.active([HostPort("192.0.2.7", 5000)])
    for refused in (HostPort("192.0.2.8", 5000), HostPort("192.0.2.7", 25), HostPort(HOST, 5000)):
        raises(Kind.ADDRESS_REFUSED, lambda at=refused: anonymous.active([at]))

    known = channel(policy=AnyHost("192.0.2.7"))
    known.active([HostPort("198.51.100.1", 5000), HostPort("192.0.2.8", 1024)])
    for refused in (
        HostPort("198.51.100.1", 1023),
        HostPort(HOST, 5000),
        HostPort("::ffff:127.0.0.1", 5000),
        HostPort("0.0.0.0", 5000),
        HostPort("224.0.0.1", 5000),
        HostPort("255.255.255.255", 5000),
    ):
        raises(Kind.ADDRESS_REFUSED, lambda at=refused: known.active([at]))
    channel(policy=AnyHost("127.0.0.2")).active([HostPort(HOST, 5000)])


@pytest.mark.parametrize("mode", Mode)
def test_a_stranger_who_connects_is_dropped(mode: Mode) -> None:
    receiver = channel(mode, policy=PeerOnly("127.0.0.2"))
    receiver.markers = Markers(0, 0)
    (address,) = receiver.passive()
    writer = MemoryWriter()
    receiving = Running(lambda: receiver.receive(writer, tell=nobody_told))
    with socket.create_connection(address) as stranger:
        assert stranger.recv(1) == b""
    with socket.create_connection(address, source_address=("127.0.0.2", 0)) as peer:
        if mode is Mode.EXTENDED:
            peer.sendall(BlockHeader(0, 2, 0).encode() + b"ok" + BlockHeader(72, 0, 1).encode())
        else:
            peer.sendall(b"ok")
    receiving.join()
    assert writer.content == b"ok"
    receiver.close()


@pytest.mark.parametrize("protection", Protection)
def test_a_stranger_does_not_end_what_others_have_begun(
    ends: tuple[DataChannel, DataChannel], credential: DataCredential, protection: Protection
) -> None:
    """The ports of data connections are open to the world, and somebody always knocks."""
    sender, receiver = ends
    give(credential, *ends)
    for one in ends:
        one.set_protection(protection)
    (address,) = receiver.passive()
    sender.active([address])
    knocked = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"half "
        assert knocked.wait(30)
        yield b"done"

    writer = MemoryWriter()
    receiving = Running(lambda: receiver.receive(writer, tell=nobody_told))
    sending = Running(lambda: sender.send_bytes(chunks()))
    while not writer.content:
        time.sleep(0.01)
    for greeting in (b"GET / HTTP/1.1\r\n\r\n", b""):
        with socket.create_connection(address) as stranger, suppress(ConnectionError):
            stranger.sendall(greeting)
            stranger.shutdown(socket.SHUT_WR)
            stranger.settimeout(30)
            while stranger.recv(1000):
                pass
    knocked.set()
    sending.join()
    receiving.join()
    assert writer.content == b"half done"


def test_more_connections_than_allowed() -> None:
    receiver = channel(connections=3)
    (address,) = receiver.passive()
    peers = [socket.create_connection(address) for _ in range(4)]
    raises(Kind.PROTOCOL, lambda: receiver.receive(MemoryWriter(), tell=lambda _: None))
    for peer in peers:
        peer.close()
    (address,) = receiver.passive()
    with socket.create_connection(address) as peer:
        peer.sendall(BlockHeader(EOD | EOF, 0, 4).encode())
        raises(Kind.PROTOCOL, lambda: receiver.receive(MemoryWriter(), tell=lambda _: None))


@pytest.mark.parametrize("mode", Mode)
def test_no_descriptor_for_a_connection(mode: Mode) -> None:
    """It is said at once: to look again and again would keep a core busy for a minute."""
    receiver = channel(mode)
    receiver.markers = Markers(0, 0)
    (address,) = receiver.passive()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.create_connection(address):
        highest = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir())
        taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest)]
        spare = max(taken) + 2  # for what wakes the one who waits
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                receiver.receive(MemoryWriter(), tell=nobody_told)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in taken:
                os.close(fd)


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


def open_descriptors() -> int:
    gc.collect()  # what tests before this one have left for it
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_open(files: dict[str, Path], credential: DataCredential) -> None:
    """No descriptor and no thread, whatever happened."""
    before = open_descriptors()
    threads = threading.active_count()
    for mode in Mode:
        for protected in (False, True):
            sender, receiver = channel(mode, connect_s=5), channel(mode, connect_s=5)
            receiver.markers = Markers(0, 0)
            sender.parallelism = 3
            if protected:
                give(credential, sender, receiver)
            sender.active(receiver.passive())
            move(sender, receiver, files["large"])
            (address,) = receiver.passive()
            with socket.create_connection(address) as peer:
                # a reset, in the middle of whatever
                peer.sendall(b"\x16\x03\x01\x00")
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with pytest.raises(GridFTPError):
                receiver.receive(MemoryWriter(), tell=nobody_told)
            sender.close()
            receiver.close()
    assert open_descriptors() == before
    assert threading.active_count() == threads


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
