"""Sessions: order, back-pressure, abort, and the end; whatever runs meanwhile."""

import asyncio
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from plugins.dialogue import ANSWER_S, OPENING, Dialogue, Events, dialogue
from towpath.dsi.posix import PosixStorage
from towpath.dsi.storage import EntryType, Facts, Status
from towpath.gridftp.data.buffers import BUFFER_BYTES
from towpath.gridftp.server.channel import DataChannel
from towpath.gridftp.server.commands import base
from towpath.gridftp.server.commands.base import Refused, Transferred
from towpath.gridftp.server.frames import frames
from towpath.gridftp.server.limits import QUEUED_BYTES, QUEUED_COMMANDS, Limits
from towpath.gridftp.server.session import READ_BYTES, SessionHost
from towpath.gridftp.wire.addresses import parse_passive

MANY = 3000
"""Files, whose listing is many times what a socket holds."""


class Gate(PosixStorage):
    """A storage whose files can be looked at and read only when a gate is open."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reached = threading.Event()
        self.open = threading.Event()

    def status(self, path: bytes, *, facts: Facts = Facts.ALL) -> Status:
        if path == b"/gate":
            self.reached.set()
            assert self.open.wait(ANSWER_S)
        return super().status(path, facts=facts)


def test_commands_are_done_one_by_one_in_order(talk: Dialogue, tmp_path: Path) -> None:
    talk.send("MKD d", "MKD d/e", "CWD d", "RMD e", "PWD", "SIZE nothing", "NOOP")
    assert [talk.answer().code for _ in range(7)] == [257, 257, 250, 250, 257, 550, 200]
    assert list((tmp_path / "d").iterdir()) == []


def test_thousands_of_commands_sent_at_once(talk: Dialogue) -> None:
    count = 5000
    sender = threading.Thread(
        target=lambda: [talk.send(*(f"MKD {start + i}" for i in range(100)))
                        for start in range(0, count, 100)]
    )  # fmt: skip
    sender.start()
    for number in range(count):
        assert talk.answer().text == f'Directory "/{number}" created successfully.'
    sender.join()


def test_what_is_sent_ahead_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above it the sender has to wait; nothing is lost."""
    seen: list[int] = []
    from towpath.gridftp.server import session as module

    taken = module._Pump._take

    def take(pump: module._Pump, lines: list[bytes]) -> None:
        taken(pump, lines)
        seen.append(len(pump._queue))

    monkeypatch.setattr(module._Pump, "_take", take)
    storage = Gate(tmp_path)
    with dialogue(storage) as talk:
        count = 30_000
        talk.send("SIZE gate")
        assert storage.reached.wait(ANSWER_S)
        sender = threading.Thread(
            target=lambda: [talk.send(*["NOOP"] * 1000) for _ in range(count // 1000)]
        )
        sender.start()
        while max(seen, default=0) < QUEUED_COMMANDS:
            pass
        storage.open.set()
        assert talk.answer().code == 550
        assert {talk.answer().code for _ in range(count)} == {200}
        sender.join()
    assert max(seen) < QUEUED_COMMANDS + READ_BYTES / len(b"\0\0\0\4NOOP")


def test_long_commands_sent_ahead_have_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand commands as long as may be would be 128 MiB."""
    seen: list[int] = []
    from towpath.gridftp.server import session as module

    taken = module._Pump._take

    def take(pump: module._Pump, lines: list[bytes]) -> None:
        taken(pump, lines)
        seen.append(sum(map(len, pump._queue)))

    monkeypatch.setattr(module._Pump, "_take", take)
    storage = Gate(tmp_path)
    with dialogue(storage) as talk:
        count, command = 100, b"SITE CLIENTINFO " + b"x" * 100_000
        talk.send("SIZE gate")
        assert storage.reached.wait(ANSWER_S)
        sender = threading.Thread(target=lambda: [talk.send(command) for _ in range(count)])
        sender.start()
        while sum(seen) < QUEUED_BYTES:
            pass
        sender.join(0.2)  # it cannot end, however long one waits
        storage.open.set()
        assert talk.answer().code == 550
        assert {talk.answer().code for _ in range(count)} == {250}
        sender.join()
    assert max(seen) <= QUEUED_BYTES + len(command)


def test_replies_do_not_wait_for_a_command_that_takes_long(tmp_path: Path) -> None:
    storage = Gate(tmp_path)
    with dialogue(storage) as talk:
        talk.send("NOOP", "NOOP", "SIZE gate", "NOOP")
        assert [talk.answer().code for _ in range(2)] == [200, 200]
        storage.open.set()
        assert [talk.answer().code for _ in range(2)] == [550, 200]


# -- ABOR


def test_abort_with_nothing_to_abort(talk: Dialogue) -> None:
    assert talk.text("ABOR") == "226 Abort successful"
    assert talk.ask("NOOP").code == 200


@pytest.mark.parametrize("what", ["STOR f", "RETR there", "MLSD", "LIST"])
def test_abort_of_a_transfer_that_waits_for_its_connection(
    talk: Dialogue, tmp_path: Path, what: str
) -> None:
    (tmp_path / "there").write_bytes(b"x" * 1000)
    talk.passive()
    talk.send(what)
    assert talk.next().code == 150
    talk.send("ABOR")
    assert [talk.answer().code for _ in range(2)] == [426, 226]
    assert talk.give("STOR g", b"goes on").code == 226
    assert (tmp_path / "g").read_bytes() == b"goes on"


def test_abort_of_a_transfer_that_moves(talk: Dialogue, tmp_path: Path) -> None:
    address = talk.passive()
    talk.send("STOR f")
    with socket.create_connection(address) as connection:
        connection.sendall(b"half of it")
        assert talk.next().code == 150
        talk.send("ABOR", "NOOP")
        codes = [talk.answer().code for _ in range(3)]
    assert codes == [426, 226, 200]
    assert talk.give("STOR f", b"whole").code == 226
    assert (tmp_path / "f").read_bytes() == b"whole"


def test_abort_stops_what_was_sent_before_it_and_nothing_else(
    talk: Dialogue, tmp_path: Path, events: Events
) -> None:
    (tmp_path / "c").write_bytes(b"")
    talk.passive()
    talk.send("STOR a", "STOR b", "MKD d", "CKSM MD5 0 -1 c", "ABOR", "CKSM MD5 0 -1 c", "MLSC")
    codes = [talk.answer().code for _ in range(7)]
    assert codes in (
        [426, 426, 257, 426, 226, 213, 250],
        [500, 500, 257, 426, 226, 213, 250],
    )
    assert not (tmp_path / "b").exists()


def test_two_aborts(talk: Dialogue) -> None:
    talk.passive()
    talk.send("STOR a", "ABOR", "ABOR", "NOOP")
    assert [talk.answer().code for _ in range(4)] == [426, 226, 226, 200]


def test_an_abort_that_comes_too_late_stops_nothing_else(
    talk: Dialogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was for has ended by itself, and the next transfer is under way."""
    abort = DataChannel.abort
    aborting, started, aborted = threading.Event(), threading.Event(), threading.Event()

    def late(channel: DataChannel) -> None:
        if not aborting.is_set():
            aborting.set()
            started.wait(0.5)
        abort(channel)
        aborted.set()

    monkeypatch.setattr(DataChannel, "abort", late)
    first = talk.passive()
    talk.send("STOR f")
    with socket.create_connection(first) as connection:
        connection.sendall(b"whole")
        assert talk.next().code == 150
        talk.send("ABOR", "PASV", "STOR g")
        assert aborting.wait(ANSWER_S)
    assert talk.answer().code in (226, 426)
    assert talk.answer().code == 226
    (second,) = parse_passive(talk.answer())
    assert talk.next().code == 150
    with socket.create_connection(second) as connection:
        connection.sendall(bytes(2 * BUFFER_BYTES))
        while (tmp_path / "g").stat().st_size == 0:
            pass
        started.set()
        aborted.wait(ANSWER_S)
        connection.sendall(b"end")
    assert talk.answer().code == 226
    assert (tmp_path / "g").stat().st_size == 2 * BUFFER_BYTES + 3


class Endless(PosixStorage):
    """A storage of one file that never ends."""

    def open_reader(self, _path: bytes) -> "EndlessReader":
        return EndlessReader()


class EndlessReader:
    size = 1 << 62

    def fileno(self) -> None:
        return None

    def read_into(self, view: memoryview, _offset: int) -> int:
        return len(view)

    def close(self) -> None:
        pass


def test_abort_of_a_checksum(tmp_path: Path) -> None:
    with dialogue(Endless(tmp_path)) as talk:
        talk.send("CKSM XXH3 0 -1 f")
        talk.send("ABOR")
        assert [talk.answer().code for _ in range(2)] == [426, 226]


class Regrowing(PosixStorage):
    """Trees of which there is always something left."""

    def remove_tree(self, path: bytes, *, aborted: Callable[[], bool] = lambda: False) -> None:
        until = time.monotonic() + ANSWER_S
        while not aborted():
            assert time.monotonic() < until
        super().remove_tree(path, aborted=aborted)


def test_abort_of_a_removal(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name / "in").mkdir(parents=True)
    with dialogue(Regrowing(tmp_path)) as talk:
        talk.send("SITE RDEL a", "ABOR", "NOOP")
        assert [talk.answer().code for _ in range(3)] == [426, 226, 200]
        talk.send("SITE RDEL b")
        talk.socket.shutdown(socket.SHUT_RDWR)
        assert talk.ended.wait(ANSWER_S)
    assert len(list(tmp_path.iterdir())) == 2


class Crowded(PosixStorage):
    """Directories have no end."""

    def entries(self, path: bytes, *, facts: Facts = Facts.ALL) -> Iterator[tuple[bytes, Status]]:
        del path, facts
        return ((b"%d" % number, Status(EntryType.FILE)) for number in itertools.count())


@pytest.mark.parametrize("line", ["MLSC", "MLSD", "MLSR", "NLST", "LIST"])
def test_abort_of_a_listing(tmp_path: Path, line: str) -> None:
    with dialogue(Crowded(tmp_path)) as talk:
        address = talk.passive()
        talk.send(line)
        with socket.create_connection(address):
            assert talk.next().code == 150
            talk.send("ABOR")
            assert [talk.answer().code for _ in range(2)] == [426, 226]


# -- the end


def test_quit(talk: Dialogue) -> None:
    talk.send("NOOP", "QUIT", "NOOP")
    assert [talk.next().code for _ in range(2)] == [200, 221]
    assert talk.next() is None
    assert talk.ended.wait(ANSWER_S)


HANG_UP: dict[str, Callable[[Dialogue], object]] = {
    "idle": lambda talk: talk.ask("NOOP"),
    "before anything": lambda _talk: None,
    "waiting for a connection": lambda talk: talk.send("PASV", "STOR f"),
    "with commands queued": lambda talk: talk.send("PASV", *["STOR f"] * 300),
    "checksum": lambda talk: talk.send("CKSM XXH3 0 -1 f"),
    "in the middle of a frame": lambda talk: talk.socket.sendall(b"\0\0\0\7STO"),
    "a frame too long": lambda talk: talk.socket.sendall(b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("how", HANG_UP)
def test_hanging_up_ends_everything(tmp_path: Path, how: str) -> None:
    with dialogue(Endless(tmp_path)) as talk:
        HANG_UP[how](talk)
        talk.socket.shutdown(socket.SHUT_RDWR)
        assert talk.ended.wait(ANSWER_S)


def test_half_a_goodbye_is_enough(talk: Dialogue) -> None:
    """The other half may want to know when nothing runs any more: it is told by our closing."""
    talk.passive()
    talk.send("STOR f", "STOR g")
    talk.socket.shutdown(socket.SHUT_WR)
    while talk.next() is not None:
        pass
    assert talk.ended.wait(ANSWER_S)


def test_hanging_up_with_a_full_queue(tmp_path: Path) -> None:
    """Then the socket is not read; it is looked at all the same."""
    with dialogue(PosixStorage(tmp_path)) as talk:
        talk.passive()
        talk.send("STOR f", *["NOOP"] * (3 * QUEUED_COMMANDS))
        assert talk.next().code == 150
        talk.socket.shutdown(socket.SHUT_RDWR)
        assert talk.ended.wait(ANSWER_S)


@pytest.mark.parametrize(
    "lines", [[b"QUIT"], [b"MKD a"] * 900, [b"PASV", b"STOR f"]], ids=["goodbye", "busy", "waits"]
)
async def test_nobody_looks_after_a_session_that_has_ended(
    tmp_path: Path, lines: list[bytes]
) -> None:
    """Else what it was given at its login, keys too, would stay for ever."""
    host = SessionHost(PosixStorage(tmp_path), Limits())
    ours, theirs = socket.socketpair()
    with ours:
        running = asyncio.create_task(host.run(theirs, OPENING))
        await asyncio.sleep(0)
        ours.sendall(frames(lines))
        await asyncio.to_thread(ours.recv, 1)  # something was done
    await asyncio.wait_for(running, ANSWER_S)
    async with asyncio.timeout(ANSWER_S):
        while host._busy or host._ticking is not None:
            await asyncio.sleep(0.01)
    host.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_replies_wait_for_who_is_slow_to_take_them(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Whatever the loop makes of the socket: uvloop's is non-blocking as soon as it is read."""
    for number in range(MANY):
        (tmp_path / f"file-{number}").touch()

    def read(ours: socket.socket) -> int:
        taken = b""
        while b"250 " not in taken[-200:]:
            more = ours.recv(1024)
            assert more, "the session ended"
            taken += more
        return taken.count(b"file-")

    async def main() -> int:
        host = SessionHost(PosixStorage(tmp_path), Limits())
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        with ours:
            running = asyncio.create_task(host.run(theirs, OPENING))
            await asyncio.sleep(0)
            ours.sendall(frames([b"MLSC ."]))
            found = await asyncio.to_thread(read, ours)
        await asyncio.wait_for(running, ANSWER_S)
        host.close()
        return found

    with asyncio.Runner(loop_factory=loop) as runner:
        assert runner.run(main()) == MANY


def test_a_mistake_of_ours_ends_one_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(PosixStorage):
        def make_directory(self, _path: bytes) -> None:
            raise ZeroDivisionError("secret of ours")

    logger = logging.getLogger(base.__name__)  # whatever another test has done to the root's
    logger.addHandler(caplog.handler)
    try:
        with dialogue(Wrong(tmp_path)) as talk:
            reply = talk.ask("MKD d")
            assert reply.code == 451
            assert "secret" not in reply.text
            assert talk.ask("NOOP").code == 200
    finally:
        logger.removeHandler(caplog.handler)
    assert "ZeroDivisionError" in caplog.text


# -- the log


def test_what_is_told_to_the_log(talk: Dialogue, tmp_path: Path, events: Events) -> None:
    assert talk.give("STOR f", b"12345").code == 226
    assert talk.fetch("ERET P 1 3 f") == b"234"
    assert talk.answer().code == 226
    assert talk.ask("PASV", "RETR g").code == 550
    assert talk.ask("SIZE g\n226 OK").code == 550
    assert talk.ask("DCSC P c2VjcmV0").code == 500
    first, second, third, *others = events
    assert isinstance(first, Transferred)
    assert (first.opening, first.verb, first.path, first.bytes_moved, first.outcome) == (
        OPENING, "STOR", b"/f", 5, "ok",
    )  # fmt: skip
    assert (first.streams, first.protection) == (1, "N")
    assert isinstance(second, Transferred)
    assert (second.verb, second.bytes_moved, second.outcome) == ("ERET", 3, "ok")
    assert isinstance(third, Transferred)
    assert third.outcome == "550-GlobusError: v=1 c=PATH_NOT_FOUND"
    assert [type(event) for event in others] == [Refused, Refused]
    assert others[0].command == "SIZE g / 226 OK"
    assert others[1].command == "DCSC"


def test_a_marker_comes_soon_although_nothing_follows(talk: Dialogue) -> None:
    address = talk.passive()
    talk.send("STOR f")
    with socket.create_connection(address) as connection:
        connection.sendall(b"half")
        assert [talk.next().code for _ in range(2)] == [150, 112]
    assert talk.answer().code == 226
