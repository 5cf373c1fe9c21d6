"""Beside the operator, who owns everything of the shared deployment: another client of it."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import UUID

import httpx
import psycopg

from plugins.site import Site
from towpath.demo.deployment import Deployment
from towpath.nexus.store import clients
from towpath.platform.database import Database
from towpath.platform.settings import DataDirectory
from towpath.transfer.api.service import SCOPE


def database_url(site: Site) -> str:
    state = DataDirectory(site.rig.data_dir).read_state()
    assert state is not None
    return str(state["database_url"])


@contextmanager
def database(site: Site) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """The deployment's."""
    with psycopg.connect(database_url(site), autocommit=True) as connection:
        yield connection


async def add_client(url: str, client_id: UUID, secret: str) -> None:
    async with Database(url, schema="nexus") as pool, pool.transaction() as connection:
        await clients.add_client(
            connection, client_id=client_id, name="theirs", secret=secret, administrator=False
        )


@contextmanager
def logged_in(site: Site, client_id: UUID, secret: str) -> Iterator[Site]:
    """The same, as another client, with credentials for both endpoints."""
    own = Deployment(site.deployment.data_dir, site.deployment._process, site.deployment.url)
    trust = ssl.create_default_context(cafile=site.rig.data_dir / "tls" / "ca.pem")
    with httpx.Client(base_url=own.url, verify=trust, timeout=60, trust_env=False) as http:
        form = {"grant_type": "client_credentials", "scope": SCOPE}
        answer = http.post("/v2/oauth2/token", data=form, auth=(str(client_id), secret))
        token = answer.raise_for_status().json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        own._client = http
        theirs = replace(site, deployment=own)
        for endpoint_id, domain in zip(site.endpoints, site.rig.domains, strict=True):
            theirs.give(endpoint_id, domain.proxy_file.read_text()).raise_for_status()
        yield theirs
