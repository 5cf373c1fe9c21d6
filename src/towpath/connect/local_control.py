"""How commands speak with the agent that runs: a Unix socket in its directory, one question each.

Only root and the account that runs the agent are answered, by the kernel's word for who they are.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from towpath.connect.accepting import accept
from towpath.connect.broker import user_of
from towpath.connect.unix_names import short

MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""All choices of a server: 200 collections with their accounts."""
ANSWER_S: Final = 10.0
"""For an answer; what takes longer goes on by itself."""
BACKLOG: Final = 16
"""Commands that come at the same time."""

Handle = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class NotRunning(Exception):  # noqa: N818 - reads as what it says
    """No agent runs in this directory."""


def ask(path: Path, question: dict[str, Any], *, timeout_s: float = ANSWER_S) -> dict[str, Any]:
    """The running agent's answer. Raises `NotRunning`; `OSError` if it does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        with short(path) as name:
            try:
                connection.connect(name)
            except (FileNotFoundError, ConnectionRefusedError):
                raise NotRunning from None
        connection.sendall(json.dumps(question).encode())
        connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    try:
        answer: dict[str, Any] = json.loads(b"".join(parts))
    except ValueError:
        raise OSError("the agent gave no answer: see 'towpath connect logs'") from None
    return answer


def listen(path: Path) -> socket.socket:
    """For the agent; who had the socket before is gone. Raises `OSError`."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short(path) as name:
            listening.bind(name)
        path.chmod(0o600)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


async def serve(listening: socket.socket, handle: Handle) -> None:
    """Answer until cancelled."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    try:
        while True:
            connection, _address = await accept(listening)
            if user_of(connection) not in (0, os.geteuid()):
                connection.close()
                continue
            task = loop.create_task(_answer(connection, handle))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        listening.close()
        for task in tasks:
            task.cancel()


async def _answer(connection: socket.socket, handle: Handle) -> None:
    loop = asyncio.get_running_loop()
    with connection, suppress(OSError, ValueError, TimeoutError):
        connection.setblocking(False)
        async with asyncio.timeout(ANSWER_S):
            asked = b""
            while part := await loop.sock_recv(connection, 65536):
                asked += part
                if len(asked) > MESSAGE_BYTES:
                    return
            answer = await handle(json.loads(asked))
            await loop.sock_sendall(connection, json.dumps(answer).encode())
