"""Faults: every kind of failure has a code, a consequence and words for the user."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import Fixer, GridFTPError, Kind, Phase
from towpath.platform.backoff import backoff_s
from towpath.transfer.engine.faults import Consequence, judge, unavailable
from towpath.transfer.sessions import (
    NoCredential,
    NoEndpoint,
    NotShared,
    ServerMoved,
    SessionUnavailable,
    SharerMustAct,
    SharerSuspended,
)
from towpath.transfer.store.events import EventCode


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("at_source", [True, False])
def test_every_kind_is_told_with_where_what_next_and_advice(kind: Kind, at_source: bool) -> None:
    error = GridFTPError(kind, "it broke", "host:2811", "/a/b", "500 said the server")
    event = judge(error, Phase.DATA, at_source=at_source).event
    assert event.is_error
    assert event.code.isupper()
    assert isinstance(event.details, dict)
    assert event.details["endpoint"] == "host:2811"
    assert event.details["path"] == "/a/b"
    assert event.details["phase"] in Phase
    assert event.details["advice"]
    assert event.details["who_can_fix"]
    assert event.details["next"]


@pytest.mark.parametrize(
    ("kind", "at_source", "consequence"),
    [
        (Kind.NOT_FOUND, True, Consequence.FAIL_TASK),
        (Kind.NOT_FOUND, False, Consequence.RETRY_FILE),
        (Kind.IS_A_DIRECTORY, True, Consequence.FAIL_TASK),
        (Kind.PERMISSION_DENIED, True, Consequence.RETRY_FILE),
        (Kind.INVALID_NAME, False, Consequence.FAIL_TASK),
        (Kind.CREDENTIAL_EXPIRED, True, Consequence.SUSPEND_TASK),
        (Kind.CONNECT, True, Consequence.RETRY_TASK),
        (Kind.CHECKSUM_MISMATCH, False, Consequence.RETRY_FILE),
        (Kind.QUOTA, False, Consequence.RETRY_FILE),
    ],
)
def test_consequences(kind: Kind, at_source: bool, consequence: Consequence) -> None:
    error = GridFTPError(kind, "", "h:1")
    assert judge(error, Phase.DATA, at_source=at_source).consequence is consequence


@pytest.mark.parametrize(
    ("kind", "at_source", "told"),
    [
        (Kind.NOT_FOUND, True, True),
        (Kind.PERMISSION_DENIED, True, True),
        (Kind.PERMISSION_DENIED, False, False),
        (Kind.TIMEOUT, True, False),
    ],
)
def test_the_option_that_would_have_helped_is_told(kind: Kind, at_source: bool, told: bool) -> None:
    error = GridFTPError(kind, "", "h:1")
    for might_skip in (True, False):
        details = judge(error, Phase.DATA, at_source=at_source, might_skip=might_skip).event.details
        assert isinstance(details, dict)
        assert ("skip_source_errors" in details["advice"]) is (told and might_skip)


def test_what_was_being_done_is_told_by_the_kind_or_by_who_did_it() -> None:
    for kind, phase in ((Kind.NOT_FOUND, Phase.LISTING), (Kind.MAPPING, Phase.LOGIN)):
        details = judge(GridFTPError(kind, "", ""), Phase.LISTING, at_source=True).event.details
        assert isinstance(details, dict)
        assert details["phase"] is phase


@pytest.mark.parametrize(
    ("error", "consequence", "code", "follows"),
    [
        (NoCredential("none", "add one"), Consequence.SUSPEND_TASK, "NO_CREDENTIALS", "waits"),
        (ServerMoved("moved", "look"), Consequence.SUSPEND_TASK, "NO_CREDENTIALS", "waits"),
        (NoEndpoint("gone", "again"), Consequence.FAIL_TASK, "ENDPOINT_ERROR", "has failed"),
    ],
)
def test_no_session_can_be_tried(
    error: SessionUnavailable, consequence: Consequence, code: str, follows: str
) -> None:
    verdict = unavailable(error, at_source=False)
    assert (verdict.consequence, verdict.event.code) == (consequence, EventCode(code))
    assert isinstance(verdict.event.details, dict)
    assert verdict.event.details["advice"] == error.advice
    assert verdict.event.details["role"] == "destination"
    assert follows in verdict.event.details["next"]


@pytest.mark.parametrize(
    ("error", "consequence", "code"),
    [
        (
            SharerMustAct("data", "ann@x.org", what="has expired"),
            Consequence.SUSPEND_TASK,
            "NO_CREDENTIALS",
        ),
        (
            SharerMustAct("data", "ann@x.org", what="is not there any more"),
            Consequence.SUSPEND_TASK,
            "NO_CREDENTIALS",
        ),
        (SharerSuspended("data", "ann@x.org"), Consequence.RETRY_TASK, "ENDPOINT_ERROR"),
        (NotShared("no rule", "ask ann@x.org"), Consequence.FAIL_TASK, "ACL_CHANGED"),
    ],
)
def test_what_only_the_sharer_can_mend(
    error: SessionUnavailable, consequence: Consequence, code: str
) -> None:
    verdict = unavailable(error, at_source=True)
    assert (verdict.consequence, verdict.event.code) == (consequence, EventCode(code))
    details = verdict.event.details
    assert isinstance(details, dict)
    assert "ann@x.org" in details["advice"]
    if not isinstance(error, NotShared):
        assert details["sharer"] == "ann@x.org"
        assert details["who_can_fix"] == Fixer.SHARER
        assert "ann@x.org" in details["error"]


def test_quota_is_fatal_when_asked_for() -> None:
    error = GridFTPError(Kind.QUOTA, "", "h:1")
    verdict = judge(error, Phase.DATA, at_source=False, fail_on_quota=True)
    assert verdict.consequence is Consequence.FAIL_TASK


@given(st.integers(min_value=1, max_value=10**9), st.integers())
def test_backoff_grows_to_its_bound_and_never_to_nothing(attempt: int, seed: int) -> None:
    longest = min(300.0, 2.0 ** min(attempt, 16))
    delay_s = backoff_s(attempt, first_s=2.0, max_s=300.0, random=Random(seed))
    assert longest / 2 <= delay_s <= longest
