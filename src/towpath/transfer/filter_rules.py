"""Filter rules: which names in a tree take part in a transfer (Transfer API, "filter rules").

The first rule that matches a name decides; what no rule matches takes part. An excluded directory
takes all below it along. What an item itself is called does not matter.
"""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from towpath.transfer import names

Kind = Literal["file", "dir"]

MAX_RULES = 500
MAX_PATTERN_CHARACTERS = 512
"""Bounds of what a task may make us evaluate for each of its files."""


@dataclass(frozen=True, slots=True)
class FilterRule:
    """One rule. `pattern` is a glob of the name alone, as the API spells names: `*`, `?`, `[]` and
    `[!]`; `kind` None is for both."""

    include: bool
    pattern: str
    kind: Kind | None = None


class FilterRules:
    """All rules of a task, in order."""

    def __init__(self, rules: Sequence[FilterRule] = ()) -> None:
        """Compile them."""
        # `translate` makes expressions that do not backtrack.
        self._rules = [
            (re.compile(fnmatch.translate(rule.pattern)).match, rule.kind, rule.include)
            for rule in rules
        ]

    @classmethod
    def from_document(cls, document: Sequence[dict[str, Any]] | None) -> "FilterRules":
        """From a task's `filter_rules`."""
        return cls(
            [
                FilterRule(one["method"] == "include", one["name"], one.get("type"))
                for one in document or ()
            ]
        )

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._rules)

    def take(self, name: str, *, is_directory: bool) -> bool:
        """Whether a name of a listing takes part; links count as files."""
        if not self._rules:
            return True
        text = names.to_text(name)
        kind = "dir" if is_directory else "file"
        for matches, of_kind, include in self._rules:
            if of_kind in (None, kind) and matches(text):
                return include
        return True
