"""Cutting a large file into ranges."""

from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.transfer.engine.large import RANGE_MAX_BYTES, RANGE_MIN_BYTES, cut, range_size

SIZES = st.integers(min_value=0, max_value=1 << 36)


@given(SIZES, st.lists(st.tuples(SIZES, SIZES), max_size=8))
def test_what_is_cut_and_what_is_there_are_the_whole_file_and_do_not_overlap(
    size: int, pairs: list[tuple[int, int]]
) -> None:
    present = RangeSet(ByteRange(min(a, b, size), min(max(a, b), size)) for a, b in pairs)
    before = present.total
    missing = cut(size, present)
    assert before + sum(r.length for r in missing) == size
    for one in missing:
        assert 0 < one.length <= range_size(size)
        present.add(one)
    assert present.total == size


@given(SIZES)
def test_a_lost_range_is_a_small_part_of_a_very_large_file(size: int) -> None:
    assert RANGE_MIN_BYTES <= range_size(size) <= RANGE_MAX_BYTES
