"""Routes of webhooks, and of whether one is told by mail."""

from dataclasses import replace
from typing import Annotated, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from cryptography import x509
from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import AfterValidator, Field

from towpath.platform import standard_webhooks
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError
from towpath.platform.http import PAGE_HEADERS, new_router
from towpath.transfer import times
from towpath.transfer.api.answers import webhooks as answers
from towpath.transfer.api.answers.base import Result, reads
from towpath.transfer.api.bodies import Document, Text, read_document, refuse
from towpath.transfer.api.documents import JsonObject, result
from towpath.transfer.api.service import PREFIX, Caller, Service, TransferService, parse_id
from towpath.transfer.outbox import SwitchOff
from towpath.transfer.store import deliveries, webhooks
from towpath.transfer.store.deliveries import KEPT_OF_WEBHOOK, Past
from towpath.transfer.store.outbox import Topic
from towpath.transfer.store.webhooks import Webhook, seal_context

router = new_router(PREFIX)

MAX_WEBHOOKS: Final = 20
"""Of one user: each change is told to all of them."""
MAX_TESTS: Final = 10
TESTS_WITHIN_S: Final = 60
"""Nobody floods a stranger's server through us."""
MAX_URL_CHARACTERS: Final = 2000
MAX_AUTHORITY_CHARACTERS: Final = 64 * 1024
TOPICS: Final = tuple(
    topic for topic in Topic if topic not in (Topic.WEBHOOK_TEST, Topic.WEBHOOK_DISABLED)
)


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise refuse("invalid_url", "this is no URL") from None
    named = bool(parts.hostname) and port != 0 and "@" not in parts.netloc
    if parts.scheme not in ("https", "http") or not named or not text.isascii():
        raise refuse("invalid_url", "a webhook has an https URL, without a user name in it")
    if parts.fragment or any(c.isspace() or not c.isprintable() for c in text):
        raise refuse("invalid_url", "a webhook's URL has no blanks and no fragment in it")
    return text


def _topics(topics: list[str]) -> list[str]:
    unknown = [topic for topic in topics if topic not in TOPICS]
    if unknown:
        raise refuse(
            "invalid_topic",
            f"no topic is called '{unknown[0][:80]}'; there are {', '.join(TOPICS)}",
        )
    return list(dict.fromkeys(topics))


def _authority(pem: str) -> str:
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, x509.InvalidVersion):
        raise refuse("invalid_authority", "certificates are expected, in PEM") from None
    return pem


Url = Annotated[Text, Field(max_length=MAX_URL_CHARACTERS), AfterValidator(_url)]
Topics = Annotated[list[str], Field(min_length=1, max_length=100), AfterValidator(_topics)]
Authority = Annotated[Text, Field(max_length=MAX_AUTHORITY_CHARACTERS), AfterValidator(_authority)]
Description = Annotated[Text, Field(max_length=256)]


class WebhookDocument(Document):
    """Body of POST /webhook."""

    url: Url
    topics: Topics
    description: Description = ""
    authority: Authority | None = None


class WebhookChanges(Document):
    """Body of PUT /webhook/<id>: what is left out stays."""

    url: Url | None = None
    topics: Topics | None = None
    description: Description | None = None
    authority: Authority | None = None
    enabled: bool | None = None


class NotificationsDocument(Document):
    """Body of PUT /notifications."""

    mail: bool


@router.get("/webhook_list", response_model=answers.WebhookList)
async def list_webhooks(caller: Caller, service: Service) -> JSONResponse:
    """The caller's webhooks, the oldest first."""
    async with service.database.connection() as conn:
        found = await webhooks.list_all(conn, caller.sub)
    return JSONResponse({"DATA_TYPE": "webhook_list", "DATA": [_document(one) for one in found]})


