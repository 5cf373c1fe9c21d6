"""What a mirror may delete, as far as it can be told without a server."""

import posixpath
import unicodedata
from collections.abc import AsyncIterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine import mirror
from towpath.transfer.engine.item_places import ItemPlaces
from towpath.transfer.engine.mirror import DirectoryMirror, other_spellings, spelling
from towpath.transfer.engine.removal import keeping
from towpath.transfer.engine.sync import DestinationDirectory, EntryRoom
from towpath.transfer.filter_rules import FilterRule, FilterRules
from towpath.transfer.store.plan import Directory, Item

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


@given(st.lists(st.tuples(paths, paths), min_size=1, max_size=5), paths, st.booleans())
def test_what_else_is_copied_to_a_path(
    ends: list[tuple[str, str]], below: str, linked: bool
) -> None:
    items = [Item(number, here, there, recursive=True) for number, (here, there) in enumerate(ends)]
    real = {ends[0][1]: "/a"} if linked else {}
    found = ItemPlaces(items, real_destinations=real).others(items[0], below.strip("/"))
    expected = {
        posixpath.normpath(posixpath.join(here, posixpath.relpath(path, place)))
        for root in {ends[0][1], real.get(ends[0][1], ends[0][1])}
        for path in [posixpath.normpath(f"{root}/{below}").replace("//", "/")]
        for here, there in ends[1:]
        for place in {there, real.get(there, there)}
        if path != place and lies_in(path, place)
    }
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


@given(st.text(alphabet="aAbBéÉßü\u0308\udce9 ", max_size=6))
def test_spellings(name: str) -> None:
    assert spelling(spelling(name)) == spelling(name)
    assert name not in other_spellings(name)
    for form in ("NFC", "NFD"):
        assert spelling(unicodedata.normalize(form, name)) == spelling(name)
    assert spelling(name.lower()) == spelling(name)
    assert spelling(name.upper()) == spelling(name) or "ß" in name


class FoldingSession:
    """A double of a server on a file system that takes two spellings for one name, or does not."""

    def __init__(self, *names: str, folds: bool = True) -> None:
        self.names = names
        self.folds = folds

    async def list(self, _path: str) -> AsyncIterator[list[Entry]]:
        yield [Entry(name, EntryType.FILE) for name in self.names]

    async def stat(self, path: str) -> Entry:
        name = path.rpartition("/")[2]
        for one in self.names:
            if one == name or (self.folds and spelling(one) == spelling(name)):
                return Entry(path, EntryType.FILE)
        raise GridFTPError(Kind.NOT_FOUND, "no such file", "double")

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("most", [100, 1])
@pytest.mark.parametrize("folds", [True, False])
async def test_a_destination_that_takes_two_spellings_for_one_name(
    monkeypatch: pytest.MonkeyPatch, most: int, folds: bool
) -> None:
    source = FoldingSession("Same", "README", "\u00fc", folds=False)
    destination: Any = FoldingSession("Same", "Readme", "u\u0308", "extra", folds=folds)
    recorded: list[str] = []

    async def open_both(_context: object) -> list[tuple[Any, None]]:
        return [(source, None), (destination, None)]

    async def add_extras(_conn: object, _task_no: int, *, paths: list[str], **_: object) -> None:
        recorded.extend(paths)

    monkeypatch.setattr(mirror, "open_both", open_both)
    monkeypatch.setattr(mirror.removals, "add_extras", add_extras)
    item = Item(0, "/s", "/d", recursive=True)
    context: Any = SimpleNamespace(
        items={0: item},
        options=SimpleNamespace(filter_rules=FilterRules()),
        task_no=1,
        fenced=lambda: nullcontext(None),
        source_path=lambda _no, path: f"/s/{path}",
        destination_path=lambda _no, path: f"/d/{path}".rstrip("/"),
    )
    there = DestinationDirectory(destination, "/d", room=EntryRoom(most))
    await there.load()
    recorder: Any = None
    one = DirectoryMirror(context, recorder, ItemPlaces([item]), Directory(1, 0, ""), there)
    async for batch in source.list("/s"):
        one.see(batch)
    await one.record()
    assert recorded == [], "the source does not tell how many names it has"
    one.count(3)
    await one.record()
    doubt = folds or most == 1  # of a large directory it is not asked what the destination takes
    assert set(recorded) == ({"extra"} if doubt else {"extra", "Readme", "u\u0308"})
