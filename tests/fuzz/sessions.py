"""Whole sessions: commands in, replies out, data connections that do what they like."""

from __future__ import annotations

import asyncio
import random
import resource
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from fuzz.bending import portions
from fuzz.campaign import HangError, One, stacks
from fuzz.ground import PATHS, Ground, check_told
from fuzz.lines import line
from fuzz.streams import blocks
from plugins.dialogue import OPENING
from towpath.dsi.posix import PosixStorage
from towpath.dsi.rules import FREE, Rules
from towpath.gridftp.errors import GridFTPError
from towpath.gridftp.server.frames import FrameReader, Opening, frames
from towpath.gridftp.server.limits import COMMAND_BYTES, REPLY_BYTES, Limits
from towpath.gridftp.server.session import SessionHost
from towpath.gridftp.wire.addresses import HostPort, parse_passive, parse_six_numbers
from towpath.gridftp.wire.replies import Reply, ReplyReader

SESSION_S = 20.0
"""For one input; most take some milliseconds, each connection that does not come some more."""

LARGEST_FILE_BYTES = 8 * 1024 * 1024
"""Files of any size can be asked for; the disk and the checksums of this machine have an end."""

LIMITS = Limits(data_connect_s=0.03, data_stall_s=0.03, data_connections=8)

RULES = (FREE, FREE, Rules.parse("RW/,N/d/e"), Rules.parse("RW/d,R/f,W/empty"))


class OwnPorts:
    """Whom sessions may dial: nobody on this machine but ourselves."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports

    def may_dial(self, address: HostPort) -> bool:
        """One of ours."""
        return address.host == "127.0.0.1" and address.port in self._ports

    def may_accept(self, _host: str) -> bool:
        """Anyone."""
        return True


@contextmanager
def small_files() -> Iterator[None]:
    """Files cannot grow beyond `LARGEST_FILE_BYTES` meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def close(self) -> None:
        """When nothing runs in it any more."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@contextmanager
def sessions(workdir: Path) -> Iterator[One]:
    """One to three sessions at a time on one tree."""
    ground = Ground(workdir)
    running = Loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4)
    hole = socket.socket()  # bound, and nobody listens
    hole.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1], hole.getsockname()[1]]
    hosts = [
        SessionHost(
            PosixStorage(ground.root, rules=rules), LIMITS, policy=lambda _: OwnPorts(ports)
        )
        for rules in RULES
    ]

    def one(dice: random.Random) -> None:
        ground.lay()
        host = dice.choice(hosts)
        drive = Drive(dice, listener, ports)
        openings = [
            replace(OPENING, secured=dice.random() < 0.3, home=dice.choice(("/", "/d", "/nothing")))
            for _ in range(dice.choice((1, 1, 1, 2, 3)))
        ]
        try:
            for opening in openings:
                drive.add(host, opening, running.loop)
            drive.run()
        finally:
            drive.close()
        ground.compare()

    try:
        with small_files():
            yield one
    finally:
        for host in hosts:
            host.close()
        running.close()
        listener.close()
        hole.close()


class Drive:
    """The clients of some sessions, in one thread."""

    def __init__(self, dice: random.Random, listener: socket.socket, ports: list[int]) -> None:
        self.dice = dice
        self.ports = ports
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self.talks: list[Talk] = []
        self._data: list[DataPeer] = []

    def add(self, host: SessionHost, opening: Opening, loop: asyncio.AbstractEventLoop) -> None:
        """A session more."""
        ours, theirs = socket.socketpair()
        ended = asyncio.run_coroutine_threadsafe(host.run(theirs, opening), loop)
        self.talks.append(Talk(self, ours, ended))

    def register(self, item: socket.socket, call: Callable[[int], None]) -> None:
        """Have it called when something can be read or written."""
        item.setblocking(False)
        self._selector.register(item, selectors.EVENT_READ | selectors.EVENT_WRITE, call)

    def only_read(self, item: socket.socket) -> None:
        """There is nothing to write any more."""
        with suppress(KeyError):
            call = self._selector.get_key(item).data
            self._selector.modify(item, selectors.EVENT_READ, call)

    def forget(self, item: socket.socket) -> None:
        """And close it."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(item)
        item.close()

    def connect(self, address: HostPort) -> None:
        """Data connections to where a session listens, sometimes."""
        for _ in range(self.dice.choice((0, 1, 1, 1, 2, 12))):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", address.port))
            self._data.append(DataPeer(self, connection))

    def _accept(self, _event: int) -> None:
        with suppress(BlockingIOError):
            connection, _ = self._listener.accept()
            self._data.append(DataPeer(self, connection))

    def run(self) -> None:
        """Until all have got what they wait for, or have gone."""
        self._listener.setblocking(False)
        deadline = time.monotonic() + SESSION_S
        while not all(talk.over for talk in self.talks):
            if time.monotonic() > deadline:
                raise HangError(f"waiting: {[talk.waiting for talk in self.talks]}; {stacks()}")
            for key, event in self._selector.select(0.05):
                key.data(event)

    def close(self) -> None:
        """Hang up everything, and see that the sessions end."""
        for talk in self.talks:
            self.forget(talk.socket)
        try:
            for talk in self.talks:
                try:
                    talk.ended.result(SESSION_S)
                except TimeoutError:
                    raise HangError(f"a session does not end: {talk.sent[:50]}") from None
        finally:
            for peer in self._data:
                self.forget(peer.socket)
            self._selector.close()
            with suppress(BlockingIOError):
                while True:
                    self._listener.accept()[0].close()


