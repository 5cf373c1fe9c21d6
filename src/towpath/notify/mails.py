"""Delivers by mail."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol
from uuid import UUID

import aiosmtplib
import httpx

from towpath.notify.queue import Delivery, NotDelivered
from towpath.notify.texts import Place, letter
from towpath.platform.mail import Mailer, compose, is_address

PRINCIPALS: Final = "/v2/api/principals"


class Addresses(Protocol):
    """Knows where people get mail."""

    async def of(self, identity_id: UUID) -> str | None:
        """None: nowhere. Raises `NotDelivered` while it cannot be known."""


class NexusAddresses:
    """Asks nexus, with a service's own client. `http` has nexus' origin as its `base_url`."""

    def __init__(self, http: httpx.AsyncClient, login: httpx.Auth) -> None:
        self._http = http
        self._login = login

    async def of(self, identity_id: UUID) -> str | None:
        """As nexus has it now: whoever changes his address gets his mail there."""
        try:
            answer = await self._http.post(
                PRINCIPALS, json={"identity_ids": [str(identity_id)]}, auth=self._login
            )
            found = answer.raise_for_status().json()["principals"]
            email = found[0]["email"] if found else None
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise NotDelivered(
                f"the identity service cannot say where to ({type(error).__name__})"
            ) from error
        return None if email is None else str(email)


class MailSender:
    """Writes to people, each by his own address."""

    def __init__(
        self,
        mailer: Mailer,
        sender: str,
        addresses: Addresses,
        place: Place,
        switch_off: Callable[[UUID], str],
    ) -> None:
        """`switch_off`: the address at which a person ends all such mails, without a login."""
        self._mailer = mailer
        self._sender = sender
        self._addresses = addresses
        self._place = place
        self._switch_off = switch_off

    async def send(self, delivery: Delivery) -> int | None:
        """One mail. Raises `NotDelivered`."""
        to = await self._addresses.of(delivery.recipient_id)
        if to is None or not is_address(to):
            raise NotDelivered("there is no address to write to", permanent=True)
        switch_off = self._switch_off(delivery.recipient_id)
        said = letter(delivery.topic, delivery.document, self._place, more=delivery.more)
        message = compose(
            self._sender,
            to,
            said.subject,
            f"{said.text}To end all mails of this kind: {switch_off}\n",
            # the same when it is sent again: programs for mail then show it once
            message_id=f"{delivery.message_id}.{delivery.id}",
            headers=self._headers(switch_off),
        )
        try:
            await self._mailer.send(message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            refused = error.recipients[0]
            raise _refused(refused.code, "the address") from None
        except aiosmtplib.SMTPDataError as error:
            raise _refused(error.code, "the mail") from None
        except aiosmtplib.SMTPResponseException as error:
            # of our login, or of our own address: the operator's to mend, and then it goes on
            raise NotDelivered(
                f"the mail server refuses us ({type(error).__name__})", error.code
            ) from None
        except (OSError, aiosmtplib.SMTPException) as error:
            raise NotDelivered(
                f"the mail server cannot be reached ({type(error).__name__})"
            ) from None
        return None

    def _headers(self, switch_off: str) -> Mapping[str, str]:
        host = httpx.URL(self._place.url).host
        return {
            "Precedence": "bulk",  # older programs know nothing of Auto-Submitted
            "List-Id": f"<notify.{host}>",
            "List-Unsubscribe": f"<{switch_off}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",  # RFC 8058
        }


def _refused(code: int, what: str) -> NotDelivered:
    """By the class of the code (RFC 5321, 4.2.1): 5 says never, 4 not now."""
    said = f"the mail server does not take {what}"
    return NotDelivered(said, code, permanent=code >= 500)
