"""For acts that give the whole account away: the login must be recent."""

from datetime import UTC, datetime

from towpath.nexus.pages.frame import PageError
from towpath.nexus.store import sessions
from towpath.nexus.store.sessions import Session
from towpath.platform.database import Connection

RECENT_S = 900.0
"""An unlocked screen is no proof of whose account it is; a quarter of an hour is for doing several
such things after one login (OWASP ASVS 5.0, 7.5.1).
"""


async def recent(connection: Connection, session: Session) -> None:
    """Pass if somebody has just logged in. Raises :class:`PageError`."""
    # an institution may not say when its login was: then the session's beginning counts
    if await sessions.age_s(connection, session.id) <= RECENT_S:
        return
    now = datetime.now(UTC)
    if any((now - one.at).total_seconds() <= RECENT_S for one in session.authentications.values()):
        return
    raise PageError(
        403,
        "Your login is some time ago",
        "For this, log out, log in again, and come back to this page within 15 minutes.",
    )
