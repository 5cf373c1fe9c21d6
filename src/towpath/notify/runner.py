"""Delivers what is in the outbox: at least once, each for a while, until it is given up.

Several runners may work side by side, also in several processes: the outbox gives each delivery to
one of them for as long as its lease lasts. A runner that dies leaves its deliveries to the others.
"""

import asyncio
from collections.abc import Sequence
from random import Random, SystemRandom
from typing import Final, Generic

import structlog

from towpath.notify.queue import D, NotDelivered, Outbox, Sender
from towpath.platform.backoff import backoff_s
from towpath.platform.database import AWAY, is_away
from towpath.platform.settings import NotifySettings

POLL_S: Final = 2.0
"""How late a message may be because nobody looked."""
AWAY_S: Final = 2.0
"""From one attempt to the next while the database is away."""
MAILS_AT_ONCE: Final = 4
"""Connections to the mail server: ours is one sender among many."""
HOOKS_AT_ONCE: Final = 16
"""Each waits for somebody's server, which may be slow."""
PER_TARGET: Final = 2
"""Of these for one webhook, or one person: a slow one holds up no other."""
DELIVER_S: Final = 60.0
"""An attempt takes no longer, whatever the server does."""
LEASE_S: Final = 120.0
"""An attempt, and as long again to write down how it went."""
FIRST_AGAIN_S: Final = 15.0
LAST_AGAIN_S: Final = 3600.0
"""From one attempt to the next: doubled from the first to the last, shortened by chance by up to
half, so that what failed together does not come back together."""
FAILURES_AT_LEAST: Final = 10
"""In a row, before a webhook is switched off: a few prove nothing, however long ago they began."""
SWEEP_EVERY_S: Final = 3600.0

_log = structlog.stdlib.get_logger("towpath.notify")


class Runner(Generic[D]):
    """Takes, delivers, writes down."""

    def __init__(
        self,
        outbox: Outbox[D],
        *,
        mails: Sender,
        hooks: Sender,
        settings: NotifySettings,
        random: Random | None = None,
        poll_s: float = POLL_S,
        first_again_s: float = FIRST_AGAIN_S,
        lease_s: float = LEASE_S,
    ) -> None:
        self._outbox = outbox
        self._senders: dict[bool, Sender] = {True: mails, False: hooks}
        self._settings = settings
        self._random = random or SystemRandom()
        self._poll_s = poll_s
        self._first_again_s = first_again_s
        self._lease_s = lease_s

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_delivering(by_mail=True, most=MAILS_AT_ONCE))
            group.create_task(self._keep_delivering(by_mail=False, most=HOOKS_AT_ONCE))
            group.create_task(self._keep_sweeping())

    async def _keep_delivering(self, *, by_mail: bool, most: int) -> None:
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                taken = await self._take(by_mail=by_mail, most=most - len(running))
                running |= {asyncio.create_task(self._deliver(one)) for one in taken}
                ended = await self._wait(running, look_soon=len(running) >= most)
                running -= ended
                for one in ended:
                    one.result()  # a mistake of ours ends the runner, and is told
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _wait(
        self, running: set[asyncio.Task[None]], *, look_soon: bool
    ) -> set[asyncio.Task[None]]:
        """Until there is room again, or it is time to look."""
        if not running:
            await asyncio.sleep(self._poll_s)
            return set()
        ended, _ = await asyncio.wait(
            running,
            timeout=None if look_soon else self._poll_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        return ended

    async def _take(self, *, by_mail: bool, most: int) -> Sequence[D]:
        try:
            return await self._outbox.take(
                by_mail=by_mail, most=most, per_target=PER_TARGET, lease_s=self._lease_s
            )
        except AWAY as error:
            if not is_away(error):
                raise
            return []

    async def _deliver(self, delivery: D) -> None:
        failed: NotDelivered | None = None
        status: int | None = None
        try:
            async with asyncio.timeout(DELIVER_S):
                status = await self._senders[delivery.hook is None].send(delivery)
        except NotDelivered as error:
            failed = error
        except TimeoutError:
            failed = NotDelivered(f"the server took longer than {DELIVER_S:g} s")
        except Exception as error:  # noqa: BLE001 - one message must not hold up all the others
            _log.exception("notify.mistake", delivery=delivery.id, topic=delivery.topic)
            failed = NotDelivered(f"a mistake of the service's ({type(error).__name__})")
        try:
            async with asyncio.timeout(self._lease_s - DELIVER_S):
                await self._write_down(delivery, status, failed)
        except TimeoutError:
            # it is delivered once more, with the same id
            _log.warning("notify.not_written_down", delivery=delivery.id)

    async def _write_down(
        self, delivery: D, status: int | None, failed: NotDelivered | None
    ) -> None:
        while True:
            try:
                if failed is None:
                    await self._outbox.delivered(delivery, status)
                else:
                    await self._failed(delivery, failed)
            except AWAY as error:
                if not is_away(error):
                    raise
                await asyncio.sleep(AWAY_S)
            else:
                return

    async def _failed(self, delivery: D, failed: NotDelivered) -> None:
        outbox, settings = self._outbox, self._settings
        if failed.permanent or delivery.age_s > settings.give_up_h * 3600:
            await outbox.give_up(delivery, status=failed.status, error=failed.error)
            _log.warning(
                "notify.given_up",
                delivery=delivery.id,
                topic=delivery.topic,
                by="mail" if delivery.hook is None else "webhook",
                attempts=delivery.attempt,
                error=failed.error,
            )
            if delivery.hook is not None and failed.gone:
                await outbox.disable(delivery.hook.id, failed.error)
            return
        again_s = backoff_s(
            delivery.attempt,
            first_s=self._first_again_s,
            max_s=LAST_AGAIN_S,
            random=self._random,
        )
        trouble = await outbox.again(
            delivery, after_s=again_s, status=failed.status, error=failed.error
        )
        if delivery.hook is None or trouble is None:
            return
        too_long = trouble.failing_s > settings.disable_webhook_h * 3600
        if too_long and trouble.failures_in_a_row >= FAILURES_AT_LEAST:
            _log.warning("notify.webhook_disabled", webhook=str(delivery.hook.id))
            await outbox.disable(delivery.hook.id, failed.error)

    async def _keep_sweeping(self) -> None:
        while True:
            try:
                await self._outbox.sweep()
            except AWAY as error:
                if not is_away(error):
                    raise
            await asyncio.sleep(SWEEP_EVERY_S)
