"""Paths and URLs."""

import pytest

from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.session import Server


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gsiftp://h/a/b", Location("/a/b", Server("h", 2811))),
        ("gsiftp://h:99/", Location("/", Server("h", 99))),
        ("gsiftp://h", Location("/", Server("h", 2811))),
        ("gsiftp://h/a%20b%25?c=d#e", Location("/a b%?c=d#e", Server("h", 2811))),
        ("gsiftp://h/%ff", Location("/\udcff", Server("h", 2811))),
        ("ftp://h/a", Location("/a", Server("h", 21), clear=True)),
        ("file:///a%20b", Location("/a b")),
        ("a%20b", Location("a%20b")),
        ("/a:b", Location("/a:b")),
    ],
)
def test_parse(text: str, expected: Location) -> None:
    assert Location.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "http://h/a", "gsiftp:///a", "gsiftp://u:p@h/a", "file://h/a", "gsiftp://h:x/", "x://"],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Location.parse(text)
