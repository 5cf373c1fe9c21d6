"""Faults of the service's own processes."""

from random import Random

from campaign.makers.base import Hit, Maker, Scene, maker
from towpath.transfer.engine.identity import WorkerName


@maker
class WorkerKilled(Maker):
    """A worker dies while it acts for tasks; another is started."""

    kind = "worker killed"
    real_server = False

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        if not await scene.until(lambda: bool(scene.audit.running())):
            return None
        worker = random.choice(scene.ground.workers)
        tasks = [
            one
            for one in scene.audit.running()
            if (name := WorkerName.parse(one.worker or "")) is not None and name.pid == worker.pid
        ]
        if not tasks:
            return None
        hit = Hit.of(f"worker {worker.pid}", tasks)
        scene.ground.end_worker(worker)
        scene.ground.start_worker()
        return hit
