"""History in segments: small, complete, in order."""

import hashlib
import json
import zlib

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


async def test_a_segment_that_is_nearly_full_holds_up_no_other(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    async with database.transaction() as conn:
        for number in range(segments.SEGMENT_FILES // 333 + 40):
            some = [finished(number * 333 + i) for i in range(333)]
            await segments.append(conn, task_no, some)
            if number % 10 == 9:
                await segments.merge(conn, task_no)
        await segments.merge(conn, task_no)
        rows = await fetch(conn, "SELECT files FROM history_segment WHERE task_no = %s", (task_no,))
    assert sum(row[0] for row in rows) == (segments.SEGMENT_FILES // 333 + 40) * 333
    assert sum(row[0] < segments.SEALED_FILES for row in rows) <= 1


async def test_a_snapshot_has_each_file_once_whatever_is_merged_meanwhile(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    files = [finished(i) for i in range(segments.SEGMENT_FILES + 3000)]
    async with database.transaction() as conn:
        await segments.append(conn, task_no, files[: segments.SEALED_FILES])
        for first in range(segments.SEALED_FILES, len(files), 1000):
            await segments.append(conn, task_no, files[first : first + 1000])
        found = await segments.snapshot(conn, task_no)
        await segments.merge(conn, task_no)
        await segments.append(conn, task_no, [finished(10**6)])
        sealed = [await segments.sealed(conn, task_no, number) for number in found.sealed]
        assert await segments.sealed(conn, task_no, 10**6) is None
    read: list[Finished] = []
    for data in [*sealed, *found.small]:
        assert data is not None
        read += segments.unpack(data, Finished)
    assert sorted(read) == files
    assert (found.files, found.size_bytes) == (len(files), 4096 * len(files))


def test_a_finished_file_with_a_strong_digest_takes_at_most_60_bytes() -> None:
    """With attempts and time, as the recorder writes it, of a tree with long names."""
    files = [
        Finished(
            *(i % 3, f"run_{i // 1000:04}/detector_{i % 1000:05}_frame.h5", 4096 + i * 7),
            *("SHA256", hashlib.sha256(str(i).encode()).hexdigest()),
            attempts=1 + (i % 97 == 0),
            unix_s=1_793_464_800 + i // 400,
        )
        for i in range(segments.SEGMENT_FILES)
    ]
    assert len(segments.pack(files)) / len(files) <= 60


def test_records_of_earlier_versions_are_read() -> None:
    old = zlib.compress(json.dumps([0, "a", 3, "MD5", "aa"]).encode())
    assert segments.unpack(old, Finished) == [Finished(0, "a", 3, "MD5", "aa")]


def test_a_digest_of_ranges_is_that_of_their_lines() -> None:
    assert segments.ranges_digest(["AA", "bb"]) == hashlib.sha256(b"aa\nbb\n").hexdigest()
    large = Finished(0, "", 1, None, None, ranges=[1, "MD5", "aa"])
    assert segments.unpack(segments.pack([large, finished(1)]), Finished) == [large, finished(1)]
