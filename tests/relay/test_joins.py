"""Joined sockets: byte for byte, ends handed on, slow readers, peers that go."""

import contextlib
import hashlib
import random
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from towpath.relay.joins import Ended, Joiner, JoinsFullError

WAIT_S = 10.0


@dataclass
class Pair:
    """Two ends that are joined, and how that ended."""

    one: socket.socket
    other: socket.socket
    over: threading.Event = field(default_factory=threading.Event)
    ended: Ended | None = None

    def end(self, ended: Ended) -> None:
        assert self.ended is None, "told once"
        self.ended = ended
        self.over.set()

    def result(self) -> Ended:
        assert self.over.wait(WAIT_S)
        assert self.ended is not None
        return self.ended


def connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    ours.settimeout(WAIT_S)
    return ours, theirs


@pytest.fixture
def joiner() -> Iterator[Joiner]:
    made = Joiner(threads=2)
    yield made
    made.close()
    assert made.count == 0


@pytest.fixture
def pair(joiner: Joiner) -> Iterator[Callable[[], Pair]]:
    with contextlib.ExitStack() as stack:

        def make() -> Pair:
            (one, half), (other, second_half) = connected(), connected()
            joined = Pair(one, other)
            stack.enter_context(one)
            stack.enter_context(other)
            joiner.join(half, second_half, joined.end)
            return joined

        yield make


def received(end: socket.socket) -> bytes:
    parts = []
    while part := end.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def test_bytes_arrive_as_they_were_both_ways_at_once(pair: Callable[[], Pair]) -> None:
    pairs = [pair() for _ in range(5)]
    digests: dict[tuple[int, str], str] = {}
    threads = []
    said = {}
    for number, joined in enumerate(pairs):
        for name, source, target in (
            ("there", joined.one, joined.other),
            ("back", joined.other, joined.one),
        ):
            data = random.Random(f"{number}{name}").randbytes(3_000_000 + number)
            said[number, name] = hashlib.sha256(data).hexdigest()

            def send(source: socket.socket = source, data: bytes = data) -> None:
                source.sendall(data)
                source.shutdown(socket.SHUT_WR)

            def receive(
                target: socket.socket = target, key: tuple[int, str] = (number, name)
            ) -> None:
                digests[key] = hashlib.sha256(received(target)).hexdigest()

            threads += [threading.Thread(target=send), threading.Thread(target=receive)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert digests == said
    for number, joined in enumerate(pairs):
        assert joined.result() == Ended(3_000_000 + number, 3_000_000 + number, None)


def test_one_direction_ends_and_the_other_goes_on(pair: Callable[[], Pair]) -> None:
    joined = pair()
    joined.one.sendall(b"question")
    joined.one.shutdown(socket.SHUT_WR)
    assert received(joined.other) == b"question"
    assert not joined.over.is_set()
    joined.other.sendall(b"answer")
    joined.other.close()
    assert received(joined.one) == b"answer"
    assert joined.result() == Ended(8, 6, None)


def test_what_was_there_before_they_were_joined_is_not_lost(joiner: Joiner) -> None:
    (one, half), (other, second_half) = connected(), connected()
    with one, other:
        one.sendall(b"early")
        one.close()
        joined = Pair(one, other)
        joiner.join(half, second_half, joined.end)
        assert received(other) == b"early"


def test_a_slow_reader_stops_the_writer_and_loses_nothing(
    pair: Callable[[], Pair], joiner: Joiner
) -> None:
    joined = pair()
    joined.one.setblocking(False)
    sent = 0
    chunk = bytes(range(256)) * 1024
    stuck = 0
    while stuck < 20:
        try:
            sent += joined.one.send(chunk)
            stuck = 0
        except BlockingIOError:
            stuck += 1
            joined.over.wait(0.01)
    # what the kernel keeps for the sockets, and one pipe
    assert joiner.moved_bytes < sent < 64 * 1024 * 1024
    joined.one.shutdown(socket.SHUT_WR)
    assert len(received(joined.other)) == sent


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def write_and_read_for_ever(end: socket.socket, *, read: bool) -> None:
    while True:
        end.send(bytes(1 << 16))
        if read:
            end.recv(1)


@pytest.mark.parametrize("busy", [False, True])
def test_a_reset_of_one_end_is_a_reset_of_the_other(pair: Callable[[], Pair], busy: bool) -> None:
    joined = pair()
    if busy:
        joined.other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                joined.other.send(bytes(1 << 20))
        joined.other.settimeout(WAIT_S)
    reset(joined.one)
    with pytest.raises(ConnectionError):
        write_and_read_for_ever(joined.other, read=not busy)
    assert joined.result().failure is not None


def test_who_closes_while_the_other_writes_is_noticed_by_the_writer(
    pair: Callable[[], Pair],
) -> None:
    joined = pair()
    joined.one.sendall(b"x" * 100_000)
    joined.other.close()
    with pytest.raises(ConnectionError):
        write_and_read_for_ever(joined.one, read=False)
    assert joined.result().failure is not None


def test_the_end_of_the_process_is_no_end_of_file() -> None:
    (one, half), (other, second_half) = connected(), connected()
    program = (
        "import socket, sys, threading; from towpath.relay.joins import Joiner;"
        "Joiner().join(*(socket.socket(fileno=int(fd)) for fd in sys.argv[1:]), print);"
        "threading.Event().wait()"
    )
    fds = half.fileno(), second_half.fileno()
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, fds)], pass_fds=fds)
    with one, other, process:
        half.close()
        second_half.close()
        one.sendall(b"x")
        assert other.recv(1) == b"x"
        process.kill()
        for end in (one, other):
            with pytest.raises(ConnectionResetError):
                end.recv(1)


def test_many_that_come_and_go_leave_nothing_behind(
    pair: Callable[[], Pair], joiner: Joiner
) -> None:
    for number in range(200):
        joined = pair()
        joined.one.sendall(b"x")
        assert joined.other.recv(1) == b"x"
        if number % 3 == 0:
            reset(joined.one)
        else:
            joined.one.close()
            joined.other.close()
        joined.result()
    assert joiner.count == 0
    for mover in joiner._movers:
        assert not mover._by_descriptor
        assert len(mover._pipes) <= 2


def test_at_the_end_all_are_reset(pair: Callable[[], Pair], joiner: Joiner) -> None:
    joined = pair()
    joiner.close()
    with pytest.raises(ConnectionError):
        joined.one.recv(1)
    assert joined.result().failure == "the relay ends"
    one, half = connected()
    other, second_half = connected()
    with one, other:
        with pytest.raises(JoinsFullError):
            joiner.join(half, second_half, joined.end)
        assert half.fileno() == second_half.fileno() == -1
