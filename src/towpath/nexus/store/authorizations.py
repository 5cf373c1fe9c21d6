"""Authorization requests while a person logs in and consents, and the codes that come of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from towpath.nexus.hashing import digest
from towpath.platform.database import Connection

REQUEST_LIFETIME_S = 600
"""Ten minutes to find a password and a phone."""
CODE_LIFETIME_S = 60
"""A program fetches its token at once ..."""
SHOWN_CODE_LIFETIME_S = 600
"""... but a person copies the code from a page into a terminal (RFC 6749, 4.1.2: at most this)."""
_SWEPT_AT_ONCE = 100


@dataclass(frozen=True)
class Pending:
    """A request that waits for a person."""

    client_id: UUID
    parameters: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Code:
    """What a code stands for."""

    grant_id: UUID
    client_id: UUID
    identity_id: UUID
    redirect_uri: str
    code_challenge: str | None
    offline: bool
    nonce: str | None
    state: str | None
    consent_ids: list[int]
    expired: bool
    used: bool


async def add_request(
    connection: Connection,
    request_id: str,
    *,
    browser: str,
    client_id: UUID,
    parameters: Mapping[str, Any],
) -> None:
    """Keep a request for the browser that has the cookie ``browser``; and remove some old ones."""
    await connection.execute(
        "DELETE FROM authorization_request WHERE hash IN (SELECT hash FROM authorization_request"
        " WHERE expires_at < now() LIMIT %s FOR UPDATE SKIP LOCKED)",
        (_SWEPT_AT_ONCE,),
    )
    await connection.execute(
        "INSERT INTO authorization_request (hash, browser_hash, client_id, parameters, created_at,"
        " expires_at) VALUES (%s, %s, %s, %s, now(), now() + make_interval(secs => %s))",
        (
            digest(request_id),
            digest(browser),
            client_id,
            Jsonb(dict(parameters)),
            REQUEST_LIFETIME_S,
        ),
    )


async def find_request(
    connection: Connection, request_id: str, browser: str, *, lock: bool = False
) -> Pending | None:
    """The request, if it has not expired and belongs to this browser.

    ``lock``: until the transaction ends, so that it is answered once.
    """
    async with connection.cursor(row_factory=class_row(Pending)) as cursor:
        await cursor.execute(
            "SELECT client_id, parameters, created_at FROM authorization_request"  # noqa: S608
            " WHERE hash = %s AND browser_hash = %s AND expires_at > now()"
            + (" FOR UPDATE" if lock else ""),
            (digest(request_id), digest(browser)),
        )
        return await cursor.fetchone()


async def end_request(connection: Connection, request_id: str) -> None:
    """The request has its answer."""
    await connection.execute(
        "DELETE FROM authorization_request WHERE hash = %s", (digest(request_id),)
    )


async def add_code(
    connection: Connection,
    code: str,
    *,
    grant_id: UUID,
    redirect_uri: str,
    code_challenge: str | None,
    offline: bool,
    nonce: str | None,
    state: str | None,
    consent_ids: Sequence[int],
    lifetime_s: int,
) -> None:
    """Store a code; and remove some whose grant has come to nothing."""
    await connection.execute(
        "DELETE FROM oauth_grant WHERE id IN (SELECT g.id FROM authorization_code c"
        " JOIN oauth_grant g ON g.id = c.grant_id WHERE c.expires_at < now() AND c.used_at IS NULL"
        " LIMIT %s FOR UPDATE OF g SKIP LOCKED)",
        (_SWEPT_AT_ONCE,),
    )
    await connection.execute(
        "INSERT INTO authorization_code (hash, grant_id, redirect_uri, code_challenge, offline,"
        " nonce, state, consent_ids, expires_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now() + make_interval(secs => %s))",
        (
            digest(code),
            grant_id,
            redirect_uri,
            code_challenge,
            offline,
            nonce,
            state,
            list(consent_ids),
            lifetime_s,
        ),
    )


async def find_code(connection: Connection, code: str) -> Code | None:
    """The code, also when it is used or too old. Its grant is held until the transaction ends."""
    # the grant first, as whoever ends it does: from the other end each would wait for the other
    await connection.execute(
        "SELECT 1 FROM oauth_grant g JOIN authorization_code c ON c.grant_id = g.id"
        " WHERE c.hash = %s FOR UPDATE OF g",
        (digest(code),),
    )
    async with connection.cursor(row_factory=class_row(Code)) as cursor:
        await cursor.execute(
            "SELECT c.grant_id, g.client_id, g.identity_id, c.redirect_uri, c.code_challenge,"
            " c.offline, c.nonce, c.state, c.consent_ids, c.expires_at <= now() AS expired,"
            " c.used_at IS NOT NULL AS used"
            " FROM authorization_code c JOIN oauth_grant g ON g.id = c.grant_id"
            " WHERE c.hash = %s",
            (digest(code),),
        )
        return await cursor.fetchone()


async def use_code(connection: Connection, code: str) -> None:
    """It is not good for another time."""
    await connection.execute(
        "UPDATE authorization_code SET used_at = now() WHERE hash = %s", (digest(code),)
    )
