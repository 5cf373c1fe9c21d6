"""MODE S (stream, RFC 959) with ourselves at one end: plain bytes, ended by closing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

from towpath.gridftp.data.buffers import buffer
from towpath.gridftp.data.link import Link, Source
from towpath.gridftp.data.mode_e import Sink, Tick, never
from towpath.gridftp.wire.ranges import ByteRange


def send(link: Link, source: Source, part: ByteRange) -> None:
    """Send these bytes and end the connection. Raises `GridFTPError` and what the source raises."""
    link.send_from(source, part.first, part.length)
    link.finish()


def send_chunks(link: Link, chunks: Iterable[bytes]) -> None:
    """Send what is made while it is sent, and end the connection. Raises what `chunks` raise."""
    for chunk in chunks:
        link.send(chunk)
    link.finish()


def receive(
    link: Link,
    sink: Sink,
    at: int = 0,
    on_progress: Callable[[int], None] | None = None,
    tick: Tick = never,
) -> None:
    """Write what comes until the connection ends, from offset `at` on.

    Raises `GridFTPError` and what the sink raises.
    """
    tick_in, ticked = tick(), time.monotonic()
    if tick_in is not None:
        link.set_patience(tick_in)
    with buffer() as view:
        while True:
            count = link.receive_some(view, follow=math.inf)  # its end wakes us, too
            if count:
                sink.write(view[:count], at)
                at += count
                if on_progress is not None:
                    on_progress(count)
            elif count == 0:
                return
            if tick_in is not None and time.monotonic() >= ticked + tick_in:
                tick_in, ticked = tick(), time.monotonic()
