"""What submissions are held against, and items of large ones."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from towpath.platform.database import Connection, Database
from towpath.transfer.rights import PrincipalType, Role, Who
from towpath.transfer.store import credentials, endpoints, items, roles, submissions, tasks
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.roles import Held
from towpath.transfer.store.submissions import Asking
from towpath.transfer.store.tasks import Created, NewItem, NewTask

NOW = datetime.now(UTC)
OWNER, OTHER, NOBODY = uuid4(), uuid4(), uuid4()
GROUP = uuid4()


async def an_endpoint(conn: Connection) -> UUID:
    made = Endpoint(
        id=uuid4(),
        owner_id=OWNER,
        owner_string="someone",
        display_name="data",
        host="gridftp.example.org",
        port=2811,
        subject=None,
        data_hosts=(),
        public=False,
        details={},
    )
    await endpoints.insert(conn, made, {})
    return made.id


def a_task(where: UUID, *asked: NewItem) -> NewTask:
    return NewTask(
        id=uuid4(),
        owner_id=OWNER,
        username="someone",
        submission_id=uuid4(),
        type="TRANSFER",
        label="ü\t\\",
        options={},
        source_endpoint_id=where,
        destination_endpoint_id=where,
        deadline=NOW + timedelta(days=1),
        items=asked or [NewItem("/a", "/b", None)],
    )


async def test_what_is_known_of_several_who_ask_at_once(database: Database) -> None:
    async with database.transaction() as conn:
        here, there = await an_endpoint(conn), await an_endpoint(conn)
        role = Held(
            id=uuid4(),
            endpoint_id=there,
            principal_type=PrincipalType.GROUP,
            principal=GROUP,
            role=Role.ACTIVITY_MONITOR,
        )
        await roles.add(conn, role, OWNER)
        await credentials.put(
            conn, endpoint_id=here, owner_id=OTHER, sealed=b"", subject="", not_after=NOW
        )
        first, second, ended = (a_task(here) for _ in range(3))
        plan = replace(a_task(here), type="PLAN")
        await submissions.create(conn, [first, second, ended, plan])
        await conn.execute("UPDATE task SET status = 'FAILED' WHERE id = %s", (ended.id,))
        nowhere = uuid4()
        known = await submissions.known(
            conn,
            [
                Asking(Who.alone(OWNER), {first.submission_id, uuid4()}, {here, there}),
                Asking(
                    Who(OTHER, None, frozenset({OTHER}), frozenset({GROUP})),
                    {first.submission_id},
                    {here, there},
                ),
                Asking(Who.alone(NOBODY), set(), {nowhere}),
            ],
            NOW,
        )
    owner, other, nobody = (known[one] for one in (OWNER, OTHER, NOBODY))
    assert (owner.earlier, owner.active) == ({first.submission_id: first.id}, 2)
    assert (other.earlier, other.active) == ({}, 0)
    assert (nobody.earlier, nobody.active, nobody.places) == ({}, 0, {})
    assert {id_: place.standing.owner for id_, place in owner.places.items()} == {
        here: True,
        there: True,
    }
    assert {id_: place.standing.visible for id_, place in other.places.items()} == {
        here: False,
        there: True,
    }
    assert [place.has_credential for place in (other.places[here], other.places[there])] == [
        True,
        False,
    ]
    assert not owner.places[here].has_credential  # another's is none of his
    assert not owner.pause_rules


async def test_large_submissions_are_stored_as_small_ones_are(database: Database) -> None:
    odd = [
        NewItem("/a\tb\\.", "/c\nd", True, "SHA1"),
        NewItem('/é\\t"', "/ü\U0001f600", None, "ADLER32", "0062003f"),
        NewItem("\\N", None, False),
    ]
    async with database.transaction() as conn:
        where = await an_endpoint(conn)
    small = a_task(where, *odd)
    large = a_task(where, *odd, *[NewItem("/a", "/b", None)] * submissions.ROWS_AT_ONCE)
    async with database.connection() as conn:
        for task in (small, large):
            await submissions.create(conn, [task])
            stored = await tasks.show(conn, OWNER, task.id)
            assert stored is not None
            found, total = await items.page(conn, stored.task_no, limit=len(odd), offset=0)
            assert (found, total, stored.label) == (odd, len(task.items), task.label)


@pytest.mark.parametrize("more", [0, submissions.ROWS_AT_ONCE])
async def test_tasks_are_stored_as_a_whole_or_not_at_all(database: Database, more: int) -> None:
    async with database.transaction() as conn:
        where = await an_endpoint(conn)
    first, second = a_task(where), a_task(where, *[NewItem("/a", "/b", None)] * (more + 1))
    refused = replace(second, items=[*second.items, NewItem("/a\0", "/b", None)])
    async with database.connection() as conn:
        with pytest.raises(psycopg.DataError):
            await submissions.create(conn, [first, refused])
        assert await submissions.find(conn, [first.key, refused.key]) == {}
        made = await submissions.create(conn, [first, second])
        assert [one.duplicate for one in made] == [False, False]


async def test_how_new_tasks_stand_is_noted_whoever_makes_them(database: Database) -> None:
    async with database.transaction() as conn:
        where = await an_endpoint(conn)
        await submissions.create(conn, [a_task(where), a_task(where)])
        await conn.execute("SET LOCAL search_path TO pg_catalog")
        table = sql.Identifier(database.schema, "task")
        columns = sql.SQL(
            "username, type, options, source_endpoint_id, destination_endpoint_id, deadline"
        )
        await conn.execute(
            sql.SQL(
                "INSERT INTO {0} (id, owner_id, submission_id, {1})"
                " SELECT gen_random_uuid(), owner_id, gen_random_uuid(), {1} FROM {0}"
            ).format(table, columns)
        )
        cursor = await conn.execute(
            sql.SQL("SELECT task_no, at, status, epoch FROM {} ORDER BY task_no").format(
                sql.Identifier(database.schema, "task_standing")
            )
        )
        noted = await cursor.fetchall()
        cursor = await conn.execute(
            sql.SQL("SELECT task_no, request_time FROM {} ORDER BY task_no").format(table)
        )
        made = await cursor.fetchall()
    assert [(one["task_no"], one["at"]) for one in noted] == [
        (one["task_no"], one["request_time"]) for one in made
    ]
    assert [(one["status"], one["epoch"]) for one in noted] == [("ACTIVE", None)] * 4


async def test_batches_of_the_same_submissions_do_not_wait_for_each_other(
    database: Database,
) -> None:
    async with database.transaction() as conn:
        where = await an_endpoint(conn)
    early, late = sorted((a_task(where), a_task(where)), key=lambda task: task.submission_id)
    again = [replace(late, id=uuid4()), replace(early, id=uuid4())]

    async def other_process() -> list[Created]:
        async with database.connection() as conn:
            return await submissions.create(conn, again)

    async with database.transaction() as conn:
        await submissions.create(conn, [early])
        other = asyncio.create_task(other_process())
        waits = "SELECT FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
        while not (await conn.execute(waits)).rowcount:
            await asyncio.sleep(0.01)
        await submissions.create(conn, [late])
    assert await other == [Created(late.id, duplicate=True), Created(early.id, duplicate=True)]
