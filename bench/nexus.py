"""Area `nexus`: what looking at a token, logging in and asking for groups takes.

No contest: the figures are of the service on this machine. Each part opens what it needs and
returns its figures by name; the unit is the end of the name.
"""

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import uvloop
from rich.console import Console

from bench import nexus_audit, nexus_codes, nexus_groups, nexus_logins, nexus_tokens
from bench.measure import BenchError
from bench.nexus_setting import Setting
from bench.report import figures

AREA = "nexus"

PARTS: Mapping[str, Callable[[Setting], dict[str, float]]] = {
    "tokens": nexus_tokens.measure,
    "logins": nexus_logins.measure,
    "codes": nexus_codes.measure,
    "audit": nexus_audit.measure,
    "groups": nexus_groups.measure,
}


def measure(console: Console, *, quick: bool, only: str) -> str:
    """Take the figures of the parts that `only` matches; show them, return them as a line of JSON.

    Raises `BenchError`.
    """
    chosen = [name for name in PARTS if re.search(only, name)]
    if not chosen:
        raise BenchError(f"no part matches {only!r}: there are {', '.join(PARTS)}")
    found: dict[str, float] = {}
    for name in chosen:
        console.print(f"{name} ...")
        # a database in memory would make commits cheaper than they are
        with tempfile.TemporaryDirectory(prefix="towpath-bench-") as directory:
            found |= PARTS[name](Setting(Path(directory), quick, console, uvloop.new_event_loop))
    return figures(console, found)
