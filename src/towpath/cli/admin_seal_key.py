"""``towpath admin seal-key``: the key under which secrets are kept."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import click
import psycopg

from towpath.cli.deployment import Deployment, data_option
from towpath.nexus.sealed import SEALED as NEXUS
from towpath.platform.database import Database
from towpath.platform.logs import scrub
from towpath.platform.resealing import SealedColumn, keys_in_use, reseal
from towpath.platform.secrets import Sealer, SealError, add_key, forget_keys
from towpath.timers.sealed import SEALED as TIMERS
from towpath.transfer.sealed import SEALED as TRANSFER

SEALED: Mapping[str, Sequence[SealedColumn]] = {
    "nexus": NEXUS,
    "timers": TIMERS,
    "transfer": TRANSFER,
}
"""By the schemas that hold them."""

PASSES_LIMIT = 10
"""Over all tables, until one finds nothing: a process may just have sealed under the key before
it."""

FORGET_AFTER_S = 600.0
"""How long after the last change of the file keys may be forgotten: what was sealed just before is
committed by then."""

T = TypeVar("T")


@click.group(name="seal-key")
def seal_key() -> None:
    """Look after the key under which credentials and keys are kept in the database."""


@seal_key.command()
@data_option
def rotate(data: Path) -> None:
    """Make a new key, and seal everything anew with it.

    Processes that run take the new key at once. The keys before it stay in the file, for backups
    of the database, until you have them forgotten. Interrupted, it is done by running `reseal`.
    """
    deployment = Deployment.find(data)
    key_file = deployment.directory.seal_key
    _opened(key_file)  # a file that cannot be read is told of before anything is done
    click.echo(f"{add_key(key_file)} is the new key")
    _reseal(deployment)


@seal_key.command(name="reseal")
@data_option
def reseal_all(data: Path) -> None:
    """Seal anew what is not under the first key of the file."""
    _reseal(Deployment.find(data))


@seal_key.command(name="list")
@click.option("-F", "--format", "output", type=click.Choice(["text", "json"]), default="text")
@data_option
def show_all(output: str, data: Path) -> None:
    """Show the ids of the keys, and how many values are under each."""
    deployment = Deployment.find(data)
    sealer = _opened(deployment.directory.seal_key)
    used = _on(deployment, _used)
    rows = [
        {
            "id": key_id,
            "state": "seals" if number == 0 else "opens",
            "values": used.pop(key_id, 0),
        }
        for number, key_id in enumerate(sealer.key_ids)
    ]
    rows += [{"id": key_id, "state": "lost", "values": values} for key_id, values in used.items()]
    if output == "json":
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['id']}  {row['state']:<5}  {row['values']} values")


@seal_key.command()
@data_option
def forget(data: Path) -> None:
    """Take keys out of the file under which nothing is any more.

    Backups of the database from before need them.
    """
    deployment = Deployment.find(data)
    key_file = deployment.directory.seal_key
    sealer = _opened(key_file)
    age_s = time.time() - key_file.stat().st_mtime
    if age_s < FORGET_AFTER_S:
        raise click.ClickException(
            f"the key file was changed {age_s:.0f} s ago: wait until that is {FORGET_AFTER_S:.0f} s"
        )
    used = _on(deployment, _used)
    unused = [key_id for key_id in sealer.key_ids[1:] if not used.get(key_id)]
    forget_keys(key_file, unused)
    for key_id in unused:
        click.echo(f"{key_id} is forgotten")
    for key_id in sealer.key_ids[1:]:
        if key_id not in unused:
            click.echo(
                f"{key_id} stays: {used[key_id]} values are under it (towpath admin"
                " seal-key reseal)"
            )


def lost(deployment: Deployment) -> Mapping[str, int]:
    """How many values are under keys that this machine's file has not, by key. Raises
    :class:`click.ClickException` while the database does not answer, or for a file that cannot be
    used.
    """
    file = deployment.directory.seal_key
    known = _opened(file).key_ids if file.exists() else ()  # it makes none
    used = _on(deployment, _used)
    return {key_id: values for key_id, values in used.items() if key_id not in known}


def _opened(key_file: Path) -> Sealer:
    try:
        return Sealer(key_file)
    except SealError as error:
        raise click.ClickException(str(error)) from error


def _reseal(deployment: Deployment) -> None:
    sealer = _opened(deployment.directory.seal_key)

    async def work(databases: Mapping[str, Database]) -> int:
        for _ in range(PASSES_LIMIT):
            values = unreadable = 0
            for schema, columns in SEALED.items():
                for column in columns:
                    done = await reseal(databases[schema], sealer, column)
                    values += done.values
                    unreadable += done.unreadable
                    if done.values:
                        click.echo(f"{schema}.{column.table}: {done.values} sealed anew")
            if not values:
                return unreadable
        return unreadable

    if unreadable := _on(deployment, work):
        raise click.ClickException(
            f"{unreadable} values do not open with any key of {deployment.directory.seal_key}:"
            " put the key back, or have their owners give them again"
        )
    click.echo("everything is under the first key")


async def _used(databases: Mapping[str, Database]) -> dict[str, int]:
    used: dict[str, int] = {}
    for schema, columns in SEALED.items():
        async with databases[schema].connection() as conn:
            for column in columns:
                for key_id, values in (await keys_in_use(conn, column)).items():
                    used[key_id] = used.get(key_id, 0) + values
    return used


def _on(deployment: Deployment, work: Callable[[Mapping[str, Database]], Awaitable[T]]) -> T:
    url = deployment.settings().database.url
    assert url is not None

    async def connected() -> T:
        async with AsyncExitStack() as stack:
            databases = {
                schema: await stack.enter_async_context(Database(url, schema=schema, max_size=1))
                for schema in SEALED
            }
            return await work(databases)

    try:
        return asyncio.run(connected())
    except psycopg.OperationalError as error:
        raise click.ClickException(
            f"the deployment's database does not answer ({scrub(str(error))}): is"
            f" 'towpath up --data {deployment.directory.root}' running?"
        ) from error
