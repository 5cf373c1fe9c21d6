"""The API over ASGI: real nexus, real database, two users."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from plugins.transfer_api import Api, held_to_schemas, server_document
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.nexus import app as nexus
from towpath.nexus.bootstrap import TRANSFER, bootstrap
from towpath.nexus.oauth.keys import KeyRing
from towpath.nexus.store import clients
from towpath.platform.database import Database
from towpath.platform.dial import DialPolicy
from towpath.platform.guard import Guard
from towpath.platform.secrets import Sealer
from towpath.platform.settings import LimitSettings
from towpath.transfer.api import SCOPE, TransferService, create_app

BODY_LIMIT = 4 * 1024 * 1024


@pytest.fixture
async def auth(nexus_database: Database, nexus_keys: KeyRing) -> AsyncIterator[httpx.AsyncClient]:
    """Of Nexus."""
    app = nexus.create_app(nexus_database, issuer="https://towpath.test", keys=nexus_keys)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="https://nexus"
    ) as client:
        yield client


@pytest.fixture
async def service(
    database: Database, nexus_database: Database, auth: httpx.AsyncClient, tmp_path: Path
) -> AsyncIterator[TransferService]:
    made = await bootstrap(nexus_database, tmp_path)
    transfer = made[TRANSFER]
    service = TransferService(
        database=database,
        guard=Guard(auth, transfer.client_id, transfer.client_secret),
        sealer=Sealer(tmp_path / "seal.key"),
        dial=DialPolicy(allow_loopback=True),
        limits=LimitSettings(items_per_task=1000, active_tasks_per_owner=5),
    )
    yield service
    await service.close()


@pytest.fixture
def answered() -> set[str]:
    """The routes, by their names, that have answered as their schemas say."""
    return set()


@pytest.fixture
async def login(
    service: TransferService, nexus_database: Database, auth: httpx.AsyncClient, answered: set[str]
) -> AsyncIterator[Callable[[], Awaitable[Api]]]:
    """`await login()` is a new user."""
    app = create_app(service, max_body_bytes=BODY_LIMIT)
    async with AsyncExitStack() as stack:

        async def make() -> Api:
            client_id = uuid4()
            async with nexus_database.transaction() as conn:
                await clients.add_client(
                    conn, client_id=client_id, name="user", secret="s" * 40, administrator=False
                )
            answer = await auth.post(
                "/v2/oauth2/token",
                data={"grant_type": "client_credentials", "scope": SCOPE},
                auth=(str(client_id), "s" * 40),
            )
            http = await stack.enter_async_context(
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app=app),
                    base_url="https://towpath.test",
                    headers={"Authorization": f"Bearer {answer.json()['access_token']}"},
                    event_hooks={"response": [held_to_schemas(app, answered)]},
                )
            )
            return Api(http, client_id)

        yield make


@pytest.fixture
async def alice(login: Callable[[], Awaitable[Api]]) -> Api:
    """A user."""
    return await login()


@pytest.fixture
async def bob(login: Callable[[], Awaitable[Api]]) -> Api:
    """Another user."""
    return await login()


@pytest.fixture
async def lake(alice: Api, server_a: GctServer, domain_a: Domain) -> str:
    """Alice's endpoint at server A, with her credential; its id."""
    created = await alice.post("endpoint", server_document(server_a, domain_a))
    assert created.status_code == 201, created.text
    endpoint_id: str = created.json()["id"]
    stored = await alice.put(
        f"endpoint/{endpoint_id}/credential", {"proxy": domain_a.proxy_file.read_text()}
    )
    assert stored.status_code == 200, stored.text
    return endpoint_id
