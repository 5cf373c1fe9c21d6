"""Runs a campaign: tasks are submitted and looked after, faults strike, until enough have hit."""

import asyncio
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from campaign.audit import Audit
from campaign.ground import REPEAT_S, Ground
from campaign.makers import MAKERS, Hit, Scene
from campaign.schedule import Planned, faults
from campaign.sources import History, Sources
from campaign.tasks import TaskPlan, Trees, draw, submission
from campaign.truth import Verdict, judge

TASKS_AT_ONCE = 20
"""Unfinished tasks that are kept going: all places of all workers."""
STRIKERS = 6
"""Faults that are being made at once."""
STRIKE_S = 120.0
"""A maker that takes longer has lost its way."""
AFTERWARDS_S = 120.0
"""When the faults are over, everything must come to its end by itself within this."""


@dataclass
class Struck:
    """A fault that hit something."""

    planned: Planned
    hit: Hit
    ended_s: float


@dataclass
class Campaign:
    """One run; `run` it, then read the results."""

    ground: Ground
    audit: Audit
    seed: int
    wanted: int
    kinds: frozenset[str] | None = None
    struck: list[Struck] = field(default_factory=list)
    missed: list[Planned] = field(default_factory=list)
    sources: Sources = field(default_factory=Sources)
    verdicts: list[Verdict] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)
    _enough: bool = False

    async def run(self) -> None:
        """Until enough faults have struck and all tasks have come to their end."""
        scene = Scene(self.ground, self.audit, self.sources)
        plan = faults(self.seed, self.kinds)
        numbers = iter(range(10**9))
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self.audit.run())
            lives = [group.create_task(self._lives(numbers)) for _ in range(TASKS_AT_ONCE)]
            strikers = [group.create_task(self._strike(scene, plan)) for _ in range(STRIKERS)]
            await asyncio.gather(*strikers)
            self._enough = True
            await asyncio.wait(lives, timeout=AFTERWARDS_S)
            for life in lives:
                life.cancel()
            await asyncio.gather(*lives, return_exceptions=True)
            looking.cancel()

    async def _strike(self, scene: Scene, plan: Iterator[Planned]) -> None:
        while len(self.struck) < self.wanted:
            planned = next(plan)
            hit = await self._try(scene, planned)
            if hit is None:
                self.missed.append(planned)
            elif len(self.struck) < self.wanted:
                self.struck.append(Struck(planned, hit, time.monotonic()))

    async def _try(self, scene: Scene, planned: Planned) -> Hit | None:
        """Strike. A maker that fails may leave things broken: the campaign ends, and says so."""
        try:
            async with asyncio.timeout(STRIKE_S):
                return await MAKERS[planned.kind].strike(scene, planned.random)
        except Exception:
            print(f"fault {planned.number}, {planned.kind}:", file=sys.stderr)
            traceback.print_exc()
            raise

    async def _lives(self, numbers: Iterator[int]) -> None:
        while not self._enough:
            await self._live(draw(self.seed, next(numbers)))

    async def _live(self, plan: TaskPlan) -> None:
        """One task, from its files to what became of them."""
        places = self.ground.places
        trees = Trees.of(plan, places[plan.source].storage, places[plan.destination].storage)
        await asyncio.to_thread(trees.make, plan)
        history = History(trees.source, trees.destination)
        await asyncio.to_thread(history.note_all)
        endpoints = {place.name: place.endpoint_id for place in self.ground.places.values()}
        document = submission(plan, trees, endpoints)
        task_id = (await self._answer(lambda: self.ground.submit(document)))["task_id"]
        self.sources.of_task[task_id] = history
        try:
            await self._ended(task_id)
            told = await self._told(task_id)
        except asyncio.CancelledError:
            self.verdicts.append(Verdict.unfinished(plan, task_id))
            raise
        verdict = await asyncio.to_thread(judge, plan, history, told)
        self.verdicts.append(verdict)
        if not verdict.wrong:
            await asyncio.to_thread(trees.remove)
        else:
            await asyncio.to_thread(trees.keep, self.ground.root / "evidence")
        del self.sources.of_task[task_id]

    async def _ended(self, task_id: str) -> None:
        async with self.audit.changed:
            await self.audit.changed.wait_for(
                lambda: any(
                    one.final and str(one.task_id) == task_id for one in self.audit.tasks.values()
                )
            )

    async def _told(self, task_id: str) -> dict[str, Any]:
        """All that the owner of an ended task can ask for."""
        transferred: list[dict[str, Any]] = []
        marker: int | None = 0
        while marker is not None:
            page = await self._ask("GET", f"task/{task_id}/successful_transfers", marker=marker)
            transferred += page["DATA"]
            marker = page["next_marker"]
        events = await self._ask("GET", f"task/{task_id}/event_list", limit=1000)
        return {
            "task": await self._ask("GET", f"task/{task_id}"),
            "transferred": transferred,
            "events": events["DATA"][::-1],
        }

    async def _ask(self, method: str, route: str, **query: Any) -> dict[str, Any]:
        return await self._answer(lambda: self.ground.ask(method, route, **query))

    async def _answer(self, ask: Callable[[], Awaitable[httpx.Response]]) -> dict[str, Any]:
        """As a patient client: again and again, until there is an answer."""
        while True:
            with suppress(httpx.TransportError):
                answer = await ask()
                if answer.status_code < 500:
                    answer.raise_for_status()
                    result: dict[str, Any] = answer.json()
                    return result
            await asyncio.sleep(REPEAT_S)
