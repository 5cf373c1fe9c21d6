"""What is right of a task that has ended: its files by digest, its history by what it claims."""

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from campaign.sources import History
from campaign.tasks import TaskPlan
from towpath.demo.trees import digests


@dataclass
class Verdict:
    """What was found wrong with a task; nothing: it is right."""

    plan: TaskPlan
    task_id: str
    told: dict[str, Any]
    lost: list[str] = field(default_factory=list)
    """Files that should be there and are not, and tasks that did not end."""
    duplicated: list[str] = field(default_factory=list)
    """Outcomes that are told twice."""
    false_success: list[str] = field(default_factory=list)
    """Files that are said to have arrived, and are not what the source had."""
    unexplained: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Everything, in words."""
        return [
            f"{name}: {what}"
            for name in ("lost", "duplicated", "false_success", "unexplained")
            for what in getattr(self, name)
        ]

    @classmethod
    def unfinished(cls, plan: TaskPlan, task_id: str) -> "Verdict":
        """A task that did not come to its end."""
        return cls(plan, task_id, {}, lost=["the task did not end"])


def judge(plan: TaskPlan, history: History, told: dict[str, Any]) -> Verdict:
    """Compare what was told with what is there."""
    task = told["task"]
    verdict = Verdict(plan, task["task_id"], told)
    there = digests(history.destination)
    claimed = Counter(
        os.path.relpath(one["destination_path"], history.destination) for one in told["transferred"]
    )
    verdict.duplicated += [f"{path} is told twice" for path, count in claimed.items() if count > 1]
    verdict.false_success += [
        f"{path} is another file"
        for path in claimed
        if there.get(path) not in history.digests[path]
    ]
    if task["files_transferred"] != len(told["transferred"]):
        verdict.duplicated.append(
            f"{task['files_transferred']} files counted, {len(told['transferred'])} told"
        )
    if task["status"] == "SUCCEEDED":
        verdict.lost += [
            f"{path} is not there"
            for path in history.digests
            if path not in {*claimed, *history.gone}
        ]
    elif not _may_fail(history, task["fatal_error"]["code"]):
        verdict.lost.append(f"the task failed: {task['fatal_error']}")
    return verdict


def _may_fail(history: History, code: str) -> bool:
    """Whether the task could not do what was asked for."""
    return code == "FILE_NOT_FOUND" and bool(history.gone)
