"""The walk: what it does twice after a crash, how far it goes ahead; paths inside one another."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from plugins import generated as generated_trees
from plugins.generated import GeneratedTree, GeneratedWalk
from plugins.tasks import MakeTask
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings
from towpath.transfer.engine import walk
from towpath.transfer.engine.context import lies_in
from towpath.transfer.store.rows import fetch_one


@pytest.mark.parametrize(
    ("path", "place", "inside"),
    [
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/x", "/", True),
        ("/", "/", True),
    ],
)
def test_lies_in(path: str, place: str, inside: bool) -> None:
    assert lies_in(path, place) is inside


FAR_S = 0.05
TREE = {
    "empty": (0, 0),
    "large": (7_500, 2_100),
    "wide": (0, 30),
    **{f"d{number:02}": (number * 40, number % 3) for number in range(20)},
}


@pytest.mark.parametrize(("rtt_s", "at_once"), [(0.0, 1), (FAR_S, 7)])
async def test_a_walk_that_is_killed_lists_nothing_twice_but_what_it_was_at(
    database: Database,
    make_task: MakeTask,
    monkeypatch: pytest.MonkeyPatch,
    rtt_s: float,
    at_once: int,
) -> None:
    tree = GeneratedTree(TREE)
    settings = EngineSettings(listings_at_once=at_once)
    generated = GeneratedWalk(database, await make_task(), tree, rtt_s, settings)
    monkeypatch.setattr(walk, "open_both", generated.open_both)
    await generated.begin()
    chance = Random(20261129)
    kills, steps_left = 0, 0
    list_one = tree.list

    async def killed(path: str, **_options: object) -> AsyncIterator[list[Entry]]:
        async for batch in list_one(path):
            step()
            yield batch
        step()

    def step() -> None:
        nonlocal steps_left
        steps_left -= 1
        if steps_left == 0:
            running.cancel()

    monkeypatch.setattr(tree, "list", killed)
    while True:
        running = asyncio.create_task(generated.run())
        steps_left = chance.randint(1, 12 if kills < 3 else 400)  # the first ones are in "large"
        await asyncio.wait([running])
        if not running.cancelled():
            await running
            break
        kills += 1
    assert kills >= 5
    async with database.connection() as conn:
        found = await fetch_one(
            conn,
            "SELECT count(*), count(DISTINCT path), count(DISTINCT file_no) FROM file"
            " WHERE task_no = %s AND state = 1",
            (generated.task_no,),
        )
        counted = await fetch_one(
            conn, "SELECT files, directories FROM task WHERE task_no = %s", (generated.task_no,)
        )
    assert found == (tree.files,) * 3
    directories = 1 + sum(1 + below for _, below in TREE.values())
    assert counted == (tree.files, directories)
    again = sum(count - 1 for count in tree.begun.values())
    assert 0 < again <= kills * at_once


async def test_far_directories_are_listed_side_by_side(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = GeneratedTree({f"d{number}": (1, 0) for number in range(30)})
    listing, most = 0, 0
    together = asyncio.Event()
    list_one = tree.list

    async def in_company(path: str, **_options: object) -> AsyncIterator[list[Entry]]:
        nonlocal listing, most
        listing += 1
        most = max(most, listing)
        if most == 5:
            together.set()
        if path != "/source":
            await asyncio.wait_for(together.wait(), 10)
        async for batch in list_one(path):
            yield batch
        listing -= 1

    monkeypatch.setattr(tree, "list", in_company)
    settings = EngineSettings(listings_at_once=5)
    generated = GeneratedWalk(database, await make_task(), tree, FAR_S, settings)
    monkeypatch.setattr(walk, "open_both", generated.open_both)
    await generated.begin()
    await generated.run()
    assert most == 5
    assert set(tree.listed.values()) == {1}


async def test_a_listing_is_read_to_its_end_when_its_directory_fails(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those asked for behind it on the same session would come no more."""
    tree = GeneratedTree({"large": (0, 150), "small": (3, 0)})
    monkeypatch.setattr(generated_trees, "BATCH_ENTRIES", 100)
    monkeypatch.setattr(walk, "ENTRIES_PER_PART", 100)
    error = GridFTPError(Kind.NO_SPACE, "full", "generated2:2811", "/destination/large/d0000001")
    tree.failures[error.path] = error
    settings = EngineSettings(listings_at_once=3, retry_first_s=0.1)
    generated = GeneratedWalk(database, await make_task(), tree, FAR_S, settings)
    monkeypatch.setattr(walk, "open_both", generated.open_both)
    await generated.begin()
    await generated.run()
    assert not tree.failures
    assert tree.begun["large"] == tree.listed["large"] == 2
    assert generated.context.open_files == tree.files
    per_round = 2  # far servers: for questions, and for listings
    assert generated.opened == 2 * per_round, "for what failed, when it was due, and not before"


