"""Which paths a task claims, and which claims overlap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.transfer.claims import LONGEST_BYTES, Claim, above, claim, reduced, storage_of
from towpath.transfer.engine.claiming import destinations
from towpath.transfer.store.plan import Item

NAMES = st.sampled_from(["a", "b", "a-", "a0", "ab", "\udcff"])
PATHS = st.lists(NAMES, max_size=4).map(lambda parts: "/" + "/".join(parts))
CLAIMS = st.lists(
    st.builds(lambda path, is_tree: claim(path, is_tree=is_tree), PATHS, st.booleans())
)


def parts(one: Claim) -> list[bytes]:
    return one.path.strip(b"/").split(b"/") if one.path != b"/" else []


def covers(one: Claim, other: Claim) -> bool:
    """By components: slow and plain."""
    mine = parts(one)
    if not one.is_tree:
        return mine == parts(other) and not other.is_tree
    return parts(other)[: len(mine)] == mine


@given(CLAIMS)
def test_what_is_left_covers_all_and_nothing_twice(claims: list[Claim]) -> None:
    left = reduced(claims)
    assert all(any(covers(one, lost) for one in left) for lost in claims)
    assert all(one in claims for one in left)
    assert not any(covers(one, other) for one in left for other in left if one is not other)


@given(CLAIMS)
def test_above_are_all_proper_ancestors(claims: list[Claim]) -> None:
    expected = {
        b"".join(b"/" + part for part in parts(one)[:depth]) + b"/"
        for one in claims
        for depth in range(len(parts(one)))
    }
    assert above(claims) == expected


def test_a_path_too_long_for_the_index_claims_a_directory_above() -> None:
    deep = "/x" * 700
    assert claim(deep, is_tree=False) == Claim(b"/x" * 511 + b"/", is_tree=True)
    assert len(claim(deep, is_tree=False).path) <= LONGEST_BYTES
    fits = "/" + "y" * (LONGEST_BYTES - 2)
    assert claim(fits, is_tree=False) == Claim(fits.encode() + b"/", is_tree=False)
    assert claim(fits + "y", is_tree=False) == Claim(b"/", is_tree=True)


@pytest.mark.parametrize(
    ("item", "globs", "claimed"),
    [
        (Item(0, "/s", "/d", None), False, claim("/d", is_tree=True)),
        (Item(0, "/s", "/d", True), False, claim("/d", is_tree=True)),
        (Item(0, "/s", "/d/*", False), True, claim("/d/*", is_tree=False)),
        (Item(0, "/x/y", None, False), True, claim("/x/y", is_tree=False)),
        (Item(0, "/x/y", None, True), False, claim("/x/y", is_tree=True)),
        (Item(0, "/x/*.dat", None, False), True, claim("/x", is_tree=True)),
        (Item(0, "/x/*.dat", None, False), False, claim("/x/*.dat", is_tree=False)),
    ],
)
def test_what_an_item_claims(item: Item, globs: bool, claimed: Claim) -> None:
    assert destinations([item], globs=globs) == [claimed]


def test_a_server_is_one_storage_however_its_name_is_written() -> None:
    assert storage_of("Data.Example.ORG.", 2811) == storage_of("data.example.org", 2811)
    assert storage_of("2001:DB8:0::1", 2811) == storage_of("2001:db8::1", 2811)
    assert storage_of("a", 2811) != storage_of("a", 2812)


def test_two_collections_of_one_storage_meet() -> None:
    whole = destinations([Item(0, "/s", "/data/x", True)], globs=False, base="/srv")
    part = destinations([Item(0, "/s", "/x/file", False)], globs=False, base="/srv/data")
    assert whole == [claim("/srv/data/x", is_tree=True)]
    assert part == [claim("/srv/data/x/file", is_tree=False)]
    assert part[0].path.startswith(whole[0].path)
