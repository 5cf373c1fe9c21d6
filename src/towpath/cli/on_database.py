"""Work on a service's own tables, for the commands of ``towpath admin``."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click
import psycopg

from towpath.cli.deployment import Deployment
from towpath.platform.database import Connection, Database
from towpath.platform.logs import scrub

T = TypeVar("T")


def on_nexus(deployment: Deployment, work: Callable[[Connection], Awaitable[T]]) -> T:
    """``work`` in one transaction on nexus' schema of the deployment's database.

    Raises :class:`click.ClickException` while the database does not answer.
    """
    return _on("nexus", deployment, work)


def on_transfer(deployment: Deployment, work: Callable[[Connection], Awaitable[T]]) -> T:
    """The same on transfer's."""
    return _on("transfer", deployment, work)


def _on(schema: str, deployment: Deployment, work: Callable[[Connection], Awaitable[T]]) -> T:
    url = deployment.settings().database.url
    assert url is not None

    async def connected() -> T:
        async with (
            Database(url, schema=schema, max_size=1) as database,
            database.transaction() as connection,
        ):
            return await work(connection)

    try:
        return asyncio.run(connected())
    except psycopg.OperationalError as error:
        raise click.ClickException(
            f"the deployment's database does not answer ({scrub(str(error))}): is"
            f" 'towpath up --data {deployment.directory.root}' running?"
        ) from error
