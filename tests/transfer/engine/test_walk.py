"""Paths: a destination inside its source is seen."""

import pytest

from towpath.transfer.engine.walk import lies_in


@pytest.mark.parametrize(
    ("path", "place", "inside"),
    [
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/x", "/", True),
        ("/", "/", True),
    ],
)
def test_lies_in(path: str, place: str, inside: bool) -> None:
    assert lies_in(path, place) is inside
