"""Sessions at registered endpoints: what a login is made of, and who shares a session with whom."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.credentials import Credential
from towpath.platform.database import Database
from towpath.platform.dial import DialPolicy
from towpath.platform.secrets import Sealer
from towpath.platform.settings import GridftpSettings
from towpath.transfer.rights import Who
from towpath.transfer.sessions import EndpointSessions, NoCredential, NoEndpoint
from towpath.transfer.store import credentials, endpoints
from towpath.transfer.store.endpoints import Endpoint

ALICE, BOB = Who.alone(uuid4()), Who.alone(uuid4())


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path / "seal.key")


@pytest.fixture
async def sessions(database: Database, sealer: Sealer) -> AsyncIterator[EndpointSessions]:
    made = EndpointSessions(database, sealer, DialPolicy(allow_loopback=True), GridftpSettings())
    yield made
    await made.close()


Give = Callable[[UUID, UUID, Credential], Awaitable[None]]


@pytest.fixture
def give(database: Database, sealer: Sealer) -> Give:
    """Stores a user's credential for an endpoint."""

    async def store(endpoint_id: UUID, owner_id: UUID, credential: Credential) -> None:
        sealed = sealer.seal(credential.to_pem(), credentials.seal_context(endpoint_id, owner_id))
        async with database.transaction() as conn:
            await credentials.put(
                conn,
                endpoint_id=endpoint_id,
                owner_id=owner_id,
                sealed=sealed,
                subject=credential.subject,
                not_after=credential.not_after,
            )

    return store


@pytest.fixture
async def lake(database: Database, domain_a: Domain, server_a: GctServer, give: Give) -> Endpoint:
    """Server A; Alice and Bob use it with the same credential."""
    made = Endpoint(
        id=uuid4(),
        owner_id=ALICE.id,
        owner_string="alice",
        display_name="lake",
        host="localhost",
        port=server_a.port,
        subject=None,
        data_hosts=(),
        public=True,
        details={},
    )
    async with database.transaction() as conn:
        await endpoints.insert(conn, made, dict(domain_a.trust.files))
    for owner in (ALICE, BOB):
        await give(made.id, owner.id, domain_a.credential)
    return made


async def borrowed(sessions: EndpointSessions, endpoint: Endpoint, owner: Who) -> Session:
    """The session of one use, parked again."""
    async with sessions.borrow(endpoint.id, owner) as use:
        await use.session.stat("/")
        return use.session


async def test_a_user_gets_the_parked_session_again_and_nobody_else_does(
    sessions: EndpointSessions, lake: Endpoint
) -> None:
    first = await borrowed(sessions, lake, ALICE)
    async with sessions.borrow(lake.id, ALICE) as again:
        assert again.session is first
        assert not again.fresh
    async with sessions.borrow(lake.id, BOB) as of_bob:
        assert of_bob.session is not first
        assert of_bob.fresh
    await sessions.close()
    assert first.closed


async def test_what_a_login_is_made_of_has_changed(
    sessions: EndpointSessions,
    database: Database,
    domain_a: Domain,
    domain_b: Domain,
    lake: Endpoint,
    give: Give,
) -> None:
    seen = [await borrowed(sessions, lake, ALICE)]
    await give(lake.id, ALICE.id, domain_a.make_proxy(timedelta(hours=1)))
    seen.append(await borrowed(sessions, lake, ALICE))
    async with database.transaction() as conn:
        both = {**domain_b.trust.files, **domain_a.trust.files}
        await endpoints.update(conn, lake, both)
    seen.append(await borrowed(sessions, lake, ALICE))
    async with database.transaction() as conn:
        await endpoints.update(conn, replace(lake, subject="/O=DomA/CN=localhost"), None)
    seen.append(await borrowed(sessions, lake, ALICE))
    assert len(set(map(id, seen))) == 4
    async with database.transaction() as conn:
        await endpoints.update(conn, lake, dict(domain_b.trust.files))
    with pytest.raises(GridFTPError) as caught:
        await borrowed(sessions, lake, ALICE)
    assert caught.value.kind is Kind.UNTRUSTED_HOST


async def test_a_session_of_ones_own_is_not_shared(
    sessions: EndpointSessions, lake: Endpoint
) -> None:
    parked = await borrowed(sessions, lake, ALICE)
    own = await sessions.open(lake.id, ALICE)
    assert own is not parked
    await sessions.close()
    assert not own.closed
    await own.close()


async def test_an_expired_credential_gets_not_even_a_parked_session(
    sessions: EndpointSessions, lake: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    await borrowed(sessions, lake, ALICE)
    later = datetime.now(UTC) + timedelta(days=3650)
    monkeypatch.setattr(sessions._pool, "_clock", lambda: later)
    with pytest.raises(GridFTPError) as caught:
        await borrowed(sessions, lake, ALICE)
    assert caught.value.kind is Kind.CREDENTIAL_EXPIRED


async def test_what_is_missing_here_is_told_as_that(
    sessions: EndpointSessions, database: Database, lake: Endpoint
) -> None:
    await borrowed(sessions, lake, ALICE)
    with pytest.raises(NoCredential):
        await borrowed(sessions, lake, Who.alone(uuid4()))
    async with database.transaction() as conn:
        await endpoints.mark_deleted(conn, lake.id)
    with pytest.raises(NoEndpoint):
        await borrowed(sessions, lake, ALICE)
