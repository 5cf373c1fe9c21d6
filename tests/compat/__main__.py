"""``make compat``: every command of the program, one after the other, and the page of them.

``--only PATTERN``: commands in which this regular expression is found; nothing is written then. The
last line of the output is a JSON object of counts. Exit code 1: a command fails.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

from compat.page import PAGE, counts, written
from compat.stage import staged
from compat.table import ROWS, try_out
from compat.tree import commands


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="make compat")
    parser.add_argument("--only", default="")
    only = parser.parse_args().only
    if missing := set(commands()) ^ set(ROWS):
        print(f"no row, or no such command: {', '.join(sorted(missing))}", file=sys.stderr)
        return 1
    root = Path(tempfile.mkdtemp(prefix="towpath-compat-", dir="/tmp"))
    root.chmod(0o755)
    failed: dict[str, str] = {}
    try:
        with staged(root) as stage:
            for command in commands():
                if not re.search(only, command):
                    continue
                why = try_out(stage, command)
                print(f"{command}: {why or ROWS[command].outcome}", flush=True)
                if why is not None:
                    failed[command] = why
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if not failed and not only:
        PAGE.write_text(written(PAGE.read_text()))
    print(json.dumps(counts(failed)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
