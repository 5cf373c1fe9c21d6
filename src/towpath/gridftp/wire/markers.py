"""Markers that a receiving server sends while it works: 112 performance, 111 restart (GFD.20)."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from towpath.gridftp.wire.numbers import parse_unsigned
from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.gridftp.wire.replies import Reply

LONGEST_LIST: Final = 64 * 1024
"""Characters of a list of ranges. A longer one, in the worst order, would take seconds to merge."""


class PerformanceMarker(NamedTuple):
    """Bytes one stripe received since its command began."""

    timestamp_s: float
    stripe: int
    stripe_bytes: int
    stripes: int


def parse_performance(reply: Reply) -> PerformanceMarker | None:
    """From a 112 reply; None when it is none, or garbled (a marker is never worth a session)."""
    if reply.code != 112:
        return None
    values: dict[str, str] = {}
    for line in reply.lines:
        key, _, value = line.partition(":")
        values[key.strip().lower()] = value.strip()
    try:
        marker = PerformanceMarker(
            float(values.get("timestamp", "0")),
            parse_unsigned(values.get("stripe index", "0")),
            parse_unsigned(values["stripe bytes transferred"]),
            parse_unsigned(values.get("total stripe count", "1")),
        )
    except (KeyError, ValueError):
        return None
    return marker if math.isfinite(marker.timestamp_s) else None


def performance_reply(marker: PerformanceMarker) -> bytes:
    """The 112 of a server, as GCT writes it."""
    return (
        "112-Perf Marker\r\n"
        f" Timestamp:  {marker.timestamp_s:.1f}\r\n"
        f" Stripe Index: {marker.stripe}\r\n"
        f" Stripe Bytes Transferred: {marker.stripe_bytes}\r\n"
        f" Total Stripe Count: {marker.stripes}\r\n"
        "112 End.\r\n"
    ).encode("ascii")


def restart_reply(ranges: RangeSet) -> bytes:
    """The 111 of a server: what was received since the last one, not empty."""
    return f"111 Range Marker {ranges}\r\n".encode("ascii")


def parse_restart(reply: Reply) -> RangeSet | None:
    """From a 111 reply: the ranges received since the last one; None when it is none, or garbled.

    After ESTO they count from the start of the data, not of the file.
    """
    if reply.code != 111:
        return None
    words = reply.text.split()
    if len(words) < 3 or words[:2] != ["Range", "Marker"]:
        return None
    try:
        return parse_ranges(words[2])
    except ValueError:
        return None


def parse_ranges(text: str) -> RangeSet:
    """`0-100,200-300`. Raises ValueError, for a list longer than `LONGEST_LIST` too."""
    if len(text) > LONGEST_LIST:
        raise ValueError("not a list of ranges: too long")
    ranges = RangeSet()
    for part in text.split(","):
        first, dash, after = part.partition("-")
        if not dash:
            raise ValueError(f"not a range: {part[:40]!r}")
        ranges.add(ByteRange(parse_unsigned(first), parse_unsigned(after)))
    return ranges
