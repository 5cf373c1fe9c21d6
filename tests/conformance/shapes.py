"""Whether a document has the shape of an example: pure."""

from collections.abc import Iterator, Mapping
from typing import Any

VALUES = frozenset(
    {
        *("active", "client_type", "code", "error", "grant_types", "group_members_visibility"),
        *("group_type", "group_visibility", "identity_type", "public_client", "resource_server"),
        *("status", "token_type", "visibility"),
    }
)
"""Keys whose values are words that programs compare, not only shapes."""

NULLABLE = frozenset(
    {
        *("description", "email", "name", "organization"),  # of people and things that have none
        *("last_used",),
    }
)
"""May be null where the example has a value."""


def differences(example: Any, ours: Any, path: str = "") -> Iterator[str]:
    """Each place where ``ours`` is not as ``example``, in words that begin with the place.

    More keys than the example's are no difference. A null in the example tells nothing.
    """
    if example is None:
        return
    if ours is None:
        if path.rpartition(".")[2] not in NULLABLE:
            yield f"{path}: null"
        return
    if _kind(example) != _kind(ours):
        yield f"{path}: {_kind(ours)} instead of {_kind(example)}"
    elif isinstance(example, dict):
        yield from _of_objects(example, ours, path)
    elif isinstance(example, list):
        yield from _of_lists(example, ours, path)
    elif path.rpartition(".")[2] in VALUES and _word(example) != _word(ours):
        yield f"{path}: {ours!r} instead of {example!r}"


def _of_objects(example: Mapping[str, Any], ours: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in example.items():
        place = f"{path}.{key}" if path else key
        if key in ours:
            yield from differences(value, ours[key], place)
        else:
            yield f"{place}: missing"


def _of_lists(example: list[Any], ours: list[Any], path: str) -> Iterator[str]:
    if example and not ours:
        yield f"{path}: empty"
    if path.rpartition(".")[2] in VALUES and set(map(str, example)) != set(map(str, ours)):
        yield f"{path}: {sorted(map(str, ours))} instead of {sorted(map(str, example))}"
    elif example:
        yield from sorted({one for value in ours for one in _of_element(example, value, path)})


def _of_element(example: list[Any], ours: Any, path: str) -> list[str]:
    """As one of the example's; else how it differs from the first."""
    told = [list(differences(one, ours, f"{path}[]")) for one in example]
    return [] if [] in told else told[0]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return {dict: "object", list: "array"}[type(value)]


def _word(value: Any) -> Any:
    """Token types are told in either case (RFC 6749, 5.1)."""
    return value.lower() if isinstance(value, str) else value
