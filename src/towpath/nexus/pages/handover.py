"""From an application's authorization request to the login page and back.

Only the request's id goes through addresses. It must look like one, and nothing else from outside
becomes part of a redirect (RFC 9700, 4.11).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from towpath.nexus.oauth.requests import AuthorizationRequest
from towpath.nexus.store import authorizations, clients, identities
from towpath.platform.database import Connection

RESUME = "/v2/oauth2/authorize/resume"
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_TARGET = re.compile(r"[a-z][a-z0-9+.-]*:(//[A-Za-z0-9.:\[\]-]+)?")
_PLACE = re.compile(r"/(account|groups)(/[A-Za-z0-9-]{1,64}){0,4}")


@dataclass(frozen=True)
class Handover:
    """What the login page tells of the request."""

    client_name: str | None
    message: str | None
    needed: Sequence[str]
    """What the session still needs, in words."""
    form_targets: Sequence[str]
    """Where the browser may be sent in the end."""
    login_hint: str = ""
    fresh: bool = False
    """The person must prove who they are anew."""
    mfa: bool = False
    """With more than one factor."""


async def find(connection: Connection, request_id: str, browser: str) -> Handover | None:
    """What is known of the request; None if there is none of that id in this browser."""
    pending = await authorizations.find_request(connection, request_id, browser)
    if pending is None:
        return None
    wanted = AuthorizationRequest.of_document(pending.parameters)
    client = await clients.find(connection, pending.client_id)
    required = await identities.identities_by_id(
        connection, [UUID(one) for one in wanted.required_identities]
    )
    needed = [f"a login as {one.username}" for one in required]
    if wanted.required_domains:
        needed.append(f"a login of {' or '.join(wanted.required_domains)}")
    if wanted.required_mfa:
        needed.append("a login with a passkey, or another second proof")
    return Handover(
        client_name=client.name if client else None,
        message=wanted.session_message,
        needed=needed,
        form_targets=form_targets(wanted.redirect_uri),
        login_hint=wanted.login_hint or (required[0].username if len(required) == 1 else ""),
    )


def form_targets(redirect_uri: str) -> list[str]:
    """What CSP's ``form-action`` calls the place that an answer goes to: an origin, or the scheme
    of an application's own (RFC 8252, 7.1).
    """
    parts = urlsplit(redirect_uri)
    web = parts.scheme in ("http", "https")
    target = f"{parts.scheme}://{parts.netloc}" if web else f"{parts.scheme}:"
    return [target] if _TARGET.fullmatch(target) else []


def request_id_of(text: str | None) -> str:
    """The id of an authorization request, or '' for what is none."""
    return text if text and _ID.fullmatch(text) else ""


def place_of(text: str | None) -> str:
    """A page of ours to come back to, or '' for what is none."""
    return text if text and _PLACE.fullmatch(text) else ""


def next_path(request_id: str, place: str) -> str:
    """Where somebody who has logged in goes on."""
    return f"{RESUME}?request={request_id}" if request_id else place or "/account"


def login_path(place: str) -> str:
    """The login page, which leads back to ``place``."""
    known = place_of(place)
    return f"/v2/web/login?to={known}" if known else "/v2/web/login"
