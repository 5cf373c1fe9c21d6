"""Data connections that come about by other ways, and a bandwidth that they share."""

import errno
import socket
import threading
import time
from pathlib import Path

import pytest

from plugins.data_ends import HOST, Running, channel, give, move
from towpath.dsi.memory import MemoryStorage
from towpath.gridftp.data.pace import LARGEST_PART, SMALLEST_PART, Pace
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.server.channel import DataChannel, Markers, Mode
from towpath.gridftp.server.data_paths import Direct, Listening
from towpath.gridftp.wire.addresses import HostPort
from towpath.gridftp.wire.ranges import ByteRange


class Detour:
    """Ways as an agent has them: somebody else listens, and what is told is his address."""

    def __init__(self) -> None:
        self.inner = Direct()
        self.behind: HostPort | None = None
        self.dialled: list[HostPort] = []
        self.open: list[Listening] = []
        self.hold: threading.Event | None = None
        self.error: OSError | None = None
        self.made: list[socket.socket] = []

    def listen(self, local_host: str) -> Listening:
        inner = self.inner.listen(local_host)
        self.behind = inner.address
        detour = self

        class Elsewhere:
            address = HostPort("192.0.2.1", 2811)
            fileno = inner.fileno

            def accept(self) -> tuple[socket.socket, str]:
                connection, _host = inner.accept()
                return connection, "192.0.2.7"

            def close(self) -> None:
                detour.open.remove(self)
                inner.close()

        elsewhere = Elsewhere()
        self.open.append(elsewhere)
        return elsewhere

    def dial(self, address: HostPort, timeout_s: float) -> socket.socket:
        self.dialled.append(address)
        if self.error is not None:
            raise self.error
        if self.hold is not None:
            assert self.hold.wait(30)
        assert self.behind is not None
        connection = self.inner.dial(self.behind, timeout_s)
        self.made.append(connection)
        return connection


@pytest.fixture
def detour() -> Detour:
    return Detour()


@pytest.mark.parametrize("protection", [None, Protection.PRIVATE])
@pytest.mark.parametrize("streams", [1, 4])
def test_both_ends_by_other_ways(
    detour: Detour,
    files: dict[str, Path],
    credential: DataCredential,
    protection: Protection | None,
    streams: int,
) -> None:
    sender, receiver = channel(paths=detour), channel(paths=detour)
    receiver.markers = Markers(0, 0)
    sender.parallelism = streams
    if protection is not None:
        give(credential, sender, receiver)
        sender.set_protection(protection)
        receiver.set_protection(protection)
    addresses = receiver.passive()
    assert addresses == [HostPort("192.0.2.1", 2811)]
    sender.active(addresses)
    for path in files.values():
        assert move(sender, receiver, path).content == path.read_bytes()
    assert detour.dialled == addresses * streams
    receiver.close()
    sender.close()
    assert detour.open == []


def test_a_stream_by_other_ways(detour: Detour, files: dict[str, Path]) -> None:
    sender, receiver = channel(Mode.STREAM, paths=detour), channel(Mode.STREAM, paths=detour)
    sender.active(receiver.passive())
    assert move(sender, receiver, files["large"]).content == files["large"].read_bytes()
    assert detour.open == []


def _send(sender: DataChannel) -> None:
    storage = MemoryStorage()
    writer = storage.open_writer(b"/file", truncate=True)
    writer.write(b"content", 0)
    writer.finish(modified=None, durable=False)
    sender.send(storage.open_reader(b"/file"), [ByteRange(0, 7)])


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.EHOSTUNREACH, "the relay knows no way"), Kind.DATA_REFUSED, "knows no way"),
        (TimeoutError(), Kind.STALLED, "timed out"),
    ],
)
def test_a_way_that_leads_nowhere(detour: Detour, error: OSError, kind: Kind, words: str) -> None:
    detour.error = error
    sender = channel(paths=detour)
    sender.parallelism = 3
    sender.active([HostPort("192.0.2.1", 2811)])
    with pytest.raises(GridFTPError) as refused:
        _send(sender)
    assert refused.value.kind is kind
    assert words in refused.value.message


def test_nobody_waits_for_a_way_when_the_transfer_is_given_up(detour: Detour) -> None:
    detour.hold = threading.Event()
    detour.listen(HOST)
    sender = channel(paths=detour)
    sender.active([HostPort("192.0.2.1", 2811)])
    began = time.monotonic()
    sending = Running(lambda: _send(sender))
    while not detour.dialled:
        time.sleep(0.001)
    sender.abort()
    with pytest.raises(GridFTPError, match="given up"):
        sending.join()
    assert time.monotonic() - began < 10
    detour.hold.set()
    while not detour.made or detour.made[0].fileno() >= 0:  # what comes too late is closed
        time.sleep(0.001)
    detour.open[0].close()


def test_a_way_takes_no_longer_than_a_connection_may(detour: Detour) -> None:
    detour.hold = threading.Event()
    sender = channel(paths=detour, connect_s=0.05)
    sender.active([HostPort("192.0.2.1", 2811)])
    with pytest.raises(GridFTPError) as refused:
        _send(sender)
    assert refused.value.kind is Kind.STALLED
    detour.behind = HostPort(HOST, 1)  # refused, when it is let go
    detour.hold.set()


# A pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def test_a_pace_is_kept_on_the_whole() -> None:
    clock = Clock()
    pace = Pace(1000.0, clock=lambda: clock.now, wait=clock.wait)
    for _ in range(10):
        pace.take(500)
    assert clock.now == pytest.approx(105)
    clock.now += 50  # what nobody used is not saved up
    pace.take(500)
    assert clock.waits[-1] == pytest.approx(0.5)
    pace.bytes_per_s = None
    pace.take(1_000_000)
    assert clock.now == pytest.approx(155.5)


def test_parts_fit_the_pace() -> None:
    pace = Pace()
    assert pace.part_bytes == LARGEST_PART
    for rate, part in ((1.0, SMALLEST_PART), (1e6, 50_000), (1e12, LARGEST_PART)):
        pace.bytes_per_s = rate
        assert pace.part_bytes == part


@pytest.mark.parametrize("paced", ["sender", "receiver"])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("protection", [None, Protection.PRIVATE])
def test_connections_share_a_pace(
    files: dict[str, Path],
    credential: DataCredential,
    paced: str,
    mode: Mode,
    protection: Protection | None,
) -> None:
    pace = Pace(45e6)  # 0.2 s for the file, which takes a hundredth otherwise
    sender = channel(mode, pace=pace if paced == "sender" else None)
    receiver = channel(mode, pace=pace if paced == "receiver" else None)
    receiver.markers = Markers(0, 0)
    sender.parallelism = 3
    if protection is not None:
        give(credential, sender, receiver)
        sender.set_protection(protection)
        receiver.set_protection(protection)
    sender.active(receiver.passive())
    began = time.monotonic()
    assert move(sender, receiver, files["large"]).content == files["large"].read_bytes()
    assert time.monotonic() - began > 0.18
