"""Trees of groups in the database against a model that walks them one by one."""

import asyncio
import random
from uuid import UUID, uuid4

from plugins.cast import Cast, Person
from towpath.nexus.groups.rules import Membership, Policies, Role, Status
from towpath.nexus.store import groups
from towpath.nexus.store.groups import Group
from towpath.platform.database import Connection

SEEDS = 6
STEPS = 40


class Model:
    """Groups by parent, and who has which status where."""

    def __init__(self) -> None:
        self.parents: dict[UUID, UUID | None] = {}
        self.statuses: dict[tuple[UUID, UUID], Status] = {}

    def above(self, group: UUID) -> list[UUID]:
        """From the group itself up to the root."""
        found = [group]
        while (parent := self.parents[found[-1]]) is not None:
            found.append(parent)
        return found

    def groups_of(self, mine: list[UUID]) -> set[UUID]:
        return {
            above
            for (group, identity), status in self.statuses.items()
            if identity in mine and status is Status.ACTIVE
            for above in self.above(group)
        }


async def grow(connection: Connection, model: Model, people: list[Person], seed: int) -> None:
    """Random groups and memberships, in both."""
    choose = random.Random(seed)
    for _ in range(STEPS):
        if not model.parents or choose.random() < 0.3:
            parent = choose.choice([None, *model.parents])
            above = () if parent is None else tuple(reversed(model.above(parent)))
            group = Group(uuid4(), "G", None, None, parent, above, Policies())
            await groups.add(connection, group)
            model.parents[group.id] = parent
        else:
            of = choose.choice(list(model.parents))
            person = choose.choice(people)
            status = choose.choice([Status.ACTIVE, Status.ACTIVE, *Status])
            await groups.set_membership(connection, of, Membership(person.id, Role.MEMBER, status))
            model.statuses[of, person.id] = status


async def test_memberships_are_those_of_the_model(cast: Cast) -> None:
    people = await cast.people(*"abcd")
    for seed in range(SEEDS):
        model = Model()
        async with cast.database.transaction() as connection:
            await grow(connection, model, people, seed)
            for mine in ([people[0].id], [one.id for one in people[1:3]]):
                expected = model.groups_of(mine)
                others = set(await groups.group_ids_of(connection, mine)) - expected
                assert not others & model.parents.keys()
                told = dict(await groups.my_groups(connection, mine, [Status.ACTIVE]))
                assert {one.id for one in told} & model.parents.keys() == expected
                for group in model.parents:
                    is_in = await groups.is_member(connection, group, mine)
                    assert is_in == (group in expected)
                    records = await groups.records_of(connection, group, mine)
                    actives = [one for one in records if one.membership.status is Status.ACTIVE]
                    assert bool(actives) == is_in
                    assert len({one.membership.identity_id for one in actives}) == len(actives)
            for group in model.parents:
                listed = {
                    one.membership.identity_id
                    for one in await groups.all_records(connection, group, [Status.ACTIVE])
                }
                assert listed == {one.id for one in people if group in model.groups_of([one.id])}
        async with cast.database.connection() as connection:
            await connection.execute("TRUNCATE user_group CASCADE")


async def test_any_number_of_admins_leave_at_once_and_one_stays(cast: Cast) -> None:
    people = await cast.people(*"abcde")
    group = await people[0].creates()
    for one in people[1:]:
        await people[0].does("add", group, one, role="admin")
    answers = await asyncio.gather(*(one.does("leave", group) for one in people))
    refused = [one["errors"]["leave"][0]["code"] for one in answers if not one["leave"]]
    assert refused == ["LAST_ADMIN"]
