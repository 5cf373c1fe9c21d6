"""``towpath admin connect``: the keys with which the service acts at agents."""

from pathlib import Path

import click

from towpath.cli.deployment import Deployment, data_option
from towpath.cli.on_database import on_transfer
from towpath.platform.database import Connection
from towpath.platform.secrets import Sealer
from towpath.transfer.connect.keys import rotate


@click.group()
def connect() -> None:
    """Look after what lets the service act at endpoints with agents."""


@connect.command(name="rotate-keys")
@click.option(
    "--at-once",
    is_flag=True,
    help="It signs now, and those before it end, as when one may have been stolen. Agents ask for"
    " it when they first meet it.",
)
@data_option
def rotate_keys(at_once: bool, data: Path) -> None:  # noqa: FBT001 - click passes it by name
    """Make a new key that signs grants. It is published now, and signs in two hours.

    The one before stays until all that it signed is over. Without this a key is replaced after 90
    days.
    """
    deployment = Deployment.find(data)
    sealer = Sealer(deployment.directory.seal_key)

    async def work(connection: Connection) -> str:
        at = await rotate(connection, sealer, at_once=at_once)
        return at.isoformat(timespec="seconds")

    click.echo(f"A new key signs grants from {on_transfer(deployment, work)}")
