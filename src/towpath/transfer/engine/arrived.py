"""What has arrived: it counts, or it is not what it has to be and goes."""

import structlog

from towpath.gridftp.client.dial import Server
from towpath.gridftp.client.lane import Outcome
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry
from towpath.transfer.engine.context import TaskContext, TaskFaultError, at_destination
from towpath.transfer.engine.faults import external_mismatch
from towpath.transfer.engine.pairs import Pair, open_pair
from towpath.transfer.engine.recorder import Recorder
from towpath.transfer.engine.removal import remove_files
from towpath.transfer.store import restart_points
from towpath.transfer.store.plan import File
from towpath.transfer.store.segments import Finished

log = structlog.get_logger()


async def record(
    context: TaskContext, recorder: Recorder, outcome: Outcome, destination: Server
) -> TaskFaultError | None:
    """A small file is done and counts. If it is not what its owner said, it does not, and the
    fault is returned."""
    file: File = outcome.piece.tag
    if outcome.digest is not None:
        fault = await refuted(context, file, outcome.digest, destination)
        if fault is not None:
            return fault
    algorithm = outcome.piece.checksum if outcome.digest else None
    recorder.finished(
        file.file_no,
        Finished(
            *(file.item_no, file.path, file.size, algorithm, outcome.digest),
            attempts=file.attempt + 1,
        ),
        transferred=file.size,
        checksummed=file.size if outcome.digest else 0,
    )
    return None


async def equal(
    context: TaskContext,
    recorder: Recorder,
    pair: Pair,
    file: File,
    source: Entry,
    *,
    algorithm: str,
    digest: str,
) -> TaskFaultError | None:
    """A file that nobody saw arrive, and whose digest is its source's at both ends now: it is done
    and counts. If it is not what its owner said, it does not, and the fault is returned.

    Nothing may write it any more. Raises LeaseLostError, SidedError.
    """
    fault = await refuted(context, file, digest, pair.destination.server)
    if fault is not None:
        return fault
    if context.options.preserve_timestamp and source.modified is not None:
        context.lease.check()
        with at_destination():
            await pair.destination.set_modified(context.paths_of(file)[1], source.modified)
    async with context.db.connection() as conn:
        ranges = await restart_points.of_file(conn, context.task_no, file.file_no)
    counted = sum(r.after - r.first for r in ranges)
    recorder.finished(
        file.file_no,
        Finished(
            *(file.item_no, file.path, source.size, algorithm, digest),
            attempts=file.attempt + 1,
        ),
        transferred=max(source.size - counted, 0),
        checksummed=source.size,
    )
    return None


async def refuted(
    context: TaskContext, file: File, digest: str, destination: Server
) -> TaskFaultError | None:
    """The fault of a file that is not what its external checksum says; it is removed.

    Both ends are known to be equal (`TaskContext.verifies`), so sending it again cannot help.
    """
    item = context.items[file.item_no]
    if item.external_checksum is None or item.external_checksum == digest:
        return None
    path = context.destination_path(file.item_no, file.path)
    return TaskFaultError(
        external_mismatch(
            where=str(destination),
            source_path=context.source_path(file.item_no, file.path),
            path=path,
            algorithm=item.checksum_algorithm or "",
            expected=item.external_checksum,
            found=digest,
            removed=await remove_anew(context, path),
        )
    )


async def remove_spoiled(context: TaskContext, destination: Session, path: str) -> bool:
    """It is no version of its file: it goes. Whether it has."""
    try:
        await remove_files(context, destination, [path])
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
