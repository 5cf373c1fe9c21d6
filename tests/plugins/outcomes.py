"""What became of a task, as its owner is told; and what is asked of it."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from plugins.site import until
from towpath.demo.deployment import Deployment


def succeeded(deployment: Deployment, task_id: str) -> dict[str, Any]:
    """The document of a task that ends well."""
    task = deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    return task


def details_of(deployment: Deployment, task_id: str, code: str) -> list[dict[str, Any]]:
    """Of all its events with this code so far, oldest first."""
    told = deployment.events(task_id)
    return [json.loads(event["details"]) for event in told if event["code"] == code]


def faults_of(deployment: Deployment, task_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Codes and details of all its error events so far, oldest first."""
    return [
        (event["code"], json.loads(event["details"]))
        for event in deployment.events(task_id)
        if event["is_error"]
    ]


def first_fault(deployment: Deployment, task_id: str) -> dict[str, Any]:
    """The first error event, once it is there; its details as an object, which explains it."""
    [(code, told), *_] = until(lambda: faults_of(deployment, task_id), 15, "a fault is told")
    assert told["error"]
    assert told["advice"]
    assert told["next"]
    return {"code": code, "details": told}


def cancel(deployment: Deployment, task_id: str) -> None:
    """Until it has ended."""
    deployment.post(f"task/{task_id}/cancel", {})
    assert deployment.wait(task_id, 30)["fatal_error"]["code"] == "CANCELED"


def transferred(deployment: Deployment, task_id: str) -> Iterator[dict[str, Any]]:
    """The files that have arrived, from all pages of `successful_transfers`."""
    marker: int | None = 0
    while marker is not None:
        page = deployment.get(f"task/{task_id}/successful_transfers", marker=marker)
        yield from page["DATA"]
        marker = page["next_marker"]


def delete(deployment: Deployment, endpoint: str, *paths: object, **options: object) -> str:
    """Submit a delete; the task id."""
    document = {
        "DATA_TYPE": "delete",
        "submission_id": str(uuid4()),
        "endpoint": endpoint,
        "DATA": [{"DATA_TYPE": "delete_item", "path": str(path)} for path in paths],
        **options,
    }
    task_id: str = deployment.post("delete", document)["task_id"]
    return task_id
