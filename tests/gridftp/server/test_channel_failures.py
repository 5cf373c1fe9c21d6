"""Data channels of the server when something goes wrong, or somebody means ill."""

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
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.server.channel import SELF, DataChannel, Markers, Mode
from towpath.gridftp.server.dialling import AnyHost, PeerOnly
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, BlockHeader
from towpath.gridftp.wire.ranges import ByteRange


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