class Talk:
    """One session's commands and what comes back."""

    def __init__(self, drive: Drive, ours: socket.socket, ended: Future[None]) -> None:
        self.socket = ours
        self.ended = ended
        self.over = False
        dice = drive.dice
        self._drive = drive
        count = 1500 if dice.randrange(200) == 0 else dice.randint(1, 40)
        self.sent: list[bytes] = []
        for number in range(count):
            self.sent.append(line(dice, PATHS, drive.ports))
            if dice.randrange(3) == 0:  # whose answer is known, so that order is
                self.sent.append(b"PBSZ %d" % number)
        self._is_broken = any(len(one) > COMMAND_BYTES for one in self.sent)
        out = frames(self.sent)
        if dice.randrange(20) == 0:  # what no acceptor sends
            out += dice.randbytes(dice.randint(1, 20))
            self._is_broken = True
        self._out = portions(dice, out) if len(out) < 100_000 else [out]
        self._leave_after = dice.randrange(count) if dice.randrange(4) == 0 else len(self.sent)
        self._frames = FrameReader(REPLY_BYTES)
        self._answered = 0
        self._quits = False
        drive.register(ours, self._ready)

    @property
    def waiting(self) -> list[bytes]:
        """The commands that were not answered."""
        return self.sent[self._answered :][:3]

    def _ready(self, event: int) -> None:
        if event & selectors.EVENT_WRITE:
            self._write()
        if event & selectors.EVENT_READ and not self.over:
            self._read()

    def _write(self) -> None:
        if not self._out:
            self._drive.only_read(self.socket)
            return
        piece = self._out[0]
        try:
            sent = self.socket.send(piece)
        except BlockingIOError:
            return
        except OSError:  # it has closed; what it has said before is still read
            self._out.clear()
            return
        self._out[:1] = [piece[sent:]] if sent < len(piece) else []

    def _read(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            assert self._quits or self._is_broken, f"it has hung up before {self.waiting}"
            self._end()
            return
        check_told(data)
        for content in self._frames.feed(data):
            (reply,) = ReplyReader().feed(content)  # one frame, one whole reply
            self._take(reply)
        if self._answered >= min(self._leave_after, len(self.sent)):
            self._end()

    def _end(self) -> None:
        self.over = True
        self._drive.forget(self.socket)

    def _take(self, reply: Reply) -> None:
        if reply.is_intermediate:
            if reply.code == 127:
                self._connect(parse_six_numbers(reply.text))
            return
        if self._answered == len(self.sent) and self._is_broken:  # noise was a frame
            return
        assert self._answered < len(self.sent), f"nobody has asked for {reply}"
        command = self.sent[self._answered]
        self._answered += 1
        if command.startswith(b"PBSZ ") and command[5:].isdigit() and len(command) < 12:
            assert reply.text == f"PBSZ={int(command[5:])}", (command, reply)
        self._quits = self._quits or reply.code == 221
        if reply.code in (227, 228, 229) and command[:4].upper() in (b"PASV", b"SPAS", b"EPSV"):
            with suppress(GridFTPError, ValueError):
                for address in parse_passive(reply) if reply.code != 229 else ():
                    self._connect(address)

    def _connect(self, address: HostPort | None) -> None:
        if address is not None:
            self._drive.connect(address)


class DataPeer:
    """One data connection: takes what comes, says something, and goes some time."""

    def __init__(self, drive: Drive, connection: socket.socket) -> None:
        dice = drive.dice
        self.socket = connection
        self._drive = drive
        self._reads = dice.randrange(5) != 0
        self._ends = dice.randrange(4)
        out = b""
        match dice.randrange(4):
            case 0:
                out = dice.randbytes(dice.choice((1, 17, 500, 100_000)))
            case 1 | 2:
                out = blocks(dice, bend=dice.randrange(2) == 0)
        self._out = portions(dice, out)
        drive.register(connection, self._ready)

    def _ready(self, event: int) -> None:
        try:
            if event & selectors.EVENT_WRITE:
                self._write()
            if event & selectors.EVENT_READ and self._reads:
                data = self.socket.recv(1 << 18)
                check_told(data)
                if not data:
                    self._drive.forget(self.socket)
            elif event & selectors.EVENT_READ:
                self._drive.forget(self.socket)
        except BlockingIOError:
            pass
        except OSError:
            self._drive.forget(self.socket)

    def _write(self) -> None:
        if self._out:
            sent = self.socket.send(self._out[0])
            self._out[:1] = [self._out[0][sent:]] if sent < len(self._out[0]) else []
        elif self._ends == 0:
            self.socket.shutdown(socket.SHUT_WR)
            self._drive.only_read(self.socket)
        elif self._ends == 1 and not self._reads:
            self._drive.forget(self.socket)
        else:
            self._drive.only_read(self.socket)
