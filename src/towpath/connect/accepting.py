"""Taking connections from a listening socket, also when for a moment none can be taken."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import Any, Final

_log: Final = logging.getLogger(__name__)

PAUSE_S: Final = 0.5
"""Until it is tried again when there are no descriptors left, or no memory."""

_PASSES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED)


async def accept(listening: socket.socket) -> tuple[socket.socket, Any]:
    """The next connection, which does not block, and its address. Raises `OSError` when no more
    will ever come."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return await loop.sock_accept(listening)
        except OSError as error:
            if error.errno not in _PASSES:
                raise
            _log.warning("a connection cannot be taken now: %s", error)
        await asyncio.sleep(PAUSE_S)
