"""What is right of a task that has ended: its files by digest, its history by what it claims."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from campaign.sources import History
from campaign.tasks import SKIPPED_AT, TREE, DeletePlan, Plan, There, TransferPlan
from towpath.demo.trees import content, digests

IN_DOUBT = "FILES_IN_DOUBT"
"""Told of a failed task when nobody could see whether its files hold other files' bytes."""

TIME_UNEXPLAINED = 0.05
"""Of 1: so much of a task's time, between request and end, may be unknown."""

CLOCK_WRONG_S = 15.0
"""A task whose time differs by more from what the campaign has measured was asked for, or ended,
while the database's clock was wrong: nothing can be said of it."""

EXPLAINS = ("error", "next")
"""What each error event must say: cause and consequence."""


@dataclass
class Verdict:
    """What was found wrong with a task; nothing: it is right."""

    plan: Plan
    task_id: str
    told: dict[str, Any]
    lost: list[str] = field(default_factory=list)
    """What should be there and is not, or not as it should be; tasks that did not end."""
    duplicated: list[str] = field(default_factory=list)
    """Outcomes that are told or counted twice."""
    false_success: list[str] = field(default_factory=list)
    """Files that are said to have arrived, and are not what the source had."""
    unexplained: list[str] = field(default_factory=list)
    """Error events that do not name cause and consequence."""
    unexplained_time: list[str] = field(default_factory=list)
    """More of the task's time than may be of which nobody can say what it went to."""

    @property
    def wrong(self) -> list[str]:
        """Everything, in words."""
        return [
            f"{name}: {what}"
            for name in ("lost", "duplicated", "false_success", "unexplained", "unexplained_time")
            for what in getattr(self, name)
        ]

    @property
    def succeeded(self) -> bool:
        """As its owner is told."""
        return bool(self.told["task"]["status"] == "SUCCEEDED")

    @property
    def fatal_code(self) -> str | None:
        """What the task died of; None: it has not failed, or not ended."""
        fatal = self.told.get("task", {}).get("fatal_error")
        return None if fatal is None else str(fatal["code"])

    @property
    def time(self) -> dict[str, Any] | None:
        """Where its time went; None: it has not ended, or by a wrong clock."""
        if "time" not in self.told:
            return None
        found: dict[str, Any] = self.told["time"]
        least_s, most_s = self.told["measured_s"]
        right = least_s - CLOCK_WRONG_S <= found["wall_s"] <= most_s + CLOCK_WRONG_S
        return found if right else None

    @property
    def arrived_bytes(self) -> int:
        """What had to be sent for the files that count."""
        return sum(one["size"] for one in self.told.get("transferred", ()))

    @property
    def codes(self) -> set[str]:
        """Of all its events."""
        return {event["code"] for event in self.told["events"]}

    @classmethod
    def unfinished(cls, plan: Plan, task_id: str) -> "Verdict":
        """A task that did not come to its end."""
        return cls(plan, task_id, {}, lost=["the task did not end"])


def judge(history: History, told: dict[str, Any]) -> Verdict:
    """Compare what was told of an ended task with what is there."""
    plan = history.plan
    verdict = Verdict(plan, told["task"]["task_id"], told)
    for event in told["events"]:
        if event["is_error"] and not set(EXPLAINS) <= set(json.loads(event["details"])):
            verdict.unexplained.append(f"{event['code']}: {event['details']}")
    if (unexplained := _unexplained_time(verdict.time)) is not None:
        verdict.unexplained_time.append(unexplained)
    verdict.unexplained_time += _not_a_sum(told["time"])
    if not verdict.succeeded and not _may_fail(history, told["task"]["fatal_error"]["code"]):
        verdict.lost.append(f"the task failed: {told['task']['fatal_error']}")
    if isinstance(plan, DeletePlan):
        _judge_delete(plan, history, verdict)
    else:
        _judge_transfer(plan, history, verdict)
    return verdict


def _may_fail(history: History, code: str) -> bool:
    """Whether this may be the end of the task: its owner wanted it, or its source made it so."""
    plan = history.plan
    if code == "CANCELED":
        return plan.intervention is not None and plan.intervention.what == "cancel"
    if isinstance(plan, DeletePlan):
        return False
    if code == "EXTERNAL_CHECKSUM_MISMATCH":
        return any(s.external and len(history.digests[s.path]) > 1 for s in plan.singles)
    return code == "FILE_NOT_FOUND" and bool(history.gone)


