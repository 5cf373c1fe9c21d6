"""Large buffers that are used again: by one transfer after the other, whoever's they are.

A fresh buffer of a MiB costs 256 page faults, which is as much as copying it twice; and a session
that kept its own would hold it while it is idle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

BUFFER_BYTES: Final = 1024 * 1024
"""One receive; 256 KiB costs 15 to 30 % throughput, more gains nothing."""

KEPT: Final = 16
"""Buffers kept while nobody uses them: 16 MiB in the process, for four transfers of four streams.
More transfers at a time make some of their own, and give them up again."""

_idle: deque[memoryview] = deque(maxlen=KEPT)  # the last one given back is the warmest


@contextmanager
def buffer() -> Iterator[memoryview]:
    """A buffer of `BUFFER_BYTES`, with whatever is in it."""
    try:
        view = _idle.pop()
    except IndexError:
        view = memoryview(bytearray(BUFFER_BYTES))
    try:
        yield view
    finally:
        _idle.append(view)
