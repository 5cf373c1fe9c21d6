"""Streams of MODE E blocks: right ones, and bent ones."""

import random

from fuzz.bending import bent
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, BlockHeader

_COUNTS = (0, 0, 1, 17, 2**31, 2**63 - 1, 2**63, 2**64 - 1)
_MARKS = (0, EOD, EOF, EOD | EOF, CLOSE, EOD | CLOSE)


def block(descriptor: int, offset: int, data: bytes) -> bytes:
    """One block."""
    return BlockHeader(descriptor, len(data), offset).encode() + data


def whole(dice: random.Random, content: bytes, streams: int) -> list[bytes]:
    """A file as a sender may send it over so many connections."""
    said = [b""] * streams
    at = 0
    while at < len(content):
        count = min(dice.choice((1, 100, 5000, 70_000, 300_000)), len(content) - at)
        lane = dice.randrange(streams)
        said[lane] += block(0, at, content[at : at + count])
        at += count
    first = dice.randrange(streams)
    for lane in range(streams):
        marks = EOD | (CLOSE if dice.randrange(2) else 0)
        if lane == first:
            said[lane] = BlockHeader(EOF, 0, streams).encode() * 1 + said[lane]
        said[lane] += BlockHeader(marks, 0, 0).encode()
    return said


def blocks(dice: random.Random, *, bend: bool) -> bytes:
    """What one connection may say; bent, it may be anything."""
    said = b""
    for _ in range(dice.randint(0, 5)):
        kind = dice.randrange(6)
        if kind < 3:
            said += block(0, dice.randrange(200_000), bytes(dice.choice((0, 1, 900, 70_000))))
        elif kind == 3 and bend:
            header = BlockHeader(dice.randrange(256), dice.choice(_COUNTS), dice.choice(_COUNTS))
            said += header.encode()
        else:
            said += BlockHeader(dice.choice(_MARKS), 0, dice.randint(0, 4)).encode()
    said += BlockHeader(EOD | EOF, 0, 1).encode()
    return bent(dice, said) if bend and dice.randrange(2) else said
