"""Fixture `standings`: eleven people, each of whom is something else at the same endpoints."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from plugins.nexus import Nexus, Person
from plugins.transfer_api import Api
from towpath.nexus import hashing
from towpath.nexus.groups.rules import Membership, Policies, Status
from towpath.nexus.groups.rules import Role as GroupRole
from towpath.nexus.people import accounts as people_accounts
from towpath.nexus.scopes import TRANSFER_ALL
from towpath.nexus.store import groups, tokens
from towpath.nexus.store.groups import Group
from towpath.platform.database import Database
from towpath.platform.dial import DialPolicy
from towpath.platform.guard import FRESH_S, Guard
from towpath.platform.secrets import Sealer
from towpath.platform.settings import SharingSettings
from towpath.transfer.api import TransferService, create_app
from towpath.transfer.rights import PrincipalType, Role, Rule
from towpath.transfer.store import access, endpoints, roles
from towpath.transfer.store.endpoints import Endpoint, EntityType
from towpath.transfer.store.roles import Held


class Persona(StrEnum):
    """What somebody is."""

    OWNER = "owner"
    ADMINISTRATOR = "administrator"
    ACCESS_MANAGER = "access_manager"
    ACTIVITY_MANAGER = "activity_manager"
    ACTIVITY_MONITOR = "activity_monitor"
    READER = "reader"  # by a rule for /data/
    WRITER = "writer"  # by a rule for /data/
    MEMBER = "member"  # of a group that may read
    OTHER = "other"
    SUSPENDED = "suspended"  # was administrator
    NOBODY = "nobody"  # has no token


ROLES = {Persona(role): role for role in Role}
NOT_LOGGED_IN = (Persona.SUSPENDED, Persona.NOBODY)


class Place(StrEnum):
    """An endpoint, or collection."""

    HOST = "host"  # private; roles are given there
    GUEST = "guest"  # shared of it, private; the same roles, and rules
    PUBLIC = "public"  # of somebody else
    FOREIGN = "foreign"  # of somebody else, private


MOST_RULES = 10
"""Of a collection, here."""


@dataclass
class Clock:
    """By which answers about tokens become old."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Standings:
    """Everybody, and where they are what they are."""

    nexus: Nexus
    database: Database
    service: TransferService
    app: FastAPI
    clock: Clock
    group: UUID
    people: dict[Persona, Api] = field(default_factory=dict)
    persons: dict[Persona, Person] = field(default_factory=dict)
    places: dict[Place, UUID] = field(default_factory=dict)
    more: list[Api] = field(default_factory=list)

    def api(self, token: str | None, sub: UUID) -> Api:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(app=self.app)
        base = "https://towpath.test"
        return Api(httpx.AsyncClient(transport=transport, base_url=base, headers=headers), sub)

    async def person(self, name: str) -> tuple[Person, Api]:
        """Somebody more."""
        made = await self.nexus.person(name)
        value = hashing.new_token()
        async with self.nexus.database.transaction() as connection:
            client = self.nexus.operator.client_id
            grant = await tokens.add_grant(
                connection, client_id=client, identity_id=made.identity_id
            )
            await tokens.add(
                connection,
                value,
                kind="access",
                grant_id=grant,
                client_id=client,
                identity_id=made.identity_id,
                resource_server="transfer.api.globus.org",
                scopes=[TRANSFER_ALL],
            )
        return made, self.api(value, made.identity_id)

    async def join(self, group: UUID, person: Person, status: Status = Status.ACTIVE) -> None:
        """Make somebody a member."""
        member = Membership(person.identity_id, GroupRole.MEMBER, status)
        async with self.nexus.database.transaction() as connection:
            await groups.set_membership(connection, group, member)

    def later(self) -> None:
        """What is known of those who have a token is asked for anew."""
        self.clock.now += FRESH_S + 1

    async def stranger(self, name: str) -> tuple[Person, Api]:
        """Somebody more, who goes when all do."""
        person, api = await self.person(name)
        self.more.append(api)
        return person, api

    async def guest_of(self, host: UUID, owner: UUID, share_path: str = "/shared") -> UUID:
        """Share without a server that could be looked at."""
        async with self.database.transaction() as conn:
            shared = await endpoints.get(conn, host)
            assert shared is not None
            made = endpoint(owner, host=shared, share_path=share_path)
            await endpoints.insert(conn, made, {})
        return made.id

    async def close(self) -> None:
        for api in (*self.people.values(), *self.more):
            await api.http.aclose()