@router.post(
    "/webhook",
    status_code=201,
    response_model=answers.NewWebhook,
    openapi_extra=reads(WebhookDocument),
)
async def create_webhook(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Be told there. The answer has the secret, which is not shown again."""
    document = await read_document(request, WebhookDocument)
    _check_scheme(service, document.url)
    made = Webhook(
        id=uuid4(),
        owner_id=caller.sub,
        **document.model_dump(),
        created_at=service.now(),
    )
    secret = standard_webhooks.new_secret()
    sealed = service.sealer.seal(secret, seal_context(made.id))
    async with service.database.transaction() as conn:
        kept = await webhooks.insert(conn, made, sealed, most=MAX_WEBHOOKS)
    if not kept:
        raise ApiError(
            409,
            "ClientError.Conflict.TooManyWebhooks",
            f"You have {MAX_WEBHOOKS} webhooks, which is the most: delete one",
        )
    return JSONResponse(
        {**_document(made), "secret": standard_webhooks.shown(secret)}, status_code=201
    )


@router.get("/webhook/{webhook_id}", response_model=answers.Webhook)
async def show_webhook(webhook_id: str, caller: Caller, service: Service) -> JSONResponse:
    """One webhook."""
    async with service.database.connection() as conn:
        found = await _own_webhook(conn, webhook_id, caller.sub)
    return JSONResponse(_document(found))


@router.put(
    "/webhook/{webhook_id}", response_model=answers.Webhook, openapi_extra=reads(WebhookChanges)
)
async def update_webhook(
    webhook_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Change some fields; `enabled` switches it on again, or off."""
    document = await read_document(request, WebhookChanges)
    if document.url is not None:
        _check_scheme(service, document.url)
    changes = document.model_dump(exclude_unset=True)
    # of the others null means the same as to leave them out
    changes = {name: to for name, to in changes.items() if to is not None or name == "authority"}
    async with service.database.transaction() as conn:
        before = await _own_webhook(conn, webhook_id, caller.sub, lock=True)
        await webhooks.update(conn, replace(before, **changes))
        after = await _own_webhook(conn, webhook_id, caller.sub)
    return JSONResponse(_document(after))


@router.delete("/webhook/{webhook_id}", response_model=Result)
async def delete_webhook(
    webhook_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Forget a webhook, and what waits for it."""
    wanted = parse_id(webhook_id, "webhook", "WebhookNotFound")
    async with service.database.connection() as conn:
        deleted = await webhooks.delete(conn, caller.sub, wanted)
    if not deleted:
        raise _not_found(wanted)
    return JSONResponse(
        result("result", "Deleted", "Webhook deleted successfully", request.url.path)
    )


@router.post("/webhook/{webhook_id}/secret", response_model=answers.NewWebhook)
async def replace_webhook_secret(webhook_id: str, caller: Caller, service: Service) -> JSONResponse:
    """Make a new secret, which is shown once. The one before signs too for a day."""
    secret = standard_webhooks.new_secret()
    async with service.database.transaction() as conn:
        found = await _own_webhook(conn, webhook_id, caller.sub, lock=True)
        sealed = service.sealer.seal(secret, seal_context(found.id))
        await webhooks.replace_secret(conn, found.id, sealed)
        after = await _own_webhook(conn, webhook_id, caller.sub)
    return JSONResponse({**_document(after), "secret": standard_webhooks.shown(secret)})


@router.post("/webhook/{webhook_id}/test", status_code=202, response_model=answers.TestAccepted)
async def test_webhook(
    webhook_id: str, request: Request, caller: Caller, service: Service
) -> JSONResponse:
    """Send it a message of the topic webhook.test; the list of deliveries says how that went."""
    async with service.database.transaction() as conn:
        found = await _own_webhook(conn, webhook_id, caller.sub)
        if await webhooks.tests_lately(conn, found.id, within_s=TESTS_WITHIN_S) >= MAX_TESTS:
            raise ApiError(
                429,
                "ClientError.TooManyRequests",
                f"{MAX_TESTS} test messages in {TESTS_WITHIN_S} s are the most: look at the"
                " deliveries, and try again later",
                headers={"Retry-After": str(TESTS_WITHIN_S)},
            )
        delivery_id = await webhooks.test(
            conn, found, {"webhook_id": str(found.id), "message": "This is a test."}
        )
    answer = result(
        "webhook_test",
        "Accepted",
        "A test message is on its way; the list of deliveries says how that went.",
        request.url.path,
        delivery_id=delivery_id,
    )
    return JSONResponse(answer, status_code=202)


@router.get("/webhook/{webhook_id}/delivery_list", response_model=answers.WebhookDeliveryList)
async def list_webhook_deliveries(
    webhook_id: str, caller: Caller, service: Service
) -> JSONResponse:
    """The last deliveries of a webhook, the newest first."""
    async with service.database.connection() as conn:
        found = await _own_webhook(conn, webhook_id, caller.sub)
        past = await deliveries.of_webhook(conn, found.id, most=KEPT_OF_WEBHOOK)
    return JSONResponse(
        {"DATA_TYPE": "webhook_delivery_list", "DATA": [_delivery_document(one) for one in past]}
    )


@router.get("/notifications", response_model=answers.Notifications)
async def show_notifications(caller: Caller, service: Service) -> JSONResponse:
    """Whether the caller is told by mail what becomes of his tasks and timers."""
    async with service.database.connection() as conn:
        wanted = await deliveries.mail_wanted(conn, caller.sub)
    return JSONResponse({"DATA_TYPE": "notifications", "mail": wanted})


@router.put(
    "/notifications",
    response_model=answers.Notifications,
    openapi_extra=reads(NotificationsDocument),
)
async def update_notifications(request: Request, caller: Caller, service: Service) -> JSONResponse:
    """Switch mails off, or on again."""
    document = await read_document(request, NotificationsDocument)
    async with service.database.transaction() as conn:
        await deliveries.want_mail(conn, caller.sub, wanted=document.mail)
    return JSONResponse({"DATA_TYPE": "notifications", "mail": document.mail})


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<body><h1>{title}</h1><p>{text}</p>{form}</body></html>"""
_FORM = '<form method="post"><button>Send me no more mails</button></form>'
_PAGE_HEADERS = {
    **PAGE_HEADERS,
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address is a key
}


@router.get("/unsubscribe", response_class=HTMLResponse)
async def ask_unsubscribe(key: str, service: Service) -> HTMLResponse:
    """Where the link in a mail leads: it changes nothing, because programs open links too."""
    _unsubscribes(service, key)
    page = _PAGE.format(
        title="Mails about your tasks and timers",
        text="You are told by mail what becomes of your tasks and timers.",
        form=_FORM,
    )
    return HTMLResponse(page, headers=_PAGE_HEADERS)


@router.post("/unsubscribe", response_class=HTMLResponse)
async def unsubscribe(key: str, service: Service) -> HTMLResponse:
    """The button there, and of programs for mail (RFC 8058)."""
    identity_id = _unsubscribes(service, key)
    async with service.database.transaction() as conn:
        await deliveries.want_mail(conn, identity_id, wanted=False)
    page = _PAGE.format(
        title="No more mails",
        text="You are not told by mail any more. PUT /v0.10/notifications switches it on again.",
        form="",
    )
    return HTMLResponse(page, headers=_PAGE_HEADERS)


def _unsubscribes(service: TransferService, key: str) -> UUID:
    found = SwitchOff(service.sealer, service.origin).read(key)
    if found is None:
        raise ApiError.not_found("This link is not one of ours, or is cut off")
    return found


def _check_scheme(service: TransferService, url: str) -> None:
    if not url.startswith("https:") and not service.allow_http:
        raise ApiError.bad_request(
            "url: a webhook has an https URL; the operator can allow http with notify.allow_http",
            reason="InvalidUrl",
        )


async def _own_webhook(
    conn: Connection, webhook_id: str, caller: UUID, *, lock: bool = False
) -> Webhook:
    wanted = parse_id(webhook_id, "webhook", "WebhookNotFound")
    found = await webhooks.get(conn, caller, wanted, lock=lock)
    if found is None:
        raise _not_found(wanted)
    return found


def _not_found(webhook_id: UUID) -> ApiError:
    return ApiError.not_found(f"No such webhook '{webhook_id}'", code="WebhookNotFound")


def _document(webhook: Webhook) -> JsonObject:
    return {
        "DATA_TYPE": "webhook",
        "id": str(webhook.id),
        "url": webhook.url,
        "description": webhook.description,
        "topics": list(webhook.topics),
        "authority": webhook.authority,
        "enabled": webhook.enabled,
        "disabled_because": webhook.disabled_because,
        "created_at": times.show(webhook.created_at),
        "failures_in_a_row": webhook.failures_in_a_row,
        "earlier_secret_until": times.show(webhook.earlier_until),
    }


def _delivery_document(one: Past) -> JsonObject:
    return {
        "DATA_TYPE": "webhook_delivery",
        "id": one.id,
        "message_id": f"msg_{one.message_id.hex}",
        "topic": one.topic,
        "created_at": times.show(one.created_at),
        "status": one.state,
        "attempts": one.attempts,
        "last_attempt_at": times.show(one.attempted_at),
        "next_attempt_at": times.show(one.next_attempt_at),
        "response_status": one.status,
        "error": one.error,
    }
