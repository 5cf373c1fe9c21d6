"""Tasks and what belongs to them."""

from datetime import datetime
from typing import Literal, NotRequired
from uuid import UUID

from pydantic import ConfigDict
from typing_extensions import TypedDict  # pydantic, before Python 3.12

from towpath.transfer import fidelity
from towpath.transfer.api.answers.base import Answer
from towpath.transfer.api.answers.pause_rules import PauseRuleLimited
from towpath.transfer.filter_rules import Kind
from towpath.transfer.store.events import EventCode
from towpath.transfer.store.tasks import Status

TaskType = Literal["TRANSFER", "DELETE"]


class FatalError(Answer):
    """Why a task failed."""

    code: str
    description: str


class FilterRule(TypedDict):
    """A filter rule as it was submitted; without `type` it is for files and directories."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    DATA_TYPE: Literal["filter_rule"]
    method: Literal["exclude", "include"]
    name: str
    type: NotRequired[Kind]


class TaskItem(Answer):
    """One thing that a task was asked for. Of a delete, `source_path` is the path."""

    source_path: str
    destination_path: str | None
    recursive: bool | None
    checksum_algorithm: str | None
    external_checksum: str | None


class MonitoredItem(Answer):
    """The same, for who looks after one end only: the other path is null."""

    source_path: str | None
    destination_path: str | None
    recursive: bool | None
    checksum_algorithm: str | None
    external_checksum: str | None


class TaskItems(Answer):
    """A page of them, in their order."""

    DATA_TYPE: Literal["task_items"]
    total: int
    limit: int
    offset: int
    DATA: list[TaskItem]


class Task(Answer):
    """A task with all its counters. With the parameter `fields` only some of these."""

    DATA_TYPE: Literal["task"]
    task_id: UUID
    type: TaskType
    status: Status
    label: str | None
    owner_id: UUID
    owner_string: str
    username: str
    command: str
    request_time: datetime
    completion_time: datetime | None
    deadline: datetime
    fatal_error: FatalError | None
    is_ok: bool | None
    nice_status: str | None
    nice_status_short_description: str | None
    nice_status_details: str | None
    nice_status_expires_in: int | None
    is_paused: bool
    canceled_by_admin: Literal["SOURCE", "DESTINATION", "BOTH"] | None
    canceled_by_admin_message: str | None
    history_deleted: bool
    faults: int
    files: int
    directories: int
    symlinks: int
    files_skipped: int
    files_transferred: int | None
    bytes_transferred: int
    bytes_checksummed: int
    bytes_resent: int
    effective_bytes_per_second: int
    subtasks_total: int
    subtasks_succeeded: int
    subtasks_failed: int
    subtasks_canceled: int
    subtasks_expired: int
    subtasks_pending: int
    subtasks_retrying: int
    subtasks_skipped_errors: int
    sync_level: int | None
    verify_checksum: bool
    encrypt_data: bool
    preserve_timestamp: bool
    skip_source_errors: bool
    fail_on_quota_errors: bool
    delete_destination_extra: bool
    recursive_symlinks: Literal["ignore", "keep", "copy"]
    filter_rules: list[FilterRule] | None
    first_item: TaskItem | None
    source_endpoint: str | None
    source_endpoint_id: UUID | None
    source_endpoint_display_name: str | None
    source_base_path: None
    source_host_endpoint: None
    source_host_endpoint_display_name: None
    source_host_endpoint_id: None
    source_host_path: None
    source_local_user: None
    source_local_user_status: Literal["NO_PERMISSION"] | None
    source_mapped_collection_display_name: None
    source_mapped_collection_id: None
    destination_endpoint: str | None
    destination_endpoint_id: UUID | None
    destination_endpoint_display_name: str | None
    destination_base_path: None
    destination_host_endpoint: None
    destination_host_endpoint_display_name: None
    destination_host_endpoint_id: None
    destination_host_path: None
    destination_local_user: None
    destination_local_user_status: Literal["NO_PERMISSION"] | None
    destination_mapped_collection_display_name: None
    destination_mapped_collection_id: None


class MonitoredTask(Task):
    """A task as who looks after an end of it sees it: what is of the other end is null."""

    first_item: MonitoredItem | None  # type: ignore[assignment]


class TaskList(Answer):
    """A page of the caller's tasks."""

    DATA_TYPE: Literal["task_list"]
    length: int
    limit: int
    offset: int
    total: int
    DATA: list[Task]


class Event(Answer):
    """Something worth telling about a task. `details` is text, or a JSON object as text."""

    DATA_TYPE: Literal["event"]
    id: int
    code: EventCode
    description: str
    details: str
    is_error: bool
    time: datetime


class EventList(Answer):
    """A page of a task's events, newest first."""

    DATA_TYPE: Literal["event_list"]
    length: int
    limit: int
    offset: int
    total: int
    DATA: list[Event]


class SuccessfulTransfer(Answer):
    """A file that was copied."""

    DATA_TYPE: Literal["successful_transfer"]
    source_path: str
    destination_path: str | None
    size: int
    checksum: str | None
    checksum_algorithm: str | None


class SuccessfulTransfers(Answer):
    """A part of them; `next_marker` null: the last one."""

    DATA_TYPE: Literal["successful_transfers"]
    marker: int
    next_marker: int | None
    DATA: list[SuccessfulTransfer]


class SkippedError(Answer):
    """What was left out, and why."""

    DATA_TYPE: Literal["skipped_error"]
    source_path: str
    destination_path: str | None
    error_code: str
    error_details: str
    error_time: datetime
    is_directory: bool
    is_symlink: bool
    is_delete_destination_extra: bool
    checksum_algorithm: str | None
    external_checksum: str | None


class SkippedErrors(Answer):
    """A part of them; `next_marker` null: the last one."""

    DATA_TYPE: Literal["skipped_errors"]
    marker: int
    next_marker: int | None
    DATA: list[SkippedError]


class FidelityExample(Answer):
    """One of many."""

    source_path: str
    details: str


class FidelityFinding(Answer):
    """How much of one kind was not carried over; `count` null: not known."""

    DATA_TYPE: Literal["fidelity_finding"]
    kind: fidelity.Kind
    description: str
    known: fidelity.Known
    count: int | None
    examples: list[FidelityExample]


class FidelityReport(Answer):
    """What a transfer could not carry over."""

    DATA_TYPE: Literal["fidelity_report"]
    task_id: UUID
    complete: bool
    never_carried: list[str]
    DATA: list[FidelityFinding]


class PauseInfo(Answer):
    """Who paused a task, and what for. `..._share`: those who manage a guest collection."""

    DATA_TYPE: Literal["pause_info_limited"]
    source_pause_message: str | None
    source_pause_message_share: str | None
    destination_pause_message: str | None
    destination_pause_message_share: str | None
    pause_rules: list[PauseRuleLimited]
