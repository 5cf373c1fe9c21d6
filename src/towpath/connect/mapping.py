"""Rules that make a local account of a user name, in Globus's expression form.

The service applies them (it knows the user names); an agent checks the account that comes out, and
lets in none that its owner has not let in (`accounts`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

DATA_TYPE: Final = "expression_identity_mapping#1.0.0"
MAX_TEXT: Final = 1024
"""Characters of one part of a rule."""
DEFAULT_SOURCE: Final = "{username}"

_TEXTS: Final = ("match", "output", "source")
_FIELD = re.compile(r"\{(\d*|[a-z_]+)\}")


@dataclass(frozen=True)
class Mapping:
    """One rule: when `match` fits all of `source`, the account is `output`."""

    match: str
    """A regular expression."""
    output: str
    """`{0}` is the expression's first group."""
    source: str = DEFAULT_SOURCE
    literal: bool = False
    """Whether `match` is a text, and no expression."""
    ignore_case: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError if it is no rule."""
        for text in (self.match, self.output, self.source):
            if not 0 < len(text) <= MAX_TEXT:
                raise ValueError(f"a rule's parts are texts of 1 to {MAX_TEXT} characters")
        groups = 0
        if not self.literal:
            try:
                groups = re.compile(self.match).groups
            except re.error as error:
                raise ValueError(f"{self.match!r} is no regular expression: {error}") from None
        for name in _FIELD.findall(self.output):
            if name.isdecimal() and int(name) >= groups:
                raise ValueError(f"{self.output!r} names group {name}; {self.match!r} has {groups}")

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Mapping:
        """As in a `mappings` list. Raises ValueError, TypeError."""
        known = {"match", "output", "source", "literal", "ignore_case"}
        if not {"match", "output"} <= document.keys() <= known:
            raise ValueError(f"a rule has match and output, and perhaps {', '.join(sorted(known))}")
        if not all(isinstance(document.get(name, ""), str) for name in _TEXTS):
            raise ValueError("match, output and source are texts")
        return cls(**document)

    def to_document(self) -> dict[str, Any]:
        """The opposite."""
        return asdict(self)


def from_globus(document: object) -> list[Mapping]:
    """Rules of a document as `globus-connect-server` takes it. Raises ValueError."""
    if not isinstance(document, dict) or document.get("DATA_TYPE") != DATA_TYPE:
        raise ValueError(f"this is no document of type {DATA_TYPE}")
    rules = document.get("mappings")
    if not isinstance(rules, list) or not rules:
        raise ValueError("there are no mappings in it")
    return [Mapping.from_document(one) for one in rules]


def to_globus(rules: Iterable[Mapping]) -> dict[str, Any]:
    """The same document."""
    return {"DATA_TYPE": DATA_TYPE, "mappings": [rule.to_document() for rule in rules]}
