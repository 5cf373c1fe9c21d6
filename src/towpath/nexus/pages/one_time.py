"""Links from mails: the secret leaves the address at once and waits in a cookie.

So it is in no history, no referrer and no picture of the screen, and a mail scanner that follows
the link uses nothing up: that takes the form behind it.
"""

import re

from fastapi import Request, Response

from towpath.nexus.pages import frame
from towpath.nexus.people.service import PATHS
from towpath.nexus.store.links import Purpose

KEPT_S = 3600
"""An hour to fill a form in; the link itself may end before."""
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")


def _cookie(purpose: Purpose) -> str:
    return f"__Host-towpath-{purpose}"


def keep_link(request: Request, purpose: Purpose) -> Response:
    """Keep the secret of the address, and go to the same page without it."""
    value = request.query_params.get("link", "")
    if _VALUE.fullmatch(value):
        frame.set_cookie(request, _cookie(purpose), value, max_age_s=KEPT_S)
    return frame.redirect(request, PATHS[purpose])


def kept_link(request: Request, purpose: Purpose) -> str:
    """The secret, or '' if there is none."""
    value = request.cookies.get(_cookie(purpose), "")
    return value if _VALUE.fullmatch(value) else ""


def forget_link(request: Request, purpose: Purpose) -> None:
    """It was used."""
    frame.set_cookie(request, _cookie(purpose), "", max_age_s=0)
