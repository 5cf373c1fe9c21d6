"""`python -m fuzz --seconds N`: run all campaigns for so long in all, tell what they showed.

Each runs in a process of its own. The last line is one JSON object. `--again SEED` tries the one
input that a finding names.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fuzz.campaign import Outcome, run, watched
from fuzz.targets import TARGETS

SPARE_S = 120.0
"""A campaign may take so much longer: its set-up, and its last input."""

GROWTH_BYTES = 16 * 1024 * 1024
"""What buffers and the allocator may differ by from one moment to another."""


def main() -> int:
    """Exit code 0: nothing was found."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="in all")
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--only", help=f"with commas between: {', '.join(TARGETS)}")
    parser.add_argument("--again", metavar="SEED", help="one input")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.again:
        return _again(options.again)
    names = options.only.split(",") if options.only else list(TARGETS)
    if options.here:
        with tempfile.TemporaryDirectory(prefix="towpath-fuzz-") as workdir:
            made = run(
                names[0],
                TARGETS[names[0]],
                Path(workdir),
                seed=options.seed,
                seconds=options.seconds,
            )
        print(json.dumps(made.as_dict()))
        return 0
    outcomes = [_in_process(name, options.seconds / len(names), options.seed) for name in names]
    return _tell(outcomes, options.seed)


def _in_process(name: str, seconds: float, seed: str) -> dict[str, Any]:
    """A process that dies is a crash, one that does not end a hang."""
    command = [sys.executable, "-X", "faulthandler", "-m", "fuzz", "--here"]
    command += ["--only", name, "--seconds", str(seconds), "--seed", seed]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=seconds + SPARE_S, check=False
        )
    except subprocess.TimeoutExpired:
        outcome = Outcome(name, hangs=1, findings=["the process does not end"]).as_dict()
    else:
        if done.returncode == 0:
            outcome = json.loads(done.stdout.splitlines()[-1])
        else:
            said = f"the process ended with {done.returncode}"
            outcome = Outcome(name, crashes=1, findings=[said]).as_dict()
    print(
        f"{name:10} {outcome['inputs']:8} inputs  {outcome['crashes']} crashes  "
        f"{outcome['hangs']} hangs  {outcome['escapes']} escapes  "
        f"{outcome['left_over']} left over  {outcome['growth_bytes'] / 2**20:+.1f} MiB  "
        f"{outcome['seconds']:.0f} s",
        flush=True,
    )
    for finding in outcome["findings"]:
        print(f"  {finding}", flush=True)
    return outcome


def _tell(outcomes: list[dict[str, Any]], seed: str) -> int:
    counted = ("inputs", "crashes", "hangs", "escapes", "left_over")
    total = {key: sum(outcome[key] for outcome in outcomes) for key in counted}
    grown = [o["target"] for o in outcomes if o["growth_bytes"] > GROWTH_BYTES]
    seconds = round(sum(outcome["seconds"] for outcome in outcomes), 1)
    everything = {"seed": seed, "seconds": seconds, **total, "grown": grown, "targets": outcomes}
    print(json.dumps(everything))
    return 1 if grown or any(total[key] for key in counted[1:]) else 0


def _again(seed: str) -> int:
    name = seed.split(":")[1]
    with tempfile.TemporaryDirectory(prefix="towpath-fuzz-") as workdir:
        with TARGETS[name](Path(workdir)) as one, watched() as mishaps:
            one(random.Random(seed))
        print("\n".join(mishaps) or "nothing")
    return 1 if mishaps else 0


if __name__ == "__main__":
    sys.exit(main())
