"""What a search finds is what each endpoint by itself says of the viewer, whatever there is."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from plugins.standings import endpoint
from towpath.platform.database import Database
from towpath.transfer.rights import PrincipalType, Role, Rule, Who
from towpath.transfer.store import access, activity, endpoints, rights, roles
from towpath.transfer.store.endpoints import Endpoint, EntityType, Scope
from towpath.transfer.store.roles import AlreadyThereError, Held

NOW = datetime(2030, 1, 1, tzinfo=UTC)
IDENTITIES = [uuid4() for _ in range(8)]
GROUPS = [uuid4() for _ in range(3)]
VIEWERS = [
    Who(one, None, frozenset({one, other}), frozenset(GROUPS[number % 3 : number % 3 + 2]))
    for number, (one, other) in enumerate(pairwise(IDENTITIES))
]


def _sites(chance: random.Random) -> list[Endpoint]:
    """Endpoints of all kinds, with what belongs to them."""
    made = []

    def more(host: Endpoint | None, kind: EntityType, share_path: str | None = None) -> Endpoint:
        public = chance.random() < 0.3
        owner = chance.choice(IDENTITIES)
        made.append(
            endpoint(owner, public=public, host=host, share_path=share_path, entity_type=kind)
        )
        return made[-1]

    for _ in range(12):
        server = more(None, EntityType.SERVER)
        computer = more(None, EntityType.PERSONAL)
        mapped = more(more(None, EntityType.CONNECT), EntityType.COLLECTION)
        for host in (server, computer, mapped):
            more(host, host.entity_type, "/x")
    return made


async def test_a_search_and_a_look_at_each_say_the_same(database: Database) -> None:
    chance = random.Random(7)
    made = _sites(chance)
    async with database.transaction() as conn:
        for one in made:
            await endpoints.insert(conn, one, {})
        for one in made:
            await _give(conn, chance, one)
        for who in VIEWERS:
            standings = await rights.standings(conn, made, who, NOW)
            for one in made[::7]:
                assert await rights.standing(conn, one, who, NOW) == standings[one.id]
            for scope, wanted in (
                (Scope.ALL, [one.id for one in made if standings[one.id].visible]),
                (Scope.ADMINISTERED, [one.id for one in made if standings[one.id].administers]),
                (Scope.MANAGED, [one.id for one in made if standings[one.id].manages_access]),
            ):
                found = await endpoints.search(conn, who, NOW, scope=scope, limit=1000, offset=0)
                assert _sorted([one.id for one in found]) == _sorted(wanted), scope
                assert 0 < len(wanted) < len(made), "or it would show nothing"
            monitored = [one.id for one in made if standings[one.id].monitors_activity]
            assert await activity.monitored(conn, who) == frozenset(monitored)
            managed = [one.id for one in made if standings[one.id].manages_activity]
            assert await activity.managed(conn, who) == frozenset(managed)


def _sorted(ids: Sequence[UUID]) -> list[UUID]:
    assert len(set(ids)) == len(ids)
    return sorted(ids)


async def _give(conn: rights.Connection, chance: random.Random, one: Endpoint) -> None:
    """A role here and there; and rules, of which some have ended."""
    kind = chance.choice((PrincipalType.IDENTITY, PrincipalType.GROUP))
    principal = chance.choice(IDENTITIES if kind is PrincipalType.IDENTITY else GROUPS)
    if chance.random() < 0.4:
        held = Held(
            id=uuid4(),
            endpoint_id=one.id,
            principal_type=kind,
            principal=principal,
            role=chance.choice(list(Role)),
        )
        await roles.add(conn, held, one.owner_id)
    if one.is_guest and chance.random() < 0.6:
        ends = chance.choice((None, NOW, NOW - timedelta(hours=1), NOW + timedelta(hours=1)))
        kind = chance.choice((kind, kind, kind, PrincipalType.ALL))
        whom = None if kind is PrincipalType.ALL else principal
        rule = Rule(uuid4(), kind, whom, "/a/", chance.random() < 0.5, NOW, ends)
        await access.add(conn, one.id, rule, one.owner_id)
        try:
            await access.add(conn, one.id, rule, one.owner_id)
        except AlreadyThereError:
            return
        raise AssertionError("twice the same")


async def test_what_belongs_to_what_is_deleted_is_deleted(database: Database) -> None:
    site = endpoint(IDENTITIES[0], entity_type=EntityType.CONNECT)
    mapped = endpoint(IDENTITIES[0], host=site)
    guest = endpoint(IDENTITIES[1], host=mapped, share_path="")
    other = endpoint(IDENTITIES[1])
    async with database.transaction() as conn:
        for one in (site, mapped, guest, other):
            await endpoints.insert(conn, one, {})
        above = await endpoints.above(conn, [site.id, mapped.id, guest.id])
        assert {id_: [one.id for one in some] for id_, some in above.items()} == {
            mapped.id: [site.id],
            guest.id: [mapped.id, site.id],
        }
        assert await endpoints.collections(conn, site.id) == [mapped]
        assert await endpoints.collections(conn, mapped.id) == []
        await endpoints.mark_deleted(conn, site.id)
        gone = [await endpoints.get(conn, one.id) for one in (site, mapped, guest, other)]
    assert [one is not None and one.deleted_at is not None for one in gone] == [
        True,
        True,
        True,
        False,
    ]


async def test_a_guest_collection_allows_no_more_than_what_it_is_of(database: Database) -> None:
    site = endpoint(IDENTITIES[0], entity_type=EntityType.CONNECT)
    mapped = endpoint(IDENTITIES[0], host=site)
    guest = endpoint(IDENTITIES[1], host=mapped, share_path="/lake")
    owner = Who.alone(IDENTITIES[1])
    async with database.transaction() as conn:
        for one in (site, mapped, guest):
            await endpoints.insert(conn, one, {})

        async def reach() -> tuple[bool, bool]:
            found = (await rights.standing(conn, guest, owner, NOW)).reach
            return found.reads("/x"), found.writes("/x")

        assert await reach() == (True, True)
        await endpoints.update(conn, replace(mapped, access="r"), None)
        assert await reach() == (True, False)
        await endpoints.update(conn, mapped, None)
        for name, left in (("read_write", True), ("read", False)):
            restrictions = {"read": [], "read_write": [], "none": []} | {name: ["/lake"]}
            await endpoints.set_managed(conn, mapped.id, {"sharing_restrict_paths": restrictions})
            assert await reach() == (True, left)
        await endpoints.set_managed(conn, mapped.id, {"sharing_restrict_paths": {"read": ["/x"]}})
        assert await reach() == (False, False)
        await endpoints.set_managed(conn, mapped.id, {})
        await endpoints.update(conn, replace(mapped, details={"shareable": False}), None)
        assert await reach() == (False, False)


async def test_who_is_not_logged_in_has_what_is_for_everybody(database: Database) -> None:
    host = endpoint(IDENTITIES[0])
    guest = endpoint(IDENTITIES[0], host=host, share_path="/lake")
    async with database.transaction() as conn:
        for one in (host, guest):
            await endpoints.insert(conn, one, {})
        kinds = (PrincipalType.ALL, PrincipalType.ANONYMOUS)
        found = []
        for kind in kinds:
            rule = Rule(uuid4(), kind, None, f"/{kind}/", False, NOW, None)
            await access.add(conn, guest.id, rule, guest.owner_id)
            found.append(await rights.standing(conn, guest, None, NOW))
    assert [one.visible for one in found] == [False, True]
    assert found[1].reach.readable == ("/anonymous/",)
    assert found[1].effective_roles == []
