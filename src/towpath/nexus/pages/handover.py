"""From an application's authorization request to the login page and back.

Only the request's id goes through addresses. It must look like one, and nothing else from outside
becomes part of a redirect (RFC 9700, 4.11).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from towpath.nexus.oauth import authorization
from towpath.nexus.oauth.authorize import Requirement
from towpath.nexus.store import identities
from towpath.nexus.well_known import shown_name
from towpath.platform.database import Connection

RESUME = "/v2/oauth2/authorize/resume"
HOME = "/"
"""The web interface."""
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
    pending = await authorization.find(connection, request_id, browser)
    if pending is None:
        return None
    required = await authorization.needed(connection, pending)
    # that somebody logs in, now, goes without saying on a login page
    plain = (Requirement(), Requirement(not_before=pending.began_at))
    ids = [one.identity for one in required if one.identity is not None]
    names = {one.id: one.username for one in await identities.identities_by_id(connection, ids)}
    hint = names.get(ids[0], "") if len(ids) == 1 else ""
    return Handover(
        client_name=shown_name(pending.client),
        message=pending.request.session_message,
        needed=[_in_words(one, names) for one in required if one not in plain],
        form_targets=form_targets(pending.request.redirect_uri),
        login_hint=pending.request.login_hint or hint,
        fresh=any(one.not_before is not None for one in required),
        mfa=any(one.mfa for one in required),
    )


def _in_words(one: Requirement, names: Mapping[UUID, str]) -> str:
    """What a login must be."""
    if one.identity is not None:
        who = f"a login as {names.get(one.identity, one.identity)}"
    elif one.domains is not None:
        who = f"a login with an identity of {' or '.join(one.domains)}"
    else:
        who = "a login"
    how = " with a second factor, such as a passkey" if one.mfa else ""
    bars = f", not of {' or '.join(one.not_domains)}" if one.not_domains else ""
    where = " at the identity provider that the application asks for" if one.provider else ""
    when = f", after {one.not_before:%Y-%m-%d %H:%M} UTC" if one.not_before else ""
    return f"{who}{where}{how}{bars}{when}"


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
    return f"{RESUME}?request={request_id}" if request_id else place or HOME


def login_path(place: str) -> str:
    """The login page, which leads back to ``place``."""
    known = place_of(place)
    return f"/v2/web/login?to={known}" if known else "/v2/web/login"
