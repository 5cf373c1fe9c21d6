"""The end of a task that fails: no file is left with another file's bytes.

After one failure in a pipeline the files behind it may have been shifted (the order rule). A task
that goes on sends them again; one that ends here must bring them to their right end first.
"""

import structlog

from towpath.gridftp.client.lane import Piece
from towpath.gridftp.client.tree import spoiled_path
from towpath.transfer.engine.arrived import record, remove_anew
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.pairs import Pair, open_pair
from towpath.transfer.engine.recorder import Recorder

log = structlog.get_logger()


async def repair(context: TaskContext, recorder: Recorder, *, failed: bool) -> None:
    """Send what may be shifted once more; what fails now is given up. Raises LeaseLostError.

    `failed`: something failed, so that what was cut off may be shifted too; a task that was
    cancelled in good health does not send all of that again.
    """
    suspects = {piece.tag.file_no: piece for piece in context.shifted}
    if failed:
        suspects |= {piece.tag.file_no: piece for piece in context.cut_off}
    context.shifted, context.cut_off = [], []
    pieces = list(suspects.values())
    while pieces:
        try:
            pair = await open_pair(context, markers=False)
        except TaskFaultError as fault:
            log.warning("shifted files stay", count=len(pieces), why=fault.verdict.event.code)
            return
        try:
            pieces = await _send(context, recorder, pair, pieces)
        finally:
            await pair.lane.close()


async def _send(
    context: TaskContext, recorder: Recorder, pair: Pair, pieces: list[Piece]
) -> list[Piece]:
    """One try; what was voided by a failure in it is returned."""
    void: list[Piece] = []
    context.lease.check()
    pair.lane.send(pieces)
    recorder.resent(sum(piece.size for piece in pieces))
    while outcomes := await pair.lane.outcomes():
        for outcome in outcomes:
            if outcome.status == "done":
                fault = await record(context, recorder, outcome, pair.destination.server)
                if fault is not None:
                    recorder.event(fault.verdict.event)
            elif outcome.status == "void":
                void.append(outcome.piece)
        if pair.lane.broken:
            if not await pair.lane.close():
                return []  # a command may still run: nothing is safe to send
            spoiled = spoiled_path(outcomes)
            if spoiled is not None:
                await remove_anew(context, spoiled)
            break
    return void
