"""What users of a simulated world ask for, and what happens to it meanwhile."""

import asyncio
import gc
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any, cast
from uuid import UUID

from simulation import storage
from simulation.database import SimulatedDatabase
from simulation.endpoints import Endpoint
from simulation.loop import OUTSIDE, PROCESS, Process
from simulation.storage import Content, File, Place, whole
from simulation.world import World, at_once
from towpath.gridftp.client.session import Session
from towpath.transfer.engine.driver import Driver
from towpath.transfer.engine.lanes import LaneRunner
from towpath.transfer.store import leases, submissions, tasks
from towpath.transfer.store.plan import LARGE_FILE_BYTES
from towpath.transfer.store.tasks import Change, NewItem, NewTask

OWNERS = 12
CHOSEN = (10, 8, 10, 4, 1, 6)
"""How often each server is: tasks with the one that is far away cost most."""
SHARED_AREAS = 6
SHARED_PART = 0.15
"""Of the tasks, those that write where others may."""
KILLED_AT_SENDING = 0.0015
FROZEN_AT_SENDING = 0.0015
FROZEN_AT_TAKING = 0.75
"""Of the workers that are stopped by the weather."""
FROZEN_TERMS = (1.1, 2.0)
"""Those for so long, in leases: others have their tasks when they go on."""
TREES = ("t0", "t1", "t2", "t0/u", "t1/u/v", "t2/w")
FILES = ("t0/f0", "t0/f1", "t0/u/f0", "t1/f0", "t1/u/f1", "t1/u/v/f2", "t2/a/f3")
ACTIVE = 64
"""Tasks that are not over, at any time."""
SUBMIT_EVERY_S = 0.5
PURGE_EVERY = 2000
"""Tasks that are over are then taken out of the database, so that it stays small."""
PURGE_AFTER_S = 600.0
PURGED = ("event", "history_segment", "fidelity", "item", "task")
VACUUMED = (*PURGED, "claim", "file", "file_range", "frontier", "link_segment", "extra", "linked")
END_WITHIN_S = 1800.0
"""When nothing goes wrong any more all tasks end within this: back-off is 300 s at most."""
A_DAY_S = 24 * 3600.0


@dataclass(eq=False)
class Asked:
    """One task as its owner sees it."""

    scenario: "Scenario"
    id: UUID
    number: int
    owner: UUID
    submission: UUID
    type: str
    source: Endpoint
    target: Endpoint
    options: dict[str, Any]
    deadline_s: float
    items: list[NewItem] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    expected: dict[str, list[Content]] = field(default_factory=dict)
    """Files at the destination, each with what it may be."""
    gone: list[str] = field(default_factory=list)
    optional: set[str] = field(default_factory=set)
    canceled: bool = False

    def destination(self, item_no: int, path: str) -> str:
        """Where a file of the plan goes."""
        base = str(self.items[item_no].destination_path)
        return f"{base}/{path}" if path else base

    def neighbours(self, endpoint: Endpoint, path: str) -> Iterator["Asked"]:
        """Others that may write there."""
        for other in self.scenario.in_area(endpoint, path):
            if other is not self and any(
                p.endpoint is endpoint and p.has(path) for p in other.places
            ):
                yield other

    def overlapping(self, place: Place) -> Iterator["Asked"]:
        """Others that may write where this one may."""
        for other in self.scenario.in_area(self.target, place.path):
            if other is not self and any(place.overlaps(theirs) for theirs in other.places):
                yield other

    @property
    def sizes(self) -> dict[str, int]:
        """Of its files, by destination; the largest that each has had."""
        return {
            path: max(map(storage.size_of, contents)) for path, contents in self.expected.items()
        }

    def may_end(self, code: str) -> str | None:
        """Why it should not have ended so."""
        now = self.scenario.world.loop.time()
        if code == "SUCCEEDED" or (code == "CANCELED" and self.canceled):
            return None
        if code == "EXPIRED" and now >= self.deadline_s:
            return None
        return f"it ended with {code}"

    def wrong(self, corrupted: set[str]) -> Iterator[str]:
        """What of a task that succeeded is not as it was asked for."""
        files = self.target.storage
        for path, contents in self.expected.items():
            there = files.files.get(path)
            if there is None:
                if path not in self.optional:
                    yield f"{path} is missing"
            elif there.content not in contents and (
                self.options.get("verify_checksum") or path not in corrupted
            ):
                yield f"{path} is {there.content}, not {contents}"
        for path in self.gone:
            if path in files.files or path in files.directories:
                yield f"{path} is still there"
        if self.options.get("delete_destination_extra"):
            for item in self.items:
                for path in files.tree(str(item.destination_path)):
                    if path in files.files and path not in self.expected:
                        yield f"{path} is extra"

    def over(self) -> None:
        """Nobody asks for it any more."""
        self.scenario.ended(self)


