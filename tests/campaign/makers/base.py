"""What a fault maker is: it strikes once, and says what it hit, or that nothing was there."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar, TypeVar
from uuid import UUID

from campaign.audit import Audit, Standing
from campaign.ground import Ground, Place
from campaign.sources import Sources

PATIENCE_S = 8.0
"""How long a maker waits for something to hit, such as bytes on a connection."""


@dataclass
class Scene:
    """Where makers strike."""

    ground: Ground
    audit: Audit
    sources: Sources
    _locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """Nobody else breaks this meanwhile."""
        async with self._locks[name]:
            yield

    async def until(self, look: Callable[[], object], within_s: float = PATIENCE_S) -> bool:
        """Whether `look` came true in time; looks whenever the audit has."""
        try:
            async with asyncio.timeout(within_s), self.audit.changed:
                await self.audit.changed.wait_for(lambda: bool(look()))
        except TimeoutError:
            return False
        return True

    async def until_told(
        self,
        codes: Collection[str],
        tasks: Collection[int] | None = None,
        within_s: float = PATIENCE_S,
        too_late: Callable[[], object] = lambda: False,
    ) -> frozenset[int]:
        """Tasks (of these, or of all) that have told of such an event from now on; none: not in
        time, or not before it was too late."""
        first = len(self.audit.events)

        def told() -> frozenset[int]:
            return frozenset(
                one.task_no
                for one in self.audit.events[first:]
                if one.code in codes and (tasks is None or one.task_no in tasks)
            )

        await self.until(lambda: told() or too_late(), within_s)
        return told()

    def tasks_of(self, place: Place) -> list[Standing]:
        """Those that run and use this server now."""
        return self.audit.running(UUID(place.endpoint_id))


@dataclass
class Hit:
    """What was hit: in words, and which tasks (`task_no`) it concerns."""

    what: str
    tasks: frozenset[int]
    began_s: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, what: str, tasks: Iterable[Standing]) -> "Hit":
        """With the tasks as they stand."""
        return cls(what, frozenset(one.task_no for one in tasks))

    def concerns(self, tasks: Iterable[Standing]) -> None:
        """These, too."""
        self.tasks |= {one.task_no for one in tasks}


CONNECTION_CODES = frozenset(
    {"CONNECT_FAILED", "CONNECTION_BROKEN", "CONNECTION_RESET", "TIMEOUT", "AUTH", "ENDPOINT_ERROR"}
)
"""What a task tells of connections that broke, wherever and however they did."""


class Maker(ABC):
    """One kind of fault. `strike` breaks something, and mends what does not mend itself."""

    kind: ClassVar[str]
    weight: ClassVar[float] = 1.0
    """How often it is drawn, against the others."""
    tells: ClassVar[frozenset[str]] = CONNECTION_CODES
    """Events that a task tells of it, if it has to do something again because of it."""
    real_server: ClassVar[bool] = True
    """Whether it hits a GridFTP server, its connections or its files."""

    @abstractmethod
    async def strike(self, scene: Scene, random: Random) -> Hit | None:
        """Returns when it is over and mended; None if nothing was there to be hit."""


MAKERS: dict[str, Maker] = {}

M = TypeVar("M", bound=type[Maker])


def maker(made: M) -> M:
    """Adds a kind of fault to the campaign."""
    assert made.kind not in MAKERS, "each kind has one maker"
    MAKERS[made.kind] = made()
    return made


def pick_place(scene: Scene, random: Random) -> Place:
    """A server."""
    return random.choice(list(scene.ground.places.values()))
