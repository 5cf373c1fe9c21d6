"""Sources that change: what is said of it, and when it is looked."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer.engine.changes import LOOK_EVERY_S, SourceWatch, as_now, change
from towpath.transfer.store.plan import File

sizes = st.integers(0, 3)
times = st.none() | st.integers(0, 3)


@given(sizes, times, sizes, times)
def test_what_has_become_of_a_source(
    size: int, modified: int | None, size_now: int, modified_now: int | None
) -> None:
    file = File(1, 0, "f", size, modified, attempt=3)
    now = Entry("/s/f", EntryType.FILE, size_now, modified_now)
    error = change(file, now, where="here:2811", path="/s/f")
    if error is None:
        assert (size, modified) == (size_now, modified_now)
        return
    assert error.kind is (Kind.SIZE_CHANGED if size != size_now else Kind.SOURCE_CHANGED)
    assert (error.facts["listed_size"], error.facts["size_now"]) == (size, size_now)
    assert (error.facts["listed_time"] is None) == (modified is None)
    assert (error.where, error.path) == ("here:2811", "/s/f")
    assert change(as_now(file, now), now, where="", path="") is None
    assert as_now(file, now).attempt == 3


@dataclass
class Server:
    """Answers when it is told to."""

    asked: int = 0
    answers: asyncio.Queue[Entry | GridFTPError] = field(default_factory=asyncio.Queue)

    async def look(self) -> Entry:
        self.asked += 1
        answer = await self.answers.get()
        if isinstance(answer, GridFTPError):
            raise answer
        return answer


async def test_a_watch_looks_now_and_then_and_waits_for_nobody() -> None:
    server, now = Server(), 0.0
    watch = SourceWatch(server.look, lambda: now)

    async def seen() -> Entry | None:
        found = watch.seen()
        for _ in range(3):
            await asyncio.sleep(0)
        return found

    assert await seen() is None
    assert server.asked == 0
    now += LOOK_EVERY_S
    assert [await seen() for _ in range(5)] == [None] * 5
    assert server.asked == 1, "one question at a time"
    entry = Entry("f", EntryType.FILE, 1, 1)
    server.answers.put_nowait(entry)
    assert await seen() is None
    assert await seen() is entry
    assert [await seen() for _ in range(5)] == [None] * 5
    assert server.asked == 1
    now += LOOK_EVERY_S
    server.answers.put_nowait(GridFTPError(Kind.CONNECTION_LOST, "lost", "there"))
    assert [await seen() for _ in range(5)] == [None] * 5, "who reads hears of that"
    now += LOOK_EVERY_S
    await seen()
    assert server.asked == 3
    await watch.aclose()
