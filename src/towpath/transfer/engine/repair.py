"""The end of a task that fails: no file is left with another file's bytes.

After one failure in a pipeline the files behind it may have been shifted (the order rule). A task
that goes on sends them again; one that ends here must bring them to their right end first.
"""

import structlog

from towpath.gridftp.client.lane import Outcome, Piece
from towpath.gridftp.client.session import Session
from towpath.gridftp.client.tree import spoiled_path
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.transfer.engine.context import TaskContext, TaskFaultError
from towpath.transfer.engine.pairs import Pair, open_pair
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.store.plan import File
from towpath.transfer.store.segments import Finished

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
                record(recorder, outcome)
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


def record(recorder: Recorder, outcome: Outcome) -> None:
    """A small file is done."""
    file: File = outcome.piece.tag
    algorithm = outcome.piece.checksum if outcome.digest else None
    recorder.finished(
        file.file_no,
        Finished(file.item_no, file.path, file.size, algorithm, outcome.digest),
        transferred=file.size,
        checksummed=file.size if outcome.digest else 0,
    )


async def remove_spoiled(context: TaskContext, destination: Session, path: str) -> bool:
    """It is no version of its file: it goes. Whether it has."""
    context.lease.check()
    try:
        await destination.delete_file(path)
    except GridFTPError as error:
        if error.kind is not Kind.NOT_FOUND:
            log.warning("spoiled file stays", path=path, kind=error.kind)
            return False
    return True


async def remove_anew(context: TaskContext, path: str) -> bool:
    """The same, with sessions of its own."""
    try:
        pair = await open_pair(context, markers=False)
    except TaskFaultError as fault:
        log.warning("spoiled file stays", path=path, why=fault.verdict.event.code)
        return False
    try:
        return await remove_spoiled(context, pair.destination, path)
    finally:
        await pair.lane.close()
