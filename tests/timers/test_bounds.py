"""Waits, names and documents: what can be said without a service."""

from datetime import timedelta
from uuid import UUID

from globus_sdk.testing import get_response_set
from hypothesis import given
from hypothesis import strategies as st

from plugins.timers import START
from towpath.timers.api import answers
from towpath.timers.runner import (
    RETRY_FIRST_S,
    RETRY_LONGEST_S,
    WATCH_FIRST_S,
    WATCH_LONGEST_S,
    look_again_in_s,
    look_when_waiting,
    retry_in_s,
    submission_id,
)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_are_within_their_bounds(attempts: int, chance: float) -> None:
    wait_s = retry_in_s(attempts, chance)
    assert RETRY_FIRST_S / 2 <= wait_s <= RETRY_LONGEST_S
    assert retry_in_s(attempts + 1, chance) >= wait_s


@given(st.floats(-100, 1e9))
def test_looks_are_within_their_bounds(age_s: float) -> None:
    assert WATCH_FIRST_S <= look_again_in_s(age_s) <= WATCH_LONGEST_S


@given(st.uuids(), st.integers(1, 10**6), st.integers(1, 10**6))
def test_each_run_has_its_own_submission(timer_id: UUID, one: int, other: int) -> None:
    assert (submission_id(timer_id, one) == submission_id(timer_id, other)) == (one == other)


def test_a_timer_that_is_over_waits_for_nothing() -> None:
    assert look_when_waiting(None, START) is None
    assert look_when_waiting(START + timedelta(days=99), START) == START + timedelta(days=30)


def test_the_documents_have_the_fields_of_the_sdks_examples() -> None:
    ours = answers.Job.model_fields.keys()
    for name in ("get_job", "create_job", "update_job", "delete_job"):
        assert get_response_set(f"timer.{name}").lookup("default").json.keys() <= ours
    timer = get_response_set("timer.create_timer").lookup("default").json["timer"]
    assert timer.keys() == answers.Timer.model_fields.keys()
