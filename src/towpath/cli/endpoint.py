"""``towpath endpoint``: register GridFTP servers with the running service."""

import json
from pathlib import Path
from typing import Any

import click

from towpath.cli.api import OperatorApi
from towpath.cli.deployment import Deployment, data_option
from towpath.gridftp.security.trust import TrustRoots


@click.group(name="endpoint")
def command() -> None:
    """Register and show endpoints."""


@command.command(name="add")
@click.argument("name")
@click.argument("url", metavar="[gsiftp://HOST:PORT]", required=False)
@click.option(
    "--connect-server",
    is_flag=True,
    help="Of data transfer nodes with agents, without a URL: prints the setup key for them.",
)
@click.option(
    "--trust-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Trusted-certificates directory with the authority of the server's certificate.",
)
@click.option("--subject", help="The host certificate's subject, if it is not the host's name.")
@click.option("--data-host", "data_hosts", multiple=True, help="Address of a data node; repeat.")
@click.option("--private", is_flag=True, help="Show it to nobody else.")
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text")
@data_option
def add(
    name: str,
    url: str | None,
    connect_server: bool,  # noqa: FBT001
    trust_dir: Path | None,
    subject: str | None,
    data_hosts: tuple[str, ...],
    private: bool,  # noqa: FBT001 - click passes it by name
    output: str,
    data: Path,
) -> None:
    """Register a GridFTP server under NAME."""
    if connect_server:
        if url is not None or trust_dir is not None or subject is not None or data_hosts:
            raise click.UsageError("an endpoint with agents has no server of its own")
        _add_connect(name, private=private, output=output, data=data)
        return
    if url is None:
        raise click.UsageError("name the server, gsiftp://HOST:PORT, or give --connect-server")
    server = {"DATA_TYPE": "server", "uri": url}
    if subject is not None:
        server["subject"] = subject
    document: dict[str, Any] = {
        "DATA_TYPE": "endpoint",
        "display_name": name,
        "public": not private,
        "DATA": [server],
        "data_hosts": list(data_hosts),
    }
    if trust_dir is not None:
        document["trust_roots"] = _trust_files(trust_dir)
    else:
        click.echo(
            "warning: without --trust-dir no certificate of the server can be accepted", err=True
        )
    with OperatorApi.connect(Deployment.find(data)) as api:
        created = api.call("POST", "/endpoint", json=document)
    if output == "json":
        click.echo(json.dumps({"id": created["id"]}))
    else:
        click.echo(f"Endpoint {name} registered: {created['id']}")
        click.echo(f"Next: towpath credential add {created['id']} --proxy FILE --data {data}")


def _add_connect(name: str, *, private: bool, output: str, data: Path) -> None:
    document = {"display_name": name, "public": not private, "connect": "server"}
    with OperatorApi.connect(Deployment.find(data)) as api:
        created = api.call("POST", "/endpoint", json=document)
    key = created["globus_connect_setup_key"]
    if output == "json":
        click.echo(json.dumps({"id": created["id"], "setup_key": key}))
        return
    click.echo(f"Endpoint {name} registered: {created['id']}")
    click.echo(f"Next, on each node within a week: towpath connect setup {key}")


@command.command(name="list")
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text")
@data_option
def show_all(output: str, data: Path) -> None:
    """List the endpoints that the operator registered."""
    with OperatorApi.connect(Deployment.find(data)) as api:
        found = own_endpoints(api)
    if output == "json":
        rows = [{"id": one["id"], "name": one["display_name"]} for one in found]
        click.echo(json.dumps(rows))
        return
    for one in found:
        click.echo(f"{one['id']}  {one['DATA'][0]['uri']}  {one['display_name']}")


def own_endpoints(api: OperatorApi) -> list[dict[str, Any]]:
    """All documents of the operator's own endpoints."""
    found: list[dict[str, Any]] = []
    more = True
    while more:
        page = api.call(
            "GET",
            "/endpoint_search",
            params={"filter_scope": "my-endpoints", "limit": "100", "offset": str(len(found))},
        )
        found += page["DATA"]
        more = page["has_next_page"]
    return found


def _trust_files(directory: Path) -> dict[str, str]:
    try:
        trust = TrustRoots.from_directory(directory)
    except (OSError, ValueError) as error:
        raise click.BadParameter(str(error), param_hint="--trust-dir") from error
    if trust.skipped:
        click.echo(f"warning: left out, unreadable: {', '.join(trust.skipped)}", err=True)
    return dict(trust.files)
