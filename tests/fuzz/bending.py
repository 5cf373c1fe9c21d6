"""Bytes that are nearly right."""

import random
from collections.abc import Sequence

NUMBERS = (
    *(b"0", b"1", b"-1", b"00", b"65536", b"2147483648", b"4294967296", b"9223372036854775807"),
    *(b"9223372036854775808", b"18446744073709551616", b"1e9", b"0x10", b"9" * 400),
    *("٣".encode(), b"1 ", b"+1", b"1.5"),
)


def bent(dice: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """The data with some changes; `others`: what pieces may come from."""
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        data = _once(dice, data, others)
    return data


def _once(dice: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    at = dice.randint(0, len(data))
    after = min(len(data), at + dice.choice((1, 1, 2, 4, 16, 400)))
    match dice.randrange(9):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[after:]
        case 2:
            return data[:at] + data[at:after] * dice.choice((2, 2, 3, 50)) + data[after:]
        case 3:
            return data[:at] + dice.randbytes(after - at) + data[after:]
        case 4 if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
        case 5:
            return data[:at] + dice.choice(NUMBERS) + data[after:]
        case 6:
            return data[:at] + dice.choice((b"\0", b"\r", b"\n", b"\r\n", b" ", b"\xff", b"\xf4"))
        case 7 if others:
            other = dice.choice(others)
            return data[:at] + other[dice.randint(0, len(other)) :]
        case _:
            return data[:at] + dice.randbytes(dice.choice((1, 3, 40))) + data[at:]


def portions(dice: random.Random, data: bytes) -> list[bytes]:
    """The data in pieces, as a network may cut it."""
    most = dice.choice((1, 7, 100, 5000, 1 << 20))
    most = max(most, len(data) // 300)  # each is a write
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = dice.randint(1, most)
        pieces.append(data[at : at + size])
        at += size
    return pieces
