"""Runs worlds: one in a database that is there, or several, each in a process of its own."""

import asyncio
import gc
import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import structlog
from psycopg.conninfo import make_conninfo

from simulation import observers
from simulation.database import prepare
from simulation.scenario import Scenario
from simulation.world import Plan, World
from towpath.platform.database import EmbeddedPostgres

LIVE_EVERY_S = 5.0
TEMPLATE = "before"

# One connection, no crash to survive, and no work behind the back of a world that is to be
# repeated.
OPTIONS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "checkpoint_timeout": "1d",
    "max_wal_size": "16GB",
    "bgwriter_lru_maxpages": "0",
    "track_activities": "off",
    "track_counts": "off",
    "update_process_title": "off",
}


def simulate(plan: Plan, count: int, database_url: str, *, live: bool = False) -> dict[str, Any]:
    """One world; what it showed."""
    began, cpu_s = time.monotonic(), time.process_time()
    gc.collect()
    gc.freeze()
    gc.disable()
    world = World(plan, database_url)
    scenario = Scenario(world, count)
    if live:
        scenario.tell = _Live(plan.seed, count)
    try:
        with observers.installed(world.checks):
            world.run(scenario.run())
        return {
            "seed": plan.seed,
            "tasks": scenario.over,
            "ends": world.checks.ends,
            "faults": world.faults,
            "violations": world.checks.violations,
            "virtual_seconds": round(world.loop.time()),
            "transactions": world.database.transactions,
            "seconds": time.monotonic() - began,
            "cpu_seconds": time.process_time() - cpu_s + world.database.cpu_s(),
            "hash": world.digest,
        }
    finally:
        gc.enable()
        gc.unfreeze()
        world.close()


def simulate_alone(plan: Plan, count: int, server_url: str) -> dict[str, Any]:
    """The same in a database of its own, for a process of its own."""
    _quiet()
    name = f"world_{plan.seed}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        try:
            shown = simulate(plan, count, make_conninfo(server_url, dbname=name), live=True)
        except BaseException:  # noqa: BLE001 - told, and this process ends with it
            # What is left of a world that broke off would only complain, at length.
            traceback.print_exc()
            os._exit(2)
        server.execute(f"DROP DATABASE {name}")
    return shown


TASKS_IN_A_WORLD = 2500
"""In a long life each task takes longer (its database is hardly ever tidied), and whoever looks at
what was found in it again waits for the whole of it."""


def simulate_several(seed: int, count: int, worlds: int, roughness: float) -> list[dict[str, Any]]:
    """So many tasks, in as many worlds as that takes, so many of them side by side."""
    _quiet()
    several = max(worlds, -(-count // TASKS_IN_A_WORLD))
    shares = [count // several + (number < count % several) for number in range(several)]
    context = multiprocessing.get_context("spawn")
    with _postgres() as url, ProcessPoolExecutor(worlds, mp_context=context) as pool:
        running = [
            pool.submit(simulate_alone, Plan(seed + number, roughness=roughness), share, url)
            for number, share in enumerate(shares)
        ]
        return [one.result() for one in running]


def _quiet() -> None:
    """The log of workers whose servers fail is long, and PostgreSQL's is not asked for."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def together(shown: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What several worlds showed, in so many seconds."""
    return {
        "tasks": sum(one["tasks"] for one in shown),
        "ends": dict(sorted(sum((Counter(one["ends"]) for one in shown), Counter()).items())),
        "faults": sum(sum(one["faults"].values()) for one in shown),
        "violations": sum(len(one["violations"]) for one in shown),
        "virtual_seconds": sum(one["virtual_seconds"] for one in shown),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(one["cpu_seconds"] for one in shown), 1),
        "hash": hashlib.sha256("".join(one["hash"] for one in shown).encode()).hexdigest()[:16],
    }


class _Live:
    """A line that says how far a world is."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed = seed
        self._count = count
        self._told_at = 0.0

    def __call__(self, scenario: Scenario) -> None:
        now = time.monotonic()
        if now - self._told_at >= LIVE_EVERY_S:
            self._told_at = now
            world = scenario.world
            print(
                f"seed {self._seed}: {scenario.over} of {self._count} tasks,"
                f" {len(scenario.active)} active, {sum(world.faults.values())} faults,"
                f" {len(world.checks.violations)} violations,"
                f" {world.loop.time():.0f} virtual seconds",
                file=sys.stderr,
                flush=True,
            )


@contextmanager
def _postgres() -> Iterator[str]:
    """A server with the database of a world that has not begun."""
    directory = Path(tempfile.mkdtemp(prefix="towpath-simulation-"))
    server = EmbeddedPostgres(directory, options=OPTIONS)
    asyncio.run(server.start())
    try:
        with psycopg.connect(server.url_of("postgres"), autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {TEMPLATE}")
        prepare(server.url_of(TEMPLATE))
        yield server.url_of("postgres")
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(directory)
