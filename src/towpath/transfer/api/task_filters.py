"""The `filter` and `orderby` parameters of task_list and event_list."""

from collections.abc import Callable, Sequence
from uuid import UUID

from towpath.transfer import times
from towpath.transfer.store.endpoints import escape_like
from towpath.transfer.store.tasks import ENDPOINTS, ORDER_COLUMNS, Clause, Status

MAX_FILTER_CHARACTERS = 4096
MAX_VALUES = 50
"""Of one clause (Transfer API: ids in a filter)."""

_TYPES = frozenset({"TRANSFER", "DELETE"})
_STATUSES = frozenset(Status)


def parse_filter(text: str) -> list[Clause]:
    """`status:ACTIVE,INACTIVE/label:~a*`. Raises ValueError with a message for the user."""
    if len(text) > MAX_FILTER_CHARACTERS or "\0" in text:
        raise ValueError(f"filter: at most {MAX_FILTER_CHARACTERS} characters of text")
    clauses: list[Clause] = []
    for part in text.split("/"):
        if not part.strip():
            continue
        field, colon, value = part.strip().partition(":")
        parse = _FIELDS.get(field)
        if not colon or parse is None:
            known = ", ".join(sorted(_FIELDS))
            raise ValueError(f"filter: {part[:80]!r} is not field:value with a field of {known}")
        clauses.extend(parse(value))
    return clauses


def parse_order(text: str | None) -> list[tuple[str, bool]]:
    """`request_time DESC,label`; newest first if not given. Raises ValueError."""
    order: list[tuple[str, bool]] = []
    for part in (text or "request_time DESC").split(","):
        words = part.split()
        field = "id" if words[:1] == ["task_id"] else "".join(words[:1])
        direction = words[1].upper() if len(words) > 1 else "ASC"
        if field not in ORDER_COLUMNS or direction not in ("ASC", "DESC") or len(words) > 2:
            known = ", ".join(sorted(ORDER_COLUMNS - {"id"} | {"task_id"}))
            raise ValueError(f"orderby: cannot order by {part[:40]!r}; fields are {known}")
        order.append((field, direction == "DESC"))
    return order


def parse_event_filter(text: str) -> bool | None:
    """`is_error:1`, `is_error:0`, or nothing. Raises ValueError."""
    if not text:
        return None
    if text in ("is_error:1", "is_error:0"):
        return text.endswith("1")
    raise ValueError("filter: events can be filtered by is_error:1 or is_error:0")


def _values(text: str) -> list[str]:
    values = text.split(",")
    if len(values) > MAX_VALUES:
        raise ValueError(f"filter: at most {MAX_VALUES} values")
    return values


def _ids(field: str, column: str, operator: str) -> Callable[[str], Sequence[Clause]]:
    def parse(text: str) -> Sequence[Clause]:
        values = _values(text)
        try:
            ids = [UUID(value.strip()) for value in values]
        except ValueError:
            raise ValueError(f"filter: {field} takes ids, not {text[:80]!r}") from None
        return [Clause(column, operator, ids)]

    return parse


def _words(column: str, known: frozenset[str]) -> Callable[[str], Sequence[Clause]]:
    def parse(text: str) -> Sequence[Clause]:
        values = [value.strip() for value in _values(text)]
        if not known.issuperset(values):
            raise ValueError(f"filter: {column} takes {', '.join(sorted(known))}")
        return [Clause(column, "= ANY", values)]

    return parse


def _labels(text: str) -> Sequence[Clause]:
    """Negative values exclude; of positive ones any may hold."""
    exact: list[str] = []
    patterns: list[str] = []
    clauses: list[Clause] = []
    for value in _values(text):
        if value.startswith("!~"):
            clauses.append(Clause("label", "NOT ILIKE", _pattern(value[2:])))
        elif value.startswith("!"):
            clauses.append(Clause("label", "<> ALL", [value[1:].removeprefix("=")]))
        elif value.startswith("~"):
            patterns.append(_pattern(value[1:]))
        else:
            exact.append(value.removeprefix("="))
    if patterns:
        # exact values as patterns that match only themselves would ignore case: told apart
        if exact:
            raise ValueError("filter: label takes exact values or patterns, not both")
        clauses.append(Clause("label", "ILIKE ANY", patterns))
    elif exact:
        clauses.append(Clause("label", "= ANY", exact))
    return clauses


def _pattern(glob: str) -> str:
    return escape_like(glob).replace("*", "%")


def _times(column: str) -> Callable[[str], Sequence[Clause]]:
    def parse(text: str) -> Sequence[Clause]:
        first, comma, last = text.partition(",")
        if not comma:
            raise ValueError(f"filter: {column} takes FROM,TO; one side may be empty")
        clauses = []
        if first.strip():
            clauses.append(Clause(column, ">=", times.parse(first)))
        if last.strip():
            clauses.append(Clause(column, "<=", times.parse(last)))
        return clauses

    return parse


_FIELDS: dict[str, Callable[[str], Sequence[Clause]]] = {
    "task_id": _ids("task_id", "id", "= ANY"),
    "endpoint": _ids("endpoint", ENDPOINTS, "&&"),  # ours: at either end
    "type": _words("type", _TYPES),
    "status": _words("status", _STATUSES),
    "label": _labels,
    "request_time": _times("request_time"),
    "completion_time": _times("completion_time"),
}
