"""The audit log: what is recorded with an act, and that nobody changes it unseen."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from click.testing import CliRunner

from towpath.cli import main as towpath
from towpath.nexus import audit_chain
from towpath.nexus.audit import DETAILS_LIMIT, KINDS, Act, append
from towpath.nexus.audit_chain import Verdict
from towpath.nexus.audit_sealing import AuditSealer, Checkpoint, CheckpointError
from towpath.nexus.store import audit as store
from towpath.platform.database import Database
from towpath.platform.errors import current_address, current_request_id

SOMEBODY = UUID(int=7)
REMOVED_AND_MOVED_UP = """
DELETE FROM audit WHERE sequence = 5;
UPDATE audit SET sequence = sequence - 1 WHERE sequence > 5
"""
CHANGED_PLACES = """
UPDATE audit SET sequence = 0 WHERE sequence = 3;
UPDATE audit SET sequence = 3 WHERE sequence = 4;
UPDATE audit SET sequence = 4 WHERE sequence = 0
"""
INSERTED = """
INSERT INTO audit SELECT 11, at, kind, actor, subject, client, address, request_id, details, hash,
hash FROM audit WHERE sequence = 10
"""


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path / "audit" / "head.json")


@pytest.fixture
def sealer(nexus_database: Database, checkpoint: Checkpoint) -> AuditSealer:
    return AuditSealer(nexus_database, checkpoint)


async def record(database: Database, *acts: Act) -> None:
    async with database.transaction() as connection:
        for act in acts:
            await append(connection, act)


async def verdict(database: Database, checkpoint: Checkpoint) -> Verdict:
    async with database.transaction() as connection:
        return await audit_chain.check(store.chain(connection), checkpoint.read())


async def records(database: Database) -> Sequence[store.Sealed]:
    async with database.transaction() as connection:
        return [row async for row in store.chain(connection)]


@pytest.fixture
async def ten(nexus_database: Database, sealer: AuditSealer) -> Database:
    """A chain of ten, with its checkpoint."""
    acts = [Act("login.ok", actor=SOMEBODY, details={"n": n}) for n in range(10)]
    await record(nexus_database, *acts)
    assert await sealer.seal() == 10
    return nexus_database


async def tamper(database: Database, statement: str) -> None:
    """As somebody would who owns the database: triggers do not hold him."""
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute(statement.encode())


async def test_a_record_says_who_what_and_where(
    nexus_database: Database, sealer: AuditSealer
) -> None:
    client, group = uuid4(), uuid4()
    set_back = current_address.set("192.0.2.7"), current_request_id.set("abcdefghi")
    try:
        act = Act("membership.changed", SOMEBODY, group, client, {"action": "add", "role": "admin"})
        await record(nexus_database, act)
    finally:
        current_address.reset(set_back[0])
        current_request_id.reset(set_back[1])
    await sealer.seal()
    [found] = await records(nexus_database)
    assert (found.sequence, found.kind, found.actor) == (1, "membership.changed", SOMEBODY)
    assert (found.subject, found.client) == (str(group), client)
    assert (found.address, found.request_id) == ("192.0.2.7", "abcdefghi")
    assert found.details == {"action": "add", "role": "admin"}


async def test_what_is_rolled_back_leaves_no_record_and_no_gap(
    nexus_database: Database, sealer: AuditSealer
) -> None:
    await record(nexus_database, Act("login.ok"))
    async with nexus_database.transaction() as connection:
        await append(connection, Act("login.failed"))
        raise psycopg.Rollback
    await record(nexus_database, Act("session.ended"))
    await sealer.seal()
    found = await records(nexus_database)
    assert [(one.sequence, one.kind) for one in found] == [(1, "login.ok"), (2, "session.ended")]


async def test_nobody_waits_for_an_open_transaction_and_the_chain_has_no_gap(
    nexus_database: Database, sealer: AuditSealer, checkpoint: Checkpoint
) -> None:
    async with nexus_database.transaction() as slow:
        await append(slow, Act("account.created"))
        await asyncio.gather(*(record(nexus_database, Act("login.ok")) for _ in range(20)))
        assert await sealer.seal() == 20
    assert await sealer.seal() == 1
    assert (await records(nexus_database))[-1].kind == "account.created"
    assert (await verdict(nexus_database, checkpoint)).head.sequence == 21


async def test_two_sealers_make_one_chain(
    nexus_database: Database, sealer: AuditSealer, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    second = AuditSealer(nexus_database, Checkpoint(tmp_path / "second.json"))
    for _ in range(5):
        await record(nexus_database, *[Act("login.ok")] * 20)
        assert sum(await asyncio.gather(sealer.seal(), second.seal())) == 20
    await sealer.seal()
    found = await verdict(nexus_database, checkpoint)
    assert (found.head.sequence, found.broken_at) == (100, None)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET kind = 'x'", "DELETE FROM audit", "TRUNCATE audit",
     "UPDATE audit_pending SET kind = 'x'", "TRUNCATE audit_pending"],
)  # fmt: skip
async def test_the_database_refuses_changes(ten: Database, statement: str) -> None:
    async with ten.connection() as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="only added to"):
            await connection.execute(statement.encode())


async def test_an_owner_that_is_no_superuser_is_refused_by_its_rights_too(ten: Database) -> None:
    async with ten.connection() as connection:
        cursor = await connection.execute(
            "SELECT privilege_type FROM information_schema.role_table_grants"
            " WHERE table_name = 'audit'"
        )
        granted = {row["privilege_type"] for row in await cursor.fetchall()}
    assert granted >= {"SELECT", "INSERT"}
    assert not granted & {"UPDATE", "DELETE", "TRUNCATE"}


@pytest.mark.parametrize(
    ("statement", "broken_at", "why"),
    [
        ("UPDATE audit SET details = '{\"n\": 99}' WHERE sequence = 4", 4, "changed"),
        ("UPDATE audit SET at = at + interval '1 us' WHERE sequence = 4", 4, "changed"),
        ("UPDATE audit SET actor = NULL WHERE sequence = 1", 1, "changed"),
        ("UPDATE audit SET address = '' WHERE sequence = 10", 10, "changed"),
        ("DELETE FROM audit WHERE sequence = 1", 1, "missing"),
        ("DELETE FROM audit WHERE sequence = 6", 6, "missing"),
        ("DELETE FROM audit WHERE sequence > 7", 8, "the end is missing"),
        ("DELETE FROM audit", 1, "the end is missing"),
        (REMOVED_AND_MOVED_UP, 5, "does not hang on"),
        (CHANGED_PLACES, 3, "does not hang on"),
        (INSERTED, 11, "changed"),
    ],
)  # fmt: skip
async def test_tampering_is_seen_where_it_begins(
    ten: Database, checkpoint: Checkpoint, statement: str, broken_at: int, why: str
) -> None:
    assert await verdict(ten, checkpoint) == Verdict(checkpoint.read() or audit_chain.START)
    for one in statement.split(";"):
        await tamper(ten, one)
    found = await verdict(ten, checkpoint)
    assert found.broken_at == broken_at
    assert why in found.why


async def test_a_chain_made_anew_does_not_fit_the_checkpoint(
    ten: Database, sealer: AuditSealer, checkpoint: Checkpoint
) -> None:
    kept = await records(ten)
    anew = audit_chain.links([one for one in kept if one.sequence != 5], audit_chain.START)
    await tamper(ten, "DELETE FROM audit")
    async with ten.transaction() as connection:
        await store.add_sealed(connection, anew)
    await record(ten, Act("login.ok"), Act("login.ok"))
    await sealer.seal()  # which grows the chain over the checkpoint's number
    found = await verdict(ten, checkpoint)
    assert (found.broken_at, found.why) == (
        10,
        "it is not the one that the checkpoint was made of",
    )


async def test_an_end_cut_off_is_not_covered_up_by_what_comes_after(
    ten: Database, checkpoint: Checkpoint
) -> None:
    noted = checkpoint.read()
    await tamper(ten, "DELETE FROM audit WHERE sequence > 8")
    again = AuditSealer(ten, checkpoint)
    running = asyncio.create_task(again.run())
    try:
        await record(ten, *[Act("login.ok")] * 5)
        while len(await records(ten)) < 13:
            await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert checkpoint.read() == noted
    assert (await verdict(ten, checkpoint)).broken_at == 10


async def test_the_checkpoint_is_for_its_owner_alone(ten: Database, checkpoint: Checkpoint) -> None:
    assert checkpoint.file.stat().st_mode & 0o777 == 0o600
    assert checkpoint.file.parent.stat().st_mode & 0o777 == 0o700
    checkpoint.file.write_text("{}")
    with pytest.raises(CheckpointError, match=r"head\.json"):
        checkpoint.read()


async def test_what_cannot_be_stored_as_it_is_does_not_stop_the_act(
    nexus_database: Database, sealer: AuditSealer, checkpoint: Checkpoint
) -> None:
    odd: list[dict[str, Any]] = [
        {"name": "a\0b\ud800", "n\0": [1.0, 1e-7, 10**30, True, None]},
        {"long": ["x" * 400] * 100},
        {"client_secret": "s3cret", "said": "Bearer abc.def"},
    ]
    await record(nexus_database, *(Act("client.changed", details=one) for one in odd))
    await sealer.seal()
    first, second, third = await records(nexus_database)
    assert first.details == {"name": "a?b?", "n?": [1.0, 1e-7, 10**30, True, None]}
    assert len(second.details["cut"]) == DETAILS_LIMIT
    assert third.details == {"client_secret": "[redacted]", "said": "Bearer [redacted]"}
    assert (await verdict(nexus_database, checkpoint)).broken_at is None


async def test_a_kind_that_is_none_is_refused(nexus_database: Database) -> None:
    with pytest.raises(ValueError, match="no kind of act"):
        await record(nexus_database, Act("login.maybe"))  # type: ignore[arg-type]
    assert all(text.endswith(".") for text in KINDS.values())


class Ran:
    """The command on a deployment of which there is only a database and a checkpoint."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def __call__(self, *words: str) -> tuple[int, str]:
        done = CliRunner().invoke(towpath, ["admin", "audit", *words, "--data", str(self._data)])
        return done.exit_code, done.output


