"""`python -m simulation`: what it was, a table, and one line of JSON; fails with a violation."""

import argparse
import json
import os
import sys
import time
from collections import Counter

from simulation.runs import simulate_several, together

SHOWN = 3
"""Violations shown with what happened to their tasks before."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first world")
    parser.add_argument("--tasks", type=int, default=2000, help="in all worlds")
    parser.add_argument("--worlds", type=int, default=2, help="processes side by side")
    parser.add_argument("--roughness", type=float, default=1.0, help="how much goes wrong")
    given = parser.parse_args()
    began = time.monotonic()
    shown = simulate_several(given.seed, given.tasks, given.worlds, given.roughness)
    for one in shown:
        for number, violation in enumerate(one["violations"]):
            if number < SHOWN:
                print("\n".join(violation.events))
            print(f"{violation.invariant}: {violation.what} (task {violation.task})")
        if one["violations"]:
            print(
                f"once more: make simulate SEED={one['seed']} TASKS={one['tasks']} WORLDS=1"
                f" ROUGHNESS={given.roughness:g}\n"
            )
    for kind, count in sorted(sum((Counter(one["faults"]) for one in shown), Counter()).items()):
        print(f"{count:8}  {kind}")
    whole = together(shown, time.monotonic() - began)
    print(json.dumps({"seed": given.seed, **whole}))
    return 1 if whole["violations"] else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets of names is part of a world
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]])
    sys.exit(main())
