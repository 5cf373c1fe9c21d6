"""What is still needed: the pure decision."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.nexus.oauth.authorize import (
    AuthenticationFacts,
    Consent,
    ConsentFacts,
    Issue,
    Login,
    PolicyFacts,
    Refuse,
    RequestFacts,
    matches,
    next_step,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ADA, BOB = UUID(int=1), UUID(int=2)
HERE, UNI = UUID(int=10), UUID(int=11)
KNOWN = ConsentFacts(missing=False, client_proven=True)
REQUEST = RequestFacts(
    began_at=NOON,
    prompt=frozenset(),
    max_age_s=None,
    identities=(),
    domains=(),
    policies=(),
    mfa=False,
    provider=None,
    scope_domains=(),
)


def login(minutes_ago: float, **changes: Any) -> AuthenticationFacts:
    """Ada's, by a password."""
    at = NOON - timedelta(minutes=minutes_ago)
    return replace(AuthenticationFacts(ADA, "sea.example", HERE, at, mfa=False), **changes)


MUD = login(1, domain="mud.example")


def policy(**changes: Any) -> PolicyFacts:
    return replace(PolicyFacts(False, None, False, None, None), **changes)


@pytest.mark.parametrize(
    ("asked", "good", "bad"),
    [
        ({}, login(600), None),
        ({"prompt": frozenset({"login"})}, login(-0.01), login(0.01)),
        ({"max_age_s": 600}, login(9), login(11)),
        ({"max_age_s": 0}, login(-0.01), login(0.01)),
        ({"identities": (BOB,)}, login(60, identity_id=BOB), login(1)),
        ({"domains": ("lake.example", "sea.example")}, login(60), MUD),
        ({"domains": ("*.example",)}, login(60), login(1, domain="example")),
        ({"mfa": True}, login(60, mfa=True), login(1)),
        ({"provider": UNI}, login(60, provider_id=UNI), login(1)),
        ({"scope_domains": (("sea.example",),)}, login(60), MUD),
        ({"policies": (policy(mfa=True),)}, login(60, mfa=True), login(1)),
        (
            {"policies": (policy(high_assurance=True, assurance_timeout_s=600),)},
            login(9),
            login(11),
        ),
        ({"policies": (policy(assurance_timeout_s=600),)}, login(11), None),
        (
            {"policies": (policy(include=["sea.example"]),)},
            login(1),
            MUD,
        ),
        (
            {"policies": (policy(exclude=["sea.example"]),)},
            MUD,
            login(1),
        ),
    ],
)
def test_what_a_session_must_have(
    asked: dict[str, Any], good: AuthenticationFacts, bad: AuthenticationFacts | None
) -> None:
    request = replace(REQUEST, **asked)
    assert next_step(request, [good], KNOWN, NOON) == Issue()
    if bad is not None:
        step = next_step(request, [bad], KNOWN, NOON)
        assert isinstance(step, Login)
        assert len(step.unmet) == 1 or "prompt" in asked or "max_age_s" in asked
        assert isinstance(next_step(request, [bad, good], KNOWN, NOON), Issue)
        silent = replace(request, prompt=request.prompt | {"none"})
        refused = next_step(silent, [bad], KNOWN, NOON)
        assert isinstance(refused, Refuse)
        assert refused.error == "login_required"


def test_two_requirements_are_met_by_two_logins_and_not_by_halves() -> None:
    """A fresh login of one identity does not make an old one of another fresh."""
    request = replace(REQUEST, identities=(ADA, BOB), prompt=frozenset({"login"}))
    fresh, old = login(-1), login(60, identity_id=BOB)
    step = next_step(request, [fresh, old], KNOWN, NOON)
    assert isinstance(step, Login)
    assert [one.identity for one in step.unmet] == [BOB]
    assert next_step(request, [fresh, login(-2, identity_id=BOB)], KNOWN, NOON) == Issue()
    # nor one identity's second factor that of the domain that a policy wants
    strict = replace(REQUEST, policies=(policy(mfa=True, include=["sea.example"]),))
    halves = [login(1), replace(MUD, mfa=True)]
    assert isinstance(next_step(strict, halves, KNOWN, NOON), Login)


@pytest.mark.parametrize(
    ("consent", "prompt", "step"),
    [
        (ConsentFacts(missing=True, client_proven=True), (), Consent()),
        (ConsentFacts(missing=True, client_proven=True, asked=True), (), Issue()),
        (ConsentFacts(missing=False, client_proven=False), (), Consent()),
        (ConsentFacts(missing=False, client_proven=False, asked=True), (), Issue()),
        (KNOWN, ("consent",), Consent()),
        (KNOWN, ("select_account",), Consent()),
    ],
)
def test_when_the_person_is_asked(
    consent: ConsentFacts, prompt: tuple[str, ...], step: Any
) -> None:
    assert next_step(replace(REQUEST, prompt=frozenset(prompt)), [login(1)], consent, NOON) == step
    if step == Consent() and not prompt:
        silent = replace(REQUEST, prompt=frozenset({"none"}))
        refused = next_step(silent, [login(1)], consent, NOON)
        assert isinstance(refused, Refuse)
        assert refused.error == "consent_required"


def test_nobody_is_asked_before_they_are_known() -> None:
    assert isinstance(next_step(REQUEST, None, ConsentFacts(True, True), NOON), Login)


@given(
    prompt=st.frozensets(st.sampled_from(["login", "consent", "select_account"])),
    max_age=st.none() | st.integers(0, 10**6),
    ago=st.floats(-60, 10_000),
    mfa=st.booleans(),
    needs_mfa=st.booleans(),
    missing=st.booleans(),
    proven=st.booleans(),
)
def test_a_code_takes_all_of_it(
    prompt: frozenset[str],
    max_age: int | None,
    ago: float,
    mfa: bool,
    needs_mfa: bool,
    missing: bool,
    proven: bool,
) -> None:
    """Whatever comes together: no code without each thing that was asked for."""
    request = replace(REQUEST, prompt=prompt, max_age_s=max_age, mfa=needs_mfa)
    one = login(ago, mfa=mfa)
    for asked in (False, True):
        facts = ConsentFacts(missing=missing, client_proven=proven, asked=asked)
        if next_step(request, [one], facts, NOON) != Issue():
            continue
        assert "login" not in prompt or one.at >= NOON
        assert max_age is None or one.at >= NOON - timedelta(seconds=max_age)
        assert mfa or not needs_mfa
        assert asked or (proven and not missing and not prompt & {"consent", "select_account"})


@pytest.mark.parametrize(
    ("domain", "pattern", "same"),
    [
        ("sea.example", "SEA.example", True),
        ("sea.example", "*.example", True),
        ("deep.sea.example", "*.example", True),
        ("example", "*.example", False),
        ("badexample", "*.example", False),
        ("sea.example.evil", "sea.example", False),
    ],
)
def test_domains(domain: str, pattern: str, same: bool) -> None:
    assert matches(domain, pattern) is same
