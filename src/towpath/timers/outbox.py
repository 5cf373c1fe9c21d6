"""The outbox as `towpath.notify` delivers it."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from towpath.platform.database import Database
from towpath.timers.store import outbox
from towpath.timers.store.outbox import Taken


class TimersOutbox:
    """For `towpath.notify.runner.Runner`: mails alone."""

    def __init__(self, database: Database, wanted: Callable[[UUID], Awaitable[bool]]) -> None:
        """`wanted`: whether a person wants to be told by mail at all."""
        self._database = database
        self._wanted = wanted

    async def take(
        self, *, by_mail: bool, most: int, per_target: int, lease_s: float
    ) -> list[Taken]:
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
        return [one for one in taken if one.recipient_id not in unwanted]

    async def delivered(self, delivery: Taken, status: int | None) -> None:
        """It has arrived."""
        async with self._database.transaction() as conn:
            await outbox.end(conn, delivery, arrived=True, status=status)

    async def again(
        self, delivery: Taken, *, after_s: float, status: int | None, error: str
    ) -> None:
        """It is tried again."""
        async with self._database.transaction() as conn:
            await outbox.again(conn, delivery, after_s=after_s, status=status, error=error)

    async def give_up(self, delivery: Taken, *, status: int | None, error: str) -> None:
        """It is not."""
        async with self._database.transaction() as conn:
            await outbox.end(conn, delivery, arrived=False, status=status, error=error)

    async def disable(self, hook_id: UUID, because: str) -> None:
        """There are no webhooks of timers."""
        raise AssertionError(f"nobody has webhook {hook_id} to disable: {because}")

    async def sweep(self) -> None:
        """Forget what is over and old."""
        more = True
        while more:
            async with self._database.connection() as conn:
                more = await outbox.sweep(conn)
