"""Engines with an invariant broken on purpose, to see that the checkers notice.

Each is a way to run: `with MUTANTS[name]():`, and names the invariant whose checker has to speak.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple
from unittest.mock import patch
from uuid import uuid4

from towpath.gridftp.client.lane import Lane
from towpath.transfer.engine import driver, settle
from towpath.transfer.engine.context import LeaseClock, TaskContext
from towpath.transfer.engine.driver import Driver
from towpath.transfer.store import claims, leases, plan, restart_points, submissions
from towpath.transfer.store.plan import State


class Mutant(NamedTuple):
    """What is broken, and which checkers may be the first to see it."""

    broken: Callable[[], AbstractContextManager[Any]]
    invariants: frozenset[str]
    tasks: int
    """So many show it, with a few seeds."""


def _does_not_wait(*_: Any) -> Any:
    async def nothing() -> None:
        return None

    return nothing()


@contextmanager
def settles_at_once() -> Iterator[None]:
    """A contested path is compared and written without waiting until it stands still."""
    with patch.object(settle, "stand_still", _does_not_wait):
        yield


@contextmanager
def takes_nothing_for_contested() -> Iterator[None]:
    """Files in flight under a lost lease are simply sent again."""

    async def resume(conn: Any, task_no: int, epoch: int) -> Any:
        await conn.execute(
            "UPDATE file SET state = %s WHERE task_no = %s AND state = %s",
            (State.PENDING, task_no, State.IN_FLIGHT),
        )
        return await original(conn, task_no, epoch)

    original = plan.resume
    with patch.object(plan, "resume", resume):
        yield


@contextmanager
def ignores_its_lease() -> Iterator[None]:
    """A worker goes on sending when its lease is over."""
    with patch.object(LeaseClock, "usable", True):
        yield


@contextmanager
def writes_with_an_old_epoch() -> Iterator[None]:
    """A worker whose lease is another's commits all the same."""

    def fenced(db: Any, task_no: int, epoch: int) -> Any:
        del task_no, epoch
        return db.transaction()

    with patch.object(leases, "fenced", fenced), ignores_its_lease():
        yield


@contextmanager
def forgets_claims() -> Iterator[None]:
    """Nobody waits for anybody."""

    async def wait_or_go(conn: Any, task_no: int, wanted: Any) -> None:
        del conn, task_no, wanted

    with patch.object(claims, "wait_or_go", wait_or_go):
        yield


@contextmanager
def sends_before_it_is_in_flight() -> Iterator[None]:
    """The plan does not know what a lane has sent."""

    async def take(conn: Any, task_no: int, **options: Any) -> Any:
        files = await original(conn, task_no, **options)
        await conn.execute(
            "UPDATE file SET state = %s, not_before = now() + interval '5 seconds'"
            " WHERE task_no = %s AND file_no = ANY(%s)",
            (State.PENDING, task_no, [file.file_no for file in files]),
        )
        return files

    original = plan.take
    with patch.object(plan, "take", take):
        yield


@contextmanager
def sends_restart_points_again() -> Iterator[None]:
    """A large file that was interrupted is sent from its beginning."""

    async def of_file(*_: Any) -> list[Any]:
        return []

    with patch.object(restart_points, "of_file", of_file):
        yield


@contextmanager
def trusts_servers() -> Iterator[None]:
    """Digests are not compared."""
    with patch.object(TaskContext, "verifies", lambda *_: False):
        yield


@contextmanager
def trusts_what_came_after_a_failure() -> Iterator[None]:
    """The order rule is not known: what was sent behind a failure counts when a server says so."""

    async def outcomes(lane: Lane) -> list[Any]:
        told = await original(lane)
        return [one._replace(status="done") if one.status == "void" else one for one in told]

    original = Lane.outcomes
    with patch.object(Lane, "outcomes", outcomes):
        yield


@contextmanager
def takes_repeats_for_new() -> Iterator[None]:
    """A repeated submission is another task."""

    async def create(conn: Any, new: Any) -> Any:
        return await original(conn, [replace(task, submission_id=uuid4()) for task in new])

    original = submissions.create
    with patch.object(submissions, "create", create):
        yield


@contextmanager
def leaves_sessions_open() -> Iterator[None]:
    """Sessions that nobody took are not closed."""
    with patch.object(driver, "close_opened", _does_not_wait):
        yield


@contextmanager
def leaves_rows_behind() -> Iterator[None]:
    """The plan of a task that is over stays."""

    async def finish(conn: Any, task_no: int, **options: Any) -> None:
        await original(conn, task_no, **options)
        await conn.execute("INSERT INTO frontier VALUES (%s, 0, 0, '')", (task_no,))

    original = leases.finish
    with patch.object(leases, "finish", finish):
        yield


@contextmanager
def gives_up() -> Iterator[None]:
    """The first fault of a task ends it."""

    async def fault(self: Any, recorder: Any, verdict: Any) -> None:
        fatal = {"code": verdict.event.code, "description": verdict.event.description}
        await self._finish(recorder, "FAILED", fatal, [])

    with patch.object(Driver, "_fault", fault):
        yield


MUTANTS: dict[str, Mutant] = {
    made.__name__: Mutant(made, frozenset(invariants.split()), tasks)
    for made, invariants, tasks in (
        (settles_at_once, "I3", 150),
        (takes_nothing_for_contested, "I3", 300),
        (ignores_its_lease, "I3", 300),
        (writes_with_an_old_epoch, "I3", 150),
        (forgets_claims, "I9", 150),
        (sends_before_it_is_in_flight, "I4", 10),
        (sends_restart_points_again, "I4", 150),
        (trusts_servers, "truth", 150),
        (trusts_what_came_after_a_failure, "truth", 150),
        (takes_repeats_for_new, "I1", 30),
        (leaves_sessions_open, "I5", 150),
        (leaves_rows_behind, "I5", 10),
        (gives_up, "I1", 30),
    )
}
