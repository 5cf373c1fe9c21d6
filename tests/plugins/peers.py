"""Servers that misbehave in ways no real one can be made to; each runs in threads of its own."""

import base64
import binascii
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random

from plugins.acceptor import Acceptor
from towpath.demo.authority import Domain, Issued

Behaviour = Callable[["Peer", socket.socket], None]

ANSWERS: Mapping[str, str] = {
    "USER": "230 User logged in.",
    "PASS": "503 Already logged in.",
    "TYPE": "200 Type set to I.",
    "MODE": "200 Mode set to E.",
    "FEAT": "211-Extensions supported\r\n MLST Type*;Size*;Modify*;\r\n MLSC\r\n DCSC P,D\r\n"
    " CKSUM SHA256\r\n STORATTR\r\n211 End.",
    "PWD": '257 "/" is current directory.',
    "MLST": "250-status of {argument}\r\n"
    " Type=dir;Modify=20260101000000;Size=4096;Perm=cfmpel; {argument}\r\n250 End.",
    "OPTS": "200 OPTS Command Successful.",
    "MKD": "257 Directory created.",
    "DCSC": "200 DCSC Command successful.",
    "DCAU": "200 DCAU A.",
    "PBSZ": "200 PBSZ=1048576",
    "PROT": "200 Protection level set.",
    "TREV": "200 Command Successful.",
    "SITE": "200 OK.",
    "PORT": "200 PORT Command successful.",
    "NOOP": "200 OK.",
    "QUIT": "221 Goodbye.",
}


@dataclass
class Peer:
    """A listening server: where it is, and what has come to it."""

    port: int = 0
    connections: int = 0
    commands: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """As an endpoint is registered."""
        return f"gsiftp://localhost:{self.port}"


@contextmanager
def serving(behave: Behaviour, host: str = "127.0.0.1", port: int = 0) -> Iterator[Peer]:
    """Run a peer, at a free port if 0; `behave` has each connection until it returns."""
    peer = Peer()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            peer.connections += 1
            with suppress(OSError):  # the service hung up: its good right
                behave(peer, self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False
        allow_reuse_address = True

    with Server((host, port), Handler) as server:
        peer.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield peer
        finally:
            server.shutdown()
            thread.join()


def _drain(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def web_server(_peer: Peer, connection: socket.socket) -> None:
    """Takes every line for HTTP."""
    connection.recv(65536)
    page = b"<html>\r\n<h1>400 Bad Request</h1>\r\n</html>\r\n"
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\n" + page)


def ssh_server(_peer: Peer, connection: socket.socket) -> None:
    """Greets as another protocol does, and waits."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    _drain(connection)


def noise(_peer: Peer, connection: socket.socket) -> None:
    """Random bytes without end."""
    random = Random(1)
    while True:
        connection.sendall(random.randbytes(65536))


def silent(_peer: Peer, connection: socket.socket) -> None:
    """Accepts and never says a word."""
    _drain(connection)


def mute_after_greeting(_peer: Peer, connection: socket.socket) -> None:
    """Greets and never answers."""
    connection.sendall(b"220 ready.\r\n")
    _drain(connection)


def hangs_up(_peer: Peer, _connection: socket.socket) -> None:
    """Closes at once."""


def gsi_server(
    domain: Domain, answers: Mapping[str, str | None], *, host: Issued | None = None
) -> Behaviour:
    """Logs everyone in by GSI, and then answers by verb: `ANSWERS`, changed by `answers`.

    None: no answer. `{argument}` in an answer is the command's argument.
    """
    table: dict[str, str | None] = {**ANSWERS, **answers}

    def behave(peer: Peer, connection: socket.socket) -> None:
        acceptor = Acceptor(domain.trust, host or domain.host)
        logged_in = False
        connection.sendall(b"220 double ready.\r\n")
        for line in connection.makefile("rb"):
            verb, _, argument = line.decode("ascii", "replace").strip().partition(" ")
            if verb == "AUTH":
                connection.sendall(b"334 Using authentication type; ADAT must follow.\r\n")
            elif verb == "ADAT":
                token = acceptor.answer(_decoded(argument))
                flag_follows = acceptor.shaken and not logged_in
                if flag_follows:
                    logged_in = bool(_read(acceptor))
                code = b"235" if logged_in else b"335"
                said = b" ADAT=" + base64.b64encode(token) if token else b" OK"
                connection.sendall(code + said + b"\r\n")
            elif verb == "ENC":
                acceptor.incoming.write(_decoded(argument))
                for command in _read(acceptor).decode("utf-8", "surrogateescape").splitlines():
                    peer.commands.append(command)
                    verb, _, argument = command.partition(" ")
                    answer = table.get(verb, "500 Invalid command.")
                    if answer is not None:
                        text = answer.replace("{argument}", argument) + "\r\n"
                        wrapped = base64.b64encode(acceptor.write(text.encode()))
                        connection.sendall(b"632 " + wrapped + b"\r\n")

    return behave


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def _read(acceptor: Acceptor) -> bytes:
    try:
        return acceptor.read()
    except OSError:  # SSLWantReadError: nothing there yet
        return b""
