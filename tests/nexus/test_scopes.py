"""The scope grammar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.nexus.scopes import ScopeError, top_level


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
    "text", ["[a]", "a [b]", "a[b", "a]b", "a[[b]]", "a[b][c]", "a[" * 50, "x" * 20000]
)
def test_outside_the_grammar(text: str) -> None:
    with pytest.raises(ScopeError):
        top_level(text)


@given(st.text(alphabet="ab[]* \n"))
def test_any_text_is_answered(text: str) -> None:
    try:
        found = top_level(text)
    except ScopeError:
        return
    assert not any(set("[] \n") & set(scope) for scope in found)