async def test_the_walk_waits_while_the_plan_is_full(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = GeneratedTree({f"d{number}": (100, 0) for number in range(10)})
    settings = EngineSettings(plan_window=250)
    generated = GeneratedWalk(database, await make_task(), tree, settings=settings)
    monkeypatch.setattr(walk, "open_both", generated.open_both)
    monkeypatch.setattr(walk, "WINDOW_FULL_WAIT_S", 0.02)
    await generated.begin()

    def full() -> bool:
        return hasattr(generated, "context") and generated.context.open_files == 300

    running = asyncio.create_task(generated.run())
    for _ in range(3):
        async with asyncio.timeout(30):
            while not full():
                await asyncio.sleep(0.01)
        done, _ = await asyncio.wait([running], timeout=0.2)
        assert not done
        assert full()
        async with database.transaction() as conn:
            await conn.execute("DELETE FROM file WHERE task_no = %s", (generated.task_no,))
        generated.context.open_files = 0
        generated.context.changed.wake()
    await running
    assert generated.context.walk_done


def resident_bytes() -> int:
    """This process's memory now (proc(5), VmRSS)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


ENTRIES = 20_000_000
HUGE_TREE = {
    **{f"million{number}": (1_000_000, 0) for number in range(5)},
    "directories": (0, 50_000),
    **{f"d{number:05}": (750, 0) for number in range(20_000)},
}
HUGE_RSS_BYTES = 300 * 1024 * 1024
KILLS_AT = (300_000, 9_000_000, 17_300_000)
"""Files listed; the first is in the middle of a million."""


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_twenty_million_entries(
    database: Database, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the lanes' part played by a DELETE."""
    tree = GeneratedTree(HUGE_TREE)
    generated = GeneratedWalk(database, await make_task(), tree)
    monkeypatch.setattr(walk, "open_both", generated.open_both)
    await generated.begin()
    began = asyncio.get_running_loop().time()
    taken, peak, seen = 0, 0, 0
    kills = list(KILLS_AT)
    killed = asyncio.Event()

    def after_batch() -> None:
        nonlocal seen, peak
        seen += 1000
        peak = max(peak, resident_bytes()) if seen % 50_000 == 0 else peak
        if kills and seen >= kills[0]:
            kills.pop(0)
            killed.set()

    tree.after_batch = after_batch

    async def take() -> None:
        nonlocal taken
        while True:
            await asyncio.sleep(0.5)
            async with database.transaction() as conn:
                gone = await conn.execute(
                    "DELETE FROM file WHERE task_no = %s AND state = 1", (generated.task_no,)
                )
            taken += gone.rowcount
            generated.context.open_files -= gone.rowcount
            generated.context.changed.wake()

    finished = False
    while not finished:
        killed.clear()
        walking = asyncio.create_task(generated.run())
        taking, kill = asyncio.create_task(take()), asyncio.create_task(killed.wait())
        await asyncio.wait([walking, taking, kill], return_when="FIRST_COMPLETED")
        if taking.done():
            taking.result()
        finished = walking.done()
        for one in (taking, kill, walking):
            one.cancel()
        await asyncio.wait([walking, taking, kill])
    assert not kills
    walking.result()
    async with database.connection() as conn:
        left = await fetch_one(
            conn, "SELECT count(*) FROM file WHERE task_no = %s", (generated.task_no,)
        )
    took = asyncio.get_running_loop().time() - began
    again = {name: count for name, count in tree.begun.items() if count > 1}
    print(f"{tree.files} files in {took:.0f} s, peak {peak / 2**20:.0f} MiB, listed again {again}")
    assert left is not None
    assert taken + left[0] == tree.files >= ENTRIES
    assert sum(count - 1 for count in again.values()) <= len(KILLS_AT)
    assert peak <= HUGE_RSS_BYTES
