"""Data connections at the server's end of them: block streams, streams, handshakes."""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from fuzz.bending import bent, portions
from fuzz.campaign import HangError, One, stacks
from fuzz.streams import blocks, whole
from plugins.data_ends import SELF, MemoryWriter
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.server.channel import DataChannel, Markers, Mode
from towpath.gridftp.server.dialling import AnyHost
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.ranges import ByteRange

LIMIT = 400_000
"""Of the file that is received: a storage with a quota."""

TRANSFER_S = 30.0

HASTY = Limits(data_connect_s=0.05, data_stall_s=0.05, data_connections=8)
PATIENT = Limits(data_connect_s=20.0, data_stall_s=20.0, data_connections=8)


class Quota(MemoryWriter):
    """Raises as a storage with a quota does."""

    def write(self, view: bytes | bytearray | memoryview, offset: int) -> None:
        """Part of it."""
        if offset < 0 or offset + len(view) > LIMIT:
            raise OSError("beyond the limit")
        super().write(view, offset)


def _channel(mode: Mode, limits: Limits) -> DataChannel:
    made = DataChannel(local_host="127.0.0.1", policy=AnyHost("127.0.0.1"), limits=limits)
    made.set_mode(mode)
    made.markers = Markers(0.01, 0.01)
    return made


