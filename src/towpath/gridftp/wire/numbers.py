"""Numbers in servers' texts, read strictly.

`int` takes more than a server may say: signs, underscores, blanks, digits of every script.
"""

from __future__ import annotations

from typing import Final

LARGEST: Final = 2**63 - 1
"""Of file sizes and offsets, on every system that has them; and what a database column takes."""


def parse_unsigned(text: str) -> int:
    """Decimal digits, up to `LARGEST`. Raises ValueError."""
    if len(text) > 19 or not (text.isascii() and text.isdigit()):
        raise ValueError(f"not a number: {text[:40]!r}")
    number = int(text)
    if number > LARGEST:
        raise ValueError(f"too large a number: {text}")
    return number
