"""Faults of files and storage: sources change while they are copied, destinations refuse."""

import asyncio
import os
from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path
from random import Random
from typing import ClassVar, NamedTuple

from campaign.audit import LEFT_OUT
from campaign.makers.base import Hit, Maker, Scene, maker, pick_place
from campaign.sources import History
from towpath.transfer.store.plan import State

KIBIBYTE = 1024
NEXT_FILES = 10
MEND_AFTER_S = 12.0
"""How long a task may take to notice."""


@maker
class DiskFull(Maker):
    """The storage of a destination is full until a task has told of it."""

    kind = "disk full"
    tells = frozenset({"NO_SPACE_LEFT"})
    weight = 1.3

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        place = pick_place(scene, random)
        async with scene.alone(place.storage_name):
            if not await scene.until(lambda: scene.tasks_of(place)):
                return None
            hit = Hit(f"storage of {place.name}", frozenset())
            await place.fill()
            try:
                hit.tasks = await scene.until_told(self.tells)
            finally:
                await place.free()
        return hit if hit.tasks else None


class Target(NamedTuple):
    """A file of a source that is listed and has not arrived; and what decides about the rest."""

    history: History
    path: str
    """Below the source's root."""
    task_no: int
    item_no: int
    below: str
    """Its item."""
    random: Random

    @property
    def file(self) -> Path:
        """At the source."""
        return self.history.root / self.path

    def finished(self, scene: Scene) -> bool:
        """Whether the task is seen to have done with it."""
        return all(
            (one.item_no, one.below) != (self.item_no, self.below)
            for one in scene.audit.unfinished[self.task_no].values()
        )

    async def in_time(self, scene: Scene) -> bool:
        """Whether the task has not finished it."""
        return await scene.audit.is_unfinished(self.task_no, self.item_no, self.below)


class SourceFault(Maker):
    """Something happens to such a file."""

    tells = frozenset({"VERIFY_CHECKSUM", "FILE_SIZE_CHANGED", "EXTERNAL_CHECKSUM_MISMATCH"})
    states: ClassVar[Collection[State]] = frozenset(State)
    """In which it may be."""

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        target = await _target(scene, random, self.states)
        if target is None:
            return None
        hit = Hit(f"{target.file}", frozenset((target.task_no,)))
        try:
            struck = await self.changes(scene, target)
        except FileNotFoundError:
            return None  # somebody removed it, or the task has ended and all of it is gone
        return hit if struck else None

    @abstractmethod
    async def changes(self, scene: Scene, target: Target) -> bool:
        """Do it; whether it was in time. What the file will be must be in the history before it can
        be read."""


NOT_SENT = frozenset({State.PENDING, State.COMPARE})


async def _target(scene: Scene, random: Random, states: Collection[State]) -> Target | None:
    """One that is being sent, or will be soon."""
    await scene.until(lambda: _next_files(scene, states))
    files = _next_files(scene, states)
    if not files:
        return None
    task_no, item_no, below = random.choice(files)
    history = scene.sources.of_task.get(str(scene.audit.tasks[task_no].task_id))
    path = None if history is None else history.path_of(item_no, below)
    if history is None or path is None:
        return None
    target = Target(history, path, task_no, item_no, below, random)
    return target if target.file.is_file() and not target.file.is_symlink() else None


def _next_files(scene: Scene, states: Collection[State]) -> list[tuple[int, int, str]]:
    """Task, item and path below it of the next files in the plans of tasks that run: they are sent
    in the order of their numbers."""
    found = []
    for one in sorted(scene.audit.running()):
        files = scene.audit.unfinished[one.task_no]
        next_ones = [files[number] for number in sorted(files) if files[number].state in states]
        found += [(one.task_no, f.item_no, f.below) for f in next_ones[:NEXT_FILES]]
    return found


@maker
class SourceReplaced(SourceFault):
    """Other contents of the same length, by a rename."""

    kind = "source replaced"

    async def changes(self, scene: Scene, target: Target) -> bool:
        size = target.file.stat().st_size
        await asyncio.to_thread(_replace, target, target.random.randbytes(size))
        return size > 0 and await target.in_time(scene)


@maker
class SourceGrown(SourceFault):
    """Something is written at its end."""

    kind = "source grown"

    async def changes(self, scene: Scene, target: Target) -> bool:
        more = target.random.randbytes(target.random.randrange(1, 64 * KIBIBYTE))
        await asyncio.to_thread(_append, target, more)
        return await target.in_time(scene)


@maker
class SourceTruncated(SourceFault):
    """It becomes shorter, by a rename as most programs do it."""

    kind = "source truncated"

    async def changes(self, scene: Scene, target: Target) -> bool:
        content = await asyncio.to_thread(target.file.read_bytes)
        size = target.random.randrange(len(content) + 1)
        await asyncio.to_thread(_replace, target, content[:size])
        return size < len(content) and await target.in_time(scene)


@maker
class SourceUnreadable(SourceFault):
    """The server may not read it, until the task has told of it or left it out."""

    kind = "source unreadable"
    tells = frozenset({"PERMISSION_DENIED", LEFT_OUT})
    states = NOT_SENT
    weight = 2.0  # most are under way when it comes

    async def changes(self, scene: Scene, target: Target) -> bool:
        target.history.gone.add(target.path)
        target.file.chmod(0)
        try:
            told = await scene.until_told(
                self.tells, (target.task_no,), MEND_AFTER_S, lambda: target.finished(scene)
            )
            return bool(told)
        finally:
            if target.file.exists():
                target.file.chmod(0o644)


@maker
class SourceRemoved(SourceFault):
    """It is not there any more."""

    kind = "source removed"
    tells = frozenset({"FILE_NOT_FOUND", "SKIPPED_ERRORS"})
    weight = 0.8

    async def changes(self, scene: Scene, target: Target) -> bool:
        target.history.gone.add(target.path)
        target.file.unlink()
        return await target.in_time(scene)


@maker
class DestinationForbidden(Maker):
    """Nothing can be written in a directory of a destination, until a task has told of it."""

    kind = "destination forbidden"
    tells = frozenset({"PERMISSION_DENIED"})
    weight = 2.0  # most are under way when it comes

    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        target = await _target(scene, random, NOT_SENT)
        if target is None:
            return None
        directory = (target.history.destination / target.path).parent
        hit = Hit(f"{directory}", frozenset())
        async with scene.alone(str(directory)):
            try:
                directory.chmod(0o555)
                hit.tasks = await scene.until_told(
                    self.tells, (target.task_no,), MEND_AFTER_S, lambda: target.finished(scene)
                )
            except FileNotFoundError:
                return None  # it is not made yet
            finally:
                if directory.exists():
                    directory.chmod(0o755)
        return hit if hit.tasks else None


def _replace(target: Target, content: bytes) -> None:
    """What it will be is noted before anybody can read it."""
    history = target.history
    new = history.root.with_name(f".new-{os.urandom(8).hex()}")
    new.write_bytes(content)
    history.note(target.path, new)
    new.replace(target.file)


def _append(target: Target, more: bytes) -> None:
    target.history.note_content(target.path, target.file.read_bytes() + more)
    with target.file.open("ab") as end:
        end.write(more)
    target.history.note(target.path)
