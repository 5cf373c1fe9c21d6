"""A delete that follows a plan: it removes what that says, in the place of `delete`, and no more.

Each entry is looked at again right before it goes (`planned_removal`). What is not as the plan has
it is left alone, and told; and so is a directory with something new in it.
"""

from towpath.transfer.engine.context import TaskContext
from towpath.transfer.engine.last_look import AT_ONCE, LastLook
from towpath.transfer.engine.planned_removal import PlannedRemoval
from towpath.transfer.engine.planned_run import as_expected, not_done
from towpath.transfer.engine.recorder import Recorder, record_skipped
from towpath.transfer.planned import Action, Reason
from towpath.transfer.store import counters, plans
from towpath.transfer.store.events import Event
from towpath.transfer.store.plans import Applied


class PlannedDelete:
    """Removes what a plan has."""

    def __init__(self, context: TaskContext, recorder: Recorder, applied: Applied) -> None:
        self._context = context
        self._plan_no = applied.plan_no
        self._cursor = applied.cursor
        self._look = LastLook(context, applied.plan_no)
        self._removal = PlannedRemoval(context, recorder, applied, self._look)

    async def run(self) -> None:
        """Until all that can go is gone. Raises TaskFaultError or LeaseLostError."""
        await self._look.begin()
        await self._tell_faults()
        await self._removal.run(Reason.ASKED)

    async def _tell_faults(self) -> None:
        context = self._context
        while True:
            async with context.db.connection() as conn:
                batch = await plans.page(
                    conn, self._plan_no, after=self._cursor, limit=AT_ONCE, actions=[Action.FAULT]
                )
            if not batch:
                return
            self._cursor = batch[-1][0]
            async with context.fenced() as conn:
                await plans.advance(conn, self._plan_no, context.task_no, cursor=self._cursor)
                await record_skipped(conn, context.task_no, [as_expected(one) for _, one in batch])

    async def told(self) -> list[Event]:
        """What its owner is to be told in the end."""
        async with self._context.db.connection() as conn:
            alone = await counters.skipped_errors(conn, self._context.task_no)
        return [not_done(alone)] if alone else []
