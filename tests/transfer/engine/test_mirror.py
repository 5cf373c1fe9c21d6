"""What a mirror may delete, as far as it can be told without a server."""

import posixpath

from hypothesis import given
from hypothesis import strategies as st

from towpath.transfer.engine.mirror import ItemPlaces, keeping
from towpath.transfer.filter_rules import FilterRule, FilterRules
from towpath.transfer.store.plan import Item

paths = st.lists(st.sampled_from(["a", "a-", "b", "ab"]), max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


def lies_in(path: str, place: str) -> bool:
    return posixpath.commonpath([path, place]) == place


@given(st.lists(st.tuples(paths, paths), min_size=1, max_size=5), paths, st.booleans())
def test_no_end_of_an_item_is_deleted(
    ends: list[tuple[str, str]],
    below: str,
    one_server: bool,
) -> None:
    items = [Item(number, here, there, recursive=True) for number, (here, there) in enumerate(ends)]
    real = {there: f"/real{there}".rstrip("/") for _, there in ends} if one_server else {}
    sources = [f"/real{here}".rstrip("/") for here, _ in ends] if one_server else []
    places = ItemPlaces(items, real_sources=sources, real_destinations=real)
    path = posixpath.normpath(f"{ends[0][1]}/{below}").replace("//", "/")
    there = posixpath.normpath(f"/real/{path}")
    expected = any(lies_in(end, path) for _, end in ends) or any(
        lies_in(end, there) or lies_in(there, end) for end in sources
    )
    assert places.protect(items[0], below.strip("/")) == expected


@given(st.lists(st.tuples(paths, paths), max_size=5), paths)
def test_what_else_is_copied_to_a_path(ends: list[tuple[str, str]], path: str) -> None:
    items = [Item(number, here, there, recursive=True) for number, (here, there) in enumerate(ends)]
    found = ItemPlaces(items).others(path, 0)
    expected = [
        posixpath.normpath(posixpath.join(here, posixpath.relpath(path, there)))
        for here, there in ends[1:]
        if path != there and lies_in(path, there)
    ]
    assert sorted(found) == sorted(expected)


def test_a_rule_keeps_names_below_a_root_and_not_the_root() -> None:
    rules = FilterRules([FilterRule(include=False, pattern="x", kind="dir")])
    keep = keeping(rules, {"/x/root"})
    assert keep is not None
    assert not keep("/x/root", True)
    assert not keep("/x/root/x", False)
    assert keep("/x/root/x", True)
    assert keep("/x/root/x/f", False)
    assert keep("/x/root/a/x/b/f", False)
    assert not keep("/x/root/a/b", True)
    assert keeping(FilterRules(), set()) is None
