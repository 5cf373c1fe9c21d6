"""How long a listing waits for the server."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from towpath.gridftp.client.listing import Listing
from towpath.gridftp.errors import GridFTPError, Kind


async def test_a_server_is_not_late_while_we_read_nothing() -> None:
    """Whoever asked before has not taken all that came; then the server may be late."""
    lost: list[GridFTPError] = []
    channel: Any = SimpleNamespace(paused=True, serves=lambda _listing: True, fail=lost.append)
    listing = Listing(channel, "server", "/d")
    waiting = asyncio.create_task(listing.next_batch(0.02))
    await asyncio.sleep(0.1)
    assert not lost
    channel.paused = False
    channel.fail = listing.lost
    with pytest.raises(GridFTPError) as late:
        await waiting
    assert late.value.kind is Kind.TIMEOUT
