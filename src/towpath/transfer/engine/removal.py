"""Removing files and trees at one end of a task, under its lease.

A command that nobody waits for any more may remove what comes next. So the task's row says that
there may be some before the first is sent, and until the end of all of them is certain.
"""

import asyncio
import posixpath
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

from towpath.gridftp.client.removal import Failure, Keep, Remover
from towpath.gridftp.client.session import Session, close_all
from towpath.gridftp.errors import GridFTPError, Kind, Phase, Scope
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.faults import Consequence, Verdict, for_whole_task
from towpath.transfer.engine.pairs import open_another, open_session
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.filter_rules import FilterRules
from towpath.transfer.store import removals

FAILURES_TOLD = 20
"""Events of one try: more of the same kind help nobody, and there will be more tries."""


@asynccontextmanager
async def removing(
    context: TaskContext,
    recorder: Recorder,
    endpoint_id: UUID,
    *,
    at_source: bool,
    keep: Keep | None = None,
) -> AsyncIterator[Remover]:
    """A remover whose numbers the recorder commits. Raises TaskFaultError and LeaseLostError."""
    first, login = await open_session(context, endpoint_id, at_source=at_source)
    ready = [first]

    async def open_next() -> Session:
        return ready.pop() if ready else await open_another(context, login, writes=True)

    remover = Remover(
        open_next,
        sessions=context.settings.delete_sessions,
        keep=keep,
        tell=recorder.removed,
    )
    try:
        await _begin(context)
        yield remover
    except GridFTPError as error:
        context.lease.check()  # without it nothing is sent, and the session is lost
        raise TaskFaultError(
            for_whole_task(context.judge(error, Phase.REMOVAL, at_source=at_source))
        ) from error
    finally:
        try:
            if await remover.close():
                _confirmed(context)
        finally:
            await close_all(ready)


async def remove_files(context: TaskContext, session: Session, paths: Sequence[str]) -> None:
    """Remove a few files or links, with a session that is used for more. Raises GridFTPError."""
    await _begin(context)
    context.lease.check()
    removed = await asyncio.gather(
        *(session.delete_file(path) for path in paths), return_exceptions=True
    )
    failures = [failure for failure in removed if failure is not None]
    if all(isinstance(one, GridFTPError) and one.scope is Scope.FILE for one in failures):
        _confirmed(context)  # each has its answer
    if failures:
        raise failures[0]


async def remove_each(
    context: TaskContext, session: Session, paths: Sequence[tuple[str, bool]]
) -> dict[str, GridFTPError]:
    """Remove these one by one, in this order, each with whether it is a directory, which goes only
    if it is empty. What is gone already is fine. Returns what could not be removed, and why.

    Raises GridFTPError when the session ends.
    """
    await _begin(context)
    context.lease.check()
    answers = await asyncio.gather(
        *(
            session.delete_directory(path) if is_directory else session.delete_file(path)
            for path, is_directory in paths
        ),
        return_exceptions=True,
    )
    failed: dict[str, GridFTPError] = {}
    for (path, _), answer in zip(paths, answers, strict=True):
        if isinstance(answer, BaseException) and not isinstance(answer, GridFTPError):
            raise answer
        if isinstance(answer, GridFTPError) and answer.kind is not Kind.NOT_FOUND:
            if answer.scope is not Scope.FILE:
                raise answer
            failed[path] = answer
    _confirmed(context)  # each has its answer
    return failed


async def _begin(context: TaskContext) -> None:
    context.removals_open += 1
    if not context.removals_marked:
        async with context.fenced() as conn:
            await removals.mark_unsettled(conn, context.task_no)
        context.removals_marked = True


def _confirmed(context: TaskContext) -> None:
    context.removals_open -= 1


def raise_failures(
    context: TaskContext, recorder: Recorder, failures: Sequence[Failure], *, at_source: bool
) -> None:
    """Tell what could not be removed; the task tries again, later. Raises TaskFaultError."""
    if not failures:
        return
    # What can never be removed is told last, because it decides.
    ordered = sorted(failures, key=lambda failure: failure.error.kind is Kind.INVALID_NAME)
    verdicts = [
        _verdict(context, failure, more=len(failures) - FAILURES_TOLD, at_source=at_source)
        for failure in ordered[-FAILURES_TOLD:]
    ]
    for verdict in verdicts[:-1]:
        recorder.event(verdict.event)
    raise TaskFaultError(verdicts[-1])


def _verdict(context: TaskContext, failure: Failure, *, more: int, at_source: bool) -> Verdict:
    verdict = context.judge(failure.error, Phase.REMOVAL, at_source=at_source)
    assert isinstance(verdict.event.details, dict), "made by judge"
    final = failure.error.kind is Kind.INVALID_NAME
    details = verdict.event.details | {
        "path": failure.path,
        **({"more_paths": more} if more > 0 else {}),
        "next": "The task has failed; all else has been deleted."
        if final
        else "All else has been deleted. It is tried again until the deadline.",
    }
    return Verdict(
        Consequence.FAIL_TASK if final else Consequence.RETRY_TASK,
        replace(verdict.event, details=details),
    )


def keeping(rules: FilterRules, roots: set[str]) -> Keep | None:
    """What stays in trees that are removed: names that the rules exclude. None: nothing."""
    if not rules:
        return None

    def keep(path: str, is_directory: bool) -> bool:  # noqa: FBT001 - called with positions
        while path not in roots and path != "/":
            path, name = posixpath.split(path)
            if not rules.take(name, is_directory=is_directory):
                return True
            is_directory = True
        return False

    return keep
