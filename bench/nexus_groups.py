"""What groups cost when there are many: whose groups, and is he a member."""

import itertools
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import httpx

from bench.measure import BenchError
from bench.nexus_setting import ISSUER, Service, Setting, spread, timed
from towpath.nexus import hashing, scopes
from towpath.nexus.groups.app import create_app
from towpath.nexus.store import groups, identities, tokens
from towpath.platform.database import Connection, Database

PEOPLE = 100_000
GROUPS = 10_000
MEMBERSHIPS = 1_000_000
SUBGROUPS_IN_TEN = 3
"""Of ten groups, so many are below another one."""
INACTIVE_IN_TEN = 1
ASKING = 500
"""Different people, so that the figures are not those of a few rows."""
CHECKS = 10_000
REQUESTS = 3_000
WRITES = 500
SEED = 1


@dataclass(frozen=True)
class _Town:
    """Who is there; the same for every run."""

    people: Sequence[UUID]
    groups: Sequence[UUID]
    choose: random.Random


def measure(setting: Setting) -> dict[str, float]:
    """`my_groups`, its queries, a check of a membership, a group with its members, and an add."""
    return setting.run(partial(_measure, setting))


async def _measure(setting: Setting, service: Service) -> dict[str, float]:
    town = _town(setting)
    setting.console.print(
        f"{len(town.people):,} people, {len(town.groups):,} groups,"
        f" {setting.count(MEMBERSHIPS):,} memberships"
    )
    async with service.database.connection() as connection:
        await _fill(connection, town, setting.count(MEMBERSHIPS))
    asking = itertools.cycle(town.choose.sample(town.people, setting.count(ASKING)))
    some = itertools.cycle(town.choose.choices(town.groups, k=setting.count(ASKING) + 1))
    async with _asked(service.database, town, setting.count(ASKING)) as (http, bearers):
        turns = itertools.cycle(bearers)

        async def my_groups() -> None:
            answer = await http.get("/v2/groups/my_groups", headers=next(turns))
            if answer.status_code != 200:
                raise BenchError(f"my_groups: {answer.status_code}")

        async with service.database.connection() as connection:

            async def their_groups() -> None:
                await groups.group_ids_of(connection, [next(asking)])

            async def is_member() -> None:
                await groups.is_member(connection, next(some), [next(asking)])

            async def identity_set() -> None:
                await identities.identity_set(connection, next(asking))

            figures = {
                **spread("group_ids", await timed(their_groups, setting.count(CHECKS))),
                **spread("membership_check", await timed(is_member, setting.count(CHECKS))),
                **spread("identity_set", await timed(identity_set, setting.count(CHECKS))),
            }
        figures |= spread("my_groups", await timed(my_groups, setting.count(REQUESTS)))
        figures |= spread("group_add", await timed(_adding(http, bearers, town), _writes(setting)))
    return figures


def _writes(setting: Setting) -> int:
    return setting.count(WRITES)


def _adding(http: httpx.AsyncClient, bearers: Sequence[dict[str, str]], town: _Town) -> Any:
    """Adds people, one at a time, to a group that the first one who asks makes."""
    made: list[str] = []
    people = iter(town.people)

    async def add() -> None:
        if not made:
            body = {"name": "Bench"}
            answer = await http.post("/v2/groups", json=body, headers=bearers[0])
            made.append(answer.raise_for_status().json()["id"])
        item = {"add": [{"identity_id": str(next(people))}]}
        answer = await http.post(f"/v2/groups/{made[0]}", json=item, headers=bearers[0])
        answer.raise_for_status()

    return add


@asynccontextmanager
async def _asked(
    database: Database, town: _Town, count: int
) -> AsyncIterator[tuple[httpx.AsyncClient, list[dict[str, str]]]]:
    """The Groups app, and the headers of people who are logged in."""
    bearers = []
    async with database.transaction() as connection:
        client = await _client(connection)
        for person in town.people[:count]:
            token = hashing.new_token()
            grant = await tokens.add_grant(connection, client_id=client, identity_id=person)
            await tokens.add(
                connection,
                token,
                kind="access",
                grant_id=grant,
                client_id=client,
                identity_id=person,
                resource_server=scopes.GROUPS,
                scopes=[scopes.GROUPS_ALL],
            )
            bearers.append({"Authorization": f"Bearer {token}"})
    transport = httpx.ASGITransport(app=create_app(database))
    async with httpx.AsyncClient(transport=transport, base_url=ISSUER) as http:
        yield http, bearers


async def _client(connection: Connection) -> UUID:
    cursor = await connection.execute("SELECT id FROM client LIMIT 1")
    row = await cursor.fetchone()
    assert row is not None
    found: UUID = row["id"]
    return found


def _town(setting: Setting) -> _Town:
    choose = random.Random(SEED)

    def ids(count: int) -> list[UUID]:
        return [UUID(int=choose.getrandbits(128), version=4) for _ in range(count)]

    return _Town(ids(setting.count(PEOPLE)), ids(setting.count(GROUPS)), choose)


async def _fill(connection: Connection, town: _Town, memberships: int) -> None:
    provider = await _provider(connection)
    people = [
        (person, f"person{number}@bench.example", provider)
        for number, person in enumerate(town.people)
    ]
    await _copy(connection, "identity (id, username, identity_provider)", people)
    accounts = ((person, person) for person in town.people)
    await _copy(connection, "account (id, primary_identity)", accounts)
    await connection.execute(
        "UPDATE identity SET account_id = id WHERE id IN (SELECT id FROM account)"
    )
    await _copy(
        connection,
        "user_group (id, name, parent_id, ancestor_ids, visibility, members_visibility,"
        " join_requests, direct_joins, signup_fields, high_assurance, assurance_timeout_s)",
        _groups(town),
    )
    await _copy(
        connection,
        "membership (group_id, identity_id, role, status)",
        _memberships(town, memberships),
    )
    await connection.execute("VACUUM (ANALYZE) identity, account, user_group, membership")


async def _provider(connection: Connection) -> UUID:
    provider = UUID(int=SEED)
    await identities.set_local_provider(
        connection, provider_id=provider, name="Bench", domain="bench.example"
    )
    local = await identities.local_provider(connection)
    assert local is not None
    return local.id


async def _copy(connection: Connection, target: str, rows: Any) -> None:
    async with connection.cursor().copy(f"COPY {target} FROM STDIN") as copy:
        for row in rows:
            await copy.write_row(row)


def _groups(town: _Town) -> Iterator[tuple[Any, ...]]:
    ancestors: dict[UUID, list[UUID]] = {}
    rest: tuple[Any, ...] = ("private", "managers", False, False, [], False, 28_800)
    for number, group in enumerate(town.groups):
        parent = None
        above: list[UUID] = []
        if number % 10 < SUBGROUPS_IN_TEN and number >= 10:
            parent = town.choose.choice(town.groups[:number])
            above = [*ancestors[parent], parent]
            if len(above) > 4:
                parent, above = None, []
        ancestors[group] = above
        yield (group, f"Group {number}", parent, above, *rest)


def _memberships(town: _Town, count: int) -> Iterator[tuple[Any, ...]]:
    """As many for each person; small groups and large ones: the largest has about 1 % of all."""
    each = count // len(town.people)
    for number, person in enumerate(town.people):
        chosen: set[int] = set()
        while len(chosen) < each:
            chosen.add(int(len(town.groups) * town.choose.random() ** 2))
        for group in chosen:
            active = town.choose.randrange(10) >= INACTIVE_IN_TEN
            role = "admin" if number % 50 == 0 and active else "member"
            yield (town.groups[group], person, role, "active" if active else "left")
