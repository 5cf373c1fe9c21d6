"""`docs/reference/compatibility-cli.md`: a row for each command."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import globus_cli

from compat.rows import ROWS, Outcome

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "compatibility-cli.md"
_GENERATED = re.compile(r"(<!-- generated: commands -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def counts(failed: Mapping[str, str]) -> dict[str, int]:
    """How many commands turned out how."""
    told = Counter(row.outcome for name, row in ROWS.items() if name not in failed)
    return {
        "commands": len(ROWS),
        "works": told[Outcome.WORKS],
        "differs": told[Outcome.DIFFERS],
        "not_offered": told[Outcome.NOT_OFFERED],
        "failing": len(failed),
    }


def table() -> str:
    """All rows, when none fails."""
    told = counts({})
    head = (
        f"Of the {told['commands']} commands of `globus-cli` {globus_cli.__version__},"
        f" {told['works']} work as they do with Globus, {told['differs']} differ, and"
        f" {told['not_offered']} are for services that are not part of Towpath.\n"
    )
    lines = ["| command | | |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {row.outcome} | {row.why} |" for name, row in sorted(ROWS.items())]
    return "\n".join([head, *lines]) + "\n"


def written(text: str) -> str:
    """The page with the table in it."""
    return _GENERATED.sub(lambda found: found[1] + table() + found[3], text)
