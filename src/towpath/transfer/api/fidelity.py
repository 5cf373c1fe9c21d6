"""The fidelity report as a document; it is ours, the Globus API has none."""

from collections.abc import Mapping
from typing import Any

from towpath.transfer.fidelity import (
    MEANING,
    NEVER_CARRIED,
    TIMES_OF_FILES,
    Finding,
    Kind,
    Known,
    known,
)
from towpath.transfer.store.tasks import Status, Task


def fidelity_document(task: Task, found: Mapping[Kind, Finding]) -> dict[str, Any]:
    """What of a transfer was not carried over: every kind, also those that were not found."""
    kept_times = bool(task.options.get("preserve_timestamp"))
    complete = task.status == Status.SUCCEEDED
    return {
        "DATA_TYPE": "fidelity_report",
        "task_id": str(task.id),
        "complete": complete,
        "never_carried": [*NEVER_CARRIED, *([] if kept_times else [TIMES_OF_FILES])],
        "DATA": [_finding(kind, found.get(kind, Finding()), complete=complete) for kind in Kind],
    }


def _finding(kind: Kind, finding: Finding, *, complete: bool) -> dict[str, Any]:
    certainty = known(kind, finding)
    if certainty is Known.EXACT and not complete:
        certainty = Known.AT_LEAST  # of what has been seen so far
    return {
        "DATA_TYPE": "fidelity_finding",
        "kind": kind,
        "description": MEANING[kind],
        "known": certainty,
        "count": None if certainty is Known.NOT_KNOWN else finding.count,
        "examples": [
            {"source_path": example.path, "details": example.details}
            for example in finding.examples
        ],
    }
