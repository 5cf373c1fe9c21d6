"""``towpath admin client``: applications that log people in here."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import click

from towpath.cli.deployment import Deployment, data_option
from towpath.cli.on_database import on_nexus
from towpath.nexus import audit, hashing
from towpath.nexus.oauth import redirects
from towpath.nexus.store import clients
from towpath.nexus.store.clients import Client
from towpath.platform.database import Connection

_format = click.option(
    "-F", "--format", "output", type=click.Choice(["text", "json"]), default="text"
)


@click.group()
def client() -> None:
    """Register applications that log people in with this service."""


@client.command()
@click.argument("name")
@click.option(
    "--redirect-uri",
    "uris",
    multiple=True,
    help="Where people come back to after the login, exactly as the application says it; repeat.",
)
@click.option("--public", is_flag=True, help="A program that people install: it has no secret.")
@_format
@data_option
def add(
    name: str,
    uris: tuple[str, ...],
    public: bool,  # noqa: FBT001 - click passes it by name
    output: str,
    data: Path,
) -> None:
    """Register an application under NAME, which people see when it asks them.

    Prints its id, and its secret, which is not to be had again.
    """
    if not name.isprintable() or not name.strip():
        raise click.BadParameter("must be text", param_hint="NAME")
    for uri in uris:
        fault = redirects.fault(uri, public=public)
        if fault is not None:
            raise click.BadParameter(f"{uri}: {fault}", param_hint="--redirect-uri")
    client_id, secret = uuid4(), None if public else hashing.new_secret()

    async def work(connection: Connection) -> None:
        await clients.add_client(
            connection,
            client_id=client_id,
            name=name.strip(),
            secret=secret,
            client_type="public_installed_client"
            if public
            else "hybrid_confidential_client_resource_server",
        )
        await clients.update(connection, client_id, {"redirect_uris": list(uris)})
        await audit.append(connection, audit.Act("client.registered", subject=client_id))

    deployment = Deployment.find(data)
    on_nexus(deployment, work)
    if output == "json":
        document = {"client_id": str(client_id), "client_secret": secret, "issuer": deployment.url}
        click.echo(json.dumps(document))
        return
    click.echo(f"issuer         {deployment.url}")
    click.echo(f"client id      {client_id}")
    if secret is not None:
        click.echo(f"client secret  {secret}")


@client.command(name="list")
@_format
@data_option
def show_all(output: str, data: Path) -> None:
    """Show the applications, without those that programs made for themselves."""

    async def work(connection: Connection) -> list[Client]:
        return await clients.registered(connection)

    found = on_nexus(Deployment.find(data), work)
    if output == "json":
        rows = [
            {"client_id": str(one.id), "name": one.name, "redirect_uris": list(one.redirect_uris)}
            for one in found
        ]
        click.echo(json.dumps(rows))
        return
    for one in found:
        click.echo(f"{one.id}  {one.name}  {' '.join(one.redirect_uris)}".rstrip())


@client.command()
@click.argument("client_id", type=click.UUID)
@data_option
def remove(client_id: UUID, data: Path) -> None:
    """Remove an application, with all logins and consents that it has."""

    async def work(connection: Connection) -> bool:
        known = {one.id for one in await clients.registered(connection)}
        if client_id in known:
            await clients.delete(connection, client_id)
            await audit.append(connection, audit.Act("client.deleted", subject=client_id))
        return client_id in known

    if not on_nexus(Deployment.find(data), work):
        raise click.ClickException(f"there is no application {client_id}")
