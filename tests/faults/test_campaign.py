"""A small fault campaign: random tasks under random faults, and nothing lost (I1 to I4)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FAULTS = 24
RIGHT = (
    "lost",
    "duplicated",
    "false_success",
    "resent_covered",
    "unexplained",
    "unexplained_time",
)
LATER = ("clock jumped", "worker out of memory")
"""Kinds that are too slow for it."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1])
def test_nothing_is_lost(seed: int) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "campaign", "--seed", str(seed), "--faults", str(FAULTS)),
            *("--without", ",".join(LATER)),
        ],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    print(done.stdout, done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["faults"] == FAULTS
    assert told["kinds"] >= 18
    assert {name: told[name] for name in RIGHT} == dict.fromkeys(RIGHT, 0)
    assert done.returncode == 0
