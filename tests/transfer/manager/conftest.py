"""The Manager and Transfer over ASGI on one origin: real nexus, real database, some users."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from plugins.connect_api import set_up
from plugins.manager_api import MAPPINGS, ORIGIN, SECRET, Lab, User
from plugins.transfer_api import Api, held_to_schemas
from towpath.nexus import app as nexus
from towpath.nexus.bootstrap import TRANSFER, bootstrap
from towpath.nexus.oauth.keys import KeyRing
from towpath.nexus.store import clients
from towpath.platform.database import Database
from towpath.platform.dial import DialPolicy
from towpath.platform.guard import Guard
from towpath.platform.http import PathDispatch
from towpath.platform.secrets import Sealer
from towpath.transfer.api import SCOPE, TransferService, create_app
from towpath.transfer.manager import answers
from towpath.transfer.manager.app import create_app as create_manager


@pytest.fixture
async def service(
    database: Database, nexus_database: Database, nexus_keys: KeyRing, tmp_path: Path
) -> AsyncIterator[TransferService]:
    made = await bootstrap(nexus_database, tmp_path)
    auth = nexus.create_app(nexus_database, issuer=ORIGIN, keys=nexus_keys)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=auth), base_url="https://nexus"
    ) as client:
        transfer = made[TRANSFER]
        service = TransferService(
            database=database,
            guard=Guard(client, transfer.client_id, transfer.client_secret),
            sealer=Sealer(tmp_path / "seal.key"),
            dial=DialPolicy(allow_loopback=True),
            origin=ORIGIN,
        )
        yield service
        await service.close()


@pytest.fixture
async def login(
    service: TransferService, nexus_database: Database, nexus_keys: KeyRing
) -> AsyncIterator[Callable[[], Awaitable[User]]]:
    """`await login()` is a new user."""
    manager = create_manager(service)
    apps = PathDispatch({"/v0.10": create_app(service), "/gcs": manager}, default=manager)
    held = held_to_schemas(manager, error=answers.Error)

    async def hold(answer: httpx.Response) -> None:
        if answer.request.url.path.startswith("/gcs/"):
            await held(answer)

    auth = nexus.create_app(nexus_database, issuer=ORIGIN, keys=nexus_keys)
    async with AsyncExitStack() as stack:

        async def client(app: Any, url: str) -> httpx.AsyncClient:
            return await stack.enter_async_context(
                httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=url)
            )

        at_nexus = await client(auth, "https://nexus")

        async def make() -> User:
            client_id = uuid4()
            async with nexus_database.transaction() as conn:
                await clients.add_client(
                    conn, client_id=client_id, name="user", secret=SECRET, administrator=False
                )
            user = User(Api(await client(apps, ORIGIN), client_id), at_nexus)
            user.api.http.event_hooks["response"].append(hold)
            user.api.http.headers["Authorization"] = f"Bearer {await user.token(SCOPE)}"
            return user

        yield make


@pytest.fixture
async def alice(login: Callable[[], Awaitable[User]]) -> User:
    """A user."""
    return await login()


@pytest.fixture
async def bob(login: Callable[[], Awaitable[User]]) -> User:
    """Another user."""
    return await login()


@pytest.fixture
async def lab(alice: User) -> Lab:
    """Alice's endpoint. Its node shows one directory, and opens another for managers."""
    made = await alice.api.post("endpoint", {"display_name": "Lab", "connect": "server"})
    assert made.status_code == 201, made.text
    _, node = await set_up(alice.api, made.json()["globus_connect_setup_key"])
    lab = Lab(made.json()["id"], node)
    await lab.report(
        collections=[
            {
                "name": "Data",
                "base_path": "/srv/data",
                "policies": {"description": "the site's words", "public": False},
            }
        ],
        mappings=[MAPPINGS],
        roots=[{"path": "/srv/open"}, {"path": "/srv/open/archive", "access": "r"}],
    )
    return lab
