"""The rules by themselves: what holds whatever anybody does, in whatever order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from towpath.nexus.groups.rules import (
    NEEDED,
    OWN_ACTIONS,
    RIGHTS,
    Action,
    Code,
    Facts,
    GroupVisibility,
    Item,
    Membership,
    MembersVisibility,
    Policies,
    Refused,
    Right,
    Role,
    SignupField,
    Standing,
    Status,
    decide,
    has,
    is_stale,
    may_ask,
    outcome,
    standing,
)

PEOPLE = [UUID(int=n) for n in range(4)]
POLICIES = st.builds(
    Policies,
    st.sampled_from(GroupVisibility),
    st.sampled_from(MembersVisibility),
    st.booleans(),
    st.booleans(),
    st.sampled_from([(), (SignupField.PHONE,)]),
    st.booleans(),
)
OTHERS_ACTIONS = sorted(set(Action) - OWN_ACTIONS)


class AnyOrder(RuleBasedStateMachine):
    """One group; everybody tries everything. The model keeps only who was let in, and by whom."""

    def __init__(self) -> None:
        super().__init__()
        roles = dict(zip(PEOPLE, (Role.ADMIN, Role.MANAGER, Role.MEMBER), strict=False))
        self.memberships = {
            one: Membership(one, role, Status.ACTIVE) for one, role in roles.items()
        }
        self.policies = Policies()
        self.let_in = set(roles)
        """Whom a manager has added, invited or approved since they were last outside."""
        self.raised = set(PEOPLE[:2])
        """To whom an admin has given a role since they were last outside."""

    def who(self, person: UUID) -> Standing:
        return standing([self.memberships[person]] if person in self.memberships else [])

    def admins(self) -> int:
        return sum(self.who(one) is Standing.ADMIN for one in PEOPLE)

    @rule(policies=POLICIES)
    def policies_change(self, policies: Policies) -> None:
        self.policies = policies

    @rule(
        actor=st.sampled_from(PEOPLE),
        whom=st.sampled_from(PEOPLE),
        action=st.sampled_from(Action),
        role=st.sampled_from([None, *Role]),
        told=st.booleans(),
        allows=st.booleans(),
    )
    def somebody_acts(
        self, actor: UUID, whom: UUID, action: Action, role: Role | None, told: bool, allows: bool
    ) -> None:
        before = self.memberships.get(whom)
        who = self.who(actor)
        facts = Facts(
            self.policies,
            who,
            frozenset({actor}),
            before,
            self.admins(),
            target_allows_add=allows,
            signup={"phone": "1"} if told else {},
        )
        after = decide(Item(action, whom, role), facts)
        if isinstance(after, Refused):
            return
        assert after.identity_id == whom
        self.memberships[whom] = after
        manages = who in (Standing.MANAGER, Standing.ADMIN)
        if actor != whom:
            assert manages
            assert action not in OWN_ACTIONS
        if action in (Action.ADD, Action.INVITE, Action.APPROVE):
            assert manages
            self.let_in.add(whom)
        if action is Action.ADD:
            assert allows
        if who is Standing.ADMIN and role is not None and action not in OWN_ACTIONS:
            self.raised.add(whom)
        if after.status is Status.ACTIVE and (before is None or before.status is not Status.ACTIVE):
            open_ = self.policies.direct_joins and not self.policies.high_assurance
            assert whom in self.let_in or (action is Action.JOIN and open_)
            if action in OWN_ACTIONS:
                assert told or not self.policies.signup_fields
        if after.role is not Role.MEMBER:
            assert whom in self.raised
        if after.status not in (Status.ACTIVE, Status.INVITED):
            self.let_in.discard(whom)
            self.raised.discard(whom)

    @invariant()
    def there_is_an_admin(self) -> None:
        assert self.admins() >= 1

    @invariant()
    def who_is_outside_has_no_role(self) -> None:
        for membership in self.memberships.values():
            if membership.status not in (Status.ACTIVE, Status.INVITED):
                assert membership.role is Role.MEMBER


AnyOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_any_order = AnyOrder.TestCase


@given(POLICIES, st.sampled_from(Right))
def test_a_right_of_a_lower_role_is_one_of_the_higher(policies: Policies, right: Right) -> None:
    who = [Standing.IMPLIED, Standing.MEMBER, Standing.MANAGER, Standing.ADMIN]
    having = [has(right, one, policies) for one in who]
    assert having == sorted(having)
    assert having[-1]


@given(POLICIES)
def test_policies_widen_only_what_is_seen(policies: Policies) -> None:
    for right, holders in RIGHTS.items():
        for who in Standing:
            if has(right, who, policies) != (who in holders):
                assert right in (Right.SEE, Right.SEE_MEMBERS)
                assert who not in holders


def test_who_sees_nothing_may_do_nothing() -> None:
    for who in (Standing.STRANGER, Standing.FORMER):
        assert not any(has(right, who, Policies()) for right in Right)


def test_every_action_has_an_answer_for_every_status() -> None:
    for action in Action:
        assert (action in NEEDED) != (action in OWN_ACTIONS)
        for status in (None, *Status):
            assert isinstance(outcome(action, status), Status | Code)


def test_the_strongest_membership_counts() -> None:
    mine = [
        Membership(PEOPLE[0], Role.ADMIN, Status.LEFT),
        Membership(PEOPLE[1], Role.MEMBER, Status.ACTIVE),
        Membership(PEOPLE[2], Role.MANAGER, Status.INVITED),
    ]
    assert standing([]) is Standing.STRANGER
    assert standing(mine[:1]) is Standing.FORMER
    assert standing(mine) is Standing.MEMBER
    assert standing([replace(mine[1], source_group_id=PEOPLE[3])]) is Standing.IMPLIED


@pytest.mark.parametrize("action", OTHERS_ACTIONS)
def test_only_managers_try_it_on_others(action: Action) -> None:
    able = {who for who in Standing if may_ask(action, who, Policies())}
    expected = {Standing.ADMIN} | (set() if action is Action.CHANGE_ROLE else {Standing.MANAGER})
    assert able == expected


def test_a_login_goes_stale() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    strict = Policies(high_assurance=True, assurance_timeout_s=60)
    ann, bob = PEOPLE[:2]
    fresh = {ann: now - timedelta(seconds=60)}
    assert not is_stale(Policies(), {}, [ann], now)
    assert not is_stale(strict, fresh, [ann], now)
    assert is_stale(strict, fresh, [ann], now + timedelta(seconds=1))
    assert is_stale(strict, fresh, [bob], now)  # another identity's login does not count
    assert is_stale(strict, {}, [ann], now)
