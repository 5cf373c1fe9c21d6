"""Who may do what: decisions that hold whatever the rules, roles and people are."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.transfer.rights import (
    EVERYWHERE,
    FULL_ACCESS,
    NOWHERE,
    PrincipalType,
    Reach,
    Role,
    Rule,
    Shared,
    Standing,
    Who,
    reach_of,
    shared_at,
    standing_of,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
IDS = [UUID(int=number) for number in range(1, 7)]

ids = st.sampled_from(IDS)
names = st.text("ab.", min_size=1, max_size=2).filter(lambda name: name not in (".", ".."))
directories = st.lists(names, max_size=3).map(lambda parts: "/" + "".join(p + "/" for p in parts))
paths = st.builds(
    lambda place, slash: place if slash else place.rstrip("/") or "/", directories, st.booleans()
)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    kind = draw(st.sampled_from(PrincipalType))
    named = kind in (PrincipalType.IDENTITY, PrincipalType.GROUP)
    ends = draw(st.none() | st.integers(-2, 2).map(lambda hours: NOW + timedelta(hours=hours)))
    return Rule(
        id=draw(st.uuids()),
        principal_type=kind,
        principal=draw(ids) if named else None,
        path=draw(directories),
        writes=draw(st.booleans()),
        created_at=NOW,
        expires_at=ends,
    )


@st.composite
def people(draw: st.DrawFn) -> Who:
    me = draw(ids)
    others = draw(st.frozensets(ids, max_size=2))
    return Who(me, "x", others | {me}, draw(st.frozensets(ids, max_size=3)))


somebody = st.none() | people()
some_rules = st.lists(rules(), max_size=8)
some_roles = st.frozensets(st.sampled_from(Role))


@given(some_rules, somebody, paths)
def test_a_path_is_reached_if_and_only_if_one_rule_says_so(
    given_rules: list[Rule], who: Who | None, path: str
) -> None:
    """The oracle: one rule after the other, as a person would read them."""

    def one_says(*, writing: bool) -> bool:
        inside = path.rstrip("/") + "/"
        for rule in given_rules:
            over = rule.expires_at is not None and rule.expires_at <= NOW
            for_all = rule.principal_type is PrincipalType.ANONYMOUS or (
                rule.principal_type is PrincipalType.ALL and who is not None
            )
            theirs = who is not None and (
                (rule.principal_type is PrincipalType.IDENTITY and rule.principal in who.identities)
                or (rule.principal_type is PrincipalType.GROUP and rule.principal in who.groups)
            )
            below = inside == rule.path or inside.startswith(rule.path)
            if not over and (for_all or theirs) and below and (rule.writes or not writing):
                return True
        return False

    reach = reach_of(given_rules, who, NOW)
    assert reach.reads(path) == one_says(writing=False)
    assert reach.writes(path) == one_says(writing=True)


@given(some_rules, rules(), somebody, paths)
def test_another_rule_never_takes_anything_away(
    given_rules: list[Rule], more: Rule, who: Who | None, path: str
) -> None:
    before, after = reach_of(given_rules, who, NOW), reach_of([*given_rules, more], who, NOW)
    assert after.reads(path) >= before.reads(path)
    assert after.writes(path) >= before.writes(path)


@given(some_rules, somebody)
def test_reach_is_written_in_its_shortest_form(given_rules: list[Rule], who: Who | None) -> None:
    reach = reach_of(given_rules, who, NOW)
    for places in (reach.readable, reach.writable):
        assert list(places) == sorted(set(places))
        assert not any(a != b and a.startswith(b) for a in places for b in places)
    assert all(reach.reads(place) for place in reach.writable), "who may write may read"


def standing(
    who: Who | None,
    owner: UUID,
    roles: frozenset[Role],
    given_rules: list[Rule],
    *,
    guest: bool,
    shared: Shared = "rw",
    public: bool = False,
) -> Standing:
    return standing_of(
        who,
        owners=[owner],
        roles=roles,
        rules=given_rules,
        public=public,
        guest=guest,
        now=NOW,
        shared=shared,
    )


@given(somebody, ids, some_roles, some_rules, st.booleans(), st.booleans())
def test_more_rights_need_more_than_lesser_ones(
    who: Who | None,
    owner: UUID,
    roles: frozenset[Role],
    given_rules: list[Rule],
    guest: bool,
    public: bool,
) -> None:
    found = standing(who, owner, roles, given_rules, guest=guest, public=public)
    assert found.visible >= found.manages_access >= found.administers >= found.owner
    assert found.visible >= found.monitors_activity >= found.manages_activity >= found.administers
    if guest:
        assert (found.reach == EVERYWHERE) >= found.manages_access
    if who is None:
        assert (found.effective_roles, found.monitors_activity) == ([], False)
    if found.administers:
        assert found.owner or Role.ADMINISTRATOR in roles
    if not found.visible:
        assert not guest or found.reach == NOWHERE


@given(people(), ids, some_roles, some_rules)
def test_without_the_identity_or_group_nothing_of_it_is_left(
    who: Who, owner: UUID, roles: frozenset[Role], given_rules: list[Rule]
) -> None:
    """A linked identity that is taken away, and a group that is left or deleted."""
    alone = Who(who.id, who.username, frozenset({who.id}), frozenset())
    found = standing(alone, owner, frozenset(), given_rules, guest=True)
    mine = [
        rule
        for rule in given_rules
        if (rule.principal == who.id and rule.principal_type is PrincipalType.IDENTITY)
        or rule.principal is None
    ]
    assert found.owner == (owner == who.id)
    if not found.owner:
        assert found.reach == reach_of(mine, alone, NOW)
    del roles


@given(somebody, ids, some_roles, some_rules)
def test_what_is_closed_is_closed_to_everybody(
    who: Who | None, owner: UUID, roles: frozenset[Role], given_rules: list[Rule]
) -> None:
    found = standing(who, owner, roles, given_rules, guest=True, shared="none")
    assert found.reach == NOWHERE
    before = standing(who, owner, roles, given_rules, guest=True).reach
    reading = standing(who, owner, roles, given_rules, guest=True, shared="r").reach
    assert (reading.readable, reading.writable) == (before.readable, ())
    assert found.administers == (found.owner or Role.ADMINISTRATOR in found.roles)


@given(people(), some_roles)
def test_activity_roles_read_no_files(who: Who, roles: frozenset[Role]) -> None:
    found = standing(who, UUID(int=99), roles, [], guest=True)
    assert found.reach == (EVERYWHERE if roles & FULL_ACCESS else NOWHERE)


def test_a_name_that_begins_like_a_directory_is_not_in_it() -> None:
    reach = Reach(("/data/",), ())
    assert reach.reads("/data")
    assert reach.reads("/data/x")
    assert not reach.reads("/database")
    assert not reach.reads("/")


def test_a_rule_ends_at_its_moment() -> None:
    rule = Rule(IDS[0], PrincipalType.ANONYMOUS, None, "/", False, NOW, NOW)
    assert not rule.holds_for(None, NOW)
    later = replace(rule, expires_at=NOW + timedelta(microseconds=1))
    assert later.holds_for(None, NOW)


RESTRICTED = {
    "DATA_TYPE": "path_restrictions#1.0.0",
    "read": ["/", "/lake/raw/"],
    "read_write": ["/lake"],
    "none": ["/lake/raw/private", "/etc/"],
}


@pytest.mark.parametrize(
    ("share_path", "shared"),
    [
        ("/home/a", "r"),
        ("/lake/b", "rw"),
        ("/lakeside", "r"),
        ("/lake/raw/c", "r"),
        ("/lake/raw/private", "none"),
        ("/lake/raw/private/d", "none"),
        ("/etc/ssh", "none"),
        ("/lake/raw", "none"),  # it would show what is below
        ("/lake", "none"),
        ("", "none"),
    ],
)
def test_managers_say_what_may_be_shared(share_path: str, shared: Shared) -> None:
    assert shared_at(RESTRICTED, share_path) == shared


def test_managers_spell_paths_as_the_api_does() -> None:
    spelt = {"read": [], "read_write": ["/"], "none": ["/\ufffdd\xff"]}
    assert shared_at(spelt, "/d\udcff/in") == "none"


def test_where_managers_say_nothing_all_may_be_shared_and_what_they_leave_out_not() -> None:
    assert shared_at(None, "/x") == "rw"
    only = {"read": [], "read_write": ["/lake"], "none": []}
    assert [shared_at(only, path) for path in ("/lake", "/lake/x", "/x", "")] == [
        "rw",
        "rw",
        "none",
        "none",
    ]
    assert shared_at({"read": ["/a"], "read_write": ["/a"], "none": []}, "/a") == "r"


@given(
    st.fixed_dictionaries({name: st.lists(directories) for name in ("read", "read_write", "none")}),
    directories,
    directories,
)
def test_nothing_below_what_is_shared_may_be_shared_less(
    restrictions: dict[str, list[str]], share_path: str, below: str
) -> None:
    order: list[Shared] = ["none", "r", "rw"]
    here = shared_at(restrictions, share_path.rstrip("/"))
    there = shared_at(restrictions, (share_path.rstrip("/") + below).rstrip("/"))
    assert order.index(here) <= order.index(there)
