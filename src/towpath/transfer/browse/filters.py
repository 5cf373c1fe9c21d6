"""The `filter` and `orderby` parameters of `ls` (Transfer API, "dir listing")."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.transfer import names, times

Predicate = Callable[[Entry], bool]

MAX_FILTERS = 20
MAX_FILTER_CHARACTERS = 4096
"""Bounds of what one request may make us evaluate for each of a million entries."""


def type_name(entry: Entry) -> str:
    """The API's name of an entry's type."""
    if entry.type is EntryType.FILE:
        return "file"
    if entry.is_directory:
        return "dir"
    return "invalid_symlink" if entry.link_target else "other"


def permissions(entry: Entry) -> str | None:
    """Four octal digits, if the server tells the mode."""
    return None if entry.mode is None else f"{entry.mode & 0o7777:04o}"


_STRINGS: dict[str, Callable[[Entry], str]] = {
    "name": lambda entry: names.to_text(entry.name),
    "type": type_name,
    "user": lambda entry: entry.owner or "",
    "group": lambda entry: entry.group or "",
    "permissions": lambda entry: permissions(entry) or "",
}

_ORDERS: dict[str, Callable[[Entry], str | int]] = {
    **_STRINGS,
    "size": lambda entry: entry.size,
    "last_modified": lambda entry: -(2**62) if entry.modified is None else entry.modified,
}

_SIZE = re.compile(r"(>=|<=|>|<|!=|=|)\s*(\d{1,19})")
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    ">=": lambda size, bound: size >= bound,
    "<=": lambda size, bound: size <= bound,
    ">": lambda size, bound: size > bound,
    "<": lambda size, bound: size < bound,
    "!=": lambda size, bound: size != bound,
    "=": lambda size, bound: size == bound,
    "": lambda size, bound: size == bound,
}


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One field to sort by."""

    field: str
    descending: bool

    def value(self, entry: Entry) -> str | int:
        """What is compared."""
        return _ORDERS[self.field](entry)


def parse_order(text: str | None) -> tuple[OrderKey, ...]:
    """`name ASC,size DESC`; by name if not given. Raises ValueError with a message."""
    if not text or not text.strip():
        return (OrderKey("name", descending=False),)
    keys = []
    for part in text.split(","):
        field, _, direction = part.strip().partition(" ")
        direction = direction.strip().upper() or "ASC"
        if field not in _ORDERS or direction not in ("ASC", "DESC"):
            known = ", ".join(sorted(_ORDERS))
            raise ValueError(f"cannot order by {part.strip()[:40]!r}; fields are {known}")
        keys.append(OrderKey(field, descending=direction == "DESC"))
    return tuple(keys)


def parse_filters(texts: Sequence[str]) -> Predicate:
    """An entry passes if it meets all clauses of any one text. Raises ValueError with a message."""
    if len(texts) > MAX_FILTERS or sum(map(len, texts)) > MAX_FILTER_CHARACTERS:
        raise ValueError(
            f"at most {MAX_FILTERS} filters of {MAX_FILTER_CHARACTERS} characters in all"
        )
    alternatives = [_conjunction(text) for text in texts if text]
    if not alternatives:
        return lambda _entry: True
    return lambda entry: any(holds(entry) for holds in alternatives)


def _conjunction(text: str) -> Predicate:
    clauses = [_clause(part) for part in text.split("/") if part]
    return lambda entry: all(holds(entry) for holds in clauses)


def _clause(text: str) -> Predicate:
    field, colon, value = text.partition(":")
    if colon and field in _STRINGS:
        return _string_clause(_STRINGS[field], value.split(","))
    if colon and field == "size":
        return _size_clause(value)
    if colon and field == "last_modified":
        return _time_clause(value)
    known = ", ".join(sorted(_ORDERS))
    raise ValueError(f"filter {text[:80]!r} is not field:value with a field of {known}")


def _string_clause(read: Callable[[Entry], str], values: Sequence[str]) -> Predicate:
    positive: list[Callable[[str], bool]] = []
    negative: list[Callable[[str], bool]] = []
    for value in values:
        if value.startswith("!~"):
            negative.append(_glob(value[2:]))
        elif value.startswith("!"):
            negative.append(value[1:].removeprefix("=").__eq__)
        elif value.startswith("~"):
            positive.append(_glob(value[1:]))
        else:
            positive.append(value.removeprefix("=").__eq__)

    def holds(entry: Entry) -> bool:
        text = read(entry)
        wanted = not positive or any(matches(text) for matches in positive)
        return wanted and not any(matches(text) for matches in negative)

    return holds


def _glob(pattern: str) -> Callable[[str], bool]:
    # Every "*" but the last takes as little as it can and never gives back (atomic groups), which
    # is enough for globs: hostile patterns such as "*a*a*a*b" stay linear in the name.
    first, *rest = pattern.split("*")
    expression = re.escape(first)
    for number, literal in enumerate(rest, 1):
        if number == len(rest):
            expression += ".*" + re.escape(literal)
        else:
            expression += f"(?>.*?{re.escape(literal)})"
    compiled = re.compile(expression, re.IGNORECASE | re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None


def _size_clause(text: str) -> Predicate:
    tests = []
    for part in text.split(","):
        match = _SIZE.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"size filter {part[:40]!r} is not a comparison such as >100")
        tests.append((_COMPARE[match[1]], int(match[2])))
    return lambda entry: all(compare(entry.size, bound) for compare, bound in tests)


def _time_clause(text: str) -> Predicate:
    first, comma, last = text.partition(",")
    if not comma:
        raise ValueError("last_modified takes FROM,TO; one side may be empty")
    after = times.parse(first).timestamp() if first.strip() else float("-inf")
    before = times.parse(last).timestamp() if last.strip() else float("inf")
    return lambda entry: entry.modified is not None and after <= entry.modified <= before
