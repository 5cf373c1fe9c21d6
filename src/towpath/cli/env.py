"""``towpath env``: point the unmodified ``globus`` command and SDK at the deployment.

The CLI keeps its tokens in ``~/.globus/cli/storage.db``, and nothing but HOME moves that file. In
it, it separates by environment name and client id: tokens of another deployment, or of a login at
Globus itself, are not touched.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import click

from towpath.cli.deployment import Deployment, data_option

ENVIRONMENT = "towpath"
_SERVICES = ("TRANSFER", "GROUPS", "TIMER", "FLOWS", "SEARCH")


def variables(
    deployment: Deployment, environment: Mapping[str, str], *, user: bool = False
) -> dict[str, str]:
    """What to export. ``environment`` is the caller's: its proxy exceptions are kept.

    ``user``: for somebody who logs in, without the operator's client.
    """
    found = {
        # Auth's ends in a slash: the CLI appends to it without one
        "GLOBUS_SDK_SERVICE_URL_AUTH": f"{deployment.url}/",
        **{f"GLOBUS_SDK_SERVICE_URL_{name}": deployment.url for name in _SERVICES},
        # there is none; without an address the SDK could not be told so
        "GLOBUS_SDK_SERVICE_URL_COMPUTE": f"{deployment.url}/compute",
        "GLOBUS_SDK_ENVIRONMENT": ENVIRONMENT,
    }
    if not user:
        found["GLOBUS_CLI_CLIENT_ID"] = str(deployment.client_id)
        found["GLOBUS_CLI_CLIENT_SECRET"] = deployment.client_secret
    if deployment.authority is not None:
        found["GLOBUS_SDK_VERIFY_SSL"] = str(deployment.authority)
    for name in ("NO_PROXY", "no_proxy"):
        kept = [part for part in environment.get(name, "").split(",") if part.strip()]
        if deployment.host not in kept:
            kept.append(deployment.host)
        found[name] = ",".join(kept)
    return found


def quoted(value: str) -> str:
    """In single quotes, for any POSIX shell."""
    return "'" + value.replace("'", "'\\''") + "'"


@click.command(name="env")
@click.option("--user", is_flag=True, help="For 'globus login', without the operator's secret.")
@data_option
def command(user: bool, data: Path) -> None:  # noqa: FBT001 - click passes it by name
    """Print export lines for the globus command: eval "$(towpath env)".

    Without --user they hold the operator's client secret. Nothing is written anywhere.
    """
    if user:
        # those of the operator would win over a login
        print("unset GLOBUS_CLI_CLIENT_ID GLOBUS_CLI_CLIENT_SECRET")
    for name, value in variables(Deployment.find(data), os.environ, user=user).items():
        print(f"export {name}={quoted(value)}")
