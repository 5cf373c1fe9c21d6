"""The outbox as `towpath.notify` delivers it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from towpath.platform.database import Database
from towpath.timers.store import outbox
from towpath.timers.store.outbox import Taken


@dataclass(frozen=True, slots=True)
class Mail:
    """What was taken."""

    taken: Taken

    @property
    def hook(self) -> None:
        """It is a mail."""
        return None

    @property
    def more(self) -> int:
        """Of each timer one message waits at most: none is left out."""
        return 0

    @property
    def id(self) -> int:
        """Of this delivery."""
        return self.taken.id

    @property
    def message_id(self) -> UUID:
        """Of what is told."""
        return self.taken.message_id

    @property
    def topic(self) -> str:
        """What it is about."""
        return self.taken.topic

    @property
    def recipient_id(self) -> UUID:
        """Who is told."""
        return self.taken.recipient_id

    @property
    def document(self) -> Mapping[str, Any]:
        """What there is to tell."""
        return self.taken.document

    @property
    def created_at(self) -> datetime:
        """When it happened."""
        return self.taken.created_at

    @property
    def attempt(self) -> int:
        """1 for the first."""
        return self.taken.attempt

    @property
    def age_s(self) -> float:
        """Since it happened."""
        return self.taken.age_s


class TimersOutbox:
    """For `towpath.notify.runner.Runner`: mails alone."""

    def __init__(self, database: Database, wanted: Callable[[UUID], Awaitable[bool]]) -> None:
        """`wanted`: whether a person wants to be told by mail at all."""
        self._database = database
        self._wanted = wanted

    async def take(
        self, *, by_mail: bool, most: int, per_target: int, lease_s: float
    ) -> list[Mail]:
        """What is due. Of people who want no mail it is forgotten."""
        if not by_mail:
            return []
        async with self._database.transaction() as conn:
            taken = await outbox.take(conn, most=most, each=per_target, lease_s=lease_s)
        people = {one.recipient_id for one in taken}
        unwanted = [person for person in people if not await self._wanted(person)]
        if unwanted:
            async with self._database.transaction() as conn:
                await outbox.drop(conn, unwanted)
        return [Mail(one) for one in taken if one.recipient_id not in unwanted]

    async def delivered(self, delivery: Mail, status: int | None) -> None:
        """It has arrived."""
        async with self._database.transaction() as conn:
            await outbox.end(conn, delivery.taken, arrived=True, status=status)

    async def again(
        self, delivery: Mail, *, after_s: float, status: int | None, error: str
    ) -> None:
        """It is tried again."""
        async with self._database.transaction() as conn:
            await outbox.again(conn, delivery.taken, after_s=after_s, status=status, error=error)

    async def give_up(self, delivery: Mail, *, status: int | None, error: str) -> None:
        """It is not."""
        async with self._database.transaction() as conn:
            await outbox.end(conn, delivery.taken, arrived=False, status=status, error=error)

    async def disable(self, hook_id: UUID, because: str) -> None:
        """There are no webhooks of timers."""
        raise AssertionError(f"nobody has webhook {hook_id} to disable: {because}")

    async def sweep(self) -> None:
        """Forget what is over and old."""
        more = True
        while more:
            async with self._database.connection() as conn:
                more = await outbox.sweep(conn)
