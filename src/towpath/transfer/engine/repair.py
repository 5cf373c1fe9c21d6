"""The end of a task that fails: no file is left with another file's bytes.

After one failure in a pipeline the files behind it may have been shifted (the order rule). A task
that goes on sends them again; one that ends here must bring them to their right end first.
"""

import structlog

from towpath.gridftp.client.lane import Outcome, Piece
from towpath.gridftp.client.tree import spoiled_path
from towpath.transfer.engine.arrived import record, remove_anew
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.pairs import open_pair
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.store import plan
from towpath.transfer.store.plan import Returned, State

log = structlog.get_logger()


async def repair(context: TaskContext, recorder: Recorder, *, failed: bool) -> None:
    """Send what may be shifted once more; what fails now is given up. Raises LeaseLostError.

    As everywhere, its row says that it is in flight before it is sent (I3).

    `failed`: something failed, so that what was cut off may be shifted too; a task that was
    cancelled in good health does not send all of that again.
    """
    suspects = {piece.tag.file_no: piece for piece in context.shifted}
    if failed:
        suspects |= {piece.tag.file_no: piece for piece in context.cut_off}
    context.shifted, context.cut_off = [], []
    await recorder.flush()  # what the lanes gave back
    while suspects:
        async with context.fenced() as conn:
            taken = await plan.take_these(
                conn, context.task_no, list(suspects), epoch=context.grant.lease_epoch
            )
        pieces = [suspects[file_no] for file_no in taken]
        outcomes = await _send(context, recorder, pieces)
        if outcomes is None:
            return
        for file_no in taken:  # those that count are gone
            recorder.returned(Returned(file_no, State.PENDING))
        await recorder.flush()
        suspects = {o.piece.tag.file_no: o.piece for o in outcomes if o.status == "void"}


async def _send(
    context: TaskContext, recorder: Recorder, pieces: list[Piece]
) -> list[Outcome] | None:
    """One try; None if nothing more can be sent."""
    if not pieces:
        return None
    try:
        pair = await open_pair(context, markers=False)
    except TaskFaultError as unopened:
        log.warning("shifted files stay", count=len(pieces), why=unopened.verdict.event.code)
        return None
    told: list[Outcome] = []
    try:
        context.lease.check()
        pair.lane.send(pieces)
        recorder.resent(sum(piece.size for piece in pieces))
        while outcomes := await pair.lane.outcomes():
            told += outcomes
            for outcome in outcomes:
                if outcome.status == "done":
                    fault = await record(context, recorder, outcome, pair.destination.server)
                    if fault is not None:
                        recorder.event(fault.verdict.event)
    finally:
        broke, still = pair.lane.broken, await pair.lane.close()
    if not still:
        return None  # a command may still run: nothing is safe to send
    spoiled = spoiled_path(told) if broke else None
    if spoiled is not None:
        await remove_anew(context, spoiled)
    return told
