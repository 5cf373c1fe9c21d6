"""Route that tells where the time of a task went."""

from typing import Any

from fastapi.responses import JSONResponse

from towpath.platform.http import new_router
from towpath.transfer import accounting, times
from towpath.transfer.accounting import MEANING, MOVES
from towpath.transfer.api.answers.explain import TaskExplanation
from towpath.transfer.api.service import PREFIX, Caller, Service, own_task
from towpath.transfer.explanation import Explanation, Share, Speeds, explain
from towpath.transfer.store import spent
from towpath.transfer.store.spent import Book, Rate
from towpath.transfer.store.tasks import Status, Task

router = new_router(PREFIX)

_BEGINNINGS = {Status.SUCCEEDED: "It took", Status.FAILED: "It failed after"}


@router.get("/task/{task_id}/explain", response_model=TaskExplanation)
async def explain_task(task_id: str, caller: Caller, service: Service) -> JSONResponse:
    """Where the time of a task went."""
    async with service.database.connection() as conn:
        task = await own_task(conn, task_id, caller.sub)
        per_owner = service.limits.running_tasks_per_owner
        book = await spent.until_now(conn, task.task_no, per_owner=per_owner)
        rates = Rate(None, None)
        if task.destination_endpoint_id is not None:
            rates = await spent.rates(
                conn,
                task.owner_id,
                task.source_endpoint_id,
                task.destination_endpoint_id,
                but=task.task_no,
            )
    return JSONResponse(_document(task, _explained(task, book, rates)))


def _explained(task: Task, book: Book, rates: Rate) -> Explanation:
    moving_s = accounting.total({c: d for c, d in book.spent.items() if c in MOVES})
    own = task.bytes_transferred / moving_s if moving_s else None
    names = {"source": task.source_display_name}
    if task.destination_display_name is not None:
        names["destination"] = task.destination_display_name
    return explain(
        book.spent,
        book.wall_s,
        names=names,
        beginning=_BEGINNINGS.get(Status(task.status), "It has taken"),
        speeds=Speeds(own, rates.from_source, rates.to_destination),
    )


def _document(task: Task, explained: Explanation) -> dict[str, Any]:
    completed = task.completion_time
    return {
        "DATA_TYPE": "task_explanation",
        "task_id": str(task.id),
        "status": task.status,
        "request_time": times.show(task.request_time),
        "completion_time": None if completed is None else times.show(completed),
        "sentence": explained.sentence,
        "wall_s": explained.wall_ms / 1000,
        "unexplained": round(explained.unexplained, 4),
        "DATA": [_share(share, explained.wall_ms) for share in explained.shares],
    }


def _share(share: Share, wall_ms: int) -> dict[str, Any]:
    return {
        "DATA_TYPE": "time_share",
        "category": share.category,
        "seconds": share.ms / 1000,
        "share": round(share.ms / wall_ms, 4),
        "sure": share.sure,
        "meaning": MEANING[share.category],
        "details": [
            {"what": part.detail, "seconds": part.ms / 1000}
            for part in share.details
            if part.detail
        ],
    }
