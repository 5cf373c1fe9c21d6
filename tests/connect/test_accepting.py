"""Taking connections while descriptors run out for a moment."""

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from towpath.connect import accepting
from towpath.connect.broker import Broker
from towpath.connect.ways import Means, Ways


async def test_sessions_are_served_again_when_there_are_descriptors_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "PAUSE_S", 0.01)
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [errno.EMFILE, errno.ECONNABORTED, errno.ENOBUFS]

    async def sometimes(listening: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            code = failures.pop()
            raise OSError(code, os.strerror(code))
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", sometimes)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as session,
    ):
        listening.bind(str(tmp_path / "paths.sock"))
        listening.listen()
        session.setblocking(False)
        broker = Broker(Ways(Means(), lambda: None), lambda _user: True)
        broker.start(listening)
        try:
            session.connect(str(tmp_path / "paths.sock"))
            await loop.sock_sendall(session, b'{"do": "listen", "host": "127.0.0.1"}')
            async with asyncio.timeout(5):
                answer = await loop.sock_recv(session, 1000)
            assert b"no relay is connected" in answer
        finally:
            await broker.close()
