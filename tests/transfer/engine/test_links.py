"""Where links lead, and what is done about what is in their place."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine import make_links
from towpath.transfer.engine.links import leads_round, same_place
from towpath.transfer.engine.make_links import InItsPlace, Root, decide
from towpath.transfer.fidelity import Findings
from towpath.transfer.places import real_places
from towpath.transfer.store.links import Link

FILE = Entry("/d/f", EntryType.FILE, unique="1-2")
LINK = Entry("/d/l", EntryType.FILE, link_target="/d/f", unique="1-2")
OTHER = Entry("/d/l", EntryType.FILE, link_target="/d/g", unique="1-3")


@pytest.mark.parametrize(
    ("path", "targets", "places"),
    [
        ("/", {}, ["/"]),
        ("/a/b", {}, ["/a/b"]),
        ("/a/l/b", {"/a/l": "/x"}, ["/a", "/x/b"]),
        ("/l/m", {"/l": "/x", "/l/m": "/y/z"}, ["/", "/x", "/y/z"]),
        ("/a/l/b", {"/a/l": "../x"}, ["/a", "/x/b"]),  # as it is written
        ("/a/l/b", {"/a/l": "/"}, ["/a", "/b"]),
    ],
)
def test_real_places(path: str, targets: dict[str, str], places: list[str]) -> None:
    assert real_places(path, targets) == places


NAME = st.sampled_from(["a", "b", "c"])


@given(
    links=st.lists(st.tuples(st.lists(NAME, min_size=1, max_size=3), NAME), max_size=5),
    path=st.lists(NAME, min_size=1, max_size=5),
)
def test_the_last_place_is_the_real_one(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[list[str], str]], path: list[str]
) -> None:
    """As the operating system resolves it."""
    root = tmp_path_factory.mktemp("tree").resolve()
    for (*above, name), target in links:
        parent = root.joinpath(*above)
        parent.mkdir(parents=True, exist_ok=True)
        (root / "real" / target).mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(parent / name):
            (parent / name).symlink_to(root / "real" / target)
    wanted = root.joinpath(*path)
    targets = {
        str(one): str(one.resolve()) for one in [wanted, *wanted.parents] if one.is_symlink()
    }
    assert real_places(str(wanted), targets)[-1] == str(wanted.resolve())


@pytest.mark.parametrize(
    ("target", "places", "round_"),
    [
        ("/a/b", ["/a/b"], True),
        ("/a", ["/a/b"], True),
        ("/", ["/a/b"], True),
        ("/a/b/c", ["/a/b"], False),
        ("/a/bb", ["/a/b"], False),
        ("/a", ["/a/b", "/x"], True),  # through a link
        ("/y", ["/a/b", "/x"], False),
    ],
)
def test_leading_round(target: str, places: list[str], round_: bool) -> None:
    assert leads_round(target, places) is round_


@pytest.mark.parametrize(
    ("there", "target", "level", "decision"),
    [
        (LINK, FILE, None, InItsPlace.LEAVE),
        (OTHER, FILE, None, InItsPlace.REPLACE),
        (OTHER, FILE, 3, InItsPlace.REPLACE),
        (OTHER, FILE, 0, InItsPlace.LEAVE),
        (None, FILE, None, InItsPlace.REPLACE),
        (OTHER, None, None, InItsPlace.REPLACE),
        (FILE, FILE, None, InItsPlace.BLOCKED),
        (Entry("/d/l", EntryType.DIRECTORY, unique="1-9"), FILE, None, InItsPlace.BLOCKED),
    ],
)
def test_in_the_place_of_a_link(
    there: Entry | None, target: Entry | None, level: int | None, decision: InItsPlace
) -> None:
    assert decide(there, target, sync_level=level) is decision


def test_the_same_place_without_inodes() -> None:
    link, file = (entry._replace(unique=None) for entry in (LINK, FILE))
    assert same_place(link, file)
    assert same_place(link, link._replace(name="/d/m"))
    assert not same_place(link, OTHER)


def test_targets_in_the_copy() -> None:
    root = Root("/home/me/src", "/export/me/src", "/there")
    assert root.at_destination("/export/me/src/a/b") == "/there/a/b"
    assert root.at_destination("/home/me/src/a") == "/there/a"
    assert root.at_destination("/export/me/src") == "/there"
    assert root.at_destination("/export/me/src2") is None
    assert Root("/", "/", "/there").at_destination("/a") == "/there/a"
    assert Path(Root("/s", "/s", "/").at_destination("/s/a") or "") == Path("/a")


@pytest.mark.parametrize(
    ("there", "replaces", "replaced"),
    [
        (OTHER, None, True),
        (OTHER, "/d/g", True),
        (OTHER, "/d/h", False),
        (OTHER, "", False),
        (None, None, True),  # a link that points nowhere
        (None, "", False),
    ],
)
async def test_a_planned_link_replaces_no_other_than_was_said(
    there: Entry | None, replaces: str | None, replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made when all files have arrived, hours after the last look."""

    class Destination:
        server = "there"
        made = 0

        async def make_link(self, path: str, target: str) -> None:
            assert (path, target) == ("/d/l", "/d/f")
            if not removed:
                raise GridFTPError(Kind.EXISTS, "it is there", self.server, path)
            self.made += 1

        async def stat(self, path: str) -> Entry:
            entry = {"/d/l": there, "/d/f": FILE}[path]
            if entry is None:
                raise GridFTPError(Kind.NOT_FOUND, "none", self.server, path)
            return entry

    async def remove_files(_context: object, _session: object, paths: list[str]) -> None:
        removed.extend(paths)

    removed: list[str] = []
    monkeypatch.setattr(make_links, "remove_files", remove_files)
    context: Any = SimpleNamespace(
        lease=SimpleNamespace(check=lambda: None),
        options=SimpleNamespace(sync_level=None),
        source_path=lambda _item, path: f"/s/{path}",
        destination_path=lambda _item, path: f"/d/{path}",
    )
    destination: Any = Destination()
    making, told = make_links.LinkMaking(context), Findings()
    making._roots[1] = Root("/s", "/s", "/d")
    await making._make(destination, Link(1, "l", "/s/f", replaces), told)
    assert (removed == ["/d/l"], destination.made, bool(told)) == (replaced, replaced, not replaced)
