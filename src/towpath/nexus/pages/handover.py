"""From an application's authorization request to the login page and back.

Only the request's id goes through addresses. It must look like one, and nothing else from outside
becomes part of a redirect (RFC 9700, 4.11).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from towpath.platform.database import Connection

RESUME = "/v2/oauth2/authorize/resume"
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
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
    del connection, request_id, browser
    return None


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
