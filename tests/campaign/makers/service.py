"""Faults of the service's own processes: workers and the API."""

import asyncio
import os
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

from campaign.audit import Standing
from campaign.makers.base import Hit, Maker, Scene, maker
from campaign.makers.servers import stopped
from towpath.demo.processes import descendants
from towpath.transfer.engine.identity import WorkerName

OUT_OF_MEMORY = "worker out of memory"
"""The only fault of which a task may tell that the service made a mistake."""
BEYOND_LEASE_S = 6.0
SHORT_OF_MEMORY_S = (3.0, 10.0)
"""At least, since not all that goes wrong does at once; at most, if it needs none meanwhile."""
SHORT_LOOK_S = 0.2
MEMORY_LEFT_BYTES = 256 * 1024
AT_ONCE_S = (0.0, 0.05)
"""A submission takes about so long."""
SUBMITTED_WITHIN_S = 20.0
"""While tasks wait for what is broken, few end, and few begin."""


async def busy_worker(
    scene: Scene, random: Random
) -> tuple[subprocess.Popen[bytes], Sequence[Standing]] | None:
    """A worker that acts for tasks, and these."""
    await scene.until(scene.audit.running)
    for worker in random.sample(scene.ground.workers, len(scene.ground.workers)):
        tasks = _tasks_of(scene, worker)
        if tasks and worker.poll() is None:
            return worker, tasks
    return None


def _tasks_of(scene: Scene, worker: subprocess.Popen[bytes]) -> list[Standing]:
    return [
        one
        for one in scene.audit.running()
        if (name := WorkerName.parse(one.worker or "")) is not None and name.pid == worker.pid
    ]


@maker
class WorkerKilled(Maker):
    """A worker dies while it acts for tasks; another is started."""

    kind = "worker killed"
    real_server = False
    tells = frozenset({"RECOVERED"})

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        found = await busy_worker(scene, random)
        if found is None:
            return None
        worker, tasks = found
        hit = Hit.of(f"worker {worker.pid}", tasks)
        self.also(worker.pid)
        scene.ground.replace_worker(worker)
        return hit

    def also(self, worker: int) -> None:
        """What dies right before."""


@maker
class WorkerAndWitnessKilled(WorkerKilled):
    """Nobody sees what becomes of its sessions."""

    kind = "worker and witness killed"
    weight = 0.5

    def also(self, worker: int) -> None:
        for pid in descendants(worker):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@maker
class WorkerStopped(Maker):
    """A worker sleeps until others have its tasks (SIGSTOP), and wakes up."""

    kind = "worker stopped"
    real_server = False
    tells = frozenset({"RECOVERED"})

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        async with scene.alone("worker stopped"):  # one at least goes on
            found = await busy_worker(scene, random)
            if found is None:
                return None
            worker, tasks = found
            with stopped([worker.pid]):
                hit = Hit.of(f"worker {worker.pid}", tasks)
                await asyncio.sleep(BEYOND_LEASE_S)
        return hit


@maker
class WorkerOutOfMemory(Maker):
    """A worker gets no more memory for a while; if it dies of it, another is started."""

    kind = OUT_OF_MEMORY
    real_server = False
    tells = frozenset({"RECOVERED", "INTERNAL_ERROR"})
    weight = 1.3  # not every worker needs more just then

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        found = await busy_worker(scene, random)
        if found is None:
            return None
        worker, tasks = found
        hit = Hit.of(f"worker {worker.pid}", tasks)
        errors = _memory_errors(scene)

        def noticed() -> bool:
            return worker.poll() is not None or _memory_errors(scene) > errors

        with suppress(ProcessLookupError, OSError):
            pages = int(Path(f"/proc/{worker.pid}/statm").read_text().split()[0])
            most = pages * os.sysconf("SC_PAGESIZE") + MEMORY_LEFT_BYTES
            before = resource.prlimit(worker.pid, resource.RLIMIT_AS)
            resource.prlimit(worker.pid, resource.RLIMIT_AS, (most, before[1]))
            began_s = time.monotonic()
            least_s, most_s = SHORT_OF_MEMORY_S
            while (short_s := time.monotonic() - began_s) < most_s:
                if short_s > least_s and noticed():
                    break
                await asyncio.sleep(SHORT_LOOK_S)
                hit.concerns(_tasks_of(scene, worker))  # it takes up more of them
            resource.prlimit(worker.pid, resource.RLIMIT_AS, before)
        if worker.poll() is not None:
            scene.ground.replace_worker(worker)
        return hit if noticed() else None


_NO_MEMORY = ("MemoryError", "out of memory", "annot allocate memory", "start new thread")


def _memory_errors(scene: Scene) -> int:
    """In all that workers have written so far."""
    files = [scene.ground.workers_said, *(scene.ground.data_dir / "log").glob("worker-*")]
    texts = [file.read_text(errors="replace") for file in files]
    return sum(text.count(words) for text in texts for words in _NO_MEMORY)


@maker
class ApiKilled(Maker):
    """The API dies while it takes a submission, perhaps between its commit and its answer."""

    kind = "API killed"
    real_server = False
    tells = frozenset({"RECOVERED"})

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        ground = scene.ground
        after_s = random.uniform(*AT_ONCE_S)
        async with scene.alone("API"):
            until = time.monotonic() + SUBMITTED_WITHIN_S
            while not ground.submitting:
                if not await ground.submission_begins(until - time.monotonic()):
                    return None
                await asyncio.sleep(after_s)
            hit = Hit("the API, in the middle of a submission", frozenset())
            await ground.kill_api()
            await ground.start_api()
        return hit