def within(what: Callable[[], None], abort: Callable[[], None], dice: random.Random) -> None:
    """Run a transfer in a thread; it may fail as transfers may; sometimes it is aborted."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            what()
        except (GridFTPError, OSError):
            pass
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if dice.randrange(8) == 0:
        time.sleep(dice.random() * 0.01)
        abort()
    thread.join(TRANSFER_S)
    if thread.is_alive():
        raise HangError(f"a transfer does not end: {stacks()}")
    if errors:
        raise errors[0]


def speak(address: HostPort, said: list[list[bytes]], *, stay_s: float) -> threading.Thread:
    """Each list over a connection of its own, in turns; then wait for their end, and close."""

    def run() -> None:
        peers: list[socket.socket] = []
        with suppress(OSError):
            for _ in said:
                peer = socket.create_connection(address, timeout=5)
                peer.settimeout(5)
                peers.append(peer)
        for turn in range(max(map(len, said), default=0)):
            for peer, parts in zip(peers, said, strict=False):
                with suppress(OSError):
                    if turn < len(parts):
                        peer.sendall(parts[turn])
        until = time.monotonic() + stay_s
        for peer in peers:
            with suppress(OSError):
                peer.settimeout(max(0.0001, until - time.monotonic()))
                while peer.recv(1 << 16):
                    pass
            peer.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@contextmanager
def extended(_workdir: Path) -> Iterator[One]:
    """MODE E: whole files must arrive whole; of bent ones nothing but an end is asked."""

    def one(dice: random.Random) -> None:
        match dice.randrange(6):
            case 0:
                _whole_extended(dice)
            case 1:
                _sending(dice, Mode.EXTENDED)
            case _:
                _bent_extended(dice)

    yield one


def _whole_extended(dice: random.Random) -> None:
    content = dice.randbytes(dice.choice((0, 1, 5000, 65_536, 300_000)))
    channel, writer = _channel(Mode.EXTENDED, PATIENT), Quota()
    try:
        (address,) = channel.passive()
        said = whole(dice, content, dice.randint(1, 8))
        peers = speak(address, [portions(dice, one) for one in said], stay_s=0.02)
        channel.receive(writer, tell=lambda _reply: None)
        assert bytes(writer.content) == content
    finally:
        channel.close()
    peers.join(TRANSFER_S)


def _bent_extended(dice: random.Random) -> None:
    channel, writer = _channel(Mode.EXTENDED, HASTY), Quota()
    count = dice.choice((1, 2, 4, 9))
    if dice.randrange(2):
        said = whole(dice, dice.randbytes(dice.randint(0, 200_000)), count)
        said[0] = bent(dice, said[0], said)
    else:
        said = [blocks(dice, bend=True) for _ in range(count)]
    try:
        (address,) = channel.passive()
        peers = speak(address, [portions(dice, one) for one in said], stay_s=0.02)

        def run() -> None:
            for _ in range(2):
                channel.receive(writer, at=dice.choice((0, 0, 100)), tell=lambda _reply: None)

        within(run, channel.abort, dice)
    finally:
        channel.close()
    peers.join(TRANSFER_S)
    assert not peers.is_alive()


@contextmanager
def stream(_workdir: Path) -> Iterator[One]:
    """MODE S, both ways, whichever end listens."""

    def one(dice: random.Random) -> None:
        if dice.randrange(2):
            _sending(dice, Mode.STREAM)
            return
        content = dice.randbytes(dice.choice((0, 1, 5000, 300_000, 500_000)))
        channel, writer = _channel(Mode.STREAM, PATIENT), Quota()
        try:
            (address,) = channel.passive()
            said = [portions(dice, content)]
            if dice.randrange(4) == 0:  # who comes second is nobody
                said.append([dice.randbytes(10)])
            peers = speak_and_end(address, said)

            def run() -> None:
                channel.receive(writer, tell=lambda _reply: None)
                assert bytes(writer.content) in (content, b"".join(said[-1]))

            within(run, channel.abort, dice)
        finally:
            channel.close()
        peers.join(TRANSFER_S)
        assert not peers.is_alive()

    yield one


def speak_and_end(address: HostPort, said: list[list[bytes]]) -> threading.Thread:
    """As `speak`, and the end of each connection right behind its last byte."""

    def run() -> None:
        for parts in said:
            with suppress(OSError), socket.create_connection(address, timeout=5) as peer:
                peer.settimeout(5)
                for part in parts:
                    peer.sendall(part)
                peer.shutdown(socket.SHUT_WR)
                while peer.recv(100):
                    pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


class Zeros:
    """A file to send; it may turn out to be shorter than it was."""

    def __init__(self, size: int, there: int) -> None:
        self.size = size
        self._there = there

    def fileno(self) -> int | None:
        """None: it is read."""
        return None

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        """Nothing behind what is there."""
        return max(0, min(len(view), self._there - offset))

    def close(self) -> None:
        """Nothing."""


def _sending(dice: random.Random, mode: Mode) -> None:
    """To a peer that listens, takes some, says what it should not, or goes."""
    channel = _channel(mode, HASTY)
    size = dice.choice((0, 1, 70_000, 9_000_000))
    reader = Zeros(size, size if dice.randrange(4) else size // 2)
    channel.parallelism = dice.choice((1, 1, 3))
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        listener.settimeout(0.1)
        most, says = dice.choice((0, 100, 1 << 30)), dice.randbytes(dice.choice((0, 0, 20)))

        def take() -> None:
            with suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with peer, suppress(OSError):
                        peer.settimeout(0.1)
                        peer.sendall(says)
                        taken = 0
                        while taken < most and (part := peer.recv(1 << 20)):
                            taken += len(part)

        taking = threading.Thread(target=take, daemon=True)
        taking.start()
        try:
            channel.active([HostPort("127.0.0.1", listener.getsockname()[1])])
            ranges = [ByteRange(0, size)] if dice.randrange(2) else [ByteRange(size // 3, size)]
            within(lambda: channel.send(reader, ranges), channel.abort, dice)
        finally:
            channel.close()
        taking.join(TRANSFER_S)
    assert not taking.is_alive()


@contextmanager
def handshake(_workdir: Path) -> Iterator[One]:
    """TLS of data connections: bent hellos, bent later flights, ends in the middle."""
    credential = DataCredential.create(datetime.now(UTC))
    stranger = DataCredential.create(datetime.now(UTC))
    pem = credential.credential.to_pem() + credential.credential.chain_pem

    def one(dice: random.Random) -> None:
        mode = dice.choice((Mode.EXTENDED, Mode.STREAM))
        channel = _channel(mode, HASTY)
        channel.set_credential(pem)
        channel.set_authentication(SELF)
        channel.set_protection(dice.choice((Protection.CLEAR, Protection.SAFE, Protection.PRIVATE)))
        writer = Quota()
        peer_credential = stranger if dice.randrange(4) == 0 else credential
        try:
            (address,) = channel.passive()
            ends = [
                threading.Thread(
                    target=_shake,
                    args=(address, peer_credential, random.Random(dice.random())),
                    daemon=True,
                )
                for _ in range(dice.choice((1, 1, 3)))
            ]
            for end in ends:
                end.start()
            within(lambda: channel.receive(writer, tell=lambda _reply: None), channel.abort, dice)
        finally:
            channel.close()
        for end in ends:
            end.join(TRANSFER_S)
            assert not end.is_alive()
        if peer_credential is stranger:
            assert not writer.writes, "bytes of a stranger were taken"

    yield one


def _shake(address: HostPort, credential: DataCredential, dice: random.Random) -> None:
    """A client of TLS whose flights are bent at one place, then some blocks."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = credential.client_context.wrap_bio(incoming, outgoing)
    spoiled = dice.randrange(4)
    with suppress(OSError, ssl.SSLError), socket.create_connection(address, timeout=2) as peer:
        peer.settimeout(0.2)
        for flight in range(6):
            done = True
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                done = False
            said = outgoing.read()
            if flight == spoiled:
                said = bent(dice, said)
            for piece in portions(dice, said):
                peer.sendall(piece)
            if done:
                break
            data = peer.recv(1 << 16)
            if not data:
                return
            incoming.write(data)
        tls.write(b"0")
        peer.sendall(outgoing.read())
        peer.sendall(blocks(dice, bend=True))
        tls.write(blocks(dice, bend=True))
        peer.sendall(bent(dice, outgoing.read()))
