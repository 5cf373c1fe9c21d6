"""The outbox as `towpath.notify` delivers it: with transactions, and secrets opened."""

import base64
import binascii
from contextlib import suppress
from dataclasses import replace
from typing import Final
from uuid import UUID

from towpath.platform.database import Database
from towpath.platform.secrets import NoKeyError, Sealer, SealError
from towpath.transfer.store import deliveries, webhooks
from towpath.transfer.store.deliveries import Failing, Hook, Taken

UNSUBSCRIBE: Final = "/v0.10/unsubscribe?key="
"""In the query, which no log has: whoever has it can end somebody's mails."""
CANNOT_SIGN: Final = "the service has lost its secret; replace it, and switch the webhook on"
NO_KEY: Final = "the service misses the key of its secret, which its operator is told"
NO_KEY_S: Final = 60.0
"""From one look for that key to the next."""
_UNSUBSCRIBES: Final = b"transfer.unsubscribe"


class TransferOutbox:
    """For `towpath.notify.runner.Runner`."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def take(
        self, *, by_mail: bool, most: int, per_target: int, lease_s: float
    ) -> list[Taken]:
        """What is due. A webhook whose secret does not open any more is switched off; one whose
        key is missing waits for it.
        """
        async with self._database.transaction() as conn:
            taken = await deliveries.take(
                conn, by_mail=by_mail, most=most, per_target=per_target, lease_s=lease_s
            )
        found: list[Taken] = []
        for one in taken:
            try:
                found.append(replace(one, hook=self._hook(one)))
            except NoKeyError:
                async with self._database.transaction() as conn:
                    await deliveries.put_off(conn, one, after_s=NO_KEY_S, error=NO_KEY)
            except SealError:
                assert one.webhook_id is not None, "it has a secret"
                await self.disable(one.webhook_id, CANNOT_SIGN)
        return found

    def _hook(self, one: Taken) -> Hook | None:
        if one.webhook_id is None:
            return None
        assert one.url is not None, "a delivery goes with its webhook"
        context = webhooks.seal_context(one.webhook_id)
        assert one.sealed_secret is not None, "it has a secret"
        secrets = [self._sealer.unseal(one.sealed_secret, context)]
        if one.sealed_earlier is not None:
            # without it the newer one signs alone: so replacing a lost one helps at once
            with suppress(SealError):
                secrets.append(self._sealer.unseal(one.sealed_earlier, context))
        return Hook(one.webhook_id, one.url, one.authority, secrets)

    async def delivered(self, delivery: Taken, status: int | None) -> None:
        """It has arrived."""
        async with self._database.transaction() as conn:
            await deliveries.delivered(conn, delivery, status=status)

    async def again(
        self, delivery: Taken, *, after_s: float, status: int | None, error: str
    ) -> Failing | None:
        """It is tried again."""
        async with self._database.transaction() as conn:
            return await deliveries.again(
                conn, delivery, after_s=after_s, status=status, error=error
            )

    async def give_up(self, delivery: Taken, *, status: int | None, error: str) -> None:
        """It is not."""
        async with self._database.transaction() as conn:
            await deliveries.give_up(conn, delivery, status=status, error=error)

    async def disable(self, hook_id: UUID, because: str) -> None:
        """Switch a webhook off, and tell its owner."""
        async with self._database.transaction() as conn:
            await webhooks.disable(conn, hook_id, because)

    async def sweep(self) -> None:
        """Forget what is over and old."""
        more = True
        while more:
            async with self._database.connection() as conn:
                more = await deliveries.sweep(conn)


class SwitchOff:
    """Addresses at which a person ends his mails without a login, as programs for mail do.

    An address is a sealed identity: nobody makes one for somebody else.
    """

    def __init__(self, sealer: Sealer, origin: str) -> None:
        self._sealer = sealer
        self._origin = origin

    def url(self, identity_id: UUID) -> str:
        """For this person."""
        sealed = self._sealer.seal(identity_id.bytes, _UNSUBSCRIBES)
        key = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")
        return f"{self._origin}{UNSUBSCRIBE}{key}"

    def read(self, key: str) -> UUID | None:
        """Whose it is; None: nobody's."""
        try:
            sealed = base64.urlsafe_b64decode(key.encode("ascii") + b"=" * (-len(key) % 4))
            return UUID(bytes=self._sealer.unseal(sealed, _UNSUBSCRIBES, from_outside=True))
        except (SealError, ValueError, binascii.Error):
            return None
