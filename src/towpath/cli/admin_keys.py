"""``towpath admin keys``: the keys that sign id tokens."""

import json
from pathlib import Path
from typing import Any

import click

from towpath.cli.deployment import Deployment, data_option
from towpath.cli.on_database import on_nexus
from towpath.nexus.oauth.keys import PUBLISHED_AHEAD_S, add, generate, succession
from towpath.nexus.store import keys as store
from towpath.platform.database import Connection
from towpath.platform.secrets import Sealer


@click.group()
def keys() -> None:
    """Look after the keys that sign id tokens."""


@keys.command()
@data_option
def rotate(data: Path) -> None:
    """Make a new key. It is published now and signs in an hour, when everybody has it.

    The old one stays published until all that it signed is over.
    """
    deployment = Deployment.find(data)
    sealer, key = Sealer(deployment.directory.seal_key), generate()

    async def work(connection: Connection) -> str:
        at = await add(connection, sealer, key, ahead_s=PUBLISHED_AHEAD_S)
        return at.isoformat(timespec="seconds")

    click.echo(f"{key.thumbprint()} signs from {on_nexus(deployment, work)}")


@keys.command(name="list")
@click.option("-F", "--format", "output", type=click.Choice(["text", "json"]), default="text")
@data_option
def show_all(output: str, data: Path) -> None:
    """Show the keys, and what each does now."""

    async def work(connection: Connection) -> list[dict[str, Any]]:
        found = await store.all_keys(connection)
        known = succession(found, await store.now(connection))
        return [
            {
                "kid": one.kid,
                "signs_from": one.signs_from.isoformat(timespec="seconds"),
                "state": "signs"
                if known and one is known.signer
                else "over"
                if known and one in known.over
                else "published",
            }
            for one in found
        ]

    rows = on_nexus(Deployment.find(data), work)
    if output == "json":
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['kid']}  {row['state']:<9}  from {row['signs_from']}")
