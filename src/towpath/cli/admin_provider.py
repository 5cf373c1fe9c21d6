"""``towpath admin provider``: other OpenID providers that log people in here."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, TextIO
from uuid import NAMESPACE_URL, UUID, uuid5

import click

from towpath.cli.deployment import Deployment, data_option
from towpath.cli.on_database import on_nexus
from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.federation.errors import UpstreamDownError
from towpath.nexus.federation.logins import redirect_uri, secret_context, unsealed
from towpath.nexus.federation.providers import USERNAME_CLAIM, checked_issuer
from towpath.nexus.federation.relying_party import RelyingParty
from towpath.nexus.store import federation
from towpath.nexus.store.federation import UpstreamRow
from towpath.platform.database import Connection
from towpath.platform.dial import dial_policy
from towpath.platform.outbound import Outbound
from towpath.platform.secrets import Sealer

NAME_LIMIT = 60
"""Characters of a name: it is on a button."""
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")

_format = click.option(
    "-F", "--format", "output", type=click.Choice(["text", "json"]), default="text"
)


@click.group()
def provider() -> None:
    """Let people log in with another OpenID provider, such as their institution's."""


@provider.command()
@click.argument("issuer")
@data_option
def uri(issuer: str, data: Path) -> None:
    """Print the redirect URI under which to register this service at ISSUER."""
    click.echo(redirect_uri(Deployment.find(data).url, _id(_issuer(issuer))))


@provider.command()
@click.argument("name")
@click.option("--issuer", required=True, help="Its issuer, an https URL, exactly as it says it.")
@click.option("--client-id", required=True, help="The id that it gave this service.")
@click.option(
    "--client-secret-file",
    type=click.File("r"),
    help="The secret is the first line of this file; '-' is standard input. Without it this service"
    " is a public client.",
)
@click.option(
    "--domain",
    "domains",
    multiple=True,
    required=True,
    help="A domain that it may speak for; repeat. Names that end in others are refused; a name"
    " without a domain is in the first one.",
)
@click.option(
    "--username-claim",
    default=USERNAME_CLAIM,
    show_default=True,
    help="The claim that gives the name: NAME, or NAME@DOMAIN.",
)
@click.option(
    "--authority",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Certificates (PEM) to trust for its servers, beside the system's.",
)
@click.option("--unseen", is_flag=True, help="Do not ask it whether it is there.")
@_format
@data_option
def add(
    name: str,
    issuer: str,
    client_id: str,
    client_secret_file: TextIO | None,
    domains: tuple[str, ...],
    username_claim: str,
    authority: Path | None,
    unseen: bool,  # noqa: FBT001 - click passes it by name
    output: str,
    data: Path,
) -> None:
    """Add a provider, or change one: its button says NAME."""
    deployment = Deployment.find(data)
    if not 0 < len(name) <= NAME_LIMIT:
        raise click.ClickException(f"a name has 1 to {NAME_LIMIT} characters")
    provider_id = _id(_issuer(issuer))
    sealer = Sealer(deployment.directory.seal_key)
    secret = None
    if client_secret_file is not None:
        text = client_secret_file.readline().rstrip("\r\n")
        if not text:
            raise click.ClickException("the file with the client secret is empty")
        secret = sealer.seal(text.encode(), secret_context(provider_id))
    row = UpstreamRow(
        id=provider_id,
        name=name,
        issuer=issuer,
        client_id=client_id,
        client_secret=secret,
        domains=[_domain(one) for one in domains],
        username_claim=username_claim,
        authority=None if authority is None else authority.read_text(),
    )
    if not unseen:
        party = RelyingParty(Outbound(dial_policy(deployment.settings())))
        try:
            asyncio.run(party.look(unsealed(row, sealer)))
        except UpstreamDownError as error:
            raise click.ClickException(f"{error} (--unseen adds it all the same)") from error

    async def work(connection: Connection) -> None:
        others = await federation.domains_of_others(connection, row.id, row.domains)
        if others:
            raise click.ClickException(f"another provider speaks for {', '.join(others)}")
        known = await federation.upstream(connection, row.id)
        await federation.set_upstream(connection, row)
        await audit.append(
            connection,
            Act(
                "provider.added" if known is None else "provider.changed",
                subject=row.id,
                details={"issuer": issuer, "domains": row.domains},
            ),
        )

    on_nexus(deployment, work)
    back = redirect_uri(deployment.url, row.id)
    if output == "json":
        click.echo(json.dumps({"id": str(row.id), "redirect_uri": back}))
    else:
        click.echo(f"Provider {name} added: {row.id}")
        click.echo(f"Its redirect URI for this service must be: {back}")


@provider.command(name="list")
@_format
@data_option
def show_all(output: str, data: Path) -> None:
    """List the providers."""
    rows = on_nexus(Deployment.find(data), federation.upstreams)
    if output == "json":
        click.echo(json.dumps([_document(row) for row in rows], indent=2))
        return
    for row in rows:
        click.echo(f"{row.id}  {row.issuer}  {','.join(row.domains)}  {row.name}")


@provider.command()
@click.argument("which", metavar="ISSUER|ID")
@data_option
def remove(which: str, data: Path) -> None:
    """Log nobody in with this provider any more.

    Its identities stay, with their accounts: whoever has linked another one logs in with that.
    """
    try:
        provider_id = UUID(which)
    except ValueError:
        provider_id = _id(which)

    async def work(connection: Connection) -> bool:
        removed = await federation.remove_upstream(connection, provider_id)
        if removed:
            await audit.append(connection, Act("provider.removed", subject=provider_id))
        return removed

    if not on_nexus(Deployment.find(data), work):
        raise click.ClickException(f"there is no provider {which}")
    click.echo("Provider removed")


def _id(issuer: str) -> UUID:
    """The same for an issuer that is removed and added again: its identities are its own still."""
    return uuid5(NAMESPACE_URL, issuer)


def _issuer(text: str) -> str:
    try:
        return checked_issuer(text)
    except ValueError as error:
        raise click.ClickException(f"{text}: {error}") from error


def _domain(text: str) -> str:
    domain = text.strip().lower()
    if _DOMAIN.fullmatch(domain) is None:
        raise click.ClickException(f"{text!r} is not a domain")
    return domain


def _document(row: UpstreamRow) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "issuer": row.issuer,
        "client_id": row.client_id,
        "domains": row.domains,
        "username_claim": row.username_claim,
    }
