"""Drives one task under one lease, from wherever it stands to its end or to the next pause."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection

from towpath.platform.database import AWAY
from towpath.transfer.claims import Wait
from towpath.transfer.engine.access import look_again
from towpath.transfer.engine.claiming import WaitsForTaskError, claim_destinations
from towpath.transfer.engine.compare import Comparison
from towpath.transfer.engine.context import (
    NothingDueError,
    TaskContext,
    TaskFaultError,
    Work,
    join,
)
from towpath.transfer.engine.delete import DeleteRun
from towpath.transfer.engine.extras import ExtrasRun
from towpath.transfer.engine.faults import Consequence, Verdict, expired, in_doubt, internal_error
from towpath.transfer.engine.fidelity import fidelity_event
from towpath.transfer.engine.homes import place_items
from towpath.transfer.engine.lanes import LargeFiles, SmallFiles
from towpath.transfer.engine.make_links import LinkMaking
from towpath.transfer.engine.pairs import close_opened
from towpath.transfer.engine.planned_delete import PlannedDelete
from towpath.transfer.engine.planned_run import PlannedRun
from towpath.transfer.engine.planning import PlanExtras
from towpath.transfer.engine.planning_delete import DeletePlanning
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.repair import repair
from towpath.transfer.engine.settle import Settlement, contested_event
from towpath.transfer.engine.standstill import END_WITHIN_S, MOST_FILES, let_settle
from towpath.transfer.engine.stopwatch import (
    DELETING,
    ENDING,
    LISTING_DESTINATION,
    LISTING_SOURCE,
    RECOVERY,
    SERVICE,
    Phase,
)
from towpath.transfer.engine.walk import Walk
from towpath.transfer.store import (
    claims,
    counters,
    dates,
    events,
    fidelity,
    leases,
    plan,
    plans,
    removals,
    segments,
)
from towpath.transfer.store.events import Event, EventCode
from towpath.transfer.store.tasks import Status

log = structlog.get_logger()

# The number of the lane for large files; the others count from 1.
LARGE_LANE = 0
# A task that has to wait longer than this gives its place to another.
WAIT_IN_PLACE_S = 15.0
# Interrupts wake the watch at once; this is for leases and for tasks that only wait.
WATCH_EVERY_S = 1.0
CANCELED = {"code": EventCode.CANCELED, "description": "canceled by the owner"}


_SIDES = {
    "SOURCE": "the source",
    "DESTINATION": "the destination",
    "BOTH": "source and destination",
}


def canceled_by_manager(canceled: leases.Canceled) -> tuple[dict[str, str], tuple[Event, ...]]:
    """The end of a task whose owner did not ask for it, and what is told of it."""
    who = f"an activity manager of {_SIDES[canceled.side]}"
    event = Event(
        EventCode.CANCELED,
        "canceled",
        {
            "error": f"The task was canceled by {who}.",
            "reason": canceled.message,
            "advice": "Ask who manages the endpoint before you submit it again.",
        },
    )
    return {"code": EventCode.CANCELED, "description": f"canceled by {who}"}, (event,)


class StopRequestedError(Exception):
    """The worker is shutting down, or the task is paused: leave it to whoever comes next."""


@dataclass(slots=True)
class Driver:
    """One task, one lease. The four wishes may come from outside at any time."""

    context: TaskContext
    stop: bool = False
    cancel: bool = False
    expire: bool = False
    pause: bool = False
    _progress: plan.Progress | None = field(default=None, init=False)
    _began: float = field(init=False)
    """By the context's clock."""
    _renewed: list[datetime] | None = field(default=None, init=False)
    """The dates of the credentials when it began; None: it has not."""
    _waited: Wait | None = field(default=None, init=False)
    _fatal_error: dict[str, str] | None = field(default=None, init=False)
    """Why the task ends, once that has been noted."""
    _blind: bool = field(default=False, init=False)
    """Whether the end does not ask the servers any more."""

    def __post_init__(self) -> None:
        self._began = self.context.clock()

    def interrupt(
        self,
        *,
        cancel: bool = False,
        expire: bool = False,
        pause: bool = False,
        stop: bool = False,
    ) -> None:
        """Take note of what the user, the deadline or the operator wants."""
        self.cancel |= cancel
        self.expire |= expire
        self.pause |= pause
        self.stop |= stop
        self.context.changed.wake()

    async def run(self) -> None:
        """Drive until the task ends, pauses, or the lease is lost. Raises LeaseLostError."""
        with self.context.stopwatch.part():
            await self._run()

    async def _run(self) -> None:
        context = self.context
        recorder = Recorder(context)
        try:
            await self._begin(recorder)
            told: list[Event] = []
            if context.planning:
                await self._plan(recorder)
            elif context.deletes:
                told = await self._delete(recorder)
            else:
                told = await self._transfer(recorder)
            told.append(await self._succeeded(recorder))
            await self._finish(recorder, Status.SUCCEEDED, None, told)
        except WaitsForTaskError as waits:
            log.info("task waits for another", path=waits.wait.path)
        except NothingDueError as waits:
            await self._give_back(recorder, waits.delay_s)
        except StopRequestedError:
            await self._give_back(recorder, 0)
        except _Interrupted as interrupted:
            await self._finish(recorder, Status.FAILED, *await self._ending(interrupted))
        except TaskFaultError as fault:
            await self._fault(recorder, fault.verdict)
        finally:
            await close_opened(context)

    async def _begin(self, recorder: Recorder) -> None:
        context = self.context
        async with context.fenced() as conn:
            standing = await leases.standing(conn, context.task_no)
            self._renewed = standing.renewed
            context.removals_marked = standing.removals_unsettled
            context.removals_open = int(standing.removals_unsettled)
            self.interrupt(
                cancel=standing.cancel_requested, expire=standing.expired, pause=standing.paused
            )
            if standing.fatal_error is not None:
                raise _Interrupted(standing.fatal_error)
            if self.expire:
                self._waited = await claims.waits(conn, context.task_no)
            self._check_interrupts()
            if context.grant.first_start:
                await leases.start(conn, context.task_no)
                await self._tell(conn, [_started(context)])
            items = await plan.items(conn, context.task_no)
            claimed = await claims.made(conn, context.task_no)
        if context.grant.type != "DELETE":  # it may delete twice, but not what it has just written
            with context.stopwatch.phase(RECOVERY):
                await self._let_removals_settle()
        await place_items(context, items, log_in=not claimed)
        if not context.planning:
            await claim_destinations(context)
        progress = await self._resume()
        context.open_files = progress.open_files
        if progress.open_files:
            context.arrivals.add(*Work)
        if progress.contested_files:
            recorder.event(contested_event(progress.contested_files))
        elif progress.still_files:
            recorder.event(_taken_over(progress.still_files))
        self._progress = progress

    async def _resume(self) -> plan.Progress:
        """Take the plan over. On its first start a task has none yet but its items."""
        context = self.context
        if context.grant.first_start:
            return plan.Progress(0, 0, 0, last_dir_no=max(context.items, default=0))
        await context.in_parts(plan.forget_some)
        async with context.fenced() as conn:
            progress = await plan.resume(conn, context.task_no, context.grant.lease_epoch)
            if context.planning:
                context.planned_entries = await plans.take_over(conn, context.task_no)
            longest_s = context.settings.retry_max_s
            if progress.longest_wait_s > longest_s:
                await dates.bound_plan(conn, context.task_no, longest_s=longest_s)
        return progress

    async def _let_removals_settle(self) -> None:
        """What a lost lease's commands remove is gone before anything is looked at or written."""
        context = self.context
        if not context.removals_open:
            return
        until = context.clock() + context.settings.settle_s
        while (left_s := until - context.clock()) > 0:
            self._check_interrupts()
            context.lease.check()
            await context.changed.wait(min(left_s, WATCH_EVERY_S))
        context.removals_open = 0

    async def _transfer(self, recorder: Recorder) -> list[Event]:
        """Everything but the end; what is to be told then."""
        assert self._progress is not None, "begun"
        context = self.context
        walk = Walk(
            context,
            recorder,
            last_file_no=self._progress.last_file_no,
            last_dir_no=self._progress.last_dir_no,
        )
        async with context.db.connection() as conn:
            followed = await plans.followed(conn, context.task_no)
        planned = None if followed is None else PlannedRun(context, recorder, followed)
        lanes = [
            LargeFiles(context, recorder, number=LARGE_LANE),
            *(
                SmallFiles(context, recorder, number=number)
                for number in range(1, context.settings.lanes + 1)
            ),
        ]
        if planned is not None:
            await self._together(recorder, self._part(LISTING_SOURCE, planned.begin()))
        await self._together(
            recorder,
            self._part(SERVICE, walk.run() if planned is None else planned.run()),
            self._part(None, Settlement(context, recorder).run()),
            *(
                [self._part(None, Comparison(context, recorder).run())]
                if context.options.sync_level == 3
                else []
            ),
            *(self._part(lane.doing, lane.run()) for lane in lanes),
        )
        await self._together(recorder, self._part(LISTING_DESTINATION, LinkMaking(context).run()))
        told: list[Event] = []
        if planned is not None:
            await self._together(recorder, self._part(DELETING, planned.delete_extras()))
            told += await planned.told()
        elif context.options.delete_destination_extra:
            extras = ExtrasRun(context, recorder)
            await self._together(recorder, self._part(DELETING, extras.run()))
            told += extras.told
        async with context.db.connection() as conn:
            left_out = await counters.skipped_errors(conn, context.task_no)
            lost = await fidelity.report(conn, context.task_no)
        if left_out and planned is None:
            told.append(_skipped(left_out))
        if (not_carried := fidelity_event(lost)) is not None:
            told.append(not_carried)
        return told

    async def _delete(self, recorder: Recorder) -> list[Event]:
        """The same of a delete."""
        context = self.context
        async with context.db.connection() as conn:
            followed = await plans.followed(conn, context.task_no)
        if followed is None:
            deleting = self._part(DELETING, DeleteRun(context, recorder).run())
            await self._together(recorder, deleting)
            return []
        planned = PlannedDelete(context, recorder, followed)
        await self._together(recorder, self._part(DELETING, planned.run()))
        return await planned.told()

    async def _plan(self, recorder: Recorder) -> None:
        """What a transfer, or a delete, would do."""
        assert self._progress is not None, "begun"
        context = self.context
        if context.deletes:
            planning = DeletePlanning(context, last_dir_no=self._progress.last_dir_no)
            await self._together(recorder, self._part(LISTING_SOURCE, planning.run()))
            return
        walk = Walk(context, recorder, last_file_no=0, last_dir_no=self._progress.last_dir_no)
        await self._together(recorder, self._part(SERVICE, walk.run()))
        await self._together(recorder, self._part(LISTING_DESTINATION, PlanExtras(context).run()))

    async def _succeeded(self, recorder: Recorder) -> Event:
        await recorder.flush()
        async with self.context.db.connection() as conn:
            done = await counters.totals(conn, self.context.task_no)
        return Event(EventCode.SUCCEEDED, "succeeded", asdict(done))

    async def _together(self, recorder: Recorder, *parts: Coroutine[Any, Any, None]) -> None:
        """Run the parts, the recorder and the watch until the parts are done; then flush."""
        try:
            async with asyncio.TaskGroup() as group:
                recording = group.create_task(recorder.run())
                watching = group.create_task(self._watch(recorder))
                work = [group.create_task(part) for part in parts]
                # Not `gather`: cancelled, it cancels them, and then the group cancels once more
                # those that are still closing what they have.
                with self.context.stopwatch.phase(None):
                    await asyncio.wait(work)
                recording.cancel()
                watching.cancel()
        except* (
            TaskFaultError,
            NothingDueError,
            StopRequestedError,
            _Interrupted,
            leases.LeaseLostError,
            *AWAY,
        ) as several:
            raise _most_important(several) from None

    async def _part(self, phase: Phase, work: Coroutine[Any, Any, None]) -> None:
        """One that spends time of its own. Phase None: it says itself what it is at, if it is not
        idle."""
        with self.context.stopwatch.part(), self.context.stopwatch.phase(phase):
            await work

    async def _watch(self, recorder: Recorder) -> None:
        """See interrupts at once, and a task that only waits; tell of progress now and then, and
        ask whether guests are still let in."""
        context = self.context
        told_at = looked_at = context.clock()
        while True:
            await context.changed.wait(WATCH_EVERY_S)
            context.stopwatch.look()
            self._check_interrupts()
            context.lease.check()
            if (
                context.guest_logins
                and context.clock() - looked_at >= context.sessions.access_every_s
            ):
                await look_again(context)
                looked_at = context.clock()
            if context.clock() - told_at >= context.settings.progress_every_s:
                recorder.event(events.progress(recorder.take_bytes(), context.clock() - told_at))
                told_at = context.clock()
            if context.stopwatch.overdue:
                async with context.fenced():
                    pass  # what the time went to is committed
            if (context.walk_done or context.walk_waits) and not context.lanes_open:
                async with context.db.connection() as conn:
                    rest = await plan.waiting(conn, context.task_no)
                if rest.files == context.open_files and rest.next_due_s > WAIT_IN_PLACE_S:
                    raise NothingDueError(rest.next_due_s)

    def _check_interrupts(self) -> None:
        if self.cancel:
            raise _Interrupted(
                CANCELED,
                Event(
                    EventCode.CANCELED,
                    "canceled",
                    {"error": "The task was canceled by its owner."},
                ),
            )
        if self.expire:
            raise _Interrupted(
                {"code": EventCode.EXPIRED, "description": "the deadline has passed"},
                expired(self._waited),
            )
        if self.stop or self.pause:
            raise StopRequestedError

    async def _ending(
        self, interrupted: "_Interrupted"
    ) -> tuple[dict[str, str], tuple[Event, ...]]:
        """How the task ends. Only its row says who has cancelled it."""
        fatal_error, told = interrupted.ending
        if fatal_error != CANCELED:
            return fatal_error, told
        async with self.context.db.connection() as conn:
            canceled = await leases.canceled(conn, self.context.task_no)
        if canceled is None:
            return fatal_error, told
        return canceled_by_manager(canceled)

    async def _tell(self, conn: AsyncConnection[Any], told: Sequence[Event]) -> None:
        context = self.context
        await events.append(conn, context.task_no, told, most=context.settings.events_per_task)

    async def _release(self, conn: AsyncConnection[Any]) -> None:
        """The last write under this lease. What removals left unsettled, the next one waits for."""
        context = self.context
        if context.removals_marked and not context.removals_open:
            await removals.mark_settled(conn, context.task_no)
        await leases.release(conn, context.task_no)
        context.stopwatch.last_word()

    async def _fault(self, recorder: Recorder, verdict: Verdict) -> None:
        context = self.context
        recorder.event(verdict.event)
        if verdict.consequence is Consequence.FAIL_TASK:
            fatal = {"code": verdict.event.code, "description": verdict.event.description}
            await self._finish(recorder, Status.FAILED, fatal, [])
            return
        await recorder.flush()
        async with context.fenced() as conn:
            suspended = verdict.consequence is Consequence.SUSPEND_TASK and await leases.suspend(
                conn, context.task_no, renewed=self._renewed
            )
            if not suspended:
                failures = await leases.failures_in_a_row(conn, context.task_no) + 1
                delay_s = context.backoff_s(failures)
                await leases.back_off(
                    conn, context.task_no, delay_s=delay_s, failures_in_a_row=failures
                )
            await self._release(conn)
        log.info("task pauses", code=verdict.event.code)

    async def internal_error(self) -> None:
        """After a mistake of ours, which the log has in full: tell the owner, try again later.

        A task that was about to end without success ends, and asks the servers nothing more:
        whoever came next would make the same mistake, and the task never end.
        """
        recorder = Recorder(self.context)
        if self._fatal_error is None or self._blind:
            await self._fault(recorder, internal_error())
            return
        self._blind = True
        recorder.event(internal_error(ends=True).event)
        await self._finish(recorder, Status.FAILED, self._fatal_error, [])

    async def _give_back(self, recorder: Recorder, delay_s: float) -> None:
        await recorder.flush()
        async with self.context.fenced() as conn:
            failures = await leases.failures_in_a_row(conn, self.context.task_no)
            await leases.back_off(
                conn, self.context.task_no, delay_s=delay_s, failures_in_a_row=failures
            )
            await self._release(conn)

    async def _finish(
        self,
        recorder: Recorder,
        status: Status,
        fatal_error: dict[str, str] | None,
        told: Sequence[Event],
    ) -> None:
        """`told`: the last events, each once, whoever comes to the end."""
        with self.context.stopwatch.phase(ENDING):
            await self._end(recorder, status, fatal_error, told)

    async def _end(
        self,
        recorder: Recorder,
        status: Status,
        fatal_error: dict[str, str] | None,
        told: Sequence[Event],
    ) -> None:
        context = self.context
        until = context.clock() + END_WITHIN_S
        if fatal_error is not None:
            await self._fail(recorder, fatal_error, told, until=until)
            told = []
        await recorder.flush()
        await let_settle(context, began=self._began, until=until)
        task_no, more = context.task_no, True
        while more:
            async with context.fenced() as conn:
                more = await leases.finish_some(conn, task_no)
                if not more:
                    await segments.merge(conn, task_no)
                    await self._tell(conn, told)
                    await leases.finish(conn, task_no, status=status, fatal_error=fatal_error)
                    await self._release(conn)
        log.info("task ended", status=status)

    async def _fail(
        self,
        recorder: Recorder,
        fatal_error: dict[str, str],
        told: Sequence[Event],
        *,
        until: float,
    ) -> None:
        """From here on the task only ends, whoever has its lease. What it leaves is looked at."""
        context = self.context
        await recorder.flush()
        async with context.fenced() as conn:
            faults = await counters.faults(conn, context.task_no)
            await leases.note_fatal_error(conn, context.task_no, fatal_error)
            await self._tell(conn, told)
        self._fatal_error = fatal_error
        async with context.db.connection() as conn:  # a large plan must not keep the row locked
            granted = await claims.granted(conn, context.task_no)
            sent = await plan.sent(conn, context.task_no, MOST_FILES + 1)
            unsettled = await plan.unsettled(conn, context.task_no, 1)
            items = await plan.items(conn, context.task_no)
        if self._blind:
            context.items = {}
        elif (
            fatal_error["code"] == EventCode.CANCELED
            and not faults
            and context.grant.lost_s_ago is None
        ):
            sent = []  # in good health: there is nothing to look for
        if not (sent or unsettled):
            return
        sent, others = sent[:MOST_FILES], sent[MOST_FILES:]
        more = 0
        if others:
            async with context.db.connection() as conn:
                more = await plan.count_sent(conn, context.task_no, after=others[-1].file_no)
        may_look = await self._may_look(items, granted)
        if sent and may_look and await let_settle(context, began=self._began, until=until):
            async with context.fenced() as conn:
                await plan.mark_still(conn, context.task_no)
            sent = await repair(context, recorder, sent, until=until)
        if sent or others:
            first = (sent or others)[0]
            [base] = [item.destination_path for item in items if item.item_no == first.item_no]
            assert base is not None, "a transfer's items have destinations"
            recorder.event(in_doubt(len(sent) + len(others) + more, join(base, first.path)))

    async def _may_look(self, items: Sequence[plan.Item], granted: str | None) -> bool:
        """Whether this lease knows, now at least, where the task's files are, and may write them.

        An endpoint that was given another server has other tasks' files there (I9).
        """
        context = self.context
        if context.items:
            return True
        if granted is None or self._blind:
            return False
        context.claimed_storage = granted
        try:
            await place_items(context, items, log_in=False)
        except TaskFaultError as fault:
            context.lease.check()  # without it nothing is asked
            log.warning("what was sent is not looked at", why=fault.verdict.event.code)
            return False
        return True


