"""Our answers have the shapes of the SDK's example answers, but for what the page tells."""

from typing import Any

import pytest

from conformance.calls import CALLS
from conformance.compare import compare_all
from conformance.examples import examples
from conformance.known import KNOWN, explained
from conformance.page import PAGE, table, written
from conformance.shapes import differences
from plugins.nexus import Nexus


async def test_every_example_and_the_page(nexus: Nexus) -> None:
    found = await compare_all(nexus)
    assert len(found) == 154
    unknown = {one.example.name: explained(one)[1] for one in found if explained(one)[1]}
    assert unknown == {}
    used = {known for one in found for known in explained(one)[0]}
    assert used == set(KNOWN), "a difference that is there no more"
    text = PAGE.read_text()
    assert text == written(text, table(found)), "`make conformance` writes it anew"


def test_every_method_can_be_called() -> None:
    assert {example.method for example in examples()} == set(CALLS)


@pytest.mark.parametrize(
    ("example", "ours", "told"),
    [
        ({"a": 1}, {"a": 2, "b": 3}, []),
        ({"a": 1}, {}, ["a: missing"]),
        ({"a": {"b": "x"}}, {"a": {"b": 1}}, ["a.b: number instead of string"]),
        ({"a": 1}, {"a": True}, ["a: boolean instead of number"]),
        ({"a": None}, {"a": []}, []),
        ({"a": None}, {}, ["a: missing"]),
        ({"a": 1}, {"a": None}, ["a: null"]),
        ({"name": "x"}, {"name": None}, []),
        ({"status": "used"}, {"status": "closed"}, ["status: 'closed' instead of 'used'"]),
        ({"token_type": "bearer"}, {"token_type": "Bearer"}, []),
        ([{"a": 1}], [], [": empty"]),
        ([{"a": 1}], [{"a": 1}, {"a": "x"}], ["[].a: string instead of number"]),
        ([{"status": "used"}, {"status": "unused"}], [{"status": "unused"}], []),
        (
            {"grant_types": ["a", "b"]},
            {"grant_types": ["a"]},
            ["grant_types: ['a'] instead of ['a', 'b']"],
        ),
    ],
)
def test_what_a_difference_is(example: Any, ours: Any, told: list[str]) -> None:
    assert list(differences(example, ours)) == told
