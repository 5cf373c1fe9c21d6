"""Who may do what at Timers: a table of its routes, of which every cell is tried.

A route that has no row fails the test. Whoever may not is refused before anything else is looked
at; to others than its owner a timer does not exist.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx
from fastapi.routing import iter_route_contexts

from plugins.nexus import REDIRECT
from plugins.timers import TIMERS_GROUP, User, World
from towpath.nexus.people import accounts

pytestmark = TIMERS_GROUP


class Persona(StrEnum):
    """Who asks."""

    OWNER = "owner"  # with the application that has made the timer
    UNALLOWED = "unallowed"  # the owner, with one that may not have Timers transfer for him
    OTHER = "other"
    ELSEWHERE = "elsewhere"  # the owner's application, with a token that is not for Timers
    SUSPENDED = "suspended"
    NOBODY = "nobody"  # has no token


OWNERS = frozenset({Persona.OWNER, Persona.UNALLOWED})
UNKNOWN = frozenset({Persona.ELSEWHERE, Persona.SUSPENDED, Persona.NOBODY})
"""Whose token, if they have one, stands for nobody here."""

OLD = {
    "name": "old",
    "start": "2030-01-01T12:00:00",
    "interval": 3600,
    "callback_url": "https://actions.automate.globus.org/transfer/transfer/run",
}


@dataclass(frozen=True)
class Row:
    """A route. `exchanges`: it needs what lets the application have Timers transfer."""

    then: int = 200
    body: Any = None
    exchanges: bool = False


ROUTES: dict[str, Row] = {
    "POST /v2/timer": Row(201, "{timer}", exchanges=True),
    "POST /jobs/": Row(201, "{old}", exchanges=True),
    "GET /jobs/": Row(),
    "GET /jobs/{job_id}": Row(),
    "PATCH /jobs/{job_id}": Row(body={"name": "mine"}),
    "POST /jobs/{job_id}/pause": Row(),
    "POST /jobs/{job_id}/resume": Row(body={"update_credentials": True}, exchanges=True),
    "DELETE /jobs/{job_id}": Row(),
}


@dataclass
class Site:
    """Everybody, and the owner's timer."""

    timing: World
    owner: User
    other: User
    people: dict[Persona, httpx.AsyncClient]
    job_id: str | None = None

    async def ask(self, key: str, persona: Persona, body: Any) -> httpx.Response:
        job_id = self.job_id = self.job_id or await self.owner.makes()
        method, _, path = key.partition(" ")
        asks = self.other if persona is Persona.OTHER else self.owner
        documents = {
            "{timer}": asks.timer(),
            "{old}": OLD | {"callback_body": {"body": asks.body()}},
        }
        answer = await self.people[persona].request(
            method,
            path.format(job_id=job_id),
            json=documents[body] if isinstance(body, str) else body,
        )
        if persona in OWNERS:
            if method != "GET":
                self.job_id = None
                await self._timers()
        else:
            before = [row for row in await self._timers() if row["owner_id"] == self.owner.sub]
            assert [(str(row["id"]), row["name"], row["status"]) for row in before] == [
                (job_id, "mirror", "active")
            ], f"{persona}: {key}: the timer is as it was"
            assert answer.is_error or job_id not in answer.text, f"{persona} is shown the timer"
        return answer

    async def _timers(self) -> list[dict[str, Any]]:
        """All that there are; but for the owner's, if it is still needed, they are removed."""
        async with self.timing.database.connection() as conn:
            found = await (
                await conn.execute("SELECT id, owner_id, name, status FROM timer")
            ).fetchall()
            await conn.execute("DELETE FROM timer WHERE id IS DISTINCT FROM %s", (self.job_id,))
        return found


async def _site(timing: World) -> Site:
    ada = await timing.person("ada")
    tokens = {
        one["resource_server"]: one["access_token"]
        for one in (ada.document, *ada.document["other_tokens"])
    }
    application = await timing.nexus.client(redirect_uris=[REDIRECT])
    unallowed = await timing.known(
        ada.user.sub, await timing.log_in(ada.person, application), ada.user.endpoints
    )
    async with timing.nexus.database.connection() as conn:
        await conn.execute(
            "DELETE FROM consent WHERE root_client_id = %s AND parent_id IS NOT NULL",
            (application.client_id,),
        )
    other = await timing.user()
    eve = await timing.person("eve")
    async with timing.nexus.database.transaction() as conn:
        assert await accounts.suspend(conn, eve.person.account_id)
    return Site(
        timing,
        ada.user,
        other,
        {
            Persona.OWNER: ada.user.http,
            Persona.UNALLOWED: unallowed.http,
            Persona.OTHER: other.http,
            Persona.ELSEWHERE: timing.at(timing.app, tokens["transfer.api.globus.org"]),
            Persona.SUSPENDED: eve.user.http,
            Persona.NOBODY: timing.at(timing.app),
        },
    )


def _expected(key: str, row: Row, persona: Persona) -> tuple[int, str | None]:
    """The status, and the code of the error."""
    if persona in UNKNOWN:
        return 401, None
    if persona is Persona.OTHER and "{job_id}" in key:
        return 404, "NOT_FOUND"
    if persona is Persona.UNALLOWED and row.exchanges:
        return 403, "ConsentRequired"
    return row.then, None


def _cells() -> Iterator[tuple[str, Row, Persona]]:
    for key, row in ROUTES.items():
        for persona in Persona:
            yield key, row, persona


async def test_every_route_for_everybody(timing: World) -> None:
    known = {
        f"{method} {route.path}"
        for route in iter_route_contexts(timing.app.routes)
        for method in route.methods or ()
    }
    assert known == set(ROUTES), "each route has a row, and each row a route"
    site = await _site(timing)
    faults = []
    for key, row, persona in _cells():
        answer = await site.ask(key, persona, row.body)
        status, code = _expected(key, row, persona)
        told = answer.json().get("error", {}).get("code") if code is not None else None
        if (answer.status_code, told) != (status, code):
            faults.append(
                f"{persona}: {key}: {answer.status_code} {told}, not {status} {code}:"
                f" {answer.text[:200]}"
            )
    assert not faults, "\n".join(faults)
