"""What the routes answer, field by field. Every field is always there, and no other."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Exactly these fields, of exactly these types."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Parameters(Answer):
    """What is to be done: consents to give (`globus session consent`)."""

    session_message: str
    required_scopes: list[str]


class Requirement(Answer):
    """An authorization requirement, as the Globus clients know it."""

    code: Literal["ConsentRequired"]
    authorization_parameters: Parameters


class InactiveReason(Answer):
    """Why a timer does not run: its owner paused it, or it may not transfer for him."""

    cause: Literal["user", "globus_auth_requirements"]
    detail: Requirement | None


class StopAfter(Answer):
    """When it ends: after a time, or after so many runs."""

    date: str | None
    n_runs: int | None


class Activity(Answer):
    """What it is doing."""

    code: Literal["awaiting_next_run", "run_in_progress", "retrying", "paused"]
    start_timestamp: str | None


class Action(Answer):
    """The task of a run. `details` is its document at Transfer when it was last looked at."""

    action_id: UUID
    completion_time: str | None
    creator_id: str
    details: dict[str, Any] | None
    display_status: str
    label: str | None
    manage_by: list[str]
    monitor_by: list[str]
    release_after: str | None
    start_time: str
    status: str


class RunError(Answer):
    """Why a run failed, or is tried again: the code and message of Transfer's answer."""

    code: str
    detail: str
    status: int | None


class Result(Answer):
    """One run. `status`: of Transfer's answer; null: it gave none."""

    data: Action | None
    errors: list[RunError] | None
    status: int | None
    ran_at: str


class Results(Answer):
    """The latest runs, newest first."""

    data: list[Result]
    page_next: None


class Job(Answer):
    """A timer as the older API shows it."""

    job_id: UUID
    name: str
    start: str
    interval: float | None
    stop_after: StopAfter | None
    callback_url: str
    callback_body: Any
    scope: str | None
    status: Literal["new", "loaded", "inactive", "ended", "deleted"]
    submitted_at: str
    last_ran_at: str | None
    next_run: str | None
    n_runs: int
    n_errors: int
    results: Results
    inactive_reason: InactiveReason | None
    activity: Activity | None


class JobList(Answer):
    """All timers of the caller."""

    jobs: list[Job]


class OnceSchedule(Answer):
    """One run."""

    type: Literal["once"]
    datetime: str


class Iterations(Answer):
    """So many runs."""

    condition: Literal["iterations"]
    count: int


class Until(Answer):
    """No run later than this."""

    condition: Literal["time"]
    datetime: str


class RecurringSchedule(Answer):
    """Runs at equal distances."""

    type: Literal["recurring"]
    interval_seconds: int
    start: str
    end: Iterations | Until | None


class Timer(Answer):
    """A timer."""

    job_id: UUID
    name: str
    timer_type: Literal["transfer"]
    status: Literal["new", "loaded", "inactive", "ended"]
    submitted_at: str
    schedule: OnceSchedule | RecurringSchedule
    body: dict[str, Any]
    next_run: str | None
    last_ran_at: str | None
    number_of_runs: int
    number_of_errors: int
    inactive_reason: InactiveReason | None


class Created(Answer):
    """The new timer."""

    timer: Timer


class Done(Answer):
    """That something was done."""

    message: str


class ErrorBody(Answer):
    """What went wrong."""

    code: str
    detail: str
    status: int
    request_id: str


class ErrorAnswer(BaseModel):
    """Any error but 422. With `ConsentRequired` there are also `code` and
    `authorization_parameters`, which clients look for.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    error: ErrorBody
    code: str | None = None
    authorization_parameters: Parameters | None = None


class Mistake(Answer):
    """One place of a document that cannot be used."""

    loc: list[str]
    msg: str
    type: str


class Invalid(Answer):
    """422: a document that cannot be used."""

    detail: list[Mistake]