def _judge_transfer(plan: TransferPlan, history: History, verdict: Verdict) -> None:
    task, transferred = verdict.told["task"], verdict.told["transferred"]
    there = digests(history.destination)
    claimed = Counter(
        os.path.relpath(t["destination_path"], history.destination) for t in transferred
    )
    verdict.duplicated += [f"{path} is told twice" for path, count in claimed.items() if count > 1]
    if task["files_transferred"] != len(transferred):
        verdict.duplicated.append(
            f"{task['files_transferred']} files counted, {len(transferred)} told"
        )
    verdict.false_success += [
        f"{path} was not asked for" for path in claimed - plan.arrivals.keys()
    ]
    before = {f"{TREE}/{path}": how for path, how in plan.there}
    for path, origin in plan.arrivals.items():
        _judge_file(plan, history, verdict, path, origin, there.get(path), before, claimed)
    for path, how in before.items():
        if path not in plan.arrivals and there.get(path) != _before(plan, path, how):
            verdict.lost.append(f"{path} was none of the task's business, and is another file")
    _judge_extras(plan, verdict, there)
    _judge_links(plan, history, verdict)


def _judge_file(
    plan: TransferPlan,
    history: History,
    verdict: Verdict,
    path: str,
    origin: str,
    digest: str | None,
    before: dict[str, There],
    claimed: Counter[str],
) -> None:
    """One that was asked for: `origin` at the source, `path` at the destination."""
    right = digest in history.digests[origin]
    if path in claimed:
        if not right:
            verdict.false_success.append(f"{path} is another file")
        elif plan.options["preserve_timestamp"]:
            modified = int((history.destination / path).stat().st_mtime)
            if modified not in history.times[origin]:
                verdict.false_success.append(f"{path} has another time")
        return
    how = before.get(path)
    untouched = how is not None and digest == _before(plan, path, how)
    if how is not None and plan.options.get("sync_level") in SKIPPED_AT[how]:
        if not untouched and not right:
            verdict.lost.append(f"{path} should have been left as it is")
    elif verdict.succeeded and origin not in history.gone:
        verdict.lost.append(f"{path} is not there")
    elif not right and digest in _others(history, origin) and IN_DOUBT not in verdict.codes:
        verdict.lost.append(f"{path} was given up, and holds another file's bytes")


def _others(history: History, origin: str) -> set[str]:
    """Digests that other files of the task have had, and not this one."""
    others = {d for path, seen in history.digests.items() if path != origin for d in seen}
    return others - history.digests[origin] - {hashlib.sha256().hexdigest()}


def _judge_extras(plan: TransferPlan, verdict: Verdict, there: dict[str, str]) -> None:
    """What only the destination has."""
    stay = (
        not plan.options["delete_destination_extra"]
        or "DELETE_DESTINATION_EXTRA_SKIPPED" in verdict.codes
    )
    for extra in plan.extras:
        if stay and f"{TREE}/{extra}" not in there:
            verdict.lost.append(f"{extra} was deleted")
        if not stay and verdict.succeeded and f"{TREE}/{extra}" in there:
            verdict.lost.append(f"{extra} was not deleted")


def _judge_links(plan: TransferPlan, history: History, verdict: Verdict) -> None:
    """Links that are kept lead to the copy."""
    if plan.options["recursive_symlinks"] != "keep" or not verdict.succeeded:
        return
    for link, target in plan.links:
        made = history.destination / TREE / link
        if not made.is_symlink():
            if "FIDELITY" not in verdict.codes:
                verdict.lost.append(f"{link} was not made, and nobody says so")
        elif made.resolve() != (history.destination / TREE / target).resolve():
            verdict.lost.append(f"{link} leads to {made.resolve()}")


def _judge_delete(plan: DeletePlan, history: History, verdict: Verdict) -> None:
    there = digests(history.destination)
    for path, _ in plan.files:
        if not plan.goes(path) and path not in there:
            verdict.lost.append(f"{path} was deleted")
        if plan.goes(path) and verdict.succeeded and path in there:
            verdict.lost.append(f"{path} was not deleted")


def _before(plan: TransferPlan, path: str, how: There) -> str:
    """The digest of what was at the destination before."""
    below = path.removeprefix(f"{TREE}/")
    size = dict(plan.files)[below]
    digest = hashlib.sha256()
    seed = plan.seed if how is There.SAME else plan.seed + 1
    for chunk in content(below, size // 2 if how is There.SHORTER else size, seed):
        digest.update(chunk)
    return digest.hexdigest()


def _unexplained_time(time: dict[str, Any] | None) -> str | None:
    if time is None or time["unexplained"] <= TIME_UNEXPLAINED:
        return None
    return f"{time['unexplained']:.1%} of {time['wall_s']} s: {time['DATA']}"


def _not_a_sum(time: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the account of where the task's time went, whatever clocks did."""
    wall_s, shares = time["wall_s"], time["DATA"]
    if abs(sum(share["seconds"] for share in shares) - wall_s) > 0.001 * (1 + len(shares)):
        yield f"it does not add up to {wall_s} s: {shares}"
    if any(share["seconds"] < 0 for share in shares):
        yield f"less than nothing: {shares}"
