"""What is known of owners of tasks follows nexus, as long as they have tasks at what is shared."""

from datetime import timedelta
from uuid import UUID, uuid4

import httpx
import pytest

from plugins.standings import Persona, Place, Standings, endpoint
from plugins.tasks import store_task
from towpath.nexus.groups.rules import Status
from towpath.transfer.rights import Who
from towpath.transfer.store import endpoints, owners, principals
from towpath.transfer.store.owners import AccountChange
from towpath.transfer.store.rows import fetch
from towpath.transfer.store.tasks import Terms
from towpath.transfer.watches.principals import ROUTE, PrincipalWatch


def watch_of(standings: Standings, http: httpx.AsyncClient | None = None) -> PrincipalWatch:
    transfer = standings.nexus.transfer
    login = httpx.BasicAuth(str(transfer.client_id), transfer.client_secret)
    return PrincipalWatch(standings.database, http or standings.nexus.http, login)


async def run_at(standings: Standings, owner: UUID, place: UUID) -> None:
    """A task of somebody's at an endpoint."""
    number = await store_task(standings.database, owner)
    async with standings.database.connection() as conn:
        await conn.execute(
            "UPDATE task SET destination_endpoint_id = %s WHERE task_no = %s", (place, number)
        )


async def groups_of(standings: Standings, owner: UUID) -> set[UUID] | None:
    async with standings.database.connection() as conn:
        who = await principals.get(conn, owner)
    return None if who is None else set(who.groups)


async def test_a_lost_group_is_noticed_while_a_task_runs(standings: Standings) -> None:
    member = standings.persons[Persona.MEMBER]
    watch = watch_of(standings)
    assert await watch.look() == 0, "nobody has a task"
    await run_at(standings, member.identity_id, standings.places[Place.HOST])
    assert await watch.look() == 0, "nor one for which it matters"
    await run_at(standings, member.identity_id, standings.places[Place.GUEST])
    assert await watch.look() == 1
    assert await groups_of(standings, member.identity_id) == {standings.group}
    assert await watch.look() == 0, "that was just now"
    await standings.join(standings.group, member, Status.REMOVED)
    assert await watch.look(old_s=0) == 1
    assert await groups_of(standings, member.identity_id) == set()
    async with standings.database.connection() as conn:
        await conn.execute("UPDATE task SET status = 'SUCCEEDED', completion_time = now()")
    assert await watch.look(old_s=0) == 0


async def test_who_shares_is_asked_for_though_he_does_nothing(standings: Standings) -> None:
    sharer = standings.persons[Persona.OWNER].identity_id
    lost = uuid4()
    async with standings.database.connection() as conn:
        known = Who(sharer, "o", frozenset({sharer, lost}), frozenset())
        await principals.put(conn, known)
    watch = watch_of(standings)
    assert await watch.look(old_s=0) == 0
    async with standings.database.connection() as conn:
        await conn.execute("UPDATE principal SET heard_at = now() - interval '11 minutes'")
    assert await watch.look() == 1
    async with standings.database.connection() as conn:
        found = await principals.get(conn, sharer)
    assert found is not None
    assert lost not in found.identities


async def test_who_is_not_there_any_more_is_in_no_group(standings: Standings) -> None:
    gone = uuid4()
    await run_at(standings, gone, standings.places[Place.GUEST])
    assert await watch_of(standings).look() == 1
    assert await groups_of(standings, gone) == set()


async def test_of_who_is_deleted_neither_name_nor_address_is_kept(standings: Standings) -> None:
    member = standings.persons[Persona.MEMBER]
    await run_at(standings, member.identity_id, standings.places[Place.GUEST])
    await watch_of(standings).look()
    terms = Terms(timedelta(hours=1), 100)
    async with standings.database.transaction() as conn:
        change = AccountChange(1, [member.identity_id], "deleted")
        await owners.take_over(conn, change)
        await owners.fit_tasks(conn, suspended=terms, restored=terms)
        assert await principals.get(conn, member.identity_id) is None


async def test_many_are_asked_for_in_parts_and_the_longest_unheard_first(
    standings: Standings,
) -> None:
    asked: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == ROUTE
        asked.append(request.content.count(b"-") // 4)
        return httpx.Response(200, json={"principals": []})

    place = endpoint(uuid4(), host=None)
    async with standings.database.transaction() as conn:
        await endpoints.insert(conn, place, {})
        guest = endpoint(uuid4(), host=place, share_path="")
        await endpoints.insert(conn, guest, {})
        await conn.execute(
            "INSERT INTO task (id, owner_id, username, submission_id, type, options,"
            " source_endpoint_id, destination_endpoint_id, deadline)"
            " SELECT gen_random_uuid(), gen_random_uuid(), 'u', gen_random_uuid(), 'TRANSFER',"
            " '{}', %(guest)s, %(guest)s, now() + interval '1 day' FROM generate_series(1, 130)",
            {"guest": guest.id},
        )
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(answer), base_url="https://nexus"
    ) as http:
        assert await watch_of(standings, http).look() == 130
    assert asked == [100, 30]
    async with standings.database.connection() as conn:
        assert await fetch(conn, "SELECT count(*) FROM principal") == [(130,)]


async def test_while_nexus_cannot_be_understood_all_stays_as_it_was(standings: Standings) -> None:
    member = standings.persons[Persona.MEMBER]
    await run_at(standings, member.identity_id, standings.places[Place.GUEST])
    await watch_of(standings).look()
    answers = [
        httpx.Response(503),
        httpx.Response(200, text="?"),
        httpx.Response(200, json={"principals": [{"id": "x"}]}),
    ]
    transport = httpx.MockTransport(lambda _: answers.pop())
    async with httpx.AsyncClient(transport=transport, base_url="https://nexus") as http:
        while answers:
            with pytest.raises((httpx.HTTPError, ValueError, KeyError)):
                await watch_of(standings, http).look(old_s=0)
    assert await groups_of(standings, member.identity_id) == {standings.group}
