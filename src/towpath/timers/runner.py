"""Runs what is due.

A run is three steps, each begun only when the one before is committed: it is *begun* (its number
and time are written), its transfer is *submitted*, and its task is *watched* until it has ended.
The submission id follows from timer and number, so a step that is done again, after a crash or by
another process, finds the same task (I1). One run at a time: what falls due meanwhile, or was
missed, is made up for by one run.
"""

import asyncio
import contextlib
import json
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

import structlog

from towpath.platform.database import AWAY, Connection, Database, is_away
from towpath.timers.nexus import Kept, Nexus, NoKeyHereError, NotAllowedError, UnavailableError
from towpath.timers.schedule import following, may_begin
from towpath.timers.store import outbox, runs, timers
from towpath.timers.store.runs import Run
from towpath.timers.store.timers import Timer
from towpath.timers.transfer import FINAL, Transfer, Trouble

LOOK_S: Final = 25.0
"""What one look at a timer may take: two or three requests, to services on a bad day."""
LEASE_S: Final = 30.0
"""Longer than that, so that two processes do not ask the same; and what a timer waits for whose
process has died."""
AT_ONCE: Final = 8
"""Timers looked at together: many fall due at the full hour, and Transfer has others to serve."""
POLL_S: Final = 5.0
"""Another process may set a timer that is due at once."""
SWEEP_EVERY_S: Final = 3600.0

TRIES: Final = 40
"""Of a submission, before the run has failed: about five hours."""
RETRY_FIRST_S: Final = 5.0
RETRY_LONGEST_S: Final = 600.0
WATCH_FIRST_S: Final = 2.0
WATCH_LONGEST_S: Final = 60.0
"""From one look at a task to the next: a tenth of its age, within these."""
TOKEN_UNUSED: Final = timedelta(days=30)
"""Nexus forgets a refresh token that was not used for 180 days; a timer may wait for longer."""
TOKENS_KEPT: Final = 10_000
"""Access tokens in memory, for looks at tasks: 2 MB."""
TASK_KEPT_BYTES: Final = 16 * 1024
"""Of a task's document with a run; filter rules make longer ones."""

_NOT_ALLOWED: Final = (
    "The timer may not transfer for you (any more): allow it, and resume the timer"
    " (globus timer resume)"
)

_log = structlog.stdlib.get_logger("towpath.timers")


def submission_id(timer_id: UUID, run_no: int) -> UUID:
    """The same for a run, whoever submits it, and as often as it is done."""
    return uuid5(timer_id, f"run {run_no}")


def retry_in_s(attempts: int, chance: float) -> float:
    """After so many failures: twice as long each time; chance (0 to 1) shortens it by up to half,
    so that timers that failed together do not come back together.
    """
    longest = min(RETRY_FIRST_S * 2.0 ** min(attempts - 1, 20), RETRY_LONGEST_S)
    return longest * (1 - chance / 2)


def look_again_in_s(age_s: float) -> float:
    """When to look at a task of that age again."""
    return min(max(age_s / 10, WATCH_FIRST_S), WATCH_LONGEST_S)


def look_when_waiting(next_run: datetime | None, token_used_at: datetime) -> datetime | None:
    """When a timer without a run needs somebody; None: it is over."""
    return None if next_run is None else min(next_run, token_used_at + TOKEN_UNUSED)


def requirement(scopes: list[str], message: str) -> dict[str, Any]:
    """What the Globus clients know as an authorization requirement."""
    parameters = {"session_message": message, "required_scopes": scopes}
    return {"code": "ConsentRequired", "authorization_parameters": parameters}


