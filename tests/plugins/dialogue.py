"""A logged-in session of our own server without the half that holds the control channel."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from towpath.dsi.posix import PosixStorage
from towpath.dsi.storage import Storage
from towpath.gridftp.server.commands.base import Refused, Transferred
from towpath.gridftp.server.frames import FrameReader, Opening, frames
from towpath.gridftp.server.limits import REPLY_BYTES, Limits
from towpath.gridftp.server.session import SessionHost
from towpath.gridftp.wire.addresses import HostPort, parse_passive, parse_six_numbers
from towpath.gridftp.wire.replies import Reply, ReplyReader

ANSWER_S = 30.0
"""No answer of a session takes longer here; the machine may be busy."""

OPENING = Opening(
    session_id="s1",
    subject="",
    account="alice",
    peer_host="127.0.0.1",
    local_host="127.0.0.1",
    secured=False,
    credential=None,
    home="/",
)


class Dialogue:
    """Commands go in as frames, replies come out, in order; 1xx replies are kept apart."""

    def __init__(self, host: SessionHost, opening: Opening = OPENING) -> None:
        self.host = host
        self.socket, inside = socket.socketpair()
        self.socket.settimeout(ANSWER_S)
        self._frames = FrameReader(REPLY_BYTES)
        self._waiting: list[Reply] = []
        self.preliminary: list[Reply] = []
        """The 1xx replies since the last final one."""
        self.ended = threading.Event()
        """Nothing of the session runs any more."""
        self._thread = threading.Thread(target=self._run, args=(inside, opening))
        self._thread.start()

    def _run(self, inside: socket.socket, opening: Opening) -> None:
        asyncio.run(self.host.run(inside, opening))
        self.ended.set()

    def send(self, *lines: bytes | str) -> None:
        """All in one write."""
        self.socket.sendall(
            frames([line.encode() if isinstance(line, str) else line for line in lines])
        )

    def next(self) -> Reply | None:
        """The next reply, whatever its code; None when the session has hung up."""
        while not self._waiting:
            data = self.socket.recv(1 << 16)
            if not data:
                return None
            for content in self._frames.feed(data):
                (reply,) = ReplyReader().feed(content)  # one frame, one whole reply
                self._waiting.append(reply)
        return self._waiting.pop(0)

    def answer(self) -> Reply:
        """The next final reply."""
        self.preliminary = []
        while (reply := self.next()) is not None:
            if not reply.is_intermediate:
                return reply
            self.preliminary.append(reply)
        raise EOFError("the session hung up")

    def ask(self, *lines: bytes | str) -> Reply:
        """The final reply to the last of these lines."""
        self.send(*lines)
        return [self.answer() for _ in lines][-1]

    def text(self, line: bytes | str) -> str:
        """The code and the lines of the final reply."""
        reply = self.ask(line)
        return f"{reply.code} {reply.text}"

    # -- data, MODE S

    def passive(self) -> HostPort:
        (address,) = parse_passive(self.ask("PASV"))
        return address

    def fetch(self, line: bytes | str) -> bytes:
        """What a command sends; its reply is still to come."""
        address = self.passive()
        self.send(line)
        with socket.create_connection(address, timeout=ANSWER_S) as connection:
            parts: list[bytes] = []
            while part := connection.recv(1 << 16):
                parts.append(part)
        return b"".join(parts)

    def give(self, line: bytes | str, content: bytes) -> Reply:
        """Send data to a command; its final reply."""
        address = self.passive()
        self.send(line)
        with socket.create_connection(address, timeout=ANSWER_S) as connection:
            connection.sendall(content)
        return self.answer()

    def close(self) -> None:
        """Hang up, and wait until nothing runs any more."""
        self.socket.close()
        self._thread.join(ANSWER_S)
        assert self.ended.is_set(), "the session has not ended"


Events = list[Transferred | Refused]


@contextmanager
def dialogue(
    storage: Storage, *, opening: Opening = OPENING, events: Events | None = None, **options: Any
) -> Iterator[Dialogue]:
    """One session on a storage."""
    report: Callable[[Transferred | Refused], None] = (
        (lambda _event: None) if events is None else events.append
    )
    host = SessionHost(storage, options.pop("limits", Limits()), report=report, **options)
    talk = Dialogue(host, opening)
    try:
        yield talk
    finally:
        talk.close()
        host.close()


def address_of(text: str) -> HostPort:
    """In a 127 or 227."""
    address = parse_six_numbers(text)
    assert address is not None, text
    return address


@pytest.fixture
def events() -> Events:
    """What the session told its log."""
    return []


@pytest.fixture
def talk(tmp_path: Path, events: Events) -> Iterator[Dialogue]:
    """A session whose root is this test's directory."""
    with dialogue(PosixStorage(tmp_path), events=events) as opened:
        yield opened
