"""What somebody who looks after one end of a task sees of it: his own side's paths, and not the
other's (I7). Pure."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Sides:
    """Of a task, those that are somebody's to look after. A delete has only a source."""

    source: bool
    destination: bool
    is_delete: bool = False

    @classmethod
    def of(cls, source_id: UUID, destination_id: UUID | None, theirs: Collection[UUID]) -> "Sides":
        """By the endpoints that are theirs."""
        return cls(
            source_id in theirs,
            destination_id is not None and destination_id in theirs,
            destination_id is None,
        )

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.source or self.destination

    @property
    def whole(self) -> bool:
        """Whether nothing of the task is somebody else's."""
        return self.source and (self.destination or self.is_delete)

    def has(self, role: object) -> bool:
        """`source` or `destination`, as events name them."""
        return (role == "source" and self.source) or (role == "destination" and self.destination)


_OF_ANY_SIDE: Final = frozenset(
    {"advice", "by", "deadline", "more_like_this", "next", "phase", "role", "who_can_fix", "type"}
)
"""Words of ours that name no place. `advice` of a fault at the other side does, and goes."""


def details_for(details: str, sides: Sides) -> str:
    """An event's details, or a nice status', without what is of the other side."""
    if sides.whole or not details:
        return details
    try:
        told = json.loads(details)
    except ValueError:
        return ""  # a text: nobody knows what it names
    if not isinstance(told, dict):
        return ""
    return json.dumps(_seen(told, sides))


def _seen(told: Mapping[str, Any], sides: Sides) -> dict[str, Any]:
    role = told.get("role")
    if sides.has(role):
        other = "destination_path" if sides.source else "source_path"
        return {key: value for key, value in told.items() if key != other}
    hidden = {"advice"} if role is not None else set()
    return {
        key: value
        for key, value in told.items()
        if isinstance(value, int | float) or key in _OF_ANY_SIDE - hidden
    }
