"""How long listing takes, by this way or that: measured on GCT, and good enough to choose by."""

from __future__ import annotations

import math


def data_setup_s(rtt_s: float) -> float:
    """What a data channel costs: a connection, a handshake, and the computing at both ends."""
    return 0.01 + 3 * rtt_s


def login_s(rtt_s: float) -> float:
    """What another session costs; with some margin, for it is also a process at the server."""
    return 0.05 + 4 * rtt_s


def control_s(directories: int, entries: float, rtt_s: float) -> float:
    """How long one session takes for so much by MLSC: a server computes for every line, and a
    connection carries 14 KiB in its first round trip and twice as much in each that follows."""
    rounds = math.log2(1 + entries * 100 / 14_000)
    return directories * 250e-6 + entries * 20e-6 + rounds * rtt_s


def data_gain_s(entries: int) -> float:
    """How much sooner so many entries are there by MLSD than by MLSC, once there is a channel."""
    return entries * 13e-6