class Runner:
    """One process' part in it; any number may work side by side."""

    def __init__(
        self,
        database: Database,
        nexus: Nexus,
        transfer: Transfer,
        kept: Kept,
        *,
        now: Callable[[Connection], Awaitable[datetime]] = timers.now,
        chance: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._nexus = nexus
        self._transfer = transfer
        self._kept = kept
        self._now = now
        self._chance = chance
        self._monotonic = monotonic
        self._due = asyncio.Event()
        self._tokens: OrderedDict[UUID, str] = OrderedDict()
        self._swept_at = -SWEEP_EVERY_S

    def wake(self) -> None:
        """Something may be due now."""
        self._due.set()

    async def run(self) -> None:
        """Until cancelled. While the database is away, nothing is run, and made up for later."""
        while True:
            self._due.clear()
            wait_s = POLL_S
            try:
                if await self.round():
                    continue
                wait_s = await self._until_next_s()
                await self._sweep()
            except AWAY as error:
                if not is_away(error):
                    raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._due.wait()

    async def round(self) -> int:
        """Look at what is due; how many there were."""
        async with self._database.transaction() as conn:
            at = await self._now(conn)
            claimed = await timers.claim(
                conn, at=at, limit=AT_ONCE, lease_s=LEASE_S, longest_s=RETRY_LONGEST_S
            )
        await asyncio.gather(*(self._see_to(timer, at) for timer in claimed))
        return len(claimed)

    async def _until_next_s(self) -> float:
        async with self._database.connection() as conn:
            at, then = await self._now(conn), await timers.next_look(conn)
        return POLL_S if then is None else min(max((then - at).total_seconds(), 0.05), POLL_S)

    async def _sweep(self) -> None:
        if self._monotonic() - self._swept_at >= SWEEP_EVERY_S:
            async with self._database.connection() as conn:
                await timers.sweep_old(conn, at=await self._now(conn))
            self._swept_at = self._monotonic()

    async def _see_to(self, timer: Timer, at: datetime) -> None:
        """A timer's next step. One that fails in a way that nobody foresaw is tried again when its
        lease has ended; the others go on.
        """
        with structlog.contextvars.bound_contextvars(timer=str(timer.id)):
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._step(timer, at)
            except AWAY as error:
                if not is_away(error):
                    _log.exception("timer.failed")
            except Exception:  # noqa: BLE001 - told, and bounded by the lease
                _log.exception("timer.failed")

    async def _step(self, timer: Timer, at: datetime) -> None:
        if timer.run_began_at is None:
            begun = await self._begin(timer, at)
            if begun is None:
                return
            timer = begun
        if timer.run_task_id is None:
            await self._submit(timer, at)
        else:
            await self._watch(timer, at)

    async def _begin(self, timer: Timer, at: datetime) -> Timer | None:
        """Begin a run, if one is due."""
        if timer.next_run is not None and timer.next_run > at:
            await self._keep_token(timer, at)
            return None
        if timer.next_run is None or not may_begin(timer.schedule, at):
            await self._end(timer, at)
            return None
        run_no = timer.run_no + 1
        changed: dict[str, Any] = {
            "run_no": run_no,
            "run_began_at": at,
            "run_task_id": None,
            "run_attempts": 0,
            "next_run": following(timer.schedule, after=at, begun=run_no),
        }
        async with self._database.connection() as conn:
            if not await timers.write(conn, timer, **changed):
                return None
        return replace(timer, **changed)

    async def _submit(self, timer: Timer, at: datetime) -> None:
        """Submit the transfer of the run that has begun."""
        try:
            access_token = await self._access_token(timer, at, fresh=True)
            accepted = await self._transfer.submit(
                access_token, timer.body, submission_id(timer.id, timer.run_no)
            )
        except NotAllowedError as error:
            await self._make_inactive(timer, at, error)
            return
        except UnavailableError as error:
            trouble = Trouble(None, "ServiceUnavailable", str(error), passes=True)
            await self._not_submitted(
                timer, at, trouble, without_end=isinstance(error, NoKeyHereError)
            )
            return
        except Trouble as trouble:
            await self._not_submitted(timer, at, trouble)
            return
        run = Run(
            timer_id=timer.id,
            run_no=timer.run_no,
            ran_at=at,
            http_status=accepted.http_status,
            task_id=accepted.task_id,
        )
        written = await self._write(
            timer,
            run,
            run_task_id=accepted.task_id,
            run_attempts=0,
            last_ran_at=at,
            n_runs=timer.n_runs + 1,
            look_at=at,
            lease_until=None,
        )
        if written:
            _log.info("timer.ran", run=timer.run_no, task=str(accepted.task_id))

    async def _not_submitted(
        self, timer: Timer, at: datetime, trouble: Trouble, *, without_end: bool = False
    ) -> None:
        """Again later, or this run has failed and the next one has its turn.

        `without_end`: it is the operator's to mend, and no run fails by it.
        """
        attempts = timer.run_attempts + 1
        if without_end:
            attempts = min(attempts, TRIES - 1)
        again = trouble.passes and attempts < TRIES
        run = Run(
            timer_id=timer.id,
            run_no=timer.run_no,
            ran_at=at,
            http_status=trouble.http_status,
            errors=[trouble.document()],
        )
        _log.info("timer.refused", run=timer.run_no, code=trouble.code, again=again)
        if again:
            wait_s = retry_in_s(attempts, self._chance())
            await self._write(
                timer,
                run,
                run_attempts=attempts,
                look_at=at + timedelta(seconds=wait_s),
                lease_until=None,
            )
            return
        await self._over(
            timer,
            at,
            run,
            last_ran_at=at,
            n_runs=timer.n_runs + 1,
            n_errors=timer.n_errors + 1,
        )

    async def _watch(self, timer: Timer, at: datetime) -> None:
        """See how the task of the run is doing."""
        assert timer.run_task_id is not None
        assert timer.run_began_at is not None
        try:
            access_token = await self._access_token(timer, at, fresh=False)
            task = await self._transfer.task(access_token, timer.run_task_id)
        except NotAllowedError as error:
            await self._make_inactive(timer, at, error)
            return
        except UnavailableError:
            task = {"status": "UNKNOWN"}
        except Trouble as trouble:
            self._tokens.pop(timer.id, None)
            if not trouble.passes:  # it is gone: nothing more will be known of it
                await self._over(timer, at, None)
                return
            task = {"status": "UNKNOWN"}
        if task["status"] not in FINAL:
            age_s = (at - timer.run_began_at).total_seconds()
            look_at = at + timedelta(seconds=look_again_in_s(age_s))
            async with self._database.transaction() as conn:
                written = await timers.write(conn, timer, look_at=look_at, lease_until=None)
                if written and task["status"] != "UNKNOWN":
                    await runs.seen(conn, timer.id, timer.run_no, _bounded(task))
            return
        failed = task["status"] == "FAILED"
        await self._over(
            timer, at, None, task=task, n_errors=timer.n_errors + 1 if failed else timer.n_errors
        )

    async def _over(
        self,
        timer: Timer,
        at: datetime,
        run: Run | None,
        *,
        task: dict[str, Any] | None = None,
        **changed: Any,
    ) -> None:
        """The run has ended; the timer waits for the next, or has ended, too."""
        async with self._database.transaction() as conn:
            written = await timers.write(
                conn,
                timer,
                run_began_at=None,
                run_task_id=None,
                run_attempts=0,
                look_at=look_when_waiting(timer.next_run, timer.token_used_at) or at,
                lease_until=None,
                **changed,
            )
            if not written:
                return
            if run is not None:
                await runs.put(conn, run)
            if task is not None:
                await runs.seen(conn, timer.id, timer.run_no, _bounded(task), _errors_of(task))
        self.wake()

    async def _make_inactive(self, timer: Timer, at: datetime, error: NotAllowedError) -> None:
        """Until its owner resumes it, who is told; the run that has begun is gone on with then."""
        self._tokens.pop(timer.id, None)
        message = error.message or _NOT_ALLOWED
        detail = requirement(error.scopes, message)
        run = None
        if timer.run_began_at is not None and timer.run_task_id is None:
            told = {"code": detail["code"], "detail": message, "status": None}
            run = Run(timer_id=timer.id, run_no=timer.run_no, ran_at=at, errors=[told])
        async with self._database.transaction() as conn:
            written = await timers.write(
                conn,
                timer,
                status="inactive",
                inactive_cause="globus_auth_requirements",
                inactive_detail=detail,
                since=at,
                n_errors=timer.n_errors + 1,
                run_attempts=0,
                look_at=None,
                lease_until=None,
            )
            if not written:
                return
            if run is not None:
                await runs.put(conn, run)
            await outbox.tell_inactive(conn, timer.id, timer.owner_id, timer.name, detail)
        _log.info("timer.inactive", run=timer.run_no)

    async def _keep_token(self, timer: Timer, at: datetime) -> None:
        """Use the refresh token of a timer that waits for long, so that it is not forgotten."""
        try:
            await self._access_token(timer, at, fresh=True)
        except NotAllowedError as error:
            await self._make_inactive(timer, at, error)
        except UnavailableError:
            later = at + timedelta(seconds=RETRY_LONGEST_S)
            await self._write(timer, None, look_at=later, lease_until=None)
        else:
            waits = look_when_waiting(timer.next_run, at)
            await self._write(timer, None, look_at=waits, lease_until=None)

    async def _end(self, timer: Timer, at: datetime) -> None:
        written = await self._write(
            timer,
            None,
            status="ended",
            since=at,
            next_run=None,
            look_at=None,
            refresh_token=None,
            lease_until=None,
        )
        if not written:
            return
        self._tokens.pop(timer.id, None)
        async with self._database.transaction() as conn:
            await timers.sweep_ended(conn, timer.owner_id)
        await give_up(self._nexus, self._kept, timer)
        _log.info("timer.ended", runs=timer.n_runs)

    async def _access_token(self, timer: Timer, at: datetime, *, fresh: bool) -> str:
        """One for a run is new; to look at its task the same will do."""
        known = self._tokens.get(timer.id)
        if known is not None and not fresh:
            return known
        refresh_token = self._kept.unseal(timer.id, timer.refresh_token)
        found = await self._nexus.refresh(refresh_token)
        changed: dict[str, Any] = {"token_used_at": at}
        if found.refresh_token != refresh_token:
            changed["refresh_token"] = self._kept.seal(timer.id, found.refresh_token)
        async with self._database.connection() as conn:
            await timers.write(conn, timer, **changed)
        self._tokens[timer.id] = found.access_token
        self._tokens.move_to_end(timer.id)
        while len(self._tokens) > TOKENS_KEPT:
            self._tokens.popitem(last=False)
        return found.access_token

    async def _write(self, timer: Timer, run: Run | None, **changed: Any) -> bool:
        async with self._database.transaction() as conn:
            if not await timers.write(conn, timer, **changed):
                return False
            if run is not None:
                await runs.put(conn, run)
        return True


async def give_up(nexus: Nexus, kept: Kept, timer: Timer) -> None:
    """End a timer's token. While nexus is away it stays: nobody has it any more, and it is
    forgotten when it was not used for long.
    """
    try:
        await nexus.revoke(kept.unseal(timer.id, timer.refresh_token))
    except (NotAllowedError, UnavailableError) as error:
        _log.info("timer.token_left", error=str(error))


def _bounded(task: dict[str, Any]) -> dict[str, Any]:
    """Without what makes it long, if it is."""
    if len(json.dumps(task)) <= TASK_KEPT_BYTES:
        return task
    return {
        name: value
        for name, value in task.items()
        if not isinstance(value, list) and len(json.dumps(value)) <= TASK_KEPT_BYTES // 16
    }


def _errors_of(task: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Why the task failed, in Transfer's words."""
    if task["status"] != "FAILED":
        return None
    fatal = task.get("fatal_error") or {}
    return [
        {
            "code": str(fatal.get("code", "FAILED")),
            "detail": str(fatal.get("description", "the task has failed")),
            "status": None,
        }
    ]
