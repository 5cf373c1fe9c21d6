"""Credentials that the deployment issues itself."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from towpath.gridftp.security.authority import Authority
from towpath.gridftp.security.credentials import Credential
from towpath.platform.database import Database
from towpath.platform.secrets import Sealer
from towpath.transfer.issuing import LIFETIME, RENEW_BEFORE, Issuing
from towpath.transfer.store import credentials, endpoints
from towpath.transfer.store.credentials import StoredCredential
from towpath.transfer.store.endpoints import Endpoint

NOW = datetime.now(UTC).replace(microsecond=0)
ALICE, BOB = uuid4(), uuid4()


@pytest.fixture
async def endpoint_id(database: Database) -> UUID:
    endpoint = Endpoint(
        id=uuid4(),
        owner_id=ALICE,
        owner_string="alice",
        display_name="ours",
        host="127.0.0.1",
        port=2811,
        subject=None,
        data_hosts=(),
        public=True,
        details={},
    )
    async with database.transaction() as conn:
        await endpoints.insert(conn, endpoint, {})
    return endpoint.id


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path / "seal.key")


@pytest.fixture
def authority() -> Authority:
    return Authority.create("Lab", NOW, timedelta(days=365))


async def given(
    database: Database, issuing: Issuing, endpoint_id: UUID, owner_id: UUID
) -> StoredCredential | None:
    async with database.connection() as conn:
        return await issuing.credential(conn, endpoint_id, owner_id)


async def test_each_user_gets_one_of_his_own(
    database: Database, sealer: Sealer, authority: Authority, endpoint_id: UUID
) -> None:
    issuing = Issuing(sealer, {endpoint_id: authority}, lambda: NOW)
    for owner in (ALICE, BOB):
        stored = await given(database, issuing, endpoint_id, owner)
        assert stored is not None
        assert stored.subject == f"/O=Lab/CN={owner}"
        assert stored.not_after == NOW + LIFETIME
        context = credentials.seal_context(endpoint_id, owner)
        assert Credential.from_pem(sealer.unseal(stored.sealed, context)).subject == stored.subject


async def test_it_is_issued_again_in_time(
    database: Database, sealer: Sealer, authority: Authority, endpoint_id: UUID
) -> None:
    now = NOW
    issuing = Issuing(sealer, {endpoint_id: authority}, lambda: now)
    first = await given(database, issuing, endpoint_id, ALICE)
    now = NOW + LIFETIME - RENEW_BEFORE - timedelta(seconds=1)
    assert await given(database, issuing, endpoint_id, ALICE) == first
    now = NOW + LIFETIME - RENEW_BEFORE
    later = await given(database, issuing, endpoint_id, ALICE)
    assert later is not None
    assert later.not_after == now + LIFETIME


async def test_not_for_other_endpoints(
    database: Database, sealer: Sealer, authority: Authority, endpoint_id: UUID
) -> None:
    issuing = Issuing(sealer, {uuid4(): authority}, lambda: NOW)
    assert await given(database, issuing, endpoint_id, ALICE) is None


async def test_a_new_authority_issues_all_of_them_again(
    database: Database, sealer: Sealer, authority: Authority, endpoint_id: UUID
) -> None:
    """Servers do not believe what the one before, whose key is lost, has signed."""
    first = await given(database, Issuing(sealer, {endpoint_id: authority}), endpoint_id, ALICE)
    assert first is not None
    later = first.updated_at + timedelta(seconds=1)
    other = Authority.create("Lab", later, timedelta(days=365))
    issuing = Issuing(sealer, {endpoint_id: other}, lambda: later)
    again = await given(database, issuing, endpoint_id, ALICE)
    assert again is not None
    assert again.sealed != first.sealed
