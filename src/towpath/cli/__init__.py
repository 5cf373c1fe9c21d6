"""The command ``towpath``. A subcommand is ``towpath.cli.<name>.command``, imported when used."""

from importlib import import_module

import click

from towpath import __version__
from towpath.start import importing

# Those without a text are run by others of them.
_COMMANDS = {
    "up": "Run the whole service on this machine.",
    "env": "Print the variables that point the globus command at the service.",
    "endpoint": "Register and show endpoints.",
    "credential": "Give the service your credential for an endpoint.",
    "gridftp": "List, copy and sum files on GridFTP servers, without the service; serve files.",
    "myproxy": "Get a credential for a pass phrase, and keep one at a MyProxy server.",
    "verify": "Compare a directory with the signed manifest of a transfer.",
    "admin": "Look after the deployment: its people, its audit log.",
    "connect": "Make this computer, or this server, an endpoint.",
    "worker": "Run one more transfer worker.",
    "relay": "Run a relay, where endpoints that nobody can dial meet the service.",
    "samples": "",
    "demo": "Move a real tree between two GridFTP servers, killing the worker half-way.",
    "doctor": "Say what is missing on this machine, and how to get it.",
}


class _Lazy(click.Group):
    """``towpath gridftp ls`` need not import a web framework."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for name, what in _COMMANDS.items() if what]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        with importing():
            command = import_module(f"towpath.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, what in _COMMANDS.items() if what])


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="towpath")
def main() -> None:
    """Managed file transfer: say what should be where; it arrives, whole and verified."""
