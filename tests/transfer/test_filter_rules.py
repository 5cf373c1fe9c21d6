"""Filter rules: the first that matches decides."""

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.transfer.filter_rules import MAX_PATTERN_CHARACTERS, FilterRule, FilterRules

letters = st.text("ab.é", max_size=4)
globs = st.text("ab.é*?[!]", min_size=1, max_size=6)
rules = st.builds(FilterRule, st.booleans(), globs, st.sampled_from(["file", "dir", None]))


@given(st.lists(rules, max_size=5), letters, st.booleans())
def test_the_first_rule_that_matches_decides(
    given_rules: list[FilterRule], name: str, is_directory: bool
) -> None:
    kind = "dir" if is_directory else "file"
    matching = [
        rule.include
        for rule in given_rules
        if rule.kind in (None, kind) and fnmatch.fnmatchcase(name, rule.pattern)
    ]
    expected = matching[0] if matching else True
    assert FilterRules(given_rules).take(name, is_directory=is_directory) is expected


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*.tmp", "a.tmp", True),
        ("*.tmp", ".tmp", True),
        ("*.tmp", "a.TMP", False),
        ("*.tmp", "a.tmp\n", False),
        ("?", "ü", True),
        ("[ab]c", "bc", True),
        ("[!ab]c", "bc", False),
        ("a", "ab", False),
        ("\ufffd*", "caf\udce9", True),  # a name that is no UTF-8, as the API spells it
        ("*\xe9", "caf\udce9", True),
    ],
)
def test_globs(pattern: str, name: str, matches: bool) -> None:
    excluding = FilterRules([FilterRule(include=False, pattern=pattern)])
    assert excluding.take(name, is_directory=False) is not matches


def test_from_a_document() -> None:
    found = FilterRules.from_document(
        [
            {"DATA_TYPE": "filter_rule", "method": "include", "name": "keep*", "type": "file"},
            {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "*"},
        ]
    )
    assert found.take("keep.txt", is_directory=False)
    assert not found.take("keep", is_directory=True)
    assert not found.take("other", is_directory=False)
    assert FilterRules.from_document(None).take("x", is_directory=False)


def test_the_worst_pattern_takes_no_time() -> None:
    pattern = "*a" * (MAX_PATTERN_CHARACTERS // 2)
    worst = FilterRules([FilterRule(include=False, pattern=pattern)])
    began = time.process_time()
    assert worst.take("a" * 254 + "b", is_directory=False)
    assert time.process_time() - began < 1
