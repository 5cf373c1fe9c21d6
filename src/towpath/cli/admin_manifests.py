"""``towpath admin manifests``: the key that signs manifests."""

from pathlib import Path

import click

from towpath.cli.deployment import Deployment, data_option
from towpath.cli.on_database import on_transfer
from towpath.platform.database import Connection
from towpath.platform.secrets import Sealer
from towpath.transfer.connect.keys import rotate_manifests


@click.group()
def manifests() -> None:
    """Look after the key that signs manifests."""


@manifests.command(name="rotate-key")
@click.option(
    "--withdraw",
    is_flag=True,
    help="Those before it are not published any more, as when one may have been stolen: what they"
    " signed is then believed by nobody who asks.",
)
@data_option
def rotate_key(withdraw: bool, data: Path) -> None:  # noqa: FBT001 - click passes it by name
    """Make a new key, which signs from now on. Those before it stay published."""
    deployment = Deployment.find(data)
    sealer = Sealer(deployment.directory.seal_key)

    async def work(connection: Connection) -> str:
        return await rotate_manifests(connection, sealer, withdraw=withdraw)

    click.echo(f"{on_transfer(deployment, work)} signs manifests from now on")
