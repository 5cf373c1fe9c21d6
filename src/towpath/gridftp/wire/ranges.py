"""Half-open byte ranges and sets of them: what of a file is there, and what is missing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class ByteRange(NamedTuple):
    """Bytes `first` (included) up to `after` (excluded)."""

    first: int
    after: int

    @property
    def length(self) -> int:
        """Bytes in the range."""
        return self.after - self.first

    def __str__(self) -> str:
        return f"{self.first}-{self.after}"


class RangeSet:
    """A set of bytes kept as sorted, disjoint, non-touching ranges; adding merges."""

    __slots__ = ("_afters", "_firsts")

    def __init__(self, ranges: Iterable[ByteRange] = ()) -> None:
        self._firsts: list[int] = []
        self._afters: list[int] = []
        for item in ranges:
            self.add(item)

    def add(self, item: ByteRange) -> None:
        """Add a range; an empty one adds nothing. Raises ValueError for one that is none."""
        first, after = item
        if first < 0 or after < first:
            raise ValueError(f"not a byte range: {first}-{after}")
        if first == after:
            return
        low = bisect_left(self._afters, first)
        high = bisect_right(self._firsts, after)
        if low < high:
            first = min(first, self._firsts[low])
            after = max(after, self._afters[high - 1])
        self._firsts[low:high] = [first]
        self._afters[low:high] = [after]

    def complement(self, size: int) -> list[ByteRange]:
        """What is missing of a file of `size` bytes, in order."""
        missing: list[ByteRange] = []
        at = 0
        for first, after in self:
            if first >= size:
                break
            if first > at:
                missing.append(ByteRange(at, first))
            at = after
        if at < size:
            missing.append(ByteRange(at, size))
        return missing

    def contains(self, item: ByteRange) -> bool:
        """Whether every byte of the range is in the set."""
        if item.length <= 0:
            return True
        index = bisect_right(self._firsts, item.first) - 1
        return index >= 0 and item.after <= self._afters[index]

    @property
    def total(self) -> int:
        """Bytes in the set."""
        return sum(self._afters) - sum(self._firsts)

    def __iter__(self) -> Iterator[ByteRange]:
        return map(ByteRange, self._firsts, self._afters)

    def __len__(self) -> int:
        return len(self._firsts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._firsts == other._firsts and self._afters == other._afters

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        """The form of REST and of range markers: `0-100,200-300`."""
        return ",".join(map(str, self))

    def __repr__(self) -> str:
        return f"RangeSet({str(self)!r})"
