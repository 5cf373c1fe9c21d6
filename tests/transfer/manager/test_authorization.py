"""Who may do what at an endpoint's Manager: a table of its routes, of which every cell is tried.

A route that has no row fails the test. All others than those of its row are refused: with 404 where
they may not see what it is about, with 403 where they do.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import httpx
from fastapi.routing import iter_route_contexts

from plugins import shares
from plugins.manager_api import Lab, Manager, User
from plugins.standings import endpoint
from towpath.transfer.api import TransferService
from towpath.transfer.manager.app import create_app
from towpath.transfer.manager.documents import gateway_id
from towpath.transfer.rights import PrincipalType, Role, Who
from towpath.transfer.store import endpoints, roles
from towpath.transfer.store.roles import Held


class Persona(StrEnum):
    """What somebody is at the endpoint, which everybody may see."""

    OWNER = "owner"
    ADMINISTRATOR = "administrator"
    ACCESS_MANAGER = "access_manager"
    ACTIVITY_MANAGER = "activity_manager"
    ACTIVITY_MONITOR = "activity_monitor"
    SHARER = "sharer"  # of its mapped collection, and nothing else
    OTHER = "other"
    NOBODY = "nobody"  # has no token


class Place(StrEnum):
    """A collection of it; both are private."""

    MAPPED = "mapped"
    GUEST = "guest"


ROLES = {Persona(role): role for role in Role}
ALL = frozenset(Persona) - {Persona.NOBODY}
WITH_ROLE = frozenset({Persona.OWNER, *ROLES})
ADMINISTRATORS = frozenset({Persona.OWNER, Persona.ADMINISTRATOR})
SEES = {Place.MAPPED: WITH_ROLE, Place.GUEST: WITH_ROLE | {Persona.SHARER}}
CHANGES = {Place.MAPPED: ADMINISTRATORS, Place.GUEST: ADMINISTRATORS | {Persona.SHARER}}


@dataclass(frozen=True)
class Row:
    """A route of the endpoint itself: who may, and what he then gets; for the others `refused`."""

    may: frozenset[Persona]
    then: tuple[int, ...]
    body: Any = None
    refused: int = 403


@dataclass(frozen=True)
class Of:
    """A route of a collection."""

    may: dict[Place, frozenset[Persona]]
    then: tuple[int, ...]
    body: Any = None


ROUTES: dict[str, Row | Of] = {
    "GET /info": Row(ALL | {Persona.NOBODY}, (200,)),
    "GET /endpoint": Row(ALL, (200,)),
    "PATCH /endpoint": Row(ADMINISTRATORS, (200,), {"DATA_TYPE": "endpoint#1.2.0"}),
    "PUT /endpoint/subscription_id": Row(
        ADMINISTRATORS,
        (200,),
        {"DATA_TYPE": "endpoint_subscription#1.0.0", "subscription_id": None},
    ),
    "GET /collections": Row(ALL, (200,)),
    "POST /collections": Row(
        ADMINISTRATORS,
        (201,),
        {
            "DATA_TYPE": "collection#1.0.0",
            "collection_type": "mapped",
            "display_name": "new",
            "collection_base_path": "/srv/open",
        },
    ),
    "GET /collections/{collection_id}": Of(SEES, (200,)),
    "PATCH /collections/{collection_id}": Of(CHANGES, (200,), {"DATA_TYPE": "collection#1.0.0"}),
    "DELETE /collections/{collection_id}": Of(CHANGES, (200, 422)),
    "GET /user_credentials": Row(ALL, (200,)),
    "POST /user_credentials": Row(
        ALL,
        (201,),
        {"DATA_TYPE": "user_credential#1.0.0", "storage_gateway_id": "{storage_gateway_id}"},
    ),
    # of nobody whom one of them could be
    "GET /user_credentials/{user_credential_id}": Row(ALL, (404,)),
    "PATCH /user_credentials/{user_credential_id}": Row(
        ALL, (404,), {"DATA_TYPE": "user_credential#1.0.0"}
    ),
    "DELETE /user_credentials/{user_credential_id}": Row(ALL, (404,)),
    "GET /storage_gateways": Row(ALL, (200,)),
    "POST /storage_gateways": Row(ADMINISTRATORS, (422,), {"DATA_TYPE": "storage_gateway#1.0.0"}),
    "GET /storage_gateways/{storage_gateway_id}": Row(ALL, (200,)),
    "PATCH /storage_gateways/{storage_gateway_id}": Row(
        ADMINISTRATORS, (200,), {"DATA_TYPE": "storage_gateway#1.0.0"}
    ),
    "DELETE /storage_gateways/{storage_gateway_id}": Row(ADMINISTRATORS, (422,)),
    "GET /roles": Row(ALL, (200,)),
    "POST /roles": Row(
        ADMINISTRATORS,
        (201,),
        {
            "DATA_TYPE": "role#1.0.0",
            "principal": "urn:globus:auth:identity:{new}",
            "role": "administrator",
        },
    ),
    # somebody else's
    "GET /roles/{role_id}": Row(ADMINISTRATORS, (200,), refused=404),
    "DELETE /roles/{role_id}": Row(ADMINISTRATORS, (200,), refused=404),
}


@dataclass
class Site:
    """The endpoint, and everybody there."""

    service: TransferService
    lab: Lab
    people: dict[Persona, Manager]
    users: dict[Persona, UUID]
    places: dict[Place, UUID]
    role: Held

    async def ask(self, key: str, persona: Persona, place: Place, body: Any) -> httpx.Response:
        method, _, path = key.partition(" ")
        ids = {
            "collection_id": str(self.places[place]),
            "storage_gateway_id": str(gateway_id(UUID(self.lab.id))),
            "role_id": str(self.role.id),
            "user_credential_id": str(uuid4()),
        }
        manager = self.people[persona]
        bearer = {"Authorization": f"Bearer {manager.token}" if manager.token else ""}
        answer = await manager.http.request(
            method,
            f"/gcs/{self.lab.id}/api{path.format_map(ids)}",
            json=_filled(body, {**ids, "new": str(uuid4())}),
            headers=bearer,
        )
        if method == "DELETE" and answer.status_code == 200:
            await self._undo()
        return answer

    async def _undo(self) -> None:
        async with self.service.database.transaction() as conn:
            await conn.execute("UPDATE endpoint SET deleted_at = NULL")
            if await roles.by_id(conn, self.role.id) is None:
                await roles.add(conn, self.role, uuid4())


def _filled(body: Any, words: dict[str, str]) -> Any:
    if isinstance(body, dict):
        return {key: _filled(one, words) for key, one in body.items()}
    return body.format_map(words) if isinstance(body, str) else body


def _held(place: UUID, principal: UUID, role: Role) -> Held:
    return Held(
        id=uuid4(),
        endpoint_id=place,
        principal_type=PrincipalType.IDENTITY,
        principal=principal,
        role=role,
    )


async def _site(
    service: TransferService, alice: User, lab: Lab, login: Callable[[], Awaitable[User]]
) -> Site:
    users = {persona: await login() for persona in Persona if persona is not Persona.OWNER}
    users[Persona.OWNER] = alice
    at = UUID(lab.id)
    stranger = _held(at, uuid4(), Role.ACTIVITY_MONITOR)
    async with service.database.transaction() as conn:
        (mapped,) = await endpoints.collections(conn, at)
        guest = endpoint(users[Persona.SHARER].sub, host=mapped, share_path="/shared")
        await endpoints.insert(conn, guest, {})
        for persona, role in ROLES.items():
            await roles.add(conn, _held(at, users[persona].sub, role), alice.sub)
        await roles.add(conn, stranger, alice.sub)
    people = {persona: await user.at(lab.id) for persona, user in users.items()}
    people[Persona.NOBODY].token = None
    places = {Place.MAPPED: mapped.id, Place.GUEST: guest.id}
    subs = {persona: user.sub for persona, user in users.items()}
    return Site(service, lab, people, subs, places, stranger)


def _expected(row: Row | Of, persona: Persona, place: Place) -> tuple[int, ...]:
    may = row.may if isinstance(row, Row) else row.may[place]
    if persona in may:
        return row.then
    if persona is Persona.NOBODY:
        return (401,)
    if isinstance(row, Row):
        return (row.refused,)
    return (403,) if persona in SEES[place] else (404,)


def _cells() -> Iterator[tuple[str, Row | Of, Persona, Place]]:
    for key, row in ROUTES.items():
        for place in Place if isinstance(row, Of) else (Place.MAPPED,):
            for persona in Persona:
                yield key, row, persona, place


AT_A_PRIVATE_ENDPOINT = {
    "GET /info": 200,
    "GET /collections": 200,
    "GET /collections/{collection_id}": 200,
    "PATCH /collections/{collection_id}": 403,
    "DELETE /collections/{collection_id}": 403,
    "GET /user_credentials": 200,
    "POST /user_credentials": 201,
}
"""For who may use a collection of it, and has no role: all else is not there for him."""


async def test_who_may_use_a_collection_of_a_private_endpoint(
    service: TransferService, alice: User, lab: Lab, login: Callable[[], Awaitable[User]]
) -> None:
    site = await _site(service, alice, lab, login)
    mapped, guest = site.places[Place.MAPPED], site.places[Place.GUEST]

    async def public(place: UUID, *, yes: bool) -> None:
        async with service.database.connection() as conn:
            await conn.execute("UPDATE endpoint SET public = %s WHERE id = %s", (yes, place))

    async def answers(
        persona: Persona, place: Place = Place.MAPPED, routes: Iterable[str] = ROUTES
    ) -> dict[str, int]:
        told = {}
        for key in routes:
            answer = await site.ask(key, persona, place, ROUTES[key].body)
            told[key] = answer.status_code
            assert "Lab" not in answer.text, f"{key} names the endpoint"
        return told

    nothing = dict.fromkeys(ROUTES, 404) | {"GET /info": 200}
    await public(UUID(lab.id), yes=False)
    assert await answers(Persona.OTHER) == nothing
    await public(mapped, yes=True)
    assert await answers(Persona.OTHER) == nothing | AT_A_PRIVATE_ENDPOINT
    listed = await site.people[Persona.OTHER].call("GET", "collections")
    assert [one["id"] for one in listed["data"]] == [str(mapped)]
    await public(mapped, yes=False)
    # one's own, of what one may not see any more
    changes = {
        "PATCH /collections/{collection_id}": 200,
        "DELETE /collections/{collection_id}": 200,
    }
    told = await answers(Persona.SHARER, Place.GUEST, AT_A_PRIVATE_ENDPOINT)
    assert told == AT_A_PRIVATE_ENDPOINT | changes
    async with service.database.transaction() as conn:
        await shares.allow(conn, guest, who=Who.alone(site.users[Persona.OTHER]))
    listed = await site.people[Persona.OTHER].call("GET", "collections")
    assert [one["id"] for one in listed["data"]] == [str(guest)]


async def test_every_route_for_everybody(
    service: TransferService, alice: User, lab: Lab, login: Callable[[], Awaitable[User]]
) -> None:
    known = {
        f"{method} {(route.path or '').removeprefix('/gcs/{endpoint_id}/api')}"
        for route in iter_route_contexts(create_app(service).routes)
        for method in route.methods or ()
    }
    assert known == set(ROUTES), "each route has a row, and each row a route"
    site = await _site(service, alice, lab, login)
    faults = []
    for key, row, persona, place in _cells():
        answer = await site.ask(key, persona, place, row.body)
        wanted = _expected(row, persona, place)
        if answer.status_code not in wanted:
            told = f"{answer.status_code}, not {wanted}: {answer.text[:200]}"
            faults.append(f"{persona} at {place}: {key}: {told}")
    assert not faults, "\n".join(faults)
