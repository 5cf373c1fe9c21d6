"""The receiver of the page takes what the service sends, and nothing else."""

import asyncio
import os
import re
import socket
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from towpath.notify.queue import NotDelivered
from towpath.notify.webhooks import HookSender
from towpath.platform.dial import DialPolicy
from towpath.platform.outbound import Outbound
from towpath.platform.standard_webhooks import new_secret, shown
from towpath.transfer.store.deliveries import Hook, Taken

PAGE = Path(__file__).parents[2] / "docs/how-to/be-told.md"
LINES_MOST = 15


def receiver() -> str:
    found = re.search(r"<!-- receiver -->\n *```python\n(.*?) *```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return textwrap.dedent(found[1])


def delivery(url: str, *secrets: bytes) -> Taken:
    document: dict[str, Any] = {"task_id": "7"}
    return Taken(
        *(1, uuid4(), "task.failed", UUID(int=1), document, 0, datetime.now(UTC), 1, 0.0),
        *(UUID(int=2), url, None, None, None),
        hook=Hook(UUID(int=2), url, None, secrets),
    )


async def test_the_receiver_takes_what_is_signed_with_its_secret() -> None:
    text = receiver()
    assert len([line for line in text.splitlines() if line.strip()]) <= LINES_MOST
    secret = new_secret()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", text),
        env={**os.environ, "WEBHOOK_SECRET": shown(secret), "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    sender = HookSender(Outbound(DialPolicy(allow_loopback=True), allow_http=True))
    url = f"http://127.0.0.1:{port}/towpath"
    try:
        async with asyncio.timeout(30):
            while True:
                try:
                    status = await sender.send(delivery(url, new_secret(), secret))
                    break
                except NotDelivered as error:
                    if error.status is not None:
                        raise
                    await asyncio.sleep(0.05)  # it is not there yet
            assert status == 204
            said = await process.stdout.readline()
            assert said.startswith(b"{'type': 'task.failed', 'timestamp': ")
            assert said.endswith(b"'data': {'task_id': '7'}}\n")
            with pytest.raises(NotDelivered, match="401"):
                await sender.send(delivery(url, new_secret()))
            old = HookSender(
                Outbound(DialPolicy(allow_loopback=True), allow_http=True), now=lambda: 1.0
            )
            with pytest.raises(NotDelivered, match="401"):
                await old.send(delivery(url, secret))
    finally:
        process.kill()
        await process.wait()
