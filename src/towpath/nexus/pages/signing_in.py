"""What every way of logging in ends with: the browser's session knows of it."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

from fastapi import Request

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.pages import frame
from towpath.nexus.pages.frame import PageError
from towpath.nexus.people.throttle import BROWSERS_KEPT
from towpath.nexus.store import accounts, sessions, throttle
from towpath.platform.database import Connection


async def sign_in(
    request: Request,
    connection: Connection,
    *,
    identity_id: UUID,
    provider_id: UUID,
    amr: Sequence[str],
    acr: str | None = None,
    at: datetime | None = None,
) -> UUID:
    """Note that the identity has proved itself in this browser; returns the session's id.

    That was now, or ``at`` a time that its provider says.

    The browser gets a new session cookie with the next :func:`frame.render` or
    :func:`frame.redirect`, so that a value which somebody knew from before is worth nothing (OWASP
    ASVS 5.0, 7.2.4). A session of the same account goes on; one of another account ends. Call it in
    a transaction. Raises :class:`PageError` for an account that is suspended.
    """
    account = await accounts.account_of_identity(connection, identity_id)
    if account is None or not await accounts.hold(connection, account.id):
        raise PageError(
            403,
            "This account is suspended",
            "Ask the people who run this service; nothing of yours is lost.",
        )
    current = await frame.current_session(request, connection)
    value = frame.new_session_value(request)
    address = frame.address_of(request)
    if current is not None and current.account_id == account.id:
        session_id = current.id
        await sessions.rotate(connection, session_id, value)
    else:
        if current is not None:
            await sessions.end(connection, current.id)
        session_id = uuid4()
        await sessions.create(
            connection,
            session_id=session_id,
            value=value,
            account_id=account.id,
            address=address,
            user_agent=request.headers.get("User-Agent", ""),
            lifetime_s=frame.frame_of(request).session_lifetime_s,
        )
    await sessions.authenticated(
        connection, session_id, identity_id, provider_id=provider_id, amr=amr, acr=acr, at=at
    )
    await throttle.know_browser(
        connection, frame.browser_value(request), identity_id, keep=BROWSERS_KEPT
    )
    await audit.append(
        connection,
        Act(
            "login.ok",
            actor=identity_id,
            subject=identity_id,
            details={"amr": list(amr), "provider": str(provider_id), "session": str(session_id)},
        ),
    )
    return session_id


async def sign_out(request: Request, connection: Connection) -> None:
    """End this browser's session, if it has one."""
    current = await frame.current_session(request, connection)
    if current is not None:
        await sessions.end(connection, current.id)
        actor = next(iter(current.authentications), None)
        await audit.append(
            connection,
            Act("session.ended", actor=actor, subject=current.id, details={"how": "logout"}),
        )
    frame.forget_session(request)
