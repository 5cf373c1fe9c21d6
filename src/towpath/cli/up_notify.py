"""What ``towpath up`` runs to tell people what became of their tasks."""

import httpx

from towpath.notify.mails import MailSender, NexusAddresses
from towpath.notify.runner import Runner
from towpath.notify.texts import Place
from towpath.notify.webhooks import HookSender
from towpath.platform.dial import DialPolicy
from towpath.platform.mail import Mailer
from towpath.platform.outbound import Outbound
from towpath.platform.settings import Settings
from towpath.transfer.api.service import TransferService
from towpath.transfer.outbox import Delivery, SwitchOff, TransferOutbox


def notifier(
    service: TransferService,
    settings: Settings,
    dial: DialPolicy,
    mailer: Mailer,
    sender: str,
    nexus: httpx.AsyncClient,
    login: httpx.Auth,
) -> Runner[Delivery]:
    """Delivers Transfer's outbox; `nexus` knows where people get mail."""
    return Runner(
        TransferOutbox(service.database, service.sealer),
        mails=MailSender(
            mailer,
            sender,
            NexusAddresses(nexus, login),
            Place(settings.people.service_name, service.origin),
            SwitchOff(service.sealer, service.origin).url,
        ),
        hooks=HookSender(Outbound(dial, allow_http=settings.notify.allow_http)),
        settings=settings.notify,
    )
