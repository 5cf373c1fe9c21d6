"""``towpath admin relay``: relays beside the one that ``towpath up`` runs by itself."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import click
from psycopg.errors import UniqueViolation

from towpath.cli.deployment import Deployment, data_option
from towpath.cli.on_database import on_nexus, on_transfer
from towpath.nexus import audit, hashing
from towpath.nexus.bootstrap import OWN_RELAY
from towpath.nexus.store import clients
from towpath.platform.database import Connection
from towpath.transfer.store import relays
from towpath.transfer.store.relays import Relay

_format = click.option(
    "-F", "--format", "output", type=click.Choice(["text", "json"]), default="text"
)


@click.group()
def relay() -> None:
    """Register relays, where endpoints that nobody can dial meet the service."""


@relay.command()
@click.argument("name")
@_format
@data_option
def add(name: str, output: str, data: Path) -> None:
    """Register a relay under NAME.

    Prints the id of its client, and the secret, which is not to be had again. With them 'towpath
    relay' runs it, on whatever machine.
    """
    if not name.isprintable() or not name.strip():
        raise click.BadParameter("must be text", param_hint="NAME")
    deployment, client_id, secret = Deployment.find(data), uuid4(), hashing.new_secret()

    async def register(connection: Connection) -> None:
        await relays.add(connection, client_id, name.strip())

    async def make_client(connection: Connection) -> None:
        await clients.add_client(
            connection, client_id=client_id, name=f"Towpath relay {name.strip()}", secret=secret
        )
        await audit.append(connection, audit.Act("client.registered", subject=client_id))

    try:
        on_transfer(deployment, register)
    except UniqueViolation:
        raise click.ClickException(f"there is a relay {name.strip()!r} already") from None
    on_nexus(deployment, make_client)
    if output == "json":
        document = {"client_id": str(client_id), "client_secret": secret, "url": deployment.url}
        click.echo(json.dumps(document))
        return
    click.echo(f"service        {deployment.url}")
    click.echo(f"client id      {client_id}")
    click.echo(f"client secret  {secret}")


@relay.command(name="list")
@_format
@data_option
def show_all(output: str, data: Path) -> None:
    """Show the relays, where they are, and whether they are there."""

    async def work(connection: Connection) -> list[Relay]:
        return await relays.list_all(connection)

    found = on_transfer(Deployment.find(data), work)
    if output == "json":
        rows = [
            {
                "client_id": str(one.client_id),
                "name": one.name,
                "address": _address(one),
                "state": _state(one),
                "agents": one.agents if one.alive else 0,
                "version": one.version,
            }
            for one in found
        ]
        click.echo(json.dumps(rows))
        return
    for one in found:
        agents = f"  {one.agents} agents" if one.alive else ""
        click.echo(f"{one.client_id}  {_state(one):<8}  {_address(one)}  {one.name}{agents}")


@relay.command()
@click.argument("client_id", type=click.UUID)
@data_option
def remove(client_id: UUID, data: Path) -> None:
    """Remove a relay. Its agents go to others."""
    deployment = Deployment.find(data)

    async def unregister(connection: Connection) -> bool:
        own = [one for one in await relays.list_all(connection) if one.client_id == client_id]
        if own and own[0].name == OWN_RELAY:
            raise click.ClickException("this deployment runs this relay itself")
        return await relays.remove(connection, client_id)

    async def delete_client(connection: Connection) -> None:
        await clients.delete(connection, client_id)
        await audit.append(connection, audit.Act("client.deleted", subject=client_id))

    if not on_transfer(deployment, unregister):
        raise click.ClickException(f"there is no relay {client_id}")
    on_nexus(deployment, delete_client)


def _address(one: Relay) -> str:
    return "-" if one.host is None else f"{one.host}:{one.port}"


def _state(one: Relay) -> str:
    if one.heard_at is None:
        return "new"
    if not one.alive:
        return "dead"
    return "draining" if one.draining else "there"
