"""``python ends.py send|take FILE listen|dial|ticket ADDRESS PORT [TICKET]``: a file over one TCP
connection.

Both ends of a forward that others carry: as little work as a program can make of it. Who listens
says so by an empty line; who has a ticket says it to a relay, and waits for its answer.
"""

import os
import socket
import sys
from pathlib import Path

BLOCK_BYTES = 1024 * 1024


def main(what: str, file: str, how: str, address: str, port: str, ticket: str = "") -> None:
    """Send a file, or take one."""
    at = (address, int(port))
    if how != "listen":
        connection = socket.create_connection(at)
        if how == "ticket":
            connection.sendall(f"TPJ1 ticket {ticket}\n".encode())
            answer = connection.recv(len(b"TPJ1 ok\n"), socket.MSG_WAITALL)
            assert answer == b"TPJ1 ok\n", answer
    else:
        with socket.create_server(at) as listener:
            print(flush=True)
            connection, _ = listener.accept()
    with connection:
        if what == "send":
            _send(connection, Path(file))
        else:
            _take(connection, Path(file))


def _send(connection: socket.socket, path: Path) -> None:
    with path.open("rb") as file:
        while os.sendfile(connection.fileno(), file.fileno(), None, BLOCK_BYTES):
            pass
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)  # its end: all is there


def _take(connection: socket.socket, path: Path) -> None:
    block = memoryview(bytearray(BLOCK_BYTES))
    with path.open("wb", buffering=0) as file:
        while length := connection.recv_into(block):
            file.write(block[:length])


if __name__ == "__main__":
    main(*sys.argv[1:])
