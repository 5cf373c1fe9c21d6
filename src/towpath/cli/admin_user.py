"""``towpath admin user``: people's accounts."""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import click

from towpath.cli.deployment import Deployment, data_option
from towpath.cli.on_database import on_nexus
from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.people import accounts as acts
from towpath.nexus.people import service
from towpath.nexus.people.accounts import AccountError, NewPerson
from towpath.nexus.people.passwords import argon2id, normalized, problem
from towpath.nexus.store import accounts, identities, links, passkeys
from towpath.nexus.store.accounts import Account
from towpath.nexus.store.identities import Identity, Provider
from towpath.platform.database import Connection
from towpath.platform.mail import is_address

T = TypeVar("T")
PAGE = 500

_format = click.option(
    "-F", "--format", "output", type=click.Choice(["text", "json"]), default="text"
)


@click.group()
def user() -> None:
    """Look after people's accounts. USER is a name, with its domain or without, or an id."""


@user.command()
@click.argument("name", metavar="NAME")
@click.option("--full-name", help="The person's name.")
@click.option("--email", help="Their address; it counts as confirmed.")
@click.option("--organization")
@click.option("--administrator", is_flag=True, help="With all rights.")
@click.option(
    "--password-file",
    type=click.File("r"),
    help="Make the account at once, with the first line of this file ('-': standard input) as its"
    " password.",
)
@_format
@data_option
def add(
    name: str,
    full_name: str | None,
    email: str | None,
    organization: str | None,
    administrator: bool,  # noqa: FBT001 - click passes it by name
    password_file: Any,
    output: str,
    data: Path,
) -> None:
    """Let somebody have an account.

    Prints a link with which they choose their password. It works once, for a week; a later one
    replaces it.
    """
    deployment = Deployment.find(data)
    if email is not None and not is_address(email):
        raise click.ClickException(f"{email!r} is no address that mail can be sent to")
    password = None
    if password_file is not None:
        password = normalized(password_file.readline().rstrip("\r\n"))
        if full_name is None:
            raise click.UsageError("--password-file needs --full-name, too")
        wrong = problem(
            password,
            shortest=deployment.settings().people.password_length,
            words=[word for word in (name, email, full_name) if word],
        )
        if wrong:
            raise click.ClickException(wrong)

    async def work(connection: Connection) -> dict[str, str]:
        provider = await _provider(connection)
        username = acts.username_of(name, provider.domains[0])
        if password is not None and full_name is not None:
            person = NewPerson(
                username=username,
                name=full_name,
                email=email,
                email_verified=email is not None,
                organization=organization,
                administrator=administrator,
                name_is_meant=True,
            )
            stored = argon2id().hash(password)
            made = await acts.register(connection, provider, person, stored)
            return {"username": username, "id": str(made)}
        known = await identities.identities_by_username(connection, [username])
        if known and known[0].status != "unused":
            raise AccountError(f"{username} is there already")
        await links.withdraw_invitations(connection, username)
        details: dict[str, object] = {"username": username, "administrator": administrator}
        if full_name:
            details["name"] = full_name
        if organization:
            details["organization"] = organization
        if email:
            details |= {"email": email, "email_verified": True}
        link = await service.new_link(
            connection,
            deployment.url,
            "invitation",
            lifetime_s=service.INVITATION_S,
            details=details,
        )
        await audit.append(
            connection, Act("account.invited", subject=username, details={"mailed": False})
        )
        return {"username": username, "link": link}

    made = _on(deployment, work)
    if output == "json":
        click.echo(json.dumps(made))
    elif "link" in made:
        click.echo(f"Send this link to {made['username']}; it works once, for a week:")
        click.echo(made["link"])
    else:
        click.echo(f"{made['username']} can log in: {made['id']}")


@user.command(name="list")
@_format
@data_option
def list_users(output: str, data: Path) -> None:
    """Show all accounts."""
    rows = _on(Deployment.find(data), _all)
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        marks = [word for word in ("administrator", "suspended") if row[word]]
        others = row["identities"][1:]
        parts = [row["id"], row["username"], row["name"] or "-", row["email"] or "-", *marks]
        if others:
            parts.append(f"also {', '.join(others)}")
        click.echo("  ".join(parts))


@user.command()
@click.argument("who", metavar="USER")
@data_option
def suspend(who: str, data: Path) -> None:
    """Let somebody do nothing from now on: sessions and tokens end, transfers stop."""
    username, changed = _act(data, who, acts.suspend)
    click.echo(f"{username} is suspended" + ("" if changed else " already"))


