"""History in segments: small, complete, in order."""

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.transfer.store import segments
from towpath.transfer.store.rows import fetch
from towpath.transfer.store.segments import Finished, Skipped


def finished(number: int) -> Finished:
    digest = f"{number:064x}"
    return Finished(0, f"run/detector-{number:08d}.h5", 4096, "SHA256", digest)


def test_pack_and_unpack_with_names_of_any_bytes() -> None:
    odd = b'caf\xe9 \xf0\x9f\x98\x80\n".txt'.decode("utf-8", "surrogateescape")
    files = [Finished(3, odd, 0, None, None), finished(1)]
    assert segments.unpack(segments.pack(files), Finished) == files


async def test_what_was_skipped_is_in_segments_of_its_own(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    odd = b"caf\xe9\n".decode("utf-8", "surrogateescape")
    skipped = [Skipped(0, f"{odd}{i}", i % 2 == 0, "FILE_NOT_FOUND", "gone", 1.5) for i in range(9)]
    async with database.transaction() as conn:
        for one in skipped:
            await segments.append(conn, task_no, [one])
            await segments.append(conn, task_no, [finished(1)])
        await segments.merge(conn, task_no)
        read = await segments.read_segment(conn, task_no, Skipped, 0)
        done = await segments.read_segment(conn, task_no, Finished, 0)
        assert read is not None
        assert done is not None
        assert read[1] == skipped
        assert done[1] == [finished(1)] * 9
        assert await segments.read_segment(conn, task_no, Skipped, read[0]) is None


async def test_merging_keeps_every_file_and_leaves_few_rows(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    files = [finished(i) for i in range(25_000)]
    async with database.transaction() as conn:
        for first in range(0, len(files), 200):
            await segments.append(conn, task_no, files[first : first + 200])
            if first % 10_000 == 9_800:
                await segments.merge(conn, task_no)
        await segments.merge(conn, task_no)
        rows = await fetch(conn, "SELECT files FROM history_segment WHERE task_no = %s", (task_no,))
        read: list[Finished] = []
        after = 0
        while (segment := await segments.read_segment(conn, task_no, Finished, after)) is not None:
            after, part = segment
            read.extend(part)
    assert sorted(read, key=lambda f: f.path) == files
    assert len(rows) <= 4
