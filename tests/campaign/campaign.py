"""Runs a campaign: tasks are submitted and looked after, faults strike, until enough have hit."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from campaign.audit import LOOK_EVERY_S, Audit, Standing
from campaign.ground import REPEAT_S, Ground
from campaign.ledger import Ledger, kept, read
from campaign.makers import MAKERS, Hit, Scene
from campaign.makers.service import OUT_OF_MEMORY
from campaign.schedule import Planned, faults
from campaign.serverlogs import sent_again
from campaign.sources import History, Sources
from campaign.tasks import Intervention, Plan, Trees, draw
from campaign.truth import Verdict, judge

TASKS_AT_ONCE = 20
"""Unfinished tasks that are kept going: all places of all workers."""
PAUSE_S = 2.0
"""For which an owner lets a task pause."""
STRIKERS = 8
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
    kinds: frozenset[str]
    struck: list[Struck] = field(default_factory=list)
    missed: list[Planned] = field(default_factory=list)
    sources: Sources = field(default_factory=Sources)
    verdicts: list[Verdict] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)
    histories: dict[str, History] = field(default_factory=dict)
    """Of all tasks, those that have ended included."""
    data_bytes: int = 0
    """That have passed on data channels."""
    ledger: Ledger = field(default_factory=Ledger)
    crashed: list[str] = field(default_factory=list)
    """What ended the campaign before its time: mistakes of its own."""
    _scene: Scene = field(init=False)
    _enough: bool = False

    async def run(self) -> None:
        """Until enough faults have struck and all tasks have come to their end."""
        scene = self._scene = Scene(self.ground, self.audit, self.sources)
        plan = faults(self.seed, self.kinds)
        numbers = iter(range(10**9))
        async with asyncio.TaskGroup() as group:

            def begin(work: Awaitable[None]) -> asyncio.Task[None]:
                return group.create_task(self._guarded(work))

            looking = begin(self.audit.run())
            lives = [begin(self._lives(numbers)) for _ in range(TASKS_AT_ONCE)]
            strikers = [begin(self._strike(scene, plan)) for _ in range(STRIKERS)]
            await asyncio.gather(*strikers)
            if not self.crashed:
                self._enough = True
                await asyncio.wait(lives, timeout=AFTERWARDS_S)
            for life in lives:
                life.cancel()
            await asyncio.gather(*lives, return_exceptions=True)
            looking.cancel()
        await self._guarded(self._settle_accounts())

    async def _guarded(self, work: Awaitable[None]) -> None:
        """A mistake of ours ends the campaign: others mend what they have broken, and it is told.
        What failed may have left things broken; tasks that have not ended are not to blame."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever it is
            traceback.print_exception(error)
            self.crashed.append(": ".join([*getattr(error, "__notes__", ()), repr(error)]))

    async def _settle_accounts(self) -> None:
        """What was sent in all, and what of it need not have been."""
        log = await self.audit.whole_log()
        numbers = self.audit.task_numbers
        ended = ((numbers[one.task_id], one.fatal_code) for one in self.verdicts)
        self.ledger = read(log, {no: code for no, code in ended if code is not None})
        self.ledger.unexplained += self._mistakes()
        if not self.crashed:
            self.ledger.duplicated += [
                f"task {no} is nobody's: a submission was taken twice"
                for no, one in self.audit.tasks.items()
                if str(one.task_id) not in self.histories
            ]
        paths = kept(log, self.audit, self._path_of)
        logs = [place.workdir / "server.log" for place in self.ground.places.values()]
        self.ledger.resent_covered += await asyncio.to_thread(sent_again, logs, paths)
        self.data_bytes = (await self.ground.network.passed())["data"]

    def _mistakes(self) -> list[str]:
        """Internal errors name no cause; only where memory was taken away are they expected."""
        out_of_memory = [s.hit for s in self.struck if s.planned.kind == OUT_OF_MEMORY]
        return [
            f"task {one.task_no}: {one.code}"
            for one in self.audit.events
            if one.code == "INTERNAL_ERROR"
            and not any(
                one.task_no in hit.tasks and hit.began_s < one.seen_s for hit in out_of_memory
            )
        ]

    def _path_of(self, task_no: int, item_no: int, below: str) -> str | None:
        """Of a file of a task: where it is at the source's server."""
        standing = self.audit.tasks.get(task_no)
        history = None if standing is None else self.histories.get(str(standing.task_id))
        path = None if history is None else history.path_of(item_no, below)
        return None if history is None or path is None else str(history.root / path)

    async def _strike(self, scene: Scene, plan: Iterator[Planned]) -> None:
        while len(self.struck) < self.wanted and not self.crashed:
            planned = next(plan)
            hit = await self._try(scene, planned)
            if hit is None:
                self.missed.append(planned)
                await asyncio.sleep(LOOK_EVERY_S)  # until then it would find the same again
            elif len(self.struck) < self.wanted:
                self.struck.append(Struck(planned, hit, time.monotonic()))

    async def _try(self, scene: Scene, planned: Planned) -> Hit | None:
        """Strike. A maker that fails may leave things broken: the campaign ends, and says so."""
        try:
            async with asyncio.timeout(STRIKE_S):
                return await MAKERS[planned.kind].strike(scene, planned.random)
        except Exception as error:
            error.add_note(f"fault {planned.number}, {planned.kind}")
            raise

    async def _lives(self, numbers: Iterator[int]) -> None:
        while not self._enough:
            await self._live(draw(self.seed, next(numbers)))

    async def _live(self, plan: Plan) -> None:
        """One task, from its files to what became of them."""
        here, there = (self.ground.places[name] for name in plan.places)
        trees = Trees.of(plan, here.outgoing, there.incoming)
        async with self._scene.alone(there.storage_name):
            await asyncio.to_thread(plan.make, trees.source, trees.destination)
        history = History(plan, trees.source, trees.destination)
        await asyncio.to_thread(history.note_all)
        endpoints = {place.name: place.endpoint_id for place in self.ground.places.values()}
        document = plan.document(trees.source, trees.destination, endpoints)
        asked_s = time.monotonic()
        task_id = (await self._answer(lambda: self.ground.submit(document)))["task_id"]
        accepted_s = time.monotonic()
        self.sources.of_task[task_id] = self.histories[task_id] = history
        try:
            if plan.intervention is not None:
                await self._intervene(task_id, plan.intervention)
            await self._until(task_id, lambda standing: standing.final)
            ended_s = time.monotonic()
            measured_s = (ended_s - accepted_s, ended_s - asked_s)
            told = {**await self._told(task_id), "measured_s": measured_s}
        except asyncio.CancelledError:
            if self._enough:
                self.verdicts.append(Verdict.unfinished(plan, task_id))
            raise
        del self.sources.of_task[task_id]
        verdict = await asyncio.to_thread(judge, history, told)
        self.verdicts.append(verdict)
        if verdict.wrong:
            await asyncio.to_thread(trees.keep, self.ground.root / "evidence")
        await asyncio.to_thread(trees.remove)

    async def _intervene(self, task_id: str, intervention: Intervention) -> None:
        """Its owner cancels it, or lets it pause for a while."""
        await self._until(
            task_id,
            lambda one: one.final or one.files_transferred >= intervention.after_files,
        )
        await self._act(task_id, intervention.what)
        if intervention.what == "pause":
            await asyncio.sleep(PAUSE_S)
            await self._act(task_id, "resume")

    async def _act(self, task_id: str, what: str) -> None:
        """What cannot be done any more, because the task has ended, need not be done."""
        route = f"task/{task_id}/{what}"
        with suppress(httpx.HTTPStatusError):
            await self._answer(lambda: self.ground.ask("POST", route, {}))

    async def _until(self, task_id: str, look: Callable[[Standing], bool]) -> None:
        async with self.audit.changed:
            await self.audit.changed.wait_for(
                lambda: (one := self.audit.standing(task_id)) is not None and look(one)
            )

    async def _told(self, task_id: str) -> dict[str, Any]:
        """All that the owner of an ended task can ask for."""
        task = await self._ask("GET", f"task/{task_id}")
        transferred: list[dict[str, Any]] = []
        marker: int | None = 0 if task["type"] == "TRANSFER" else None
        while marker is not None:
            page = await self._ask("GET", f"task/{task_id}/successful_transfers", marker=marker)
            transferred += page["DATA"]
            marker = page["next_marker"]
        events = await self._ask("GET", f"task/{task_id}/event_list", limit=1000)
        return {
            "task": task,
            "time": await self._ask("GET", f"task/{task_id}/explain"),
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
