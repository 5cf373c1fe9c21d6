"""A small fault campaign: random tasks under random faults, and nothing lost (I1 to I4)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SEED = 1
FAULTS = 12
KINDS = "control cut,control reset,data cut,data reset,session killed,worker killed"


@pytest.mark.timeout(150)
def test_nothing_is_lost() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "campaign", "--seed", str(SEED), "--faults", str(FAULTS)),
            *("--kinds", KINDS),
        ],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["faults"] == FAULTS
    assert [told[name] for name in ("lost", "duplicated", "false_success")] == [0, 0, 0]
