"""Where the time of a task went."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from towpath.transfer.accounting import Category
from towpath.transfer.api.answers.base import Answer
from towpath.transfer.explanation import Sure
from towpath.transfer.store.tasks import Status


class TimeDetail(Answer):
    """A part of a category: at which end, by whom, or for which task it was."""

    what: str
    seconds: float


class TimeShare(Answer):
    """What a part of the time went to. `share` of 1; `sure`: how sure that is."""

    DATA_TYPE: Literal["time_share"]
    category: Category
    seconds: float
    share: float
    sure: Sure
    meaning: str
    details: list[TimeDetail]


class TaskExplanation(Answer):
    """Where the time of a task went, from its request to its end or to now. The seconds of `DATA`
    add up to `wall_s`."""

    DATA_TYPE: Literal["task_explanation"]
    task_id: UUID
    status: Status
    request_time: datetime
    completion_time: datetime | None
    sentence: str
    wall_s: float
    unexplained: float
    DATA: list[TimeShare]
