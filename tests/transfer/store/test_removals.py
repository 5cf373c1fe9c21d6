"""What a task deletes: seen when its directory is, and forgotten with it (I4)."""

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.transfer.store import leases, removals
from towpath.transfer.store.removals import Extras


async def add(database: Database, task_no: int, dir_no: int, *paths: str, first: bool) -> None:
    async with database.transaction() as conn:
        await removals.add_extras(conn, task_no, dir_no=dir_no, item_no=0, paths=paths, first=first)


async def listed(
    database: Database, task_no: int, dir_no: int, *, any_extras: bool, unsure: bool = False
) -> None:
    async with database.transaction() as conn:
        await removals.directory_listed(conn, task_no, dir_no, any_extras=any_extras, unsure=unsure)


async def seen(database: Database, task_no: int, after: int = 0, limit: int = 10) -> list[str]:
    async with database.connection() as conn:
        found = await removals.next_extras(conn, task_no, after=after, limit=limit)
    return [extra.path for extra in found]


async def test_extras_of_a_half_listed_directory_are_not_seen(
    database: Database, make_task: MakeTask
) -> None:
    task_no, other = await make_task(), await make_task()
    await add(database, task_no, 1, "lost", first=True)
    await add(database, task_no, 2, "p\udce9", first=True)
    await add(database, other, 1, "other's", first=True)
    assert await seen(database, task_no) == []
    await add(database, task_no, 1, "a", first=True)
    await add(database, task_no, 1, "b", "c", first=False)
    await listed(database, task_no, 1, any_extras=True)
    assert await seen(database, task_no) == ["a", "b", "c"]
    assert await seen(database, task_no, limit=2) == ["a", "b"]
    await listed(database, task_no, 2, any_extras=True)
    assert await seen(database, task_no) == ["p\udce9", "a", "b", "c"]


async def test_a_directory_without_extras_shows_none_of_an_earlier_listing(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    await add(database, task_no, 1, "lost", first=True)
    await listed(database, task_no, 1, any_extras=False, unsure=True)
    await listed(database, task_no, 1, any_extras=True)
    assert await seen(database, task_no) == []
    async with database.connection() as conn:
        assert await removals.extras(conn, task_no) == Extras(0, 0, 1)


async def test_extras_leave_as_they_go_and_with_the_task(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    await add(database, task_no, 1, "a", "b", "c", first=True)
    await listed(database, task_no, 1, any_extras=True)
    async with database.transaction() as conn:
        first, *_ = await removals.next_extras(conn, task_no, after=0, limit=1)
        await removals.extras_gone(conn, task_no, [first.extra_no])
        await removals.count(conn, task_no, files=1, directories=2, deadline_after_h=72)
        assert await removals.extras(conn, task_no) == Extras(1, 2, 0)
    assert await seen(database, task_no) == ["b", "c"]
    assert await seen(database, task_no, after=first.extra_no + 1) == ["c"]
    async with database.transaction() as conn:
        await leases.finish(conn, task_no, status="SUCCEEDED", fatal_error=None)
    assert await seen(database, task_no) == []


async def test_a_delete_that_has_begun_remembers_it(
    database: Database, make_task: MakeTask
) -> None:
    task_no = await make_task()
    async with database.transaction() as conn:
        assert not await removals.have_begun(conn, task_no)
        await removals.begin(conn, task_no)
        assert await removals.have_begun(conn, task_no)


async def test_what_links_lead_to(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    odd = b"d\xe9".decode("utf-8", "surrogateescape")
    long = "/".join(["n" * 200] * 20)
    async with database.transaction() as conn:
        for _ in range(2):
            await removals.add_linked(
                conn, task_no, [(0, "a/b"), (0, f"x/{odd}"), (1, "c"), (0, long)]
            )
        holds = [(0, "a"), (0, "x"), (0, "n" * 200)]
        are_or_in = [(0, "a/b"), (0, "a/b/c/d"), (0, f"x/{odd}/f"), (1, "c"), (0, long)]
        others = [(0, "a/b0"), (0, "a/c"), (0, "a/b-"), (0, "b"), (0, "c"), (1, "a"), (1, "cc")]
        found = await removals.linked(conn, task_no, [*holds, *are_or_in, *others])
        assert found == {*holds, *are_or_in}
        assert await removals.linked(conn, task_no, []) == set()
        await leases.finish(conn, task_no, status="SUCCEEDED", fatal_error=None)
        assert await removals.linked(conn, task_no, holds) == set()


async def test_extras_that_stay(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    await add(database, task_no, 7, "a", "b", first=True)
    async with database.transaction() as conn:
        await removals.directory_listed(conn, task_no, 7, any_extras=True, unsure=False)
        first, second = await removals.next_extras(conn, task_no, after=0, limit=10)
        await removals.extras_stay(conn, task_no, [first.extra_no], directories=1)
        assert await removals.next_extras(conn, task_no, after=0, limit=10) == [second]
        assert await removals.extras(conn, task_no) == Extras(0, 0, 1)
