"""Claims: what a task writes or deletes, so that each destination has one writer (invariant I9).

Pure: which storage, which paths, which of them overlap. A claimed path ends with a slash, so that
`/a/` is a prefix of what is below `/a` and of nothing else.
"""

import contextlib
import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

LONGEST_BYTES = 1024
"""Of a claimed path: an index entry of PostgreSQL has at most 2,704 bytes. Where a path is longer,
the last directory above it that fits is claimed as a tree, which is more than needed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A path, or with `is_tree` also all below it."""

    path: bytes
    is_tree: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a task waits: `path` is its own; the rest tells of the task that goes first.

    `task_id`, `label` and `state` are None if that is another user's (I7).
    """

    path: str
    task_id: UUID | None
    label: str | None
    state: str | None

    def details(self) -> dict[str, Any]:
        """What the waiting task's owner is told."""
        holder: dict[str, Any] = (
            {"task": "another user's"}
            if self.task_id is None
            else {"task": str(self.task_id), "label": self.label, "state": self.state}
        )
        return {
            "path": self.path,
            **holder,
            "reason": "An earlier task writes or deletes here; one at a time may.",
            "next": "It goes on by itself when that task has ended.",
            "advice": _ADVICE.get(self.state or "", "Nothing needs to be done."),
        }


_ADVICE = {
    "paused": "Resume that task, or cancel it.",
    "inactive": "Renew the credential that the other task waits for, or cancel that task.",
}


@lru_cache(maxsize=1000)
def storage_of(host: str, port: int) -> str:
    """What a server stores to. Two endpoints of one server are one storage.

    The same server under another name, or on another port, counts as another storage.
    """
    name = host.lower().rstrip(".")
    with contextlib.suppress(ValueError):
        name = str(ipaddress.ip_address(name))
    return f"{name}:{port}"


def claim(path: str, *, is_tree: bool) -> Claim:
    """A claim on an absolute wire path."""
    key = path.rstrip("/").encode("utf-8", "surrogateescape") + b"/"
    if len(key) <= LONGEST_BYTES:
        return Claim(key, is_tree)
    return Claim(key[: key.rindex(b"/", 0, LONGEST_BYTES) + 1], is_tree=True)


def reduced(claims: Iterable[Claim]) -> list[Claim]:
    """The same without what another claim of the list covers, by path."""
    kept: list[Claim] = []
    tree: bytes | None = None
    # A path's trees come before its files: the first of equal ones covers the others.
    for one in sorted(claims, key=lambda c: (c.path, not c.is_tree)):
        covered = tree is not None and one.path.startswith(tree)
        if covered or (kept and kept[-1].path == one.path):
            continue
        kept.append(one)
        if one.is_tree:
            tree = one.path
    return kept


def above(claims: Collection[Claim]) -> set[bytes]:
    """All directories above the claimed paths."""
    found: set[bytes] = set()
    for one in claims:
        path = one.path
        while len(path) > 1:
            path = path[: path.rindex(b"/", 0, -1) + 1]
            if path in found:
                break
            found.add(path)
    return found
