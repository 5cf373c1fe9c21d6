"""The table of docs/reference/compatibility.md."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import globus_sdk

from conformance.compare import Compared
from conformance.known import KNOWN, Known, explained

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "compatibility.md"
_PART = r"(<!-- generated: {} -->\n)(.*?)(<!-- end -->)"


def table(all_compared: Sequence[Compared], all_known: Sequence[Known] = KNOWN) -> str:
    """Each method, how many of its examples are alike, and the numbers of known differences."""
    lines = ["| method | examples | alike | differences |", "| --- | --- | --- | --- |"]
    alike = 0
    by_method = itertools.groupby(
        all_compared, key=lambda one: f"{one.example.service}.{one.example.method}"
    )
    for method, found in by_method:
        those = list(found)
        same = sum(not one.differences for one in those)
        alike += same
        numbers = sorted(
            {all_known.index(known) + 1 for one in those for known in explained(one, all_known)[0]}
        )
        shown = ", ".join(map(str, numbers))
        lines.append(f"| `{method}` | {len(those)} | {same} | {shown} |")
    total = len(all_compared)
    head = (
        f"Of the {total} examples of `globus-sdk` {globus_sdk.__version__}, {alike} are alike in"
        f" everything, {total - alike} but for a difference that is meant.\n"
    )
    known = [f"{number}. {one.why}" for number, one in enumerate(all_known, 1)]
    return "\n".join([head, *lines, "", *known]) + "\n"


def written(text: str, generated: str, part: str = "shapes") -> str:
    """The page with the table in it, in its part."""
    place = re.compile(_PART.format(part), re.DOTALL)
    return place.sub(lambda found: found[1] + generated + found[3], text)
