"""``towpath connect``: this computer, or this server, as an endpoint.

What can be asked is here; `connect_setup`, `connect_run`, `connect_choose`, `connect_show` and
`connect_service` do it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from towpath.start import importing

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def _directory(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path:
    if value is not None:
        return value
    with importing():
        from towpath.connect.directory import default_directory  # noqa: PLC0415 - when used
    return default_directory()


def directory_option(function: Decorated) -> Decorated:
    """``--dir DIR``, given to the command as ``directory: Path``."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        callback=_directory,
        help="The agent's directory.  [default: $TOWPATH_CONNECT_DIR or"
        " ~/.local/share/towpath-connect]",
    )(function)


def _rate(ctx: click.Context, param: click.Parameter, value: str) -> int | None:
    if value.lower() in ("none", "off"):
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]?)(?:b(?:/s)?)?", value.strip().lower())
    rate = 0 if match is None else int(float(match[1]) * _UNITS[match[2]])
    if rate < 1000:
        raise click.BadParameter("bytes a second: 500k, 20M, 1.5G; or none", ctx, param)
    return rate


def _ports(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", value)
    if match is None or not 1024 <= int(match[1]) <= int(match[2]) < 1 << 16:
        raise click.BadParameter(f"{value!r} is not FIRST-LAST, from 1024 on", ctx, param)
    return int(match[1]), int(match[2])


@click.group(name="connect")
def command() -> None:
    """Make this computer, or this server, an endpoint.

    It needs no open port and no root: all connections go out.
    """


@command.command()
@click.argument("key")
@click.option("--name", help="What this computer is called.  [default: its host name]")
@click.option(
    "--proxy",
    metavar="URL",
    help="The HTTP proxy that leads out: http://[USER:PASSWORD@]HOST:PORT."
    "  [default: $HTTPS_PROXY]",
)
@click.option(
    "--listen-ports",
    metavar="FIRST-LAST",
    callback=_ports,
    help="Ports that a firewall lets in: data comes directly if the relay can reach one.",
)
@click.option("--relay-only", is_flag=True, help="Data goes by relays only, never directly.")
@click.option("--replace", is_flag=True, help="Forget the agent that was set up here before.")
@directory_option
def setup(key: str, directory: Path, **wishes: Any) -> None:
    """Set this computer up with the KEY that the service shows.

    With - as the KEY it is read from standard input: other users of a machine see the words of a
    command, and a server's key is good for a week.
    """
    if key == "-":
        key = click.get_text_stream("stdin").readline()
    with importing():
        from towpath.cli import connect_setup  # noqa: PLC0415 - when used
    connect_setup.set_up(key, directory, wishes)


@command.command()
@click.option("--background", is_flag=True, help="Return as soon as it is connected.")
@click.option(
    "--user",
    default="nobody",
    show_default=True,
    help="Started by root: the account of the process that talks to the network.",
)
@directory_option
def start(background: bool, user: str, directory: Path) -> None:  # noqa: FBT001
    """Be there, until 'stop', SIGTERM or Ctrl-C.

    A server that is started by root gives each session a process of its own account.
    """
    with importing():
        from towpath.cli import connect_run  # noqa: PLC0415 - when used
    connect_run.start(directory, background=background, user=user)


@command.command()
@directory_option
def stop(directory: Path) -> None:
    """Stop the agent that runs."""
    with importing():
        from towpath.cli import connect_run  # noqa: PLC0415 - when used
    connect_run.stop(directory)


@command.command()
@click.option("--format", "output", type=click.Choice(["text", "json"]), default="text")
@directory_option
def status(output: str, directory: Path) -> None:
    """Say whether it is connected, what moves, and what is shared."""
    with importing():
        from towpath.cli import connect_show  # noqa: PLC0415 - when used
    connect_show.status(directory, output)


@command.command()
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=20, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on, until Ctrl-C.")
@directory_option
def logs(lines: int, follow: bool, directory: Path) -> None:  # noqa: FBT001
    """Show the agent's log."""
    with importing():
        from towpath.cli import connect_show  # noqa: PLC0415 - when used
    connect_show.logs(directory, lines, follow=follow)


@command.command()
@directory_option
def pause(directory: Path) -> None:
    """Move nothing, and let nobody look, until 'resume'.

    Transfers wait and go on then. Also after a restart it is paused.
    """
    _choose().pause(directory, paused=True)


@command.command()
@directory_option
def resume(directory: Path) -> None:
    """End a pause."""
    _choose().pause(directory, paused=False)


@command.command()
@click.argument("rate", callback=_rate)
@directory_option
def limit(rate: int | None, directory: Path) -> None:
    """Move at most RATE bytes a second: 500k, 20M, 1.5G, or none for no limit.

    Both directions count together.
    """
    _choose().limit(directory, rate)


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--read-only", "write", flag_value=False, help="It can be read.  [default]")
@click.option("--read-write", "write", flag_value=True, help="It can be changed, too.")
@directory_option
def share(path: Path, write: bool | None, directory: Path) -> None:  # noqa: FBT001
    """Share a folder or file of this computer."""
    _choose().share(directory, path, write=bool(write))


@command.command()
@click.argument("path", type=click.Path(path_type=Path))
@directory_option
def unshare(path: Path, directory: Path) -> None:
    """Share it no more."""
    _choose().unshare(directory, path)


@command.command()
@click.option("--off", is_flag=True, help="Take sessions again.")
@directory_option
def drain(off: bool, directory: Path) -> None:  # noqa: FBT001
    """Take no new sessions: when those that are open have ended, this node can be stopped."""
    _choose().drain(directory, draining=not off)


@command.command()
@click.argument("count", type=click.IntRange(1, 10_000))
@directory_option
def sessions(count: int, directory: Path) -> None:
    """Take at most COUNT sessions at a time; from the next start on."""
    _choose().sessions(directory, count)


@command.group()
def collection() -> None:
    """Of a server: trees that it shows to many."""


@collection.command(name="add")
@click.argument("name")
@click.option(
    "--base-path",
    type=click.Path(path_type=Path),
    required=True,
    help="The directory that its users see as /.",
)
@click.option("--read-only", is_flag=True, help="Nothing can be changed there.")
@click.option(
    "--allow",
    "accounts",
    multiple=True,
    metavar="ACCOUNT",
    help="An account that may be in it; repeat.  [default: all of persons]",
)
@directory_option
def add_collection(
    name: str,
    base_path: Path,
    read_only: bool,  # noqa: FBT001
    accounts: tuple[str, ...],
    directory: Path,
) -> None:
    """Show a directory as collection NAME. Each node of the endpoint needs the same ones."""
    _choose().add_collection(directory, name, base_path, read_only=read_only, accounts=accounts)


@collection.command(name="list")
@directory_option
def list_collections(directory: Path) -> None:
    """List the collections of this node."""
    _choose().list_collections(directory)


@collection.command(name="remove")
@click.argument("name")
@directory_option
def remove_collection(name: str, directory: Path) -> None:
    """Show it no more, at any node. Its files stay."""
    _choose().remove_collection(directory, name)


@command.group()
def managers() -> None:
    """Of a server: where its managers may make collections by themselves, at the service."""


@managers.command(name="allow")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--read-only", is_flag=True, help="Nothing can be changed in those collections.")
@click.option(
    "--allow",
    "accounts",
    multiple=True,
    metavar="ACCOUNT",
    help="An account that may be in them; repeat.  [default: all of persons]",
)
@directory_option
def allow_managers(
    path: Path,
    read_only: bool,  # noqa: FBT001
    accounts: tuple[str, ...],
    directory: Path,
) -> None:
    """Let managers make collections of PATH and of directories below. Each node needs the same."""
    _choose().add_root(directory, path, read_only=read_only, accounts=accounts)


@managers.command(name="list")
@directory_option
def list_managers(directory: Path) -> None:
    """List the directories that are open for managers."""
    _choose().list_roots(directory)


@managers.command(name="deny")
@click.argument("path", type=click.Path(path_type=Path))
@directory_option
def deny_managers(path: Path, directory: Path) -> None:
    """Close PATH for them again: collections that they have made there can be used no more."""
    _choose().remove_root(directory, path)


@command.group(name="map")
def mapping() -> None:
    """Of a server: rules that make local accounts of user names."""


@mapping.command(name="add")
@click.argument("match")
@click.argument("account")
@click.option("--source", default="{username}", show_default=True, help="What is matched.")
@click.option("--literal", is_flag=True, help="MATCH is a text, and no regular expression.")
@click.option("--ignore-case", is_flag=True)
@directory_option
def add_mapping(match: str, account: str, directory: Path, **options: Any) -> None:
    r"""Users who MATCH get ACCOUNT, where {0} is the first group: '(.*)@example\.org' '{0}'.

    The first rule that matches all of the user name counts.
    """
    _choose().add_mapping(directory, match, account, options)


@mapping.command(name="list")
@directory_option
def list_mappings(directory: Path) -> None:
    """List the rules, numbered."""
    _choose().list_mappings(directory)


@mapping.command(name="remove")
@click.argument("number", type=click.IntRange(1))
@directory_option
def remove_mapping(number: int, directory: Path) -> None:
    """Remove a rule by its number in 'list'."""
    _choose().remove_mapping(directory, number)


@mapping.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@directory_option
def import_mappings(file: Path, directory: Path) -> None:
    """Take the rules of an expression_identity_mapping document, as Globus has it."""
    _choose().import_mappings(directory, file)


@command.group()
def service() -> None:
    """Start the agent with your login, or the machine, by systemd."""


@service.command(name="install")
@directory_option
def install_service(directory: Path) -> None:
    """Install and start a unit of your own (systemd --user)."""
    with importing():
        from towpath.cli import connect_service  # noqa: PLC0415 - when used
    connect_service.install(directory)


@service.command(name="uninstall")
@directory_option
def uninstall_service(directory: Path) -> None:
    """Stop and remove it."""
    with importing():
        from towpath.cli import connect_service  # noqa: PLC0415 - when used
    connect_service.uninstall(directory)


def _choose() -> Any:
    with importing():
        from towpath.cli import connect_choose  # noqa: PLC0415 - when used
    return connect_choose
