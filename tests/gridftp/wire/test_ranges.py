from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.wire.markers import parse_ranges
from towpath.gridftp.wire.ranges import ByteRange, RangeSet

SIZE = 60
ranges = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(
    lambda pair: ByteRange(min(pair), max(pair))
)


@given(st.lists(ranges, max_size=12), ranges)
def test_a_range_set_is_a_set_of_bytes(items: list[ByteRange], probe: ByteRange) -> None:
    truth = {byte for item in items for byte in range(*item)}
    found = RangeSet(items)
    assert {byte for item in found for byte in range(*item)} == truth
    assert found.total == len(truth)
    assert found.contains(probe) == (set(range(*probe)) <= truth)
    missing = [byte for item in found.complement(SIZE) for byte in range(*item)]
    assert missing == [byte for byte in range(SIZE) if byte not in truth]
    kept = list(found)
    assert all(one.after < two.first for one, two in pairwise(kept))


@given(st.lists(ranges, max_size=12), st.randoms())
def test_order_does_not_matter(items: list[ByteRange], random) -> None:
    shuffled = list(items)
    random.shuffle(shuffled)
    assert RangeSet(items) == RangeSet(shuffled)


@given(st.lists(ranges, max_size=12))
def test_text_form_reads_back(items: list[ByteRange]) -> None:
    found = RangeSet(items)
    if len(found):
        assert parse_ranges(str(found)) == found


@pytest.mark.parametrize("bad", [ByteRange(-1, 3), ByteRange(5, 4)])
def test_what_is_no_range_is_refused(bad: ByteRange) -> None:
    with pytest.raises(ValueError, match="not a byte range"):
        RangeSet().add(bad)
