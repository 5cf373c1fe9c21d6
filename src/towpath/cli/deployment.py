"""What the commands share: ``--data``, and finding the running deployment in it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import click

from towpath.platform.settings import (
    DatabaseSettings,
    DataDirectory,
    Settings,
    SettingsError,
    default_data_directory,
)

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def data_option(function: Decorated) -> Decorated:
    """``--data DIR``, given to the command as ``data: Path``."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        default=default_data_directory,
        show_default="$TOWPATH_DATA or ~/.local/share/towpath",
        help="The deployment's directory.",
    )(function)


@dataclass(frozen=True)
class Deployment:
    """What ``towpath up`` left in its directory for the other commands."""

    directory: DataDirectory
    url: str
    """The API's origin."""
    host: str
    bound_host: str
    port: int
    authority: Path | None
    """Which CA file clients must trust; None: the operator's own certificate is in use."""
    database_url: str | None
    """The embedded PostgreSQL's; None: the settings name a server."""
    client_id: UUID
    client_secret: str

    def __repr__(self) -> str:
        return f"Deployment({self.url}, {self.directory.root})"

    @classmethod
    def find(cls, data: Path) -> "Deployment":
        """The deployment of ``data``. Raises :class:`click.ClickException` with advice."""
        directory = DataDirectory(data)
        try:
            state = directory.read_state()
            if state is None:
                raise click.ClickException(
                    f"no service was ever started in {directory.root}: "
                    f"run 'towpath up --data {directory.root}' first"
                )
            operator = json.loads(directory.operator_file.read_bytes())
            return cls(
                directory=directory,
                url=state["url"],
                host=state["host"],
                bound_host=state["bound_host"],
                port=state["port"],
                authority=Path(state["authority"]) if state["authority"] else None,
                database_url=state["database_url"],
                client_id=UUID(operator["client_id"]),
                client_secret=operator["client_secret"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise click.ClickException(
                f"cannot read what 'towpath up' left in {directory.root} ({error}): "
                f"run 'towpath up --data {directory.root}' again"
            ) from error

    def settings(self) -> Settings:
        """The settings as ``up`` used them. Raises :class:`click.ClickException`."""
        http = {"host": self.bound_host, "port": self.port}
        settings = load_settings(self.directory, http=http)
        if self.database_url is None or settings.database.url is not None:
            return settings
        database = DatabaseSettings(url=self.database_url, pool_size=settings.database.pool_size)
        return settings.model_copy(update={"database": database})


def load_settings(directory: DataDirectory, **overrides: dict[str, Any]) -> Settings:
    """:meth:`Settings.load` with its error as the command's."""
    try:
        return Settings.load(directory.root, **overrides)
    except SettingsError as error:
        raise click.ClickException(str(error)) from error
