"""People who use the Groups API in-process: each an identity with tokens of its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from plugins.transfer_api import held_to_schemas
from towpath.nexus import hashing, scopes
from towpath.nexus.groups import answers
from towpath.nexus.groups.app import create_app
from towpath.nexus.store import accounts, clients, tokens
from towpath.platform.database import Database


@dataclass(frozen=True)
class Person:
    """An identity, and the Groups API as it sees it."""

    id: UUID
    http: httpx.AsyncClient
    token: str
    view_token: str

    @property
    def key(self) -> str:
        """The id, as documents have it."""
        return str(self.id)

    async def ask(
        self, method: str, path: str, body: Any = None, *, view: bool = False, status: int = 200
    ) -> Any:
        """The answer's document; `view`: with the token that may only look."""
        token = self.view_token if view else self.token
        answer = await self.http.request(
            method, f"/v2/{path}", json=body, headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    async def creates(self, name: str = "Lake", **more: Any) -> str:
        """A new group's id."""
        policies = {key: more.pop(key) for key in list(more) if key != "parent_id"}
        body = {"name": name, "policies": policies, **more}
        return str((await self.ask("POST", "groups", body, status=201))["id"])

    async def sees(self, group: str, *include: str, status: int = 200, **more: Any) -> Any:
        """The group, with parts."""
        query = f"?include={','.join(include)}" if include else ""
        return await self.ask("GET", f"groups/{group}{query}", status=status, **more)

    async def does(
        self,
        action: str,
        group: str,
        *whom: "Person",
        role: str | None = None,
        status: int = 200,
        **more: Any,
    ) -> Any:
        """The answer to one action on people (oneself, if none is named)."""
        items: list[dict[str, str]] = [{"identity_id": one.key} for one in whom or (self,)]
        if role is not None:
            items = [{**item, "role": role} for item in items]
        return await self.ask("POST", f"groups/{group}", {action: items}, status=status, **more)

    async def refused(self, action: str, group: str, *whom: "Person", **more: Any) -> str:
        """The code with which the first item is refused; none may be done."""
        answer = await self.does(action, group, *whom, **more)
        assert answer[action] == []
        return str(answer["errors"][action][0]["code"])


@dataclass
class Cast:
    """Makes people, and moves the clock that the app reads."""

    database: Database
    http: httpx.AsyncClient
    later: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        """The app's time."""
        return datetime.now(UTC) + self.later

    async def person(self, name: str) -> Person:
        """A new identity with its tokens."""
        made = []
        identity_id = uuid4()
        async with self.database.transaction() as connection:
            await clients.add_client(
                connection, client_id=identity_id, name=name, secret=name, administrator=False
            )
            grant_id = await tokens.add_grant(
                connection, client_id=identity_id, identity_id=identity_id
            )
            for scope in (scopes.GROUPS_ALL, scopes.GROUPS_VIEW):
                made.append(hashing.new_token())
                await tokens.add(
                    connection,
                    made[-1],
                    kind="access",
                    grant_id=grant_id,
                    client_id=identity_id,
                    identity_id=identity_id,
                    resource_server=scopes.GROUPS,
                    scopes=[scope],
                )
        return Person(identity_id, self.http, *made)

    async def link(self, person: Person, *others: Person) -> None:
        """Make them identities of one account, of which `person` is the primary one."""
        account_id = uuid4()
        async with self.database.transaction() as connection:
            await accounts.create(connection, account_id=account_id, primary_identity=person.id)
            for other in others:
                await accounts.link(connection, account_id=account_id, identity_id=other.id)

    async def logged_in(self, person: Person, ages_s: dict[Person, float]) -> Person:
        """The person with a token of a login in which identities proved themselves so long ago."""
        token = hashing.new_token()
        logins = {
            one.key: {"auth_time": int(self.now().timestamp() - age)} for one, age in ages_s.items()
        }
        async with self.database.transaction() as connection:
            grant_id = await tokens.add_grant(
                connection,
                client_id=person.id,
                identity_id=person.id,
                authentications=logins,
            )
            await tokens.add(
                connection,
                token,
                kind="access",
                grant_id=grant_id,
                client_id=person.id,
                identity_id=person.id,
                resource_server=scopes.GROUPS,
                scopes=[scopes.GROUPS_ALL],
            )
        return replace(person, token=token)

    async def people(self, *names: str) -> list[Person]:
        """Several."""
        return [await self.person(name) for name in names]


@pytest.fixture
async def cast(shared_database_url: str) -> AsyncIterator[Cast]:
    """The Groups app. Others have left people and groups in the database: all ids here are new."""
    made: list[Cast] = []
    async with Database(shared_database_url, schema="nexus") as database:
        app = create_app(database, now=lambda: made[0].now())  # noqa: PLW0108 - it comes later
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="https://towpath.example"
        ) as http:
            http.event_hooks["response"].append(held_to_schemas(app, error=answers.Error))
            made.append(Cast(database, http))
            yield made[0]


@pytest.fixture
async def people(cast: Cast) -> list[Person]:
    return await cast.people("admin", "manager", "member", "stranger")


@pytest.fixture
async def lake(people: list[Person]) -> str:
    """A private group with one of each role."""
    admin, manager, member, _ = people
    group = await admin.creates()
    await admin.does("add", group, manager, role="manager")
    await admin.does("add", group, member)
    return group
