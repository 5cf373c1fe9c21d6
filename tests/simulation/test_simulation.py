"""The engine in simulated worlds: few tasks here, a hundred thousand where there is time."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog

from simulation.database import prepare
from simulation.mutants import MUTANTS
from simulation.runs import simulate
from simulation.world import Plan

TESTS = Path(__file__).parents[1]


@pytest.fixture
def quiet() -> Iterator[None]:
    """The log of a worker whose servers fail is long."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


def run(database_url: str, tasks: int, *, seed: int, roughness: float) -> dict[str, Any]:
    """One world in an empty database."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("DROP SCHEMA transfer CASCADE")
        conn.execute("DROP SCHEMA IF EXISTS simulation CASCADE")
    prepare(database_url)
    return simulate(Plan(seed, roughness=roughness), tasks, database_url)


@pytest.mark.usefixtures("quiet")
def test_tasks_under_faults_break_no_invariant(database_url: str) -> None:
    shown = run(database_url, 200, seed=5, roughness=2)
    assert shown["violations"] == []
    assert shown["tasks"] == 200
    assert sum(shown["faults"].values()) > 50


@pytest.mark.long
@pytest.mark.usefixtures("quiet")
def test_the_same_seed_is_the_same_world(database_url: str) -> None:
    first, second = (run(database_url, 25, seed=6, roughness=2) for _ in range(2))
    other = run(database_url, 25, seed=7, roughness=2)
    assert first["hash"] == second["hash"]
    assert first["faults"] == second["faults"]
    assert first["hash"] != other["hash"]


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if mutant.tasks <= 30 else [pytest.mark.long])
        for name, mutant in MUTANTS.items()
    ],
)
def test_an_engine_with_a_mistake_is_found_out(database_url: str, name: str) -> None:
    mutant = MUTANTS[name]
    found: set[str] = set()
    for seed in range(1, 6):
        with mutant.broken():
            shown = run(database_url, mutant.tasks, seed=seed, roughness=3)
        found |= {violation.invariant for violation in shown["violations"]}
        if found & mutant.invariants:
            return
    pytest.fail(f"nobody noticed; only {found}")


@pytest.mark.long
def test_a_hundred_thousand_tasks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "simulation", "--seed", "1", "--tasks", "100000"]
    environment = os.environ | {"PYTHONPATH": str(TESTS), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False, timeout=3000
    )
    shown = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout
    assert (shown["tasks"], shown["violations"]) == (100_000, 0)
