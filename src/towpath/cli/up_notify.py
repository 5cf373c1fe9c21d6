"""What ``towpath up`` runs to tell people what became of their tasks and timers."""

from uuid import UUID

import httpx

from towpath.notify.mails import MailSender, NexusAddresses
from towpath.notify.runner import Runner
from towpath.notify.texts import Place
from towpath.notify.webhooks import HookSender
from towpath.platform.database import Database
from towpath.platform.dial import DialPolicy
from towpath.platform.mail import Mailer
from towpath.platform.outbound import Outbound
from towpath.platform.settings import Settings
from towpath.timers.outbox import TimersOutbox
from towpath.timers.store.outbox import Taken as TimersTaken
from towpath.transfer.api.service import TransferService
from towpath.transfer.outbox import SwitchOff, TransferOutbox
from towpath.transfer.store import deliveries
from towpath.transfer.store.deliveries import Taken


def notifiers(
    service: TransferService,
    timers: Database,
    settings: Settings,
    dial: DialPolicy,
    mailer: Mailer,
    sender: str,
    nexus: httpx.AsyncClient,
    login: httpx.Auth,
) -> tuple[Runner[Taken], Runner[TimersTaken]]:
    """Deliver Transfer's outbox, and that of Timers; `nexus` knows where people get mail.

    One switch of a person's is for the mails of both: Transfer keeps it.
    """

    async def wanted(identity_id: UUID) -> bool:
        async with service.database.connection() as conn:
            return await deliveries.mail_wanted(conn, identity_id)

    mails = MailSender(
        mailer,
        sender,
        NexusAddresses(nexus, login),
        Place(settings.people.service_name, service.origin),
        SwitchOff(service.sealer, service.origin).url,
    )
    hooks = HookSender(Outbound(dial, allow_http=settings.notify.allow_http))
    return (
        Runner(
            TransferOutbox(service.database, service.sealer),
            mails=mails,
            hooks=hooks,
            settings=settings.notify,
        ),
        Runner(TimersOutbox(timers, wanted), mails=mails, hooks=hooks, settings=settings.notify),
    )
