"""What activity monitors and managers get: others' tasks, and what they did."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer
from towpath.transfer.api.answers.endpoints import Endpoint
from towpath.transfer.api.answers.tasks import MonitoredTask


class MonitoredEndpoints(Answer):
    """Endpoints whose tasks the caller may see."""

    DATA_TYPE: Literal["endpoint_list"]
    length: int
    DATA: list[Endpoint]  # type: ignore[valid-type]


class MonitoredTasks(Answer):
    """A page of others' tasks; `last_key` is for the next one."""

    DATA_TYPE: Literal["task_list"]
    length: int
    has_next_page: bool
    last_key: str | None
    DATA: list[MonitoredTask]


class MonitoredTransfer(Answer):
    """A file that was copied. A path at an end that is not the caller's is null."""

    DATA_TYPE: Literal["successful_transfer"]
    source_path: str | None
    destination_path: str | None
    size: int
    checksum: str | None
    checksum_algorithm: str | None


class MonitoredTransfers(Answer):
    """A part of them; `next_marker` null: the last one."""

    DATA_TYPE: Literal["successful_transfers"]
    marker: int
    next_marker: int | None
    DATA: list[MonitoredTransfer]


class MonitoredSkippedError(Answer):
    """What was left out, and why. What names an end that is not the caller's is null."""

    DATA_TYPE: Literal["skipped_error"]
    source_path: str | None
    destination_path: str | None
    error_code: str
    error_details: str | None
    error_time: datetime
    is_directory: bool
    is_symlink: bool
    is_delete_destination_extra: bool
    checksum_algorithm: str | None
    external_checksum: str | None


class MonitoredSkippedErrors(Answer):
    """A part of them; `next_marker` null: the last one."""

    DATA_TYPE: Literal["skipped_errors"]
    marker: int
    next_marker: int | None
    DATA: list[MonitoredSkippedError]


class AdminCancel(Answer):
    """Tasks whose end was asked for together; `done`: all have ended."""

    DATA_TYPE: Literal["admin_cancel"]
    id: UUID
    done: bool