class _Interrupted(Exception):  # noqa: N818 - not an error: somebody wanted it
    def __init__(self, fatal_error: dict[str, str], *told: Event) -> None:
        super().__init__(fatal_error["code"])
        self.ending = (fatal_error, told)


def _most_important(group: ExceptionGroup[Exception]) -> Exception:
    """Of what several parts raised at once, the one that decides."""
    flat: list[Exception] = []
    pending: list[Exception] = [group]
    while pending:
        one = pending.pop()
        if isinstance(one, ExceptionGroup):
            pending.extend(one.exceptions)
        else:
            flat.append(one)

    def rank(error: Exception) -> int:
        if isinstance(error, leases.LeaseLostError):
            return 0
        if isinstance(error, AWAY):
            return 1
        if isinstance(error, _Interrupted | StopRequestedError):
            return 2
        if isinstance(error, TaskFaultError):
            order = (Consequence.FAIL_TASK, Consequence.SUSPEND_TASK)
            consequence = error.verdict.consequence
            return 3 + order.index(consequence) if consequence in order else 5
        return 6

    return min(flat, key=rank)


def _started(context: TaskContext) -> Event:
    settings = context.settings
    return Event(
        EventCode.STARTED,
        "started",
        {
            "type": context.grant.type.lower(),
            "concurrency": settings.lanes + 1,
            "parallelism": settings.streams,
            "pipelining": settings.in_flight_files,
        },
    )


def _taken_over(still_files: int) -> Event:
    return Event(
        EventCode.RECOVERED,
        "taken over",
        {
            "reason": "A worker was lost with files under way, and the servers have ended its"
            " sessions.",
            "interrupted_files": still_files,
            "advice": "Nothing needs to be done.",
            "next": "Files that were under way are sent again, large ones from where they were.",
        },
    )


def _skipped(count: int) -> Event:
    return Event(
        EventCode.SKIPPED_ERRORS,
        "skipped errors",
        {
            "skipped": count,
            "error": "Some files or directories could not be read at the source.",
            "advice": "They are in the list of skipped errors. Mend their cause, and submit again.",
        },
    )
