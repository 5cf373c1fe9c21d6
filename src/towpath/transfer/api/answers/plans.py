"""Plans: what a transfer or a delete would do."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer, _Result
from towpath.transfer.api.answers.tasks import FatalError
from towpath.transfer.planned import Action

PlanStatus = Literal["walking", "waiting", "ready", "failed", "applied"]


class PlanAccepted(_Result):
    """A plan is being made, or was before."""

    DATA_TYPE: Literal["plan_result"]
    code: Literal["Accepted", "Duplicate"]
    plan_id: UUID


class PlanCount(Answer):
    """How many entries of a kind there are, so far; `bytes` of files that would be copied, skipped
    or deleted."""

    DATA_TYPE: Literal["plan_count"]
    action: Action
    reason: str
    meaning: str
    entries: int
    bytes: int


class PlanFault(Answer):
    """What is expected to go wrong: the code of the event that the task would have, and of how many
    entries; null: of the task as a whole."""

    DATA_TYPE: Literal["plan_fault"]
    code: str
    entries: int | None
    details: str


class Plan(Answer):
    """A plan, of a task of this `type`; a delete has no destination. `task_id`: the task that
    follows it; `deadline`: what that gets, if it is given none. `bytes_per_second`: the highest
    rate of the owner's last transfers between the two, while data moved; null: none is known."""

    DATA_TYPE: Literal["plan"]
    plan_id: UUID
    type: Literal["TRANSFER", "DELETE"]
    status: PlanStatus
    label: str | None
    source_endpoint_id: UUID
    destination_endpoint_id: UUID | None
    request_time: datetime
    completion_time: datetime | None
    expires: datetime
    deadline: datetime | None
    bytes_per_second: int | None
    fatal_error: FatalError | None
    nice_status: str | None
    nice_status_details: str | None
    task_id: UUID | None
    DATA: list[PlanCount]
    expected_faults: list[PlanFault]


class PlanFacts(Answer):
    """What an entry is told apart by; size and time of files only, `target` of links."""

    type: str
    size: int | None
    modified: datetime | None
    target: str | None


class PlanEntry(Answer):
    """What would be done about one path. Of a fault, `reason` is the code of the event that the
    task would have. Of what a transfer deletes, a source is what comes into the place; what a
    delete deletes is at the source."""

    DATA_TYPE: Literal["plan_entry"]
    action: Action
    reason: str
    source_path: str | None
    destination_path: str | None
    source: PlanFacts | None
    destination: PlanFacts | None
    details: str


class PlanEntries(Answer):
    """A page of them, in the order in which they would be done; deletions from the last to the
    first. `next_marker` null: it is the last."""

    DATA_TYPE: Literal["plan_entries"]
    marker: int
    next_marker: int | None
    DATA: list[PlanEntry]