@user.command()
@click.argument("who", metavar="USER")
@data_option
def restore(who: str, data: Path) -> None:
    """End a suspension. Transfers go on; the person logs in again."""
    username, changed = _act(data, who, acts.restore)
    click.echo(f"{username} {'is restored' if changed else 'was not suspended'}")


@user.command()
@click.argument("who", metavar="USER")
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def delete(who: str, yes: bool, data: Path) -> None:  # noqa: FBT001 - click passes it by name
    """Forget somebody. Their ids stay without a name, so that history can be read."""
    if not yes:
        click.confirm(f"Delete the account of {who}? This cannot be undone", abort=True)
    username, _ = _act(data, who, acts.delete)
    click.echo(f"{username} is deleted")


@user.command()
@click.argument("who", metavar="USER")
@data_option
def reset(who: str, data: Path) -> None:
    """Print a link with which somebody sets a new password: once, for half an hour."""
    deployment = Deployment.find(data)

    async def work(connection: Connection) -> str:
        provider = await _provider(connection)
        identity, _ = await _find(connection, who)
        if identity.identity_provider != provider.id:
            raise AccountError(
                f"{identity.username} logs in elsewhere: at {identity.provider_name}"
            )
        return await service.new_link(
            connection,
            deployment.url,
            "reset",
            lifetime_s=service.RESET_S,
            identity_id=identity.id,
        )

    click.echo(_on(deployment, work))


@user.command(name="forget-passkeys")
@click.argument("who", metavar="USER")
@data_option
def forget_passkeys(who: str, data: Path) -> None:
    """Remove somebody's passkeys, when they are lost; the password alone is enough then."""

    async def work(connection: Connection) -> tuple[str, int]:
        identity, account = await _find(connection, who)
        own = await identities.identities_of_account(connection, account.id)
        removed = await passkeys.remove_all(connection, [one.id for one in own])
        for whose in removed:
            await audit.append(connection, Act("passkey.removed", subject=whose))
        return identity.username, len(removed)

    username, count = _on(Deployment.find(data), work)
    click.echo(f"{username} had {count} passkeys, and has none now")


@user.command()
@click.argument("who", metavar="USER")
@data_option
def export(who: str, data: Path) -> None:
    """Print all that is kept of somebody, as JSON."""

    async def work(connection: Connection) -> dict[str, Any]:
        _, account = await _find(connection, who)
        return await acts.export(connection, account)

    json.dump(_on(Deployment.find(data), work), sys.stdout, indent=2)
    click.echo()


def _on(deployment: Deployment, work: Callable[[Connection], Awaitable[T]]) -> T:
    try:
        return on_nexus(deployment, work)
    except AccountError as error:
        raise click.ClickException(str(error)) from error


def _act(data: Path, who: str, act: Callable[[Connection, UUID], Awaitable[T]]) -> tuple[str, T]:
    async def work(connection: Connection) -> tuple[str, T]:
        identity, account = await _find(connection, who)
        return identity.username, await act(connection, account.id)

    return _on(Deployment.find(data), work)


async def _provider(connection: Connection) -> Provider:
    provider = await identities.local_provider(connection)
    if provider is None:
        raise AccountError("the service was never started with this database: run 'towpath up'")
    return provider


async def _find(connection: Connection, who: str) -> tuple[Identity, Account]:
    found: Identity | None
    try:
        found = _first(await identities.identities_by_id(connection, [UUID(who)]))
    except ValueError:
        provider = await _provider(connection)
        _, found = await acts.find_local(connection, provider, who)
        if found is None:
            found = _first(await identities.identities_by_username(connection, [who]))
    account = await accounts.account_of_identity(connection, found.id) if found else None
    if found is None or account is None:
        raise AccountError(f"there is no account of {who}")
    return found, account


def _first(found: list[Identity]) -> Identity | None:
    return found[0] if found else None


async def _all(connection: Connection) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    last: UUID | None = None
    while page := await accounts.all_accounts(connection, after=last, limit=PAGE):
        last = page[-1].id
        for one in page:
            own = _primary_first(one, await identities.identities_of_account(connection, one.id))
            rows.append(
                {
                    "id": str(one.primary_identity),
                    "username": own[0].username,
                    "name": own[0].name,
                    "email": own[0].email,
                    "identities": [identity.username for identity in own],
                    "administrator": one.administrator,
                    "suspended": one.suspended_at is not None,
                    "created_at": one.created_at.isoformat(),
                }
            )
    return sorted(rows, key=lambda row: str(row["username"]))


def _primary_first(account: Account, own: list[Identity]) -> list[Identity]:
    return sorted(own, key=lambda identity: identity.id != account.primary_identity)
