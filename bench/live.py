"""Area `live`: what those who watch cost the service.

No contest. A real deployment without workers, on this machine; the bench itself plays the engine,
as busy as fifty tasks that all move, and is all who watch. Counted is the process of the API.
"""

import asyncio
import json
import ssl
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from uuid import UUID, uuid4

import httpx
import uvloop
from rich.console import Console

from bench import moving
from bench.measure import BenchError, own_cpu_s
from bench.report import figures
from towpath.demo.deployment import Deployment
from towpath.nexus.store import clients
from towpath.platform.database import Database

AREA = "live"

OWNERS = 10
SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"


@dataclass(frozen=True)
class Scale:
    """How much, and for how long."""

    tasks: int
    listeners: int
    for_s: float


FULL = Scale(tasks=50, listeners=300, for_s=30)
QUICK = Scale(tasks=10, listeners=10, for_s=2)


@dataclass
class _Owner:
    """A user with tasks."""

    id: UUID
    bearer: str
    tasks: list[tuple[int, UUID]] = field(default_factory=list)
    """Number and id of each."""


@dataclass
class _Counts:
    """What all who watch have read."""

    messages: int = 0
    size_bytes: int = 0
    delays_s: list[float] = field(default_factory=list)


def measure(console: Console, *, quick: bool) -> str:
    """Take the figures; show a table, return them as a line of JSON. Raises `BenchError`."""
    scale = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as directory:
        settings = {"TOWPATH_ENGINE__WORKERS": "0", "TOWPATH_SAMPLES__ENABLED": "false"}
        with (
            Deployment.start(Path(directory) / "deployment", settings) as deployment,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            found = runner.run(_Bench(scale, deployment, console).run())
    return figures(console, found)


class _Bench:
    def __init__(self, scale: Scale, deployment: Deployment, console: Console) -> None:
        self._scale = scale
        self._deployment = deployment
        self._console = console
        state = json.loads((deployment.data_dir / "run" / "state.json").read_text())
        self._url = str(state["database_url"])
        self._http = httpx.AsyncClient(
            base_url=deployment.url,
            verify=ssl.create_default_context(cafile=deployment.data_dir / "tls" / "ca.pem"),
            limits=httpx.Limits(max_connections=None),
            timeout=60,
            trust_env=False,
        )
        self._written_at: dict[tuple[str, int], float] = {}
        self._counts = _Counts()

    async def run(self) -> dict[str, float]:
        scale = self._scale
        async with Database(self._url, schema="transfer", max_size=4) as database, self._http:
            owners = await self._owners()
            tasks = await self._begin(database, owners)
            engine = asyncio.create_task(moving.move(database, tasks, written=self._written))
            alone = await self._cpu_share()
            self._console.print(f"{scale.listeners} begin to watch ...")
            everybody = [asyncio.create_task(self._watch(*one)) for one in self._shared_out(owners)]
            await asyncio.sleep(3)
            self._counts = counts = _Counts()
            watched = await self._cpu_share()
            for task in (engine, *everybody):
                if task.done():
                    raise BenchError(f"it ended early: {task.exception()}")
                task.cancel()
            await asyncio.gather(engine, *everybody, return_exceptions=True)
        if not counts.delays_s:
            raise BenchError("nobody was told anything")
        return {
            "tasks": scale.tasks,
            "listeners": scale.listeners,
            "api_cpu_percent_unwatched": round(alone * 100, 2),
            "api_cpu_percent": round(watched * 100, 2),
            "messages_per_s": round(counts.messages / scale.for_s, 1),
            "kilobytes_per_s": round(counts.size_bytes / scale.for_s / 1000, 1),
            "cpu_us_per_message": round(
                (watched - alone) * scale.for_s / max(counts.messages, 1) * 1e6, 1
            ),
            "delay_median_ms": round(median(counts.delays_s) * 1000),
            "delay_99_percent_ms": round(quantiles(counts.delays_s, n=100)[98] * 1000),
        }

    async def _cpu_share(self) -> float:
        began, before = time.monotonic(), own_cpu_s(self._deployment.pid)
        await asyncio.sleep(self._scale.for_s)
        return (own_cpu_s(self._deployment.pid) - before) / (time.monotonic() - began)

    def _shared_out(self, owners: Sequence[_Owner]) -> list[tuple[str, str]]:
        """Who watches what, as (bearer, route): one in six all that is his, as a list of tasks."""
        found = []
        for number in range(self._scale.listeners):
            owner = owners[number % len(owners)]
            tasks = owner.tasks
            _, task_id = tasks[number // len(owners) % len(tasks)]
            route = "task_progress" if number % 6 == 0 else f"task/{task_id}/progress"
            found.append((owner.bearer, route))
        return found

    async def _owners(self) -> list[_Owner]:
        owners = []
        async with Database(self._url, schema="nexus") as database:
            for _ in range(OWNERS):
                client_id = uuid4()
                async with database.transaction() as conn:
                    await clients.add_client(
                        conn,
                        client_id=client_id,
                        name="bench",
                        secret="s" * 40,
                        administrator=False,
                    )
                answer = await self._http.post(
                    "/v2/oauth2/token",
                    data={"grant_type": "client_credentials", "scope": SCOPE},
                    auth=(str(client_id), "s" * 40),
                )
                owners.append(_Owner(client_id, answer.raise_for_status().json()["access_token"]))
        return owners

    async def _begin(self, database: Database, owners: Sequence[_Owner]) -> list[moving.Moving]:
        tasks = await moving.begin(database, [one.id for one in owners], self._scale.tasks)
        for number, task in enumerate(tasks):
            owners[number % len(owners)].tasks.append(task)
        return tasks

    def _written(self, task_id: UUID, moved: int) -> None:
        self._written_at[str(task_id), moved] = time.monotonic()

    async def _watch(self, bearer: str, route: str) -> None:
        headers = {"Authorization": f"Bearer {bearer}"}
        async with self._http.stream("GET", f"/v0.10/{route}", headers=headers) as answer:
            if answer.status_code != 200:
                raise BenchError(f"{route}: {answer.status_code}")
            async for line in answer.aiter_lines():
                counts = self._counts
                counts.size_bytes += len(line) + 1
                if not line.startswith("data: "):
                    continue
                counts.messages += 1
                told = json.loads(line[6:])
                with suppress(KeyError):  # other messages, and states of before
                    key = (told["task_id"], told["bytes_transferred"])
                    counts.delays_s.append(time.monotonic() - self._written_at[key])
