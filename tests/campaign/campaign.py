"""Runs a campaign: tasks are submitted and looked after, faults strike, until enough have hit."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from campaign.audit import Audit
from campaign.ground import Ground
from campaign.makers import MAKERS, Hit, Scene
from campaign.schedule import Planned, faults
from campaign.tasks import TaskPlan, Trees, draw, submission
from campaign.truth import Verdict, judge

TASKS_AT_ONCE = 20
"""Unfinished tasks that are kept going: all places of all workers."""
STRIKERS = 6
"""Faults that are being made at once."""
AFTERWARDS_S = 120.0
"""When the faults are over, everything must come to its end by itself within this."""
REPEAT_S = 0.3
"""Before a request is sent again that got no answer."""


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
    tell: Callable[["Campaign"], None] = lambda _campaign: None
    struck: list[Struck] = field(default_factory=list)
    missed: list[Planned] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)
    _enough: bool = False

    async def run(self) -> None:
        """Until enough faults have struck and all tasks have come to their end."""
        scene = Scene(self.ground, self.audit)
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
            hit = await MAKERS[planned.kind].strike(scene, planned.random)
            if hit is None:
                self.missed.append(planned)
            elif len(self.struck) < self.wanted:
                self.struck.append(Struck(planned, hit, time.monotonic()))
            self.tell(self)

    async def _lives(self, numbers: Iterator[int]) -> None:
        while not self._enough:
            await self._live(draw(self.seed, next(numbers)))

    async def _live(self, plan: TaskPlan) -> None:
        """One task, from its files to what became of them."""
        trees = Trees.of(self.ground.root, plan)
        await asyncio.to_thread(trees.make, plan)
        endpoints = {place.name: place.endpoint_id for place in self.ground.places.values()}
        document = submission(plan, trees, endpoints)
        task_id = (await self._ask("POST", "transfer", document))["task_id"]
        try:
            await self._ended(task_id)
            told = await self._told(task_id)
        except asyncio.CancelledError:
            self.verdicts.append(Verdict.unfinished(plan, task_id))
            raise
        verdict = await asyncio.to_thread(judge, plan, trees, told)
        self.verdicts.append(verdict)
        if not verdict.wrong:
            await asyncio.to_thread(shutil.rmtree, trees.source.parent)
        self.tell(self)

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

    async def _ask(
        self, method: str, route: str, document: dict[str, Any] | None = None, **query: Any
    ) -> dict[str, Any]:
        """As a patient client: again and again, until there is an answer."""
        while True:
            with suppress(httpx.TransportError):
                answer = await self.ground.ask(method, route, document, **query)
                if answer.status_code < 500:
                    answer.raise_for_status()
                    result: dict[str, Any] = answer.json()
                    return result
            await asyncio.sleep(REPEAT_S)
