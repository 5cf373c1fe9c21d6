"""Identity mapping: which account, and that nobody's rules can hold us up."""

import re
import time
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.transfer.connect.mapping import (
    DATA_TYPE,
    MAX_VALUE_CHARACTERS,
    BadMapping,
    account,
    rules_in,
)

ME = str(uuid4())


def mapped(username: str, *rules: dict[str, Any]) -> str | None:
    documents = [{"DATA_TYPE": DATA_TYPE, "mappings": list(rules)}]
    return account(rules_in(documents), username=username, identity_id=ME)


def rule(
    match: str, output: str = "{0}", source: str = "{username}", **more: Any
) -> dict[str, Any]:
    return {"source": source, "match": match, "output": output, **more}


SITE = rule(r"(.*)@example\.org")


def test_the_first_rule_that_fits_decides() -> None:
    special = rule("alice@example.org", "root1", literal=True)
    assert mapped("alice@example.org", SITE) == "alice"
    assert mapped("alice@example.org", special, SITE) == "root1"
    assert mapped("bob@example.org", special, SITE) == "bob"
    assert mapped("alice@example.com", special, SITE) is None
    assert mapped("alice@example.org.evil.net", SITE) is None, "all of it must match"
    assert mapped("aliceXexample.org", special) is None, "literal is no expression"


def test_case_ids_and_groups() -> None:
    assert mapped("Alice@Example.ORG", SITE) is None
    assert mapped("Alice@Example.ORG", SITE | {"ignore_case": True}) == "Alice"
    assert mapped("a.b@x.org", rule(r"(.+)\.(.+)@x\.org", "{1}_{0}")) == "b_a"
    assert mapped("x", rule(ME, "me", source="{id}")) == "me"
    assert mapped("al@x", rule("(al)@x", "u-{username}")) == "u-al@x"


@pytest.mark.parametrize("bad", ["/etc", "../x", "-rf", "a b", "a\n", "", "x" * 65, "a:b"])
def test_what_is_no_account_is_none(bad: str) -> None:
    assert mapped(f"{bad}@example.org", rule(r"((?s:.*))@example\.org")) is None


@pytest.mark.parametrize(
    "match",
    [
        "(a+)+b",
        "(a|a)*b",
        "(a*)*",
        "(.*)(.*)(.*)(.*)x",
        "a?a?a?a?a?a?aaaaaa",
        r"(a)\1",
        "(?=a)a",
        "(aa|bb|cc|dd|ee|ff)",
        "(ab){5}",
        "(",
        "a{99999999999}",
    ],
)
def test_expressions_that_may_take_long_are_refused(match: str) -> None:
    with pytest.raises(BadMapping, match="match"):
        mapped("a", rule(match))


@given(
    st.text(alphabet="ab.*+?()|[]{}1,\\^$-", max_size=30),
    st.text(alphabet="ab", max_size=MAX_VALUE_CHARACTERS),
)
def test_whatever_is_taken_is_quick(match: str, username: str) -> None:
    try:
        rules = rules_in([{"DATA_TYPE": DATA_TYPE, "mappings": [rule(match, "x")]}])
    except BadMapping:
        return
    began = time.thread_time()
    account(rules, username=username, identity_id=ME)
    assert time.thread_time() - began < 0.5


def test_the_worst_that_is_taken() -> None:
    began = time.thread_time()
    assert mapped("a" * MAX_VALUE_CHARACTERS, rule("(a*)(a*)(a*)b", "x")) is None
    assert time.thread_time() - began < 0.5
    assert mapped("a" * (MAX_VALUE_CHARACTERS + 1), rule("a*", "x")) is None


@pytest.mark.parametrize(
    ("documents", "word"),
    [
        ([{"DATA_TYPE": "external_identity_mapping#1.0.0"}], "only"),
        ([{"DATA_TYPE": DATA_TYPE, "mappings": {}}], "list"),
        ([{"DATA_TYPE": DATA_TYPE, "mappings": ["x"]}], "object"),
        ([{"DATA_TYPE": DATA_TYPE, "mappings": [rule("x", "{0}")]}], "output"),
        ([{"DATA_TYPE": DATA_TYPE, "mappings": [rule("x", "y", source="{email}")]}], "source"),
        ([{"DATA_TYPE": DATA_TYPE, "mappings": [rule("x", "y", literal="yes")]}], "literal"),
        ([{"DATA_TYPE": DATA_TYPE, "mappings": [rule("x", "y")] * 65}], "64"),
        ([{"DATA_TYPE": DATA_TYPE, "mappings": []}] * 17, "16"),
    ],
)
def test_what_is_wrong_is_told(documents: list[Any], word: str) -> None:
    with pytest.raises(BadMapping, match=re.escape(word)):
        rules_in(documents)
