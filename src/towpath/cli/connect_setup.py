"""``towpath connect setup``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from towpath.connect import proxy as proxies
from towpath.connect.directory import PERSONAL, AgentDirectory, default_directory
from towpath.connect.errors import ConnectError
from towpath.connect.setting_up import Wishes
from towpath.connect.setting_up import set_up as redeem


def set_up(key: str, directory: Path, wishes: dict[str, Any]) -> None:
    """Redeem the key and say what comes next."""
    if wishes["proxy"] is not None:
        try:
            proxies.Proxy.parse(wishes["proxy"])
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--proxy") from None
    agent = AgentDirectory(directory)
    try:
        identity = asyncio.run(redeem(key, agent, Wishes(**wishes)))
        choices = agent.choices()
    except ConnectError as error:
        raise click.ClickException(error.message) from None
    except OSError as error:
        raise click.ClickException(f"{directory} cannot be written: {error}") from None
    click.echo(f"“{identity.display_name}” of {identity.owner} is set up here ({identity.url}).")
    where = "" if directory == default_directory() else f" --dir {directory}"
    if identity.kind == PERSONAL:
        for folder in choices.folders:
            how = "read and write" if folder.access == "rw" else "read only"
            click.echo(f"Shared with whom you let in there: {folder.path} ({how}),")
            click.echo("without keys and passwords such as ~/.ssh.")
        click.echo(f"To change that: towpath connect share PATH{where}, unshare PATH{where}")
    else:
        click.echo(f"Next: towpath connect collection add NAME --base-path PATH{where}")
        click.echo(f"      towpath connect map add '(.*)@example\\.org' '{{0}}'{where}")
    click.echo(f"Start it: towpath connect start{where}")