@pytest.fixture
def ran(database_url: str, tmp_path: Path) -> Ran:
    (tmp_path / "run").mkdir()
    (tmp_path / "secrets").mkdir()
    state = {"url": "https://h:1", "host": "h", "bound_host": "h", "port": 1, "authority": None}
    (tmp_path / "run" / "state.json").write_text(
        json.dumps({**state, "database_url": database_url})
    )
    (tmp_path / "secrets" / "operator.json").write_text(
        json.dumps({"client_id": str(SOMEBODY), "client_secret": "s"})
    )
    return Ran(tmp_path)


async def test_the_command_says_whether_it_is_whole(ten: Database, ran: Ran) -> None:
    await record(ten, Act("login.failed"))
    code, told = await asyncio.to_thread(ran, "verify")
    assert (code, told.splitlines()[0][:18]) == (0, "whole: 10 records,")
    assert "1 more are recorded and not in the chain yet" in told
    await tamper(ten, "DELETE FROM audit WHERE sequence = 3")
    code, told = await asyncio.to_thread(ran, "verify")
    assert (code, told) == (1, "broken at 3: it is missing: after 2 comes 4\n")
    code, told = await asyncio.to_thread(ran, "verify", "-F", "json")
    document = json.loads(told)
    assert (code, document["whole"], document["broken_at"]) == (1, False, 3)


async def test_the_command_lists_by_kind_actor_and_time(
    ten: Database, ran: Ran, sealer: AuditSealer
) -> None:
    await record(ten, Act("login.failed"), Act("group.added", actor=UUID(int=9)))
    await sealer.seal()

    async def listed(*words: str) -> list[int]:
        code, told = await asyncio.to_thread(ran, "list", "-F", "json", *words)
        assert code == 0, told
        return [one["sequence"] for one in json.loads(told)]

    assert await listed() == [*range(1, 13)]
    assert await listed("--limit", "2") == [11, 12]
    assert await listed("--kind", "login.failed") == [11]
    assert await listed("--kind", "login.") == [*range(1, 12)]
    assert await listed("--actor", str(UUID(int=9))) == [12]
    assert await listed("--since", "2999-01-01") == []
    assert await listed("--since", "2000-01-01", "--kind", "group.added") == [12]
    _, told = await asyncio.to_thread(ran, "list", "--kind", "group.added")
    assert told.rstrip().endswith(f"group.added  actor={UUID(int=9)}")
