"""``towpath admin group``: groups that their own admins cannot look after any more."""

import json
from pathlib import Path
from uuid import UUID

import click

from towpath.cli.deployment import Deployment, data_option
from towpath.cli.on_database import on_nexus
from towpath.nexus.groups import service
from towpath.nexus.store import groups, identities
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError


@click.group()
def group() -> None:
    """Look after groups without an admin."""


@group.command()
@click.option("-F", "--format", "output", type=click.Choice(["text", "json"]), default="text")
@data_option
def orphans(output: str, data: Path) -> None:
    """Show the groups without an admin: the account of the last one was deleted or suspended."""

    async def work(connection: Connection) -> list[dict[str, str]]:
        found = await groups.without_admin(connection)
        return [{"id": str(id_), "name": name} for id_, name in found]

    rows = on_nexus(Deployment.find(data), work)
    if output == "json":
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['id']}  {row['name']}")


@group.command(name="give")
@click.argument("group_id", type=click.UUID)
@click.argument("username", metavar="USERNAME")
@data_option
def give(group_id: UUID, username: str, data: Path) -> None:
    """Make somebody an admin of a group. USERNAME has its domain."""

    async def work(connection: Connection) -> None:
        found = await identities.identities_by_username(connection, [username])
        if not found:
            raise click.ClickException(f"there is no identity {username!r}")
        try:
            await service.give(connection, group_id, found[0].id)
        except ApiError as error:
            raise click.ClickException(error.message) from error

    on_nexus(Deployment.find(data), work)
    click.echo(f"{username} is an admin of the group")
