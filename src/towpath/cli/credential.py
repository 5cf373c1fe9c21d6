"""``towpath credential``: give the service a credential for an endpoint."""

import json
from pathlib import Path
from uuid import UUID

import click

from towpath.cli.api import OperatorApi
from towpath.cli.deployment import Deployment, data_option
from towpath.cli.endpoint import own_endpoints


@click.group(name="credential")
def command() -> None:
    """Give the service your credential for an endpoint."""


@command.command(name="add")
@click.argument("endpoint")
@click.option(
    "--proxy",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="The proxy file, as grid-proxy-init writes it.",
)
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text")
@data_option
def add(endpoint: str, proxy: Path, output: str, data: Path) -> None:
    """Store the proxy for ENDPOINT, an id or the name of one of your endpoints."""
    try:
        pem = proxy.read_text("ascii", "replace")
    except OSError as error:
        raise click.BadParameter(str(error), param_hint="--proxy") from error
    with OperatorApi.connect(Deployment.find(data)) as api:
        wanted = _find(api, endpoint)
        stored = api.call("PUT", f"/endpoint/{wanted}/credential", json={"proxy": pem})
    if output == "json":
        told = {key: stored[key] for key in ("subject", "expiration_time")}
        click.echo(json.dumps(told))
    else:
        click.echo(f"Stored: {stored['subject']}, valid until {stored['expiration_time']}")


def _find(api: OperatorApi, endpoint: str) -> str:
    try:
        return str(UUID(endpoint))
    except ValueError:
        matches = [one["id"] for one in own_endpoints(api) if one["display_name"] == endpoint]
    if not matches:
        raise click.ClickException(
            f"you have no endpoint named {endpoint!r}: 'towpath endpoint list' shows yours"
        )
    if len(matches) > 1:
        raise click.ClickException(f"several endpoints are named {endpoint!r}: give the id")
    return str(matches[0])
