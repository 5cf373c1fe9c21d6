"""Pause rules."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer


class _Rule(Answer):
    id: UUID
    endpoint_id: UUID
    endpoint_display_name: str
    identity_id: UUID | None
    message: str
    start_time: datetime | None
    modified_time: datetime
    pause_ls: bool
    pause_mkdir: bool
    pause_rename: bool
    pause_task_delete: bool
    pause_task_transfer_read: bool
    pause_task_transfer_write: bool


class PauseRule(_Rule):
    """A pause rule, as who manages the endpoint sees it."""

    DATA_TYPE: Literal["pause_rule"]
    created_by: str
    created_by_host_manager: bool
    modified_by: str
    modified_by_id: UUID
    editable: bool


class PauseRuleLimited(_Rule):
    """A pause rule, as those whom it concerns see it."""

    DATA_TYPE: Literal["pause_rule_limited"]


class PauseRuleList(Answer):
    """Pause rules of endpoints that the caller looks after."""

    DATA_TYPE: Literal["pause_rule_list"]
    length: int
    DATA: list[PauseRule]


class EffectivePauseRules(Answer):
    """Pause rules that are in force for the caller."""

    DATA_TYPE: Literal["pause_rule_list"]
    length: int
    DATA: list[PauseRuleLimited]
