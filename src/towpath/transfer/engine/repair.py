"""The end of a task that fails: no file is left with another file's bytes.

After one failure in a pipeline the files behind it may have been shifted (the order rule), and of
the files of a lost lease nobody knows. A task that goes on sends them again. One that ends looks at
what it has sent and nobody saw arrive: what is whole counts, what holds the beginning of its own
source is left as it is, anything else is sent once more.
"""

import asyncio
from collections.abc import Sequence

import structlog

from towpath.gridftp.client.lane import Outcome
from towpath.gridftp.client.tree import spoiled_path
from towpath.gridftp.errors import Phase
from towpath.gridftp.wire.ranges import ByteRange
from towpath.transfer.engine.arrived import equal, record, remove_anew
from towpath.transfer.engine.changes import is_as_listed
from towpath.transfer.engine.context import (
    SidedError,
    TaskContext,
    TaskFaultError,
    at_destination,
    at_source,
)
from towpath.transfer.engine.faults import given_up
from towpath.transfer.engine.large import COMPARED_AT_ONCE, checksum_timeout_s, digests_of_both
from towpath.transfer.engine.pairs import Pair, checksum_algorithm, open_pair, whole_piece
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.standstill import look
from towpath.transfer.store import plan
from towpath.transfer.store.plan import File, Returned, State

log = structlog.get_logger()


async def repair(
    context: TaskContext, recorder: Recorder, files: Sequence[File], *, until: float
) -> list[File]:
    """Look at these files, which were sent, and send once more what may be another file's; what
    fails now is given up. Returns those that are in doubt still. Raises LeaseLostError.

    Nothing else of the task may be running, and the plan has all of them as pending.
    """
    doubtful: list[File] = []
    left = list(files)
    while left and not doubtful:
        at_once = _window(context, left)
        doubtful = await _bring_right(context, recorder, left[:at_once], until)
        left = left[at_once:]
    await recorder.flush()
    return doubtful + left


def _window(context: TaskContext, files: Sequence[File]) -> int:
    """How many of them may be in flight at once; at least one."""
    count, size_bytes = 0, 0
    for file in files[: context.settings.in_flight_files]:
        size_bytes += file.size
        if count and size_bytes > context.settings.in_flight_bytes:
            break
        count += 1
    return count


async def _bring_right(
    context: TaskContext, recorder: Recorder, files: list[File], until: float
) -> list[File]:
    """Those of these files that may be another's still, and were not given up without a trace."""
    while files:
        if context.clock() >= until:
            return files
        try:
            outcomes, still = await _look_and_send(context, recorder, files)
        except TaskFaultError as fault:
            context.lease.check()  # without it nothing is asked, and nothing is known of the server
            log.warning("what was sent is not looked at", why=fault.verdict.event.code)
            return files
        undone = [outcome.piece.tag for outcome in outcomes if outcome.status != "done"]
        if not still:
            return undone  # a command may still run: nothing is safe to send
        await _hand_back(context, recorder, outcomes)
        spoiled = spoiled_path(outcomes)
        if spoiled is not None and not await remove_anew(context, spoiled):
            return undone
        files = [outcome.piece.tag for outcome in outcomes if outcome.status == "void"]
    return []


async def _look_and_send(
    context: TaskContext, recorder: Recorder, files: Sequence[File]
) -> tuple[list[Outcome], bool]:
    """What became of those that are sent, and whether nothing writes any more."""
    pair = await open_pair(context, markers=False)
    try:
        wrong = await _wrong(context, recorder, pair, files)
        outcomes = await _send(context, recorder, pair, wrong)
    finally:
        still = await pair.lane.close()
    return outcomes, still


async def _hand_back(context: TaskContext, recorder: Recorder, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.error is not None:
            from_source = outcome.failed_side == "source"
            verdict = context.judge(outcome.error, Phase.DATA, at_source=from_source)
            recorder.event(given_up(verdict))
        if outcome.status != "done":
            recorder.returned(Returned(outcome.piece.tag.file_no, State.PENDING))
    await recorder.flush()


async def _wrong(
    context: TaskContext, recorder: Recorder, pair: Pair, files: Sequence[File]
) -> list[File]:
    """Those that hold anything but the beginning of their source. What is whole counts."""
    wrong: list[File] = []
    for first in range(0, len(files), COMPARED_AT_ONCE):
        some = files[first : first + COMPARED_AT_ONCE]
        right = await asyncio.gather(*(_is_right(context, recorder, pair, file) for file in some))
        wrong += [file for file, is_right in zip(some, right, strict=True) if not is_right]
    return wrong


async def _is_right(context: TaskContext, recorder: Recorder, pair: Pair, file: File) -> bool:
    """Whether it holds the beginning of its source, or is not there at all; a directory in its
    place is somebody else's. False also if that cannot be told, and of an empty file, which is
    cheaply sent: one that has got no byte yet may have no source any more."""
    here, there = context.paths_of(file)
    try:
        with at_destination():
            arrived = await look(pair.destination, there)
        if arrived is None or arrived.is_directory:
            return True
        with at_source():
            source = await pair.source.stat(here)
        if arrived.size > source.size or arrived.size == 0:
            return False
        algorithm = checksum_algorithm(context, pair, file.item_no)
        part = ByteRange(0, arrived.size)
        timeout_s = checksum_timeout_s(part.length)
        sums = await digests_of_both(pair, here, there, algorithm, part, timeout_s)
        if sums[0] != sums[1]:
            return False
        if arrived.size == source.size and is_as_listed(file, source):
            fault = await equal(
                *(context, recorder, pair, file, source), algorithm=algorithm, digest=sums[0]
            )
            if fault is not None:
                recorder.event(fault.verdict.event)
    except (SidedError, TaskFaultError) as untold:
        log.debug("not compared", path=there, why=str(untold))
        return False
    return True


async def _send(
    context: TaskContext, recorder: Recorder, pair: Pair, files: Sequence[File]
) -> list[Outcome]:
    """One try. As everywhere, a row says that it is in flight before it is sent (I3)."""
    if not files:
        return []
    pieces = [whole_piece(context, pair, file) for file in files]
    async with context.fenced() as conn:
        await plan.take_these(
            conn,
            context.task_no,
            [file.file_no for file in files],
            epoch=context.grant.lease_epoch,
        )
    context.lease.check()
    pair.lane.send(pieces)
    recorder.resent(sum(piece.size for piece in pieces))
    told: list[Outcome] = []
    while outcomes := await pair.lane.outcomes():
        told += outcomes
        for outcome in outcomes:
            if outcome.status == "done":
                fault = await record(context, recorder, outcome, pair.destination.server)
                if fault is not None:
                    recorder.event(fault.verdict.event)
                    recorder.returned(Returned(outcome.piece.tag.file_no, State.PENDING))
    return told