def _objects() -> list[Driver | LaneRunner | Session]:
    """What a task has while it runs, of whatever world."""
    return [one for one in gc.get_objects() if isinstance(one, Driver | LaneRunner | Session)]


class Scenario:
    """Submits tasks, and lets things happen, until so many tasks are over."""

    def __init__(self, world: World, count: int) -> None:
        self.world = world
        self.random = Random(world.random.random())
        self.count = count
        self.accepted = 0
        self.active: dict[UUID, Asked] = {}
        self.areas: dict[tuple[int, str], list[Asked]] = {}
        self.over = 0
        self.owners = [self._uuid() for _ in range(OWNERS)]
        self._later: set[asyncio.Task[None]] = set()
        self.tell: Callable[[Scenario], None] = lambda _: None
        """Called now and then."""
        self._others = {id(one) for one in _objects()}
        """Left by who used this process before."""
        world.checks.on_sending = self._sent
        world.checks.on_taking = self._taken
        self._freezes_next = world.plan.roughness > 0
        """Whether the next worker that takes files is stopped."""

    def _uuid(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    # -- the whole

    async def run(self) -> None:
        """Until all is over, and checked."""
        self._register_endpoints()
        for _ in range(self.world.plan.workers):
            self.world.start_worker()
        weather = asyncio.create_task(self._weather())
        watch = asyncio.create_task(self._watch())
        while self.accepted < self.count:
            while len(self.active) < ACTIVE and self.accepted < self.count:
                self._submit()
            await asyncio.sleep(SUBMIT_EVERY_S)
        while len(self.active) > ACTIVE // 2:
            await asyncio.sleep(1.0)
        weather.cancel()
        self.world.end_calmly()
        until = self.world.loop.time() + END_WITHIN_S
        while self.active and self.world.loop.time() < until:
            await asyncio.sleep(1.0)
        for task in self.active:
            self.world.checks.violated("I1", str(task), "not over at the end")
        watch.cancel()
        for later in self._later:
            later.cancel()
        await self._end()

    async def _end(self) -> None:
        """Workers stop; what is left of them is a leak (I5)."""
        world = self.world
        processes = [worker.process for worker in world.workers]
        for worker in list(world.workers):
            await worker.stop()
        await asyncio.sleep(60.0)
        for process in processes:
            for task in process.tasks:
                world.checks.violated("I5", None, f"left running: {task!r}")
        for wire in world.wires:
            world.checks.violated("I5", wire.session.task, f"{wire.session.number} was left open")
        for endpoint in world.endpoints:
            for path, sessions in endpoint.outstanding.items():
                world.checks.violated("I5", sessions[0].task, f"{path} is still being written")
        gc.collect()
        for one in _objects():
            if id(one) not in self._others:
                world.checks.violated("I5", None, f"left in memory: {one!r}")

    async def _watch(self) -> None:
        purged = 0
        while True:
            await asyncio.sleep(60.0)
            self.world.checks.overdue()
            for worker in [one for one in self.world.workers if one.task.done()]:
                self.world.checks.breaks(None, f"a worker ended: {worker.task!r}")
                self.world.workers.remove(worker)
                self.world.start_worker()
            # At moments of the world: what Python finds may do something before it goes.
            gc.collect()
            self.tell(self)
            if self.over - purged >= PURGE_EVERY:
                purged = self.over
                purge(self.world.database)

    def _register_endpoints(self) -> None:
        for endpoint in self.world.endpoints:
            for path in ("/s", "/d", *(f"/d/shared{n}" for n in range(SHARED_AREAS))):
                endpoint.storage.make_directories(path)
            self.world.by_id[UUID(int=endpoint.number)] = endpoint
            self.world.database.run(
                "INSERT INTO endpoint (id, owner_id, owner_string, display_name, host, port)"
                " VALUES (%s, %s, 'o', 'e', %s, 2811)",
                (UUID(int=endpoint.number), self.owners[0], endpoint.host),
            )

    # -- tasks

    def _submit(self) -> None:
        asked = self._imagine()
        self.accepted += 1
        self.active[asked.id] = asked
        for area in {(p.endpoint.number, _area(p.path)) for p in asked.places}:
            self.areas.setdefault(area, []).append(asked)
        self._store(asked, asked.id)
        chance = self.random.random()
        if chance < 0.05:
            self._soon(self._again(asked))
        elif chance < 0.08:
            self._soon(self._cancel(asked))
        elif chance < 0.11:
            self._soon(self._pause(asked))
        elif chance < 0.14 and asked.expected:
            self._soon(self._change_source(asked))
        elif chance < 0.16 and asked.expected:
            self._soon(self._hide_source(asked))

    def _soon(self, what: Any) -> None:
        # Not as a part of the worker that may have given the occasion.
        task = asyncio.create_task(what, context=OUTSIDE.copy())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _store(self, asked: Asked, task_id: UUID) -> None:
        database = self.world.database

        async def create() -> tuple[bool, int]:
            async with database.transaction() as conn:
                new = NewTask(
                    id=task_id,
                    owner_id=asked.owner,
                    username="u",
                    submission_id=asked.submission,
                    type=asked.type,
                    label=None,
                    options=asked.options,
                    source_endpoint_id=UUID(int=asked.source.number),
                    destination_endpoint_id=UUID(int=asked.target.number)
                    if asked.type == "TRANSFER"
                    else None,
                    deadline=database.clock()
                    + timedelta(seconds=asked.deadline_s - self.world.loop.time()),
                    items=asked.items,
                )
                (created,) = await submissions.create(conn, [new])
                cursor = await conn.execute("SELECT task_no FROM task WHERE id = %s", (created.id,))
                row = await cursor.fetchone()
            if created.id != asked.id:
                self.world.checks.violated("I1", str(asked.id), "a repeat is another task")
            return created.duplicate, row["task_no"]

        duplicate, task_no = at_once(create())
        if not duplicate:
            self.world.note(str(asked.id), "ACCEPTED", asked.type, asked.options, asked.items)
            self.world.checks.accepted(asked, task_no)

    def _imagine(self) -> Asked:
        random, world = self.random, self.world
        number = self.accepted
        source, target = random.choices(world.endpoints, CHOSEN, k=2)
        kind = random.choices(
            ("files", "tree", "mirror", "sync", "delete", "large"), (60, 19, 6, 6, 6, 3)
        )[0]
        now = world.loop.time()
        options: dict[str, Any] = {
            "verify_checksum": random.random() < 0.85,
            "preserve_timestamp": random.random() < 0.3,
        }
        deadline_s = now + A_DAY_S
        if random.random() < 0.04:
            deadline_s = now + random.uniform(1, 120)
            options["deadline_given"] = True
        asked = Asked(
            self,
            self._uuid(),
            number,
            random.choice(self.owners),
            self._uuid(),
            "DELETE" if kind == "delete" else "TRANSFER",
            source,
            target,
            options,
            deadline_s,
        )
        if kind == "delete":
            asked.source = asked.target
            self._imagine_delete(asked)
        else:
            self._imagine_transfer(asked, kind)
        return asked

    def _imagine_delete(self, asked: Asked) -> None:
        asked.options = {"recursive": True, "ignore_missing": True}
        paths, shared = self._targets(asked, self.random.randint(1, 3), trees=True)
        for path in paths:
            for n in range(0 if shared else self.random.randint(1, 4)):
                self._make(asked.target, f"{path}/x{n % 2}/f{n}")
            asked.items.append(NewItem(path, None, None))
            asked.places.append(Place(asked.target, path, is_tree=True))
            asked.gone.append(path)

    def _imagine_transfer(self, asked: Asked, kind: str) -> None:
        random = self.random
        base = f"/s/{asked.number}"
        if kind in ("files", "large"):
            count = random.choices((1, 2, 3, 4, 5, 6), (60, 20, 8, 5, 4, 3))[0]
            paths, _ = self._targets(asked, count, trees=False)
            for n, path in enumerate(paths):
                size = random.randrange(4096)
                if kind == "large" and n == 0:
                    size = LARGE_FILE_BYTES + random.randrange(6 * LARGE_FILE_BYTES)
                self._ask_file(asked, f"{base}/f{n}", path, size)
                asked.items.append(NewItem(f"{base}/f{n}", path, random.choice((False, None))))
                asked.places.append(
                    Place(asked.target, path, is_tree=asked.items[-1].recursive is None)
                )
            return
        if kind == "mirror":
            asked.options["delete_destination_extra"] = True
        if kind == "sync":
            asked.options["sync_level"] = random.randrange(4)
        (path,), shared = self._targets(asked, 1, trees=True)
        if kind == "sync" and shared:  # what others have left there must not be taken for it
            asked.options["sync_level"] = 3
        asked.source.storage.make_directories(base)
        for n in range(random.randint(0, 8)):
            below = random.choice(("", "a/", "b/", "b/c/"))
            self._ask_file(
                asked, f"{base}/{below}f{n}", f"{path}/{below}f{n}", random.randrange(4096)
            )
        if kind in ("mirror", "sync") and not shared:
            self._there_already(asked, path)
        asked.items.append(NewItem(base, path, True))
        asked.places.append(Place(asked.target, path, is_tree=True))

    def _there_already(self, asked: Asked, path: str) -> None:
        for there, contents in list(asked.expected.items()):
            chance = self.random.random()
            if chance < 0.3:
                self._make(asked.target, there, content=contents[0])
            elif chance < 0.6:
                made = self._make(asked.target, there)
                if asked.options.get("sync_level") in (0, 1, 2):
                    contents.append(made)
        for n in range(self.random.randint(0, 3)):
            self._make(asked.target, f"{path}/{self.random.choice(('', 'a/', 'z/'))}extra{n}")

    def _targets(self, asked: Asked, count: int, *, trees: bool) -> tuple[list[str], bool]:
        """Places for a task, and whether they may be others', too."""
        if self.random.random() >= SHARED_PART:
            return [f"/d/{asked.number}/p{n}" for n in range(count)], False
        area = f"/d/shared{self.random.randrange(SHARED_AREAS)}"
        chosen: list[str] = []
        for name in self.random.sample(TREES if trees else FILES, count):
            path = f"{area}/{name}"
            if not any(path.startswith(f"{o}/") or o.startswith(f"{path}/") for o in chosen):
                chosen.append(path)
        return chosen, True

    def _ask_file(self, asked: Asked, source: str, target: str, size: int) -> None:
        content = whole(self.world.token(), size)
        self._make(asked.source, source, content=content)
        asked.expected[target] = [content]

    def _make(self, endpoint: Endpoint, path: str, content: Content | None = None) -> Content:
        if content is None:
            content = whole(self.world.token(), self.random.randrange(4096))
        files = endpoint.storage
        files.make_directories(posixpath.dirname(path))
        modified = self.world.unix_s() - self.random.randrange(1000)
        files.put(path, File(content, modified, -1e9))
        return content

    def in_area(self, endpoint: Endpoint, path: str) -> list[Asked]:
        """Tasks that may have places around there."""
        return self.areas.get((endpoint.number, _area(path)), [])

    def ended(self, asked: Asked) -> None:
        """A task is over."""
        self.over += 1
        del self.active[asked.id]
        for area in {(p.endpoint.number, _area(p.path)) for p in asked.places}:
            self.areas[area].remove(asked)
            if not self.areas[area]:
                del self.areas[area]
        asked.source.storage.remove_tree(f"/s/{asked.number}")
        asked.target.storage.remove_tree(f"/d/{asked.number}")

    # -- what owners do

    async def _again(self, asked: Asked) -> None:
        await asyncio.sleep(self.random.choice((0.0, self.random.uniform(0, 30))))
        self._store(asked, self._uuid())

    async def _cancel(self, asked: Asked) -> None:
        await asyncio.sleep(self.random.uniform(0, 10))
        if asked.id not in self.active:
            return
        asked.canceled = True
        self.world.note(str(asked.id), "CANCEL")

        async def cancel() -> None:
            async with self.world.database.transaction() as conn:
                await tasks.request_cancel(conn, asked.owner, asked.id)

        at_once(cancel())

    async def _pause(self, asked: Asked) -> None:
        change = Change(timedelta(days=90), 100, "owner")
        for act, wait_s in (
            (tasks.pause, self.random.uniform(0, 5)),
            (tasks.resume, self.random.uniform(0, 60)),
        ):
            await asyncio.sleep(wait_s)
            if asked.id not in self.active:
                return
            self.world.note(str(asked.id), act.__name__.upper())

            async def change_it(act: Any = act) -> None:
                async with self.world.database.transaction() as conn:
                    await act(conn, asked.owner, asked.id, change)

            at_once(change_it())

    async def _change_source(self, asked: Asked) -> None:
        """Somebody writes a file that is to be copied."""
        await asyncio.sleep(self.random.uniform(0, 2))
        if asked.id not in self.active:
            return
        index = self.random.randrange(len(asked.expected))
        target, contents = list(asked.expected.items())[index]
        source = self._source_of(asked, target)
        file = asked.source.storage.files.get(source)
        if file is None or not file.content:
            return
        size = storage.size_of(file.content)
        if size < LARGE_FILE_BYTES:
            size = self.random.choice((size, self.random.randrange(1, 4096)))
        file.content = whole(self.world.token(), size)
        file.modified = self.world.unix_s() + 1  # a time that it had never had
        contents.append(file.content)
        self.world.note(str(asked.id), "SOURCE CHANGES", source)
        self.world.fault("source changed", str(asked.id))

    async def _hide_source(self, asked: Asked) -> None:
        """A file cannot be read for a while."""
        target = self.random.choice(list(asked.expected))
        source = self._source_of(asked, target)
        file = asked.source.storage.files.get(source)
        if file is None:
            return
        file.readable = False
        self.world.fault("source not readable", str(asked.id))
        await asyncio.sleep(self.random.uniform(0, 30))
        file.readable = True

    def _source_of(self, asked: Asked, target: str) -> str:
        for item in asked.items:
            base = str(item.destination_path)
            if target == base or target.startswith(base + "/"):
                return item.source_path + target[len(base) :]
        raise AssertionError(target)

    # -- what else happens

    async def _weather(self) -> None:
        world, random = self.world, self.random
        while True:
            await asyncio.sleep(
                random.expovariate(world.plan.roughness / 12.0) if world.plan.roughness else A_DAY_S
            )
            act = random.choices(
                (
                    self._kill,
                    self._freeze,
                    self._stop,
                    self._down,
                    self._full,
                    self._away,
                    self._no_credential,
                ),
                (4, 3, 1, 3, 1, 1, 1),
            )[0]
            self._soon(act())

    def _some_worker(self) -> Any:
        able = [w for w in self.world.workers if not w.process.frozen]
        return self.random.choice(able) if able else None

    async def _kill(self) -> None:
        worker = self._some_worker()
        if worker is not None:
            await self.kill(worker)

    async def kill(self, worker: Any) -> None:
        """A worker dies; perhaps another one of its host sees that."""
        self.world.fault("worker killed", None)
        worker.kill()
        await asyncio.sleep(self.random.uniform(0, 3))
        if self.random.random() < 0.5:

            async def bury() -> None:
                await leases.expire_worker(cast("Any", self.world.database), worker.name)

            at_once(bury())
        await asyncio.sleep(self.random.uniform(0, 7))
        self.world.start_worker()

    def _sent(self, process: Process) -> None:
        """A worker has just sent data commands: a bad moment for it to go."""
        chance = self.random.random() / max(self.world.weather.roughness, 1e-9)
        if chance < KILLED_AT_SENDING + FROZEN_AT_SENDING:
            worker = next((w for w in self.world.workers if w.process is process), None)
            if worker is not None and not worker.gone and not process.frozen:
                delay_s = self.random.uniform(0, 0.05)
                self._soon(self._hit(worker, delay_s, kills=chance < KILLED_AT_SENDING))

    async def _hit(self, worker: Any, delay_s: float, *, kills: bool) -> None:
        await asyncio.sleep(delay_s)
        if worker in self.world.workers and not worker.process.frozen:
            if kills:
                await self.kill(worker)
            else:
                await self.freeze(worker)

    def _taken(self) -> None:
        """A worker has just written down what it is about to send. It is stopped before it hears
        that this is committed: does it still send that when others have its tasks? It could at
        once only where data channels are open."""
        if not self._freezes_next or not any(
            session.link is not None and (session.task, session.epoch) == self.world.who()
            for endpoint in self.world.endpoints
            for session in endpoint.sessions
        ):
            return
        process = PROCESS.get()
        worker = next((w for w in self.world.workers if w.process is process), None)
        if worker is not None and not worker.gone:
            self._freezes_next = False
            self.world.loop.freeze(worker.process)
            self._soon(self.freeze(worker, FROZEN_TERMS))

    async def _freeze(self) -> None:
        worker = self._some_worker()
        if self.random.random() < FROZEN_AT_TAKING:
            self._freezes_next = True
        elif worker is not None:
            await self.freeze(worker)

    async def freeze(self, worker: Any, terms: tuple[float, float] = (0.1, 3.0)) -> None:
        """A worker is stopped for so many terms of a lease, and goes on."""
        self.world.fault("worker frozen", None)
        await worker.freeze(self.random.uniform(*terms) * self.world.settings.engine.lease_s)

    async def _stop(self) -> None:
        worker = self._some_worker()
        if worker is not None:
            self.world.fault("worker stopped", None)
            await worker.stop()
            self.world.start_worker()

    async def _down(self) -> None:
        self.world.fault("server down", None)
        self.random.choice(self.world.endpoints).go_down(self.random.uniform(1, 40))

    async def _full(self) -> None:
        self.world.fault("disk full", None)
        endpoint = self.random.choice(self.world.endpoints)
        endpoint.full_until = self.world.loop.time() + self.random.uniform(1, 20)

    async def _away(self) -> None:
        self.world.fault("database away", None)
        self.world.database.away_until = self.world.loop.time() + self.random.uniform(0.5, 20)

    async def _no_credential(self) -> None:
        self.world.fault("credential expired", None)
        owner = self.random.choice(self.owners)
        self.world.without_credential.add(owner)
        await asyncio.sleep(self.random.uniform(1, 30))
        self.world.without_credential.discard(owner)

        async def renew() -> None:
            async with self.world.database.transaction() as conn:
                for endpoint_id in self.world.by_id:
                    await tasks.credential_renewed(conn, owner, endpoint_id)

        at_once(renew())


def _area(path: str) -> str:
    return path.split("/", 3)[2]


def purge(database: SimulatedDatabase) -> None:
    """Tasks that are long over leave the database, and it is tidied up."""
    old = "(SELECT task_no FROM task WHERE completion_time < now() - make_interval(secs => %s))"
    for table in PURGED:
        database.run(f"DELETE FROM {table} WHERE task_no IN {old}", (PURGE_AFTER_S,))
    # No ANALYZE: it takes samples by chance, and in another run another plan might follow.
    database.run(f"VACUUM {', '.join(VACUUMED)}")
