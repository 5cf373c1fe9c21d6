"""The grammar of scopes."""

from collections.abc import Iterable
from itertools import count

import pytest
from globus_sdk.scopes import Scope, ScopeParser
from hypothesis import given
from hypothesis import strategies as st

from towpath.nexus.scopes import ScopeError, ScopeNode, names, parse, top_level


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b", ["a", "b"]),
        ("a a  b", ["a", "b"]),
        ("a[b c[*d]] e", ["a", "e"]),
        ("*a[b]", ["a"]),
        ("", []),
    ],
)
def test_top_level(text: str, found: list[str]) -> None:
    assert top_level(text) == found


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a[b] a[c]", "a[b c]"),
        ("a[b[c]] a[b[d]]", "a[b[c d]]"),
        ("a[*b] a[b]", "a[b]"),
        ("a[*b] a[*b]", "a[*b]"),
        ("a[b b]", "a[b]"),
        ("a[ b  c ]", "a[b c]"),
    ],
)
def test_the_same_scope_is_one_node(text: str, same: str) -> None:
    assert " ".join(map(str, parse(text).values())) == same


@pytest.mark.parametrize(
    "text",
    [
        *("[a]", "a [b]", "a[b", "a]b", "a[[b]]", "a[b][c]", "a[" * 50, "x" * 20000),
        *("*", "**a", "a*b", 'a"b', "a\\b", "é", "a\x00b", " ".join(f"s{n}" for n in range(501))),
    ],
)
def test_outside_the_grammar(text: str) -> None:
    with pytest.raises(ScopeError):
        parse(text)


@given(st.text(alphabet="ab[]* \n"))
def test_any_text_is_answered(text: str) -> None:
    try:
        found = parse(text)
    except ScopeError:
        return
    assert not any(set("[] \n*") & set(scope) for scope in names(list(found.values())))
    again = " ".join(map(str, found.values()))
    assert " ".join(map(str, parse(again).values())) == again


Shape = list["tuple[bool, Shape]"]
"""Of each scope: whether it is optional, and what is below it."""

SHAPES: st.SearchStrategy[Shape] = st.recursive(
    st.just([]), lambda below: st.lists(st.tuples(st.booleans(), below), max_size=3), max_leaves=12
)


def _of_sdk(shape: Shape, numbers: "count[int]") -> list[Scope]:
    """As the SDK builds it; every scope has a name of its own, for it merges by names."""
    return [
        Scope(
            f"https://x.example/scopes/{next(numbers)}",
            optional=optional,
            dependencies=tuple(_of_sdk(below, numbers)),
        )
        for optional, below in shape
    ]


def _plain(nodes: Iterable[ScopeNode]) -> object:
    return [(one.scope, one.optional, _plain(one.dependencies.values())) for one in nodes]


def _plain_of_sdk(scopes: Iterable[Scope]) -> object:
    return [(one.scope_string, one.optional, _plain_of_sdk(one.dependencies)) for one in scopes]


@given(SHAPES.filter(bool))
def test_it_is_the_sdks_grammar(shape: Shape) -> None:
    wanted = _of_sdk(shape, count())
    text = ScopeParser.serialize(wanted)
    assert _plain(parse(text).values()) == _plain_of_sdk(wanted)
    written = " ".join(map(str, parse(text).values()))
    assert parse(ScopeParser.serialize(ScopeParser.parse(written))).keys() == parse(text).keys()
