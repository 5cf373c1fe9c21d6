"""Keeps what is known of people fresh while they have tasks at what is shared with them.

A request brings its caller's groups with its token; a task goes on without one. Who has lost the
group that let him in is so noticed while his task runs.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import httpx
import structlog

from towpath.platform.database import AWAY, Database, is_away
from towpath.transfer.rights import Who
from towpath.transfer.store import principals

ROUTE = "/v2/api/principals"
LOOK_S = 5.0
OLD_S = 15.0
"""With LOOK_S: a lost group is known here after 20 s; the engine looks a moment later, and all has
to be over after a minute."""
SHARERS_OLD_S = 600.0
"""Who shares something need not come by for others to use it, with what he himself may use: that is
lost to them, too, when he is not linked to its owner any more."""
AT_ONCE = 100
"""People asked for in one request (nexus' own bound)."""
ROUNDS_LIMIT = 50
"""Requests in a row: 5,000 people in 20 s. More become older, the longest unheard first."""

NEWS_S = 10.0
"""Less than OLD_S: who asks for much is not asked about."""
KNOWN_LIMIT = 10_000
"""As many as there are callers whose tokens are remembered."""

_log = structlog.stdlib.get_logger("towpath.principals")


class Heard:
    """Whom the database has heard of just now: it need not be told again with every request."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._known: OrderedDict[UUID, tuple[Who, float]] = OrderedDict()

    def is_news(self, who: Who) -> bool:
        """Whether the database should be told."""
        known = self._known.get(who.id)
        return known is None or known[0] != who or self._monotonic() - known[1] > NEWS_S

    def told(self, who: Who) -> None:
        """It has been."""
        self._known[who.id] = (who, self._monotonic())
        self._known.move_to_end(who.id)
        while len(self._known) > KNOWN_LIMIT:
            self._known.popitem(last=False)


class PrincipalWatch:
    """Asks nexus who people are by now.

    ``http`` has nexus' origin as its ``base_url``; ``login`` is this service's own client.
    """

    def __init__(self, database: Database, http: httpx.AsyncClient, login: httpx.Auth) -> None:
        self._database = database
        self._http = http
        self._login = login

    async def run(self) -> None:
        """Until cancelled. While nexus or the database is away, all stays as it is."""
        while True:
            try:
                await self.look()
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                _log.warning("principals.nexus_unavailable", error=str(error))
            except AWAY as error:
                if not is_away(error):
                    raise
            await asyncio.sleep(LOOK_S)

    async def look(self, *, old_s: float = OLD_S) -> int:
        """Ask for those who were last heard of more than `old_s` ago; how many these were.

        Raises ``httpx.HTTPError``, and ValueError, KeyError or TypeError for an answer that is
        none.
        """
        asked = 0
        for _ in range(ROUNDS_LIMIT):
            async with self._database.connection() as conn:
                ids = await principals.old(
                    conn, old_s=old_s, sharers_old_s=SHARERS_OLD_S, limit=AT_ONCE
                )
            if not ids:
                break
            await self._ask(ids)
            asked += len(ids)
            if len(ids) < AT_ONCE:
                break
        return asked

    async def _ask(self, ids: list[UUID]) -> None:
        answer = await self._http.post(
            ROUTE, json={"identity_ids": [str(one) for one in ids]}, auth=self._login
        )
        document = answer.raise_for_status().json()
        found = {who.id: (who, email) for who, email in map(_principal, document["principals"])}
        async with self._database.transaction() as conn:
            # in one order with submissions that come together, or two would wait for each other
            for id_ in sorted(ids):
                # who is not there any more is nobody else, and in no group
                nobody = Who(id_, None, frozenset({id_}), frozenset())
                who, email = found.get(id_, (nobody, None))
                await principals.put(conn, who, email=email)


def _principal(document: Mapping[str, Any]) -> tuple[Who, str | None]:
    who = Who(
        UUID(document["id"]),
        str(document["username"]),
        frozenset(UUID(one) for one in document["identity_set"]),
        frozenset(UUID(one) for one in document["groups"]),
    )
    if who.id not in who.identities:
        raise ValueError(f"{who.id} is not among its own identities")
    email = document["email"]
    return who, None if email is None else str(email)
