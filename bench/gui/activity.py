"""Fifty running tasks on screen: what that costs the browser and the service."""

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from playwright.sync_api import Page, expect
from rich.console import Console

from bench import moving
from bench.gui.browser import Looking, looking
from bench.measure import BenchError, own_cpu_s, tree_cpu_s
from towpath.demo.deployment import Deployment
from towpath.platform.database import Database

T = TypeVar("T")

STEP_BYTES = 4 * 2**20
"""Each of them moves so much every quarter of a second."""
FOUND_BYTES = 10**12
"""Far from the end."""
WIDTH, HEIGHT = 1280, 800
ROW_PX = 73
HEAD_PX = 350
DATABASE_S = 60.0
SETTLE_S = 3
"""The page's own start is another figure."""

_WATCH = """() => {
  window.seen = { shift: 0, longest: 0 };
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) if (!one.hadRecentInput) window.seen.shift += one.value;
  }).observe({ type: "layout-shift" });
  new PerformanceObserver((list) => {
    const lasted = list.getEntries().map((one) => one.duration);
    window.seen.longest = Math.max(window.seen.longest, ...lasted);
  }).observe({ type: "longtask" });
}"""
_HEAP = "() => performance.memory.usedJSHeapSize"


@dataclass(frozen=True)
class Scale:
    """How much, and for how long."""

    tasks: int
    for_s: float


FULL = Scale(tasks=50, for_s=30)
QUICK = Scale(tasks=10, for_s=2)


@dataclass(frozen=True)
class Shares:
    """Of one core."""

    browser: float
    api: float


def measure(console: Console, *, quick: bool) -> dict[str, float]:
    """The figures. Raises `BenchError`."""
    scale = QUICK if quick else FULL
    settings = {"TOWPATH_ENGINE__WORKERS": "0", "TOWPATH_SAMPLES__ENABLED": "false"}
    with (
        tempfile.TemporaryDirectory(prefix="towpath-bench-") as directory,
        Deployment.start(Path(directory) / "deployment", settings) as deployment,
        looking(deployment, "bench") as somebody,
        _Engine(deployment, somebody, scale) as engine,
    ):
        page = somebody.profile.new_page()
        page.set_viewport_size({"width": WIDTH, "height": HEAD_PX + ROW_PX * scale.tasks})
        page.goto(f"{deployment.url}/activity")
        expect(page.locator("main ol > li")).to_have_count(scale.tasks)
        console.print(f"{scale.tasks} tasks on screen that stand still ...")
        still = _shares(deployment, somebody, page, scale.for_s)
        console.print("... and move")
        with engine.running():
            moved = _rates(page)
            page.evaluate(_WATCH)
            live = _shares(deployment, somebody, page, scale.for_s)
            if _rates(page) == moved:
                raise BenchError("the page does not move")
            seen = page.evaluate("window.seen")
            heap = page.evaluate(_HEAP)
            page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            usual = _shares(deployment, somebody, page, scale.for_s)
            page.close()
            alone = _api_share(deployment, scale.for_s)
    return {
        "activity_tasks": scale.tasks,
        "activity_browser_cpu_percent": round(live.browser * 100, 2),
        "activity_browser_cpu_percent_usual_window": round(usual.browser * 100, 2),
        "activity_browser_cpu_percent_still": round(still.browser * 100, 2),
        "activity_api_cpu_percent": round(live.api * 100, 2),
        "activity_api_cpu_percent_unwatched": round(alone * 100, 2),
        "activity_longest_task_ms": round(seen["longest"]),
        "activity_layout_shift": round(seen["shift"], 4),
        "activity_heap_megabytes": round(heap / 1e6, 1),
    }


def _shares(deployment: Deployment, somebody: Looking, page: Page, for_s: float) -> Shares:
    page.wait_for_timeout(SETTLE_S * 1000)
    began = time.monotonic()
    browser, api = tree_cpu_s([somebody.pid]), own_cpu_s(deployment.pid)
    page.wait_for_timeout(for_s * 1000)
    took = time.monotonic() - began
    return Shares(
        (tree_cpu_s([somebody.pid]) - browser) / took, (own_cpu_s(deployment.pid) - api) / took
    )


def _api_share(deployment: Deployment, for_s: float) -> float:
    began, before = time.monotonic(), own_cpu_s(deployment.pid)
    time.sleep(for_s)
    return (own_cpu_s(deployment.pid) - before) / (time.monotonic() - began)


def _rates(page: Page) -> str:
    return page.locator("main ol").inner_text()


class _Engine:
    """Plays the workers, on a loop of its own: while playwright runs, it has this thread's."""

    def __init__(self, deployment: Deployment, somebody: Looking, scale: Scale) -> None:
        state = json.loads((deployment.data_dir / "run" / "state.json").read_text())
        self._database = Database(state["database_url"], schema="transfer", max_size=4)
        self._owner = somebody.identity
        self._scale = scale
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._tasks: list[moving.Moving] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._started(self._begin()).result(DATABASE_S)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._started(self._database.close()).result(DATABASE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        """All tasks move."""
        work = self._started(moving.move(self._database, self._tasks, step_bytes=STEP_BYTES))
        yield
        if work.done():
            raise BenchError(f"the tasks stopped: {work.exception()}")
        work.cancel()
        wait([work], DATABASE_S)

    async def _begin(self) -> None:
        await self._database.open()
        self._tasks = await moving.begin(
            self._database, [self._owner], self._scale.tasks, bytes_found=FOUND_BYTES
        )

    def _started(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)
