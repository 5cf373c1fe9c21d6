"""Webhooks, and whether mail is wanted."""

from typing import Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer


class Webhook(Answer):
    """One, without its secret."""

    DATA_TYPE: Literal["webhook"]
    id: UUID
    url: str
    description: str
    topics: list[str]
    authority: str | None
    enabled: bool
    disabled_because: str | None
    created_at: str
    failures_in_a_row: int
    earlier_secret_until: str | None


class NewWebhook(Webhook):
    """One whose secret is new: it is shown now, and never again."""

    secret: str


class WebhookList(Answer):
    """All of the caller's."""

    DATA_TYPE: Literal["webhook_list"]
    DATA: list[Webhook]


class WebhookDelivery(Answer):
    """What became of one message."""

    DATA_TYPE: Literal["webhook_delivery"]
    id: int
    message_id: str
    topic: str
    created_at: str
    status: Literal["waiting", "delivered", "given_up"]
    attempts: int
    last_attempt_at: str | None
    next_attempt_at: str | None
    response_status: int | None
    error: str | None


class WebhookDeliveryList(Answer):
    """The last ones of a webhook, the newest first."""

    DATA_TYPE: Literal["webhook_delivery_list"]
    DATA: list[WebhookDelivery]


class TestAccepted(Answer):
    """A test message that will be sent; its delivery tells what becomes of it."""

    DATA_TYPE: Literal["webhook_test"]
    code: Literal["Accepted"]
    message: str
    delivery_id: int
    request_id: str
    resource: str


class Notifications(Answer):
    """What a person wants to be told."""

    DATA_TYPE: Literal["notifications"]
    mail: bool
