"""All commands of the program, as its own tree of them has it."""

from collections.abc import Iterator

import click
from globus_cli import main


def commands() -> list[str]:
    """Their words, as in `group member add`; hidden ones too."""
    return sorted(_below(main, ()))


def _below(command: click.Command, words: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield " ".join(words)
        return
    context = click.Context(command)
    for name in {*command.list_commands(context), *command.commands}:
        found = command.get_command(context, name)
        assert found is not None, (*words, name)
        yield from _below(found, (*words, name))
