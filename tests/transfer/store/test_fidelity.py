"""Findings add up over directories, with a bounded number of examples."""

from plugins.tasks import MakeTask
from towpath.platform.database import Database
from towpath.transfer.fidelity import EXAMPLES_MAX, Findings, Kind
from towpath.transfer.store import fidelity, leases, links
from towpath.transfer.store.links import SEGMENT_LINKS, Link


async def test_findings_add_up(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    for directory in range(3):
        found = Findings()
        for number in range(60):
            found.note(Kind.MODES, f"/{directory}/{number}", 'mode 0755 "\u00fc"')
        found.unseen(Kind.HARD_LINKS)
        async with database.transaction() as conn:
            await fidelity.add(conn, task_no, found)
    async with database.transaction() as conn:
        await fidelity.add(conn, task_no, Findings())
        report = await fidelity.report(conn, task_no)
        assert await fidelity.report(conn, task_no + 1) == {}
    assert list(report) == [Kind.MODES, Kind.HARD_LINKS]
    modes = report[Kind.MODES]
    assert (modes.count, len(modes.examples)) == (180, EXAMPLES_MAX)
    assert [modes.examples[at].path for at in (0, 59, 60, 99)] == ["/0/0", "/0/59", "/1/0", "/1/39"]
    assert modes.examples[0].details == 'mode 0755 "\u00fc"'
    assert (report[Kind.HARD_LINKS].count, report[Kind.HARD_LINKS].unseen) == (0, 3)


async def test_links_wait_in_segments(database: Database, make_task: MakeTask) -> None:
    task_no = await make_task()
    odd = b"d\xe9\xff".decode("utf-8", "surrogateescape")
    small = [[Link(0, f"{directory}/{odd}", "/t;\n")] for directory in range(5)]
    large = [Link(1, f"l{number}", "/t") for number in range(SEGMENT_LINKS)]
    async with database.transaction() as conn:
        assert await links.last_segment(conn, task_no) == 0
        await links.add(conn, task_no, [links.pack(one) for one in [*small, large, large]])
        last = await links.last_segment(conn, task_no)
        numbers, found = await links.take(conn, task_no, last=last)
        assert found == [*(link for one in small for link in one), *large]
        await links.add(conn, task_no, [links.pack(large)])  # later than `last`
        await links.remove(conn, task_no, numbers)
        numbers, found = await links.take(conn, task_no, last=last)
        assert (len(numbers), found) == (1, large)
        await links.remove(conn, task_no, numbers)
        assert await links.take(conn, task_no, last=last) == ([], [])
        await leases.finish(conn, task_no, status="SUCCEEDED", fatal_error=None)
        assert await links.last_segment(conn, task_no) == 0
