"""Paths at servers, and where they really are, when the links on the way are followed."""

import asyncio
import posixpath
from collections.abc import Mapping
from typing import Final

from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Scope

LOOKED_AT_ONCE: Final = 200
"""Paths asked about with commands sent ahead; a server takes about 1,000 queued ones."""


def ancestors(path: str) -> list[str]:
    """The directories above an absolute path, the nearest first."""
    found: list[str] = []
    while path != "/":
        path = posixpath.dirname(path)
        found.append(path)
    return found


def absolute_target(place: str, target: str) -> str:
    """Where a link in the directory `place` points to, should a server tell it as it is written."""
    return posixpath.normpath(posixpath.join(place, target))


def real_places(path: str, targets: Mapping[str, str]) -> list[str]:
    """Where one really is on the way to `path`: in which directory before each link is followed,
    and at the end. `targets` are those of the links among `path` and the directories above it."""
    places: list[str] = []
    walked, real = "", "/"
    for name in path.split("/"):
        if not name:
            continue
        walked = f"{walked}/{name}"
        if walked in targets:
            places.append(real)
            real = absolute_target(real, targets[walked])
        else:
            real = f"{real.rstrip('/')}/{name}"
    return [*places, real]


async def link_targets(session: Session, *ends: str) -> dict[str, str]:
    """The links among these paths and the directories above them, with their targets.

    What may not be looked at is taken for none. Raises GridFTPError.
    """
    met = {path: None for end in ends for path in (end, *ancestors(end)) if path.rstrip("/")}
    paths = list(met)
    found: dict[str, str] = {}
    for first in range(0, len(paths), LOOKED_AT_ONCE):
        some = paths[first : first + LOOKED_AT_ONCE]
        looked = await asyncio.gather(*(_target(session, one) for one in some))
        found |= {one: target for one, target in zip(some, looked, strict=True) if target}
    return found


async def _target(session: Session, path: str) -> str | None:
    try:
        return (await session.stat(path)).link_target
    except GridFTPError as error:
        if error.scope is not Scope.FILE:
            raise
        return None
