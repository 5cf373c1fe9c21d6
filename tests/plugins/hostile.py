"""Servers that want us to hang, to fill our memory, or to believe them.

Each connection is in a thread of its own, so that whatever our loop does cannot slow the server.
"""

import base64
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from plugins.acceptor import Acceptor
from plugins.peers import ANSWERS, Peer, serving
from towpath.demo.authority import Domain

Reaction = Callable[["Line"], Iterable[bytes] | None]
"""What is done when a command comes: the pieces of text to send, if any."""


class Line:
    """A connection after its login, in clear text or wrapped."""

    def __init__(self, connection: socket.socket, acceptor: Acceptor | None) -> None:
        self.connection = connection
        self.argument = ""
        self.data_address: tuple[str, int] | None = None
        """Where the client listens for data."""
        self._acceptor = acceptor

    def say(self, text: bytes) -> None:
        """Send text: as it is, or as one wrapped line."""
        if self._acceptor is not None:
            text = b"632 " + base64.b64encode(self._acceptor.write(text)) + b"\r\n"
        self.connection.sendall(text)

    def slowly(self, text: bytes, every_s: float) -> None:
        """A byte at a time."""
        if self._acceptor is not None:
            text = b"632 " + base64.b64encode(self._acceptor.write(text)) + b"\r\n"
        for byte in text:
            self.connection.sendall(bytes([byte]))
            time.sleep(every_s)

    def reset(self) -> None:
        """RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())  # `close` would wait for those who read from it


@contextmanager
def hostile(reactions: Mapping[str, Reaction | bytes], domain: Domain | None) -> Iterator[Peer]:
    """A server that answers as usual, but to some verbs as told. With a domain: by GSI.

    `BANNER` and, with GSI, `AUTH` and `ADAT` may be among the verbs.
    """

    def react(line: Line, verb: str) -> None:
        told = reactions.get(verb, ANSWERS.get(verb, "500 Invalid command.").encode() + b"\r\n")
        pieces = [told] if isinstance(told, bytes) else told(line) or ()
        for piece in pieces:
            line.say(piece.replace(b"{argument}", line.argument.encode()))

    def behave(peer: Peer, connection: socket.socket) -> None:
        line = Line(connection, None)
        if "BANNER" in reactions:
            react(line, "BANNER")
        else:
            connection.sendall(b"220 double ready.\r\n")
        acceptor = Acceptor(domain.trust, domain.host) if domain is not None else None
        flag_seen = False
        for raw in connection.makefile("rb"):
            text = raw.decode("utf-8", "surrogateescape").strip("\r\n")
            verb, _, argument = text.partition(" ")
            if acceptor is not None and verb == "AUTH" and verb not in reactions:
                connection.sendall(b"334 Using authentication type; ADAT must follow.\r\n")
                continue
            if acceptor is not None and verb == "ADAT":
                if "ADAT" in reactions:
                    react(line, "ADAT")
                    continue
                token = acceptor.answer(base64.b64decode(argument))
                if acceptor.shaken and not flag_seen:
                    try:
                        flag_seen = bool(acceptor.read())
                    except OSError:
                        flag_seen = False
                code = b"235" if flag_seen else b"335"
                connection.sendall(code + b" ADAT=" + base64.b64encode(token) + b"\r\n")
                line._acceptor = acceptor if flag_seen else None
                continue
            if acceptor is not None and verb == "ENC":
                acceptor.incoming.write(base64.b64decode(argument))
                text = acceptor.read().decode("utf-8", "surrogateescape").strip("\r\n")
            for command in text.split("\r\n"):
                verb, _, line.argument = command.partition(" ")
                peer.commands.append(command)
                if verb == "PORT":
                    numbers = [int(number) for number in line.argument.split(",")]
                    line.data_address = (
                        ".".join(map(str, numbers[:4])),
                        numbers[4] << 8 | numbers[5],
                    )
                react(line, verb)

    with serving(behave) as peer:
        yield peer


def forever(*pieces: bytes) -> Reaction:
    """The last piece again and again, after the others."""

    def react(_line: Line) -> Iterator[bytes]:
        yield from pieces[:-1]
        while True:
            yield pieces[-1]

    return react


class Memory:
    """How much more memory this process has had than at the beginning."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
        self._before = self._status("VmRSS")

    @property
    def grown_bytes(self) -> int:
        """At its highest."""
        return max(0, self._status("VmHWM") - self._before)

    @staticmethod
    def _status(name: str) -> int:
        text = Path("/proc/self/status").read_text()
        return int(text.split(f"{name}:")[1].split()[0]) * 1024
