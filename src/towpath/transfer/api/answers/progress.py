"""Live progress, and what became of it over time."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer
from towpath.transfer.api.answers.tasks import Event, TaskType
from towpath.transfer.engine.news import FileState
from towpath.transfer.store.tasks import Status


class TaskProgress(Answer):
    """How a task stands now."""

    task_id: UUID
    status: Status
    nice_status: str | None
    nice_status_short_description: str | None
    nice_status_details: str | None
    is_paused: bool
    label: str | None
    type: TaskType
    files: int
    directories: int
    files_transferred: int | None
    files_skipped: int
    bytes_transferred: int
    bytes_total: int | None
    bytes_checksummed: int
    bytes_resent: int
    faults: int
    subtasks_total: int
    subtasks_succeeded: int
    subtasks_failed: int
    subtasks_pending: int
    effective_bytes_per_second: int
    bytes_per_second: int
    walked: bool
    deadline: datetime
    completion_time: datetime | None
    time: datetime


class FileInFlight(Answer):
    """A file that is sent, is compared, or is next."""

    path: str
    source_path: str
    destination_path: str
    size: int
    bytes: int
    bytes_per_second: int
    state: FileState
    attempt: int


class FilesInFlight(Answer):
    """Some of the files in flight; `more`: how many others there are."""

    task_id: UUID
    files: list[FileInFlight]
    more: int


class TaskEnd(Answer):
    """A task that will not change any more."""

    task_id: UUID
    status: Literal[Status.SUCCEEDED, Status.FAILED]


class ProgressMessages(Answer):
    """What `data` of a message is, by its `event`."""

    task: TaskProgress
    files: FilesInFlight
    event: Event
    end: TaskEnd


class ThroughputPoint(Answer):
    """What had been done at an instant, since the start."""

    time: datetime
    bytes: int
    files: int
    faults: int


class TaskThroughput(Answer):
    """What a task had done at instants from its start to now."""

    DATA_TYPE: Literal["task_throughput"]
    task_id: UUID
    interval_s: float
    DATA: list[ThroughputPoint]


def streams() -> dict[int | str, dict[str, Any]]:
    """For a route that answers with a stream of messages (`responses`)."""
    schema = ProgressMessages.model_json_schema(ref_template="#/components/schemas/{model}")
    content = {"text/event-stream": {"schema": schema}}
    return {200: {"description": "Messages, until the stream ends", "content": content}}
