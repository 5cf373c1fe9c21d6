"""What is told of a campaign: while it runs, and at its end."""

import asyncio
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from campaign.campaign import Campaign, Struck
from campaign.makers import MAKERS

OFTEN_S = 0.5
SELDOM_S = 10.0
TOLD_WITHIN_S = 20.0
"""A task that waits for its turn tells when it has it."""
CATCH_ALL = ("service", "recovery", "moving", "unexplained")
"""Categories that take what no other one claims: if they grow, the account tells less."""


def recovered_s(campaign: Campaign, struck: Struck) -> float | None:
    """From the strike to the next outcome of a task that was hit; None: it had none left."""
    seen = [
        at
        for task_no in struck.hit.tasks
        for at in campaign.audit.progress[task_no]
        if at > struck.hit.began_s
    ]
    return min(seen) - struck.hit.began_s if seen else None


def is_told(campaign: Campaign, struck: Struck) -> bool:
    """Whether a task that was hit has an event that may tell of this fault."""
    codes = MAKERS[struck.planned.kind].tells
    return any(
        event.code in codes
        and event.task_no in struck.hit.tasks
        and struck.hit.began_s <= event.seen_s <= struck.ended_s + TOLD_WITHIN_S
        for event in campaign.audit.events
    )


def table(campaign: Campaign) -> Table:
    """By kind: how many hit, of how many events tell and how many had no consequence that had to be
    told, how many hit nothing and do not count, and how long it took to go on."""
    struck: dict[str, list[Struck]] = defaultdict(list)
    for one in campaign.struck:
        struck[one.planned.kind].append(one)
    missed = [planned.kind for planned in campaign.missed]
    made = Table("kind", "hit", "told", "nothing lost", "hit nothing", "median s to recover")
    for kind in MAKERS:
        hits = struck[kind]
        if not hits and kind not in missed:
            continue
        took = [s for one in hits if (s := recovered_s(campaign, one)) is not None]
        median = f"{statistics.median(took):.1f}" if took else ""
        told = sum(is_told(campaign, one) for one in hits)
        figures = (len(hits), told, len(hits) - told, missed.count(kind))
        made.add_row(kind, *map(str, figures), median)
    return made


def summary(campaign: Campaign) -> dict[str, Any]:
    """The figures that count."""
    verdicts = campaign.verdicts
    return {
        "faults": len(campaign.struck),
        "kinds": len({one.planned.kind for one in campaign.struck}),
        "fewest_hits": min(
            Counter(one.planned.kind for one in campaign.struck).values(), default=0
        ),
        "tasks": len(verdicts),
        "lost": sum(len(one.lost) for one in verdicts),
        "duplicated": sum(len(one.duplicated) for one in verdicts)
        + len(campaign.ledger.duplicated),
        "false_success": sum(len(one.false_success) for one in verdicts),
        "resent_covered": sum(size for _, size in campaign.ledger.resent_covered),
        "resent_tail_bytes": max(
            0, campaign.data_bytes - sum(one.arrived_bytes for one in verdicts)
        ),
        "unexplained": sum(len(one.unexplained) for one in verdicts)
        + len(campaign.ledger.unexplained),
        "unexplained_time": sum(len(one.unexplained_time) for one in verdicts),
        "unexplained_time_worst": max(
            (one.time["unexplained"] for one in verdicts if one.time is not None), default=0
        ),
        "catch_all_time": {
            category: share
            for category, share in of_all_time(campaign).items()
            if category in CATCH_ALL
        },
        "crashed": len(campaign.crashed),
        "seconds": round(time.monotonic() - campaign.began_s, 1),
    }


def _seconds(told: dict[str, Any]) -> dict[str, float]:
    """By category, of one answer of `explain`."""
    return {share["category"]: share["seconds"] for share in told["DATA"]}


def _times(campaign: Campaign) -> dict[int, dict[str, Any]]:
    """What `explain` told of each task that has ended, by its number."""
    return {one.plan.number: one.time for one in campaign.verdicts if one.time is not None}


def of_all_time(campaign: Campaign) -> dict[str, float]:
    """Of the time of all tasks together: the share of each category, the largest first."""
    times = _times(campaign).values()
    whole = sum(told["wall_s"] for told in times)
    found: Counter[str] = Counter()
    for told in times:
        found.update(_seconds(told))
    return {category: round(s / whole, 4) for category, s in found.most_common()} if whole else {}


def time_table(campaign: Campaign) -> Table:
    """By category: its share of the time of all tasks, and the task that it took most of."""
    times = _times(campaign)
    made = Table("where time went", "of all", "most of one task", "s of it", "task")
    for category, share in of_all_time(campaign).items():
        seconds = {number: _seconds(told).get(category, 0.0) for number, told in times.items()}
        most = max(seconds, key=seconds.__getitem__)
        of_it = seconds[most] / times[most]["wall_s"]
        made.add_row(category, f"{share:.1%}", f"{of_it:.0%}", f"{seconds[most]:.1f}", str(most))
    return made


def write(campaign: Campaign, console: Console) -> None:
    """The tables, what is wrong, and as the last line one JSON object."""
    console.print(table(campaign))
    console.print(time_table(campaign))
    real = sum(MAKERS[one.planned.kind].real_server for one in campaign.struck)
    console.print(f"{real} of {len(campaign.struck)} hit GridFTP servers", highlight=False)
    for verdict in campaign.verdicts:
        for wrong in verdict.wrong:
            console.print(f"task {verdict.plan.number} ({verdict.task_id}): {wrong}", markup=False)
    for what, size in campaign.ledger.resent_covered:
        console.print(f"{what} was sent again ({size} bytes)", markup=False)
    for what in (*campaign.ledger.duplicated, *campaign.ledger.unexplained):
        console.print(f"in all: {what}", markup=False)
    for what in campaign.crashed:
        console.print(f"the campaign ended before its time: {what}", markup=False)
    print(json.dumps(summary(campaign)), flush=True)


def line(campaign: Campaign) -> str:
    """How far it is."""
    kinds = len({one.planned.kind for one in campaign.struck})
    wrong = sum(len(verdict.wrong) for verdict in campaign.verdicts)
    seconds = time.monotonic() - campaign.began_s
    return (
        f"{seconds:6.0f} s: {len(campaign.struck)} of {campaign.wanted} faults of {kinds} kinds,"
        f" {len(campaign.missed)} hit nothing; {len(campaign.verdicts)} tasks ended,"
        f" {len(campaign.audit.running())} run; {wrong} wrong"
    )


@asynccontextmanager
async def told(campaign: Campaign) -> AsyncIterator[None]:
    """While it runs: on a terminal a line that moves, else a line now and then."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 120)
    telling = asyncio.create_task(_tell(campaign, console))
    try:
        yield
    finally:
        telling.cancel()


async def _tell(campaign: Campaign, console: Console) -> None:
    if not console.is_terminal:
        while True:
            await asyncio.sleep(SELDOM_S)
            console.print(line(campaign), markup=False, highlight=False)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(OFTEN_S)
            live.update(Group(table(campaign), line(campaign)), refresh=True)