_KINDS = {
    EntityType.SERVER: EntityType.SERVER_SHARE,
    EntityType.PERSONAL: EntityType.PERSONAL_SHARE,
    EntityType.COLLECTION: EntityType.COLLECTION_SHARE,
}


def endpoint(
    owner: UUID,
    *,
    public: bool = False,
    host: Endpoint | None = None,
    share_path: str | None = None,
    entity_type: EntityType = EntityType.SERVER,
) -> Endpoint:
    """One that nobody answers for; shared of a host, if there is one."""
    return Endpoint(
        id=uuid4(),
        owner_id=owner,
        owner_string=f"{owner}@people.example",
        display_name="lake",
        host="localhost" if host is None else host.host,
        port=1 if host is None else host.port,
        subject=None,
        data_hosts=(),
        public=public,
        details={},
        entity_type=entity_type
        if host is None
        else _KINDS[host.entity_type]
        if share_path is not None
        else EntityType.COLLECTION,
        host_endpoint_id=None if host is None else host.id,
        share_path=share_path,
    )


def held(place: UUID, person: Person, role: Role) -> Held:
    """A role of a person's."""
    return Held(
        id=uuid4(),
        endpoint_id=place,
        principal_type=PrincipalType.IDENTITY,
        principal=person.identity_id,
        role=role,
    )


def rule(kind: PrincipalType, principal: UUID | None, path: str, *, writes: bool = False) -> Rule:
    """A rule without an end."""
    return Rule(uuid4(), kind, principal, path, writes, datetime.now(UTC), None)


@pytest.fixture
async def standings(nexus: Nexus, database: Database, tmp_path: Path) -> AsyncIterator[Standings]:
    """Everybody, in one process, on a real database."""
    async with AsyncExitStack() as stack:
        clock = Clock()
        service = TransferService(
            database=database,
            guard=Guard(
                nexus.http,
                nexus.transfer.client_id,
                nexus.transfer.client_secret,
                monotonic=clock,
            ),
            sealer=Sealer(tmp_path / "seal.key"),
            dial=DialPolicy(allow_loopback=True),
            sharing=SharingSettings(rules_per_collection=MOST_RULES),
        )
        stack.push_async_callback(service.close)
        made = Standings(nexus, database, service, create_app(service), clock, await _group(nexus))
        stack.push_async_callback(made.close)
        for persona in Persona:
            made.persons[persona], made.people[persona] = await made.person(persona)
        await _places(made)
        made.people[Persona.NOBODY].http.headers.pop("Authorization")
        await made.join(made.group, made.persons[Persona.MEMBER])
        suspended = made.persons[Persona.SUSPENDED]
        async with nexus.database.transaction() as connection:
            await people_accounts.suspend(connection, suspended.account_id)
        yield made


async def _group(nexus: Nexus) -> UUID:
    group = Group(uuid4(), "lake", None, None, None, (), Policies())
    async with nexus.database.transaction() as connection:
        await groups.add(connection, group)
    return group.id


async def _places(made: Standings) -> None:
    owner, stranger = made.persons[Persona.OWNER].identity_id, uuid4()
    host = endpoint(owner)
    guest = endpoint(owner, host=host, share_path="/shared")
    public, foreign = endpoint(stranger, public=True), endpoint(stranger)
    made.places = {
        Place.HOST: host.id,
        Place.GUEST: guest.id,
        Place.PUBLIC: public.id,
        Place.FOREIGN: foreign.id,
    }
    given = {**ROLES, Persona.SUSPENDED: Role.ADMINISTRATOR}
    reader, writer = (made.persons[one].identity_id for one in (Persona.READER, Persona.WRITER))
    rules = [
        rule(PrincipalType.IDENTITY, reader, "/data/"),
        rule(PrincipalType.IDENTITY, writer, "/data/", writes=True),
        rule(PrincipalType.GROUP, made.group, "/"),
    ]
    async with made.database.transaction() as conn:
        for one in (host, guest, public, foreign):
            await endpoints.insert(conn, one, {})
        for place in (host, guest):
            for persona, role in given.items():
                await roles.add(conn, held(place.id, made.persons[persona], role), owner)
        for one_rule in rules:
            await access.add(conn, guest.id, one_rule, owner)
