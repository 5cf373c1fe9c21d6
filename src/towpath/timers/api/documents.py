"""Timers as the API shows them: the documents of `/v2/timer` and of `/jobs/`."""

from collections.abc import Sequence
from typing import Any

from towpath.platform.times import show
from towpath.timers.store.runs import Run
from towpath.timers.store.timers import Timer

ACTION_URL = "https://actions.automate.globus.org/transfer/transfer/run"
"""What a transfer timer calls, by the word of the Globus clients, which then say "Transfer"."""


def timer_document(timer: Timer) -> dict[str, Any]:
    """As the newer API shows it."""
    return {
        "job_id": str(timer.id),
        "name": timer.name,
        "timer_type": "transfer",
        "status": _status(timer),
        "submitted_at": show(timer.submitted_at),
        "schedule": _schedule(timer),
        "body": timer.body,
        "next_run": show(timer.next_run),
        "last_ran_at": show(timer.last_ran_at),
        "number_of_runs": timer.n_runs,
        "number_of_errors": timer.n_errors,
        "inactive_reason": _inactive_reason(timer),
    }


def job_document(timer: Timer, runs: Sequence[Run], *, deleted: bool = False) -> dict[str, Any]:
    """As the older API shows it, whichever it was made with."""
    return {
        "job_id": str(timer.id),
        "name": timer.name,
        "start": show(timer.start_at),
        "interval": None if timer.interval_s is None else float(timer.interval_s),
        "stop_after": _stop_after(timer),
        "callback_url": timer.callback_url,
        "callback_body": timer.callback_body,
        "scope": timer.scope,
        "status": "deleted" if deleted else _status(timer),
        "submitted_at": show(timer.submitted_at),
        "last_ran_at": show(timer.last_ran_at),
        "next_run": None if deleted else show(timer.next_run),
        "n_runs": timer.n_runs,
        "n_errors": timer.n_errors,
        "results": {"data": [_result(timer, run) for run in runs], "page_next": None},
        "inactive_reason": _inactive_reason(timer),
        "activity": None if deleted else _activity(timer),
    }


def _status(timer: Timer) -> str:
    if timer.status == "active":
        return "new" if timer.run_no == 0 else "loaded"
    return timer.status


def _schedule(timer: Timer) -> dict[str, Any]:
    if timer.interval_s is None:
        return {"type": "once", "datetime": show(timer.start_at)}
    end: dict[str, Any] | None = None
    if timer.most_runs is not None:
        end = {"condition": "iterations", "count": timer.most_runs}
    elif timer.until is not None:
        end = {"condition": "time", "datetime": show(timer.until)}
    return {
        "type": "recurring",
        "interval_seconds": timer.interval_s,
        "start": show(timer.start_at),
        "end": end,
    }


def _stop_after(timer: Timer) -> dict[str, Any] | None:
    most_runs = 1 if timer.interval_s is None else timer.most_runs
    if most_runs is None and timer.until is None:
        return None
    return {"date": show(timer.until), "n_runs": most_runs}


def _inactive_reason(timer: Timer) -> dict[str, Any] | None:
    if timer.status != "inactive":
        return None
    return {"cause": timer.inactive_cause, "detail": timer.inactive_detail}


def _activity(timer: Timer) -> dict[str, Any] | None:
    if timer.status == "ended":
        return None
    if timer.status == "inactive":
        return {"code": "paused", "start_timestamp": show(timer.since)}
    if timer.run_began_at is None:
        return {"code": "awaiting_next_run", "start_timestamp": None}
    code = "retrying" if timer.run_attempts else "run_in_progress"
    return {"code": code, "start_timestamp": show(timer.run_began_at)}


def _result(timer: Timer, run: Run) -> dict[str, Any]:
    return {
        "data": None if run.task_id is None else _action(timer, run),
        "errors": run.errors,
        "status": run.http_status,
        "ran_at": show(run.ran_at),
    }


def _action(timer: Timer, run: Run) -> dict[str, Any]:
    """In the words of Globus Flows, whose "action" the task of a run is at Globus."""
    task = run.task or {}
    status = str(task.get("status", "ACTIVE"))
    return {
        "action_id": str(run.task_id),
        "completion_time": task.get("completion_time"),
        "creator_id": f"urn:globus:auth:identity:{timer.owner_id}",
        "details": run.task,
        "display_status": str(task.get("nice_status") or status),
        "label": timer.body.get("label"),
        "manage_by": [],
        "monitor_by": [],
        "release_after": None,
        "start_time": show(run.ran_at),
        "status": status,
    }
