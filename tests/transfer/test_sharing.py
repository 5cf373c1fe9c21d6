"""What servers are told of access rules is what the rules allow."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.dsi.rules import Access, Rules
from towpath.gridftp.wire import commands
from towpath.transfer import sharing
from towpath.transfer.rights import EVERYWHERE, NOWHERE, PrincipalType, Reach, Rule, reach_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = st.sampled_from(["a", "b", "c d", "e,RW", "100%", "x:y"])
PLACES = st.lists(NAMES, max_size=3).map(lambda names: "/" + "".join(f"{n}/" for n in names))


def rule(path: str, *, writes: bool) -> Rule:
    """For everybody."""
    return Rule(uuid4(), PrincipalType.ANONYMOUS, None, path, writes, NOW, None)


def reach(given_rules: list[tuple[str, bool]]) -> Reach:
    """What they come to."""
    return reach_of([rule(path, writes=writes) for path, writes in given_rules], None, NOW)


RULES = st.lists(st.tuples(PLACES, st.booleans()), max_size=8)


@given(RULES, st.lists(NAMES, max_size=4), st.booleans(), st.sampled_from(["", "/home/ann/x"]))
def test_a_server_allows_what_the_rules_do(
    given_rules: list[tuple[str, bool]], names: list[str], writes: bool, root: str
) -> None:
    """Held against the rules of our own server, which are those of GCT."""
    allowed = reach(given_rules)
    path = "/" + "/".join(names)
    prefixes = sharing.places(allowed, root, writes=writes)
    at_server = f"{root}{path}".rstrip("/") or "/"
    for told in (
        Rules.of([("RW" if prefix.write else "R", prefix.path) for prefix in prefixes]),
        Rules.parse(sharing.restriction(prefixes)) if prefixes else Rules.of([]),
    ):
        access = told.access(at_server.encode())
        assert (Access.READ in access) == allowed.reads(path)
        assert (Access.WRITE in access) == (writes and allowed.writes(path))


def test_the_shortest_form_is_told() -> None:
    some = Reach(("/data/", "/open/"), ("/data/in/", "/open/"))
    assert sharing.places(some, "/home/ann") == (
        ("/home/ann/data", False),
        ("/home/ann/data/in", True),
        ("/home/ann/open", True),
    )
    assert sharing.places(some, "", writes=False) == (("/data", False), ("/open", False))
    assert sharing.places(EVERYWHERE, "") == (("/", True),)
    assert sharing.places(EVERYWHERE, "/home/ann") == (("/home/ann", True),)
    assert sharing.places(NOWHERE, "/home/ann") == ()


def test_a_server_is_told_of_so_many_places_at_most() -> None:
    some = tuple(f"/d{number:03}/" for number in range(sharing.MOST_PLACES))
    assert len(sharing.places(Reach(some, ()), "/x")) == sharing.MOST_PLACES
    with pytest.raises(sharing.TooManyPlaces):
        sharing.places(Reach((*some, "/one/more/"), ()), "/x")
    long = tuple(f"/{'d' * 200}{number:03}/" for number in range(sharing.MOST_PLACES))
    sharing.places(Reach(long, ()), "/x")
    with pytest.raises(sharing.TooManyPlaces):
        sharing.places(Reach(long, ()), "/" + "x" * 200)


def test_paths_that_would_mean_something_else_to_a_server() -> None:
    told = commands.restriction([("/a,RW/etc", False), ("/50%2F", True), ("/x:/etc", True)])
    assert told == "R/a%2CRW/etc,RW/50%252F,RW/x%3A/etc"
    assert commands.restriction([("/we[ird*", False)]) == r"R/we\[ird\*,R/we\[ird\*/*"
    for one in (told, commands.restriction([("/we[ird*", True)])):
        assert commands.restrict(one) == f"SITE RESTRICT {one}"


@given(RULES, st.lists(PLACES, max_size=5), st.booleans())
def test_the_first_path_outside_is_found(
    given_rules: list[tuple[str, bool]], asked: list[str], writes: bool
) -> None:
    known = reach(given_rules)
    allowed = known.writes if writes else known.reads
    expected = next((path for path in asked if not allowed(path)), None)
    assert sharing.outside(known, asked, writes=writes) == expected
