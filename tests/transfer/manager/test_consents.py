"""That an application may use a person's data in a collection: asked at each use, and of tasks that
wait."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from plugins.manager_api import Lab, User
from plugins.transfer_api import assert_error
from towpath.platform.database import Database
from towpath.platform.settings import EngineSettings, LimitSettings
from towpath.transfer.api import TransferService
from towpath.transfer.consents import FRESH_S, STALE_S, DataAccess, DataConsents, NexusAway
from towpath.transfer.sides import Sides, details_for
from towpath.transfer.store import tasks
from towpath.transfer.store.consents import Fitted
from towpath.transfer.watches.consents import ConsentWatch


async def collection_of(user: User, lab: Lab) -> str:
    found = await user.api.get(
        "endpoint_search", filter_scope="my-endpoints", filter_entity_type="GCSv5_mapped_collection"
    )
    return str(found.json()["DATA"][0]["id"])


def transfer(collection: str) -> dict[str, Any]:
    return {
        "DATA_TYPE": "transfer",
        "submission_id": str(uuid4()),
        "source_endpoint": collection,
        "destination_endpoint": collection,
        "DATA": [{"DATA_TYPE": "transfer_item", "source_path": "/a", "destination_path": "/b"}],
    }


def scope(collection: str) -> str:
    return (
        "urn:globus:auth:scope:transfer.api.globus.org:all"
        f"[*https://auth.globus.org/scopes/{collection}/data_access]"
    )


async def test_each_use_needs_it(alice: User, bob: User, lab: Lab) -> None:
    collection = await collection_of(alice, lab)
    operation = f"operation/endpoint/{collection}"
    document = transfer(collection)
    delete = {
        "DATA_TYPE": "delete",
        "submission_id": str(uuid4()),
        "endpoint": collection,
        "DATA": [{"path": "/a"}],
    }
    uses = (
        lambda: alice.api.get(f"{operation}/ls", path="/"),
        lambda: alice.api.get(f"{operation}/stat", path="/"),
        lambda: alice.api.post(f"{operation}/mkdir", {"path": "/x"}),
        lambda: alice.api.post(f"{operation}/rename", {"old_path": "/x", "new_path": "/y"}),
        lambda: alice.api.post("transfer", document),
        lambda: alice.api.post("delete", delete),
        lambda: alice.api.post(f"endpoint/{collection}/test"),
    )
    for use in uses:
        answer = await use()
        told = assert_error(answer, 403, "ConsentRequired")
        assert told == "Missing required data_access consent"
        assert answer.json()["required_scopes"] == [scope(collection)]
    # who may not see it, is not asked for anything
    assert_error(await bob.api.get(f"{operation}/ls", path="/"), 404, "EndpointNotFound")
    # with the token of before: consents are the person's, and are kept at nexus
    await alice.token(scope(collection))
    first, *others = [await use() for use in uses]
    assert_error(first, 502, "ExternalError.DirListingFailed.GCDisconnected")
    assert "ConsentRequired" not in "".join(answer.text for answer in others)
    await bob.token(scope(collection))
    assert_error(await bob.api.get(f"{operation}/ls", path="/"), 404, "EndpointNotFound")


async def test_nobody_waits_for_nexus_with_a_connection(
    service: TransferService, alice: User, lab: Lab
) -> None:
    """Nexus may take longer than a transaction may stand idle, and others need connections too."""
    collection = await collection_of(alice, lab)
    await alice.token(scope(collection))
    held: list[int] = []

    async def nexus(path: str, document: Any) -> Any:
        async with service.database.connection() as conn:
            found = await conn.execute(
                "SELECT count(*) AS n FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND datname = current_database() AND state LIKE 'idle in transaction%'"
            )
            row = await found.fetchone()
        assert row is not None
        held.append(row["n"])
        return await service.guard.ask(path, document)

    operation = f"operation/endpoint/{collection}"
    delete = {
        "DATA_TYPE": "delete",
        "submission_id": str(uuid4()),
        "endpoint": collection,
        "DATA": [{"path": "/a"}],
    }
    uses = (
        lambda: alice.api.get(f"{operation}/ls", path="/"),
        lambda: alice.api.post("transfer", transfer(collection)),
        lambda: alice.api.post("delete", delete),
        lambda: alice.api.post("transfer/plan", transfer(collection)),
        lambda: alice.api.post(f"endpoint/{collection}/test"),
    )
    for use in uses:
        object.__setattr__(service, "data_consents", DataConsents(nexus))  # which remembers nothing
        answer = await use()
        assert "ConsentRequired" not in answer.text
    assert held == [0] * len(uses)


async def test_a_task_waits_for_its_consent(
    service: TransferService, nexus_database: Database, alice: User, lab: Lab
) -> None:
    watch = ConsentWatch(
        service.database, service.guard.ask, limits=LimitSettings(), engine=EngineSettings()
    )
    collection = await collection_of(alice, lab)
    await alice.token(scope(collection))
    accepted = await alice.api.post("transfer", transfer(collection))
    assert accepted.status_code == 202, accepted.text
    task = accepted.json()["task_id"]

    async def shown() -> dict[str, Any]:
        document: dict[str, Any] = (await alice.api.get(f"task/{task}")).json()
        return document

    assert await watch.look(older_s=0) == Fitted(0, 0)
    async with nexus_database.connection() as conn:
        await conn.execute("DELETE FROM consent")
    assert await watch.look() == Fitted(0, 0), "it was asked just now"
    assert await watch.look(older_s=0) == Fitted(1, 0)
    assert await watch.look(older_s=0) == Fitted(0, 0)
    waiting = await shown()
    assert (waiting["status"], waiting["nice_status"]) == ("INACTIVE", "CONSENT_REQUIRED")
    assert f"globus session consent '{scope(collection)}'" in waiting["nice_status_details"]
    async with service.database.connection() as conn:
        told = await (await conn.execute("SELECT topic, document FROM outbox")).fetchall()
    assert [one["topic"] for one in told] == ["task.inactive"], "its owner is told, once"
    assert told[0]["document"]["details"]["collection"] == collection
    # who looks after another end of it is told of no collection
    mine, others = (Sides(end, not end) for end in (True, False))
    assert collection in details_for(waiting["nice_status_details"], mine)
    assert collection not in details_for(waiting["nice_status_details"], others)
    # a credential for it is no consent
    async with service.database.transaction() as conn:
        await tasks.credential_renewed(conn, alice.sub, UUID(collection))
    assert (await shown())["status"] == "INACTIVE"
    await alice.token(scope(collection))
    assert await watch.look(older_s=0) == Fitted(0, 1)
    going_on = await shown()
    assert (going_on["status"], going_on["nice_status"]) == ("ACTIVE", "Queued")
    events = (await alice.api.get(f"task/{task}/event_list")).json()["DATA"]
    assert [one["code"] for one in events] == ["CONSENT_GIVEN", "CONSENT_REQUIRED"]
    assert [one["is_error"] for one in events] == [False, True]
    # what nobody waits for is forgotten
    async with service.database.connection() as conn:
        await conn.execute("UPDATE task SET status = 'FAILED', completion_time = now()")
    await watch.look(older_s=0)
    async with service.database.connection() as conn:
        rows = await (await conn.execute("SELECT FROM data_access")).fetchall()
    assert rows == []


async def test_it_is_remembered_for_a_moment_and_refusals_are_not() -> None:
    now, answers, asked = 1000.0, [[False], [True], [False]], []

    async def nexus(path: str, document: Any) -> Any:
        asked.append(document["asked"])
        if not answers:
            raise httpx.ConnectError("nobody there")
        return {"allowed": answers.pop(0)}

    consents = DataConsents(nexus, monotonic=lambda: now)
    access = DataAccess(uuid4(), uuid4(), uuid4())
    assert [await consents.allowed(access) for _ in range(3)] == [False, True, True]
    assert len(asked) == 2
    now += FRESH_S + 1
    assert await consents.allowed(access) is False
    with pytest.raises(NexusAway):
        await consents.allowed(access)
    answers.append([True])
    assert await consents.allowed(access) is True
    now += STALE_S
    assert await consents.allowed(access) is True, "while nexus is away"
    now += 1
    with pytest.raises(NexusAway):
        await consents.allowed(access)
    answers.append([])
    with pytest.raises(NexusAway):
        await consents.allowed(access)
