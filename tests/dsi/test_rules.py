"""Which paths rules allow."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.dsi.rules import FREE, Access, Rules
from towpath.dsi.storage import PathNotAllowedError

READ = Access.ENTER | Access.READ
BOTH = READ | Access.WRITE

names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, max_size=4).map(lambda parts: "/" + "/".join(parts))


def test_the_longest_prefix_holds() -> None:
    rules = Rules.parse("R/a,RW/a/b,N/a/b/c")
    assert rules.access(b"/a") == READ
    assert rules.access(b"/a/x/y") == READ
    assert rules.access(b"/a/b") == BOTH
    assert rules.access(b"/a/b/x") == BOTH
    assert rules.access(b"/a/b/c") == Access.NONE
    assert rules.access(b"/a/b/c/d") == Access.NONE
    assert rules.access(b"/a/b/cd") == BOTH, "a prefix ends at a name's end"


def test_what_is_above_an_allowed_path_may_be_entered_and_nothing_beside_it() -> None:
    rules = Rules.parse("N/,RW/home/me")
    assert rules.access(b"/") == Access.ENTER
    assert rules.access(b"/home") == Access.ENTER
    assert rules.access(b"/home/you") == Access.NONE
    assert rules.access(b"/etc") == Access.NONE


def test_a_deeper_rule_takes_nothing_from_a_directory_above_that_has_its_own() -> None:
    rules = Rules.parse("R/a,RW/a/b/c")
    assert rules.access(b"/a/b") == READ


def test_both_must_allow() -> None:
    rules = Rules.parse("RW/a").and_also(Rules.parse("R/a,RW/b"))
    assert rules.access(b"/a/x") == READ
    assert rules.access(b"/b") == Access.NONE


def test_what_is_below_is_asked_of_too() -> None:
    rules = Rules.parse("RW/a,R/a/b/c")
    rules.demand(b"/a", Access.WRITE)
    rules.demand_below(b"/a/x", Access.WRITE)
    with pytest.raises(PathNotAllowedError, match="/a/b/c"):
        rules.demand_below(b"/a", Access.WRITE)
    with pytest.raises(PathNotAllowedError):
        Rules.parse("RW/,N/x").demand_below(b"/", Access.WRITE)


def test_everything_is_allowed_without_rules_and_by_one_for_the_root() -> None:
    assert FREE.allow_all
    assert Rules.parse("rw/").allow_all
    assert Rules.parse("RW//./").allow_all
    assert not Rules.parse("RW/,N/x").allow_all


def test_a_path_may_hold_commas_and_spaces() -> None:
    rules = Rules.parse("R/a, b/c , RW/d")
    assert rules.access(b"/a, b/c ") == READ
    assert rules.access(b"/d") == BOTH


@pytest.mark.parametrize(
    "text", ["", "/a", "X/a", "Ra", "R", "R/a,", "R/a/../b", "RR/a", "R/a\0", ",R/a"]
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(ValueError, match=r"rule|NUL|path"):
        Rules.parse(text)


def test_rules_have_a_bound() -> None:
    with pytest.raises(ValueError, match="at most"):
        Rules.parse(",".join(f"R/{number}" for number in range(10_001)))
    rules = Rules.parse(",".join(f"R/a/{number}" for number in range(6000)))
    assert rules.table is not None
    for _ in range(5):  # a session may narrow itself again and again
        rules = rules.and_also(Rules.parse("R/a"))
    assert rules.table is not None
    assert len(rules.table) == 6002
    with pytest.raises(ValueError, match="at most"):
        rules.and_also(Rules.parse(",".join(f"R/b/{number}" for number in range(6000))))


@given(data=st.data())
def test_what_both_allow_is_what_each_allows(data: st.DataObject) -> None:
    """Reading and writing; entering is left out where one only reads and one only writes."""
    tables = st.dictionaries(paths, st.sampled_from(["R", "RW", "W", "N"]), min_size=1)
    one, other = (
        Rules.parse(",".join(access + path for path, access in data.draw(tables).items()))
        for _ in range(2)
    )
    path = data.draw(paths).encode()
    each = one.access(path) & other.access(path)
    both = one.and_also(other).access(path)
    assert both & ~Access.ENTER == each & ~Access.ENTER
    assert Access.ENTER not in both or Access.ENTER in each


@given(
    rules=st.dictionaries(paths, st.sampled_from(["R", "RW", "W", "N"]), min_size=1),
    path=paths,
)
def test_it_is_the_longest_prefix_as_one_would_look_it_up_by_hand(
    rules: dict[str, str], path: str
) -> None:
    found = Rules.parse(",".join(access + ruled for ruled, access in rules.items())).access(
        path.encode()
    )
    holding = [r for r in rules if (path + "/").startswith(r.rstrip("/") + "/")]
    letters = rules[max(holding, key=len)] if holding else "N"
    assert (Access.READ in found) == ("R" in letters)
    assert (Access.WRITE in found) == ("W" in letters)


def test_a_path_without_end_is_refused_before_anything_is_made_of_it() -> None:
    """Each directory above it would be looked up, and held."""
    with pytest.raises(ValueError, match="at most 4096"):
        Rules.parse("R" + "/a" * 60_000)
    with pytest.raises(ValueError, match="more than 2097152 bytes"):
        Rules.parse(",".join(f"R/{number}" + "/a" * 2000 for number in range(4)))
    with pytest.raises(ValueError, match="at most 10000"):
        Rules.parse(",".join(f"R/{number}" + "/a" * 2000 for number in range(1000)))


def test_a_path_without_end_is_forbidden_without_a_look() -> None:
    rules = Rules.parse("RW/a")
    began = time.thread_time()
    for _ in range(1000):
        assert rules.access(b"/a" * 60_000) is Access.NONE
    assert time.thread_time() - began < 2
    assert rules.access(b"/a" * 2000) == BOTH


def test_the_way_to_an_allowed_path_through_a_forbidden_one() -> None:
    rules = Rules.parse("N/a,R/a/b/c/d,RW/a/b/c/d/e/f,N/a/b/x")
    found = {path: rules.access(path) for path in (b"/", b"/a", b"/a/b", b"/a/b/c", b"/a/b/x")}
    assert found == {
        b"/": Access.ENTER,
        b"/a": Access.ENTER,
        b"/a/b": Access.ENTER,
        b"/a/b/c": Access.ENTER,
        b"/a/b/x": Access.NONE,
    }
    assert rules.access(b"/a/b/c/d/e") == READ
