"""Filters and orders of directory listings."""

import time

import pytest

from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.browse.browser import Page
from towpath.transfer.browse.filters import parse_filters, parse_order

FILES = [
    Entry("a.txt", EntryType.FILE, size=10, modified=1_600_000_000, owner="ann"),
    Entry("B.TXT", EntryType.FILE, size=200, modified=1_700_000_000, owner="bob"),
    Entry("sub", EntryType.DIRECTORY, size=4096, modified=1_650_000_000, owner="ann"),
    Entry(".hidden", EntryType.FILE, size=1, modified=None),
]


def passing(*texts: str) -> list[str]:
    holds = parse_filters(texts)
    return [entry.name for entry in FILES if holds(entry)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), ["a.txt", "B.TXT", "sub", ".hidden"]),
        (("",), ["a.txt", "B.TXT", "sub", ".hidden"]),
        (("name:a.txt",), ["a.txt"]),
        (("name:=a.txt,=sub",), ["a.txt", "sub"]),
        (("name:~*.txt",), ["a.txt", "B.TXT"]),
        (("name:~*.t*t",), ["a.txt", "B.TXT"]),
        (("name:!~*.txt",), ["sub", ".hidden"]),
        (("name:!sub",), ["a.txt", "B.TXT", ".hidden"]),
        (("name:!=sub,~*b*",), ["B.TXT"]),
        (("type:dir",), ["sub"]),
        (("type:file/name:~b*",), ["B.TXT"]),
        (("type:dir", "name:~a*"), ["a.txt", "sub"]),
        (("size:>10",), ["B.TXT", "sub"]),
        (("size:>=10,<200",), ["a.txt"]),
        (("size:1",), [".hidden"]),
        (("last_modified:2022-01-01,",), ["B.TXT", "sub"]),
        (("last_modified:,2021-01-01",), ["a.txt"]),
        (("user:ann",), ["a.txt", "sub"]),
    ],
)
def test_filters(texts: tuple[str, ...], expected: list[str]) -> None:
    assert passing(*texts) == expected


@pytest.mark.parametrize("text", ["name", "colour:red", "size:big", "last_modified:2020-01-01"])
def test_refused_filters(text: str) -> None:
    with pytest.raises(ValueError, match=r"filter|last_modified"):
        parse_filters([text])


def test_hostile_patterns_stay_cheap() -> None:
    holds = parse_filters(["name:~" + "*a" * 100 + "*b"])
    began = time.process_time()
    assert not holds(Entry("a" * 255, EntryType.FILE))
    assert time.process_time() - began < 0.5


def page(order: str, *, limit: int = 100, offset: int = 0, show_hidden: bool = True) -> Page:
    return Page(parse_order(order), parse_filters(()), show_hidden, limit, offset)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("", [".hidden", "B.TXT", "a.txt", "sub"]),
        ("size DESC", ["sub", "B.TXT", "a.txt", ".hidden"]),
        ("type,name DESC", ["sub", "a.txt", "B.TXT", ".hidden"]),
        ("last_modified", [".hidden", "a.txt", "sub", "B.TXT"]),
    ],
)
def test_orders(order: str, expected: list[str]) -> None:
    listing = page(order)
    listing.add(FILES)
    assert [entry.name for entry in listing.entries()] == expected


@pytest.mark.parametrize("order", ["colour", "name UP", "name,,size"])
def test_refused_orders(order: str) -> None:
    with pytest.raises(ValueError, match="order"):
        parse_order(order)


def test_hidden_and_current_directory_are_left_out() -> None:
    listing = page("name", show_hidden=False)
    listing.add([*FILES, Entry(".", EntryType.LISTED_DIRECTORY)])
    assert listing.total == 3


def test_a_page_of_a_large_directory_holds_little() -> None:
    listing = page("name DESC", limit=10, offset=5)
    for start in range(0, 20_000, 1000):
        listing.add(
            [Entry(f"{number:06}", EntryType.FILE) for number in range(start, start + 1000)]
        )
        assert len(listing._kept) <= 2 * 15 + 2000
    assert listing.total == 20_000
    assert [entry.name for entry in listing.entries()] == [
        f"{n:06}" for n in range(19994, 19984, -1)
    ]
