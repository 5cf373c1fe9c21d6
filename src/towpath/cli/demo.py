"""`towpath demo`."""

import sys

import click

from towpath.demo.show import main


@click.command(name="demo")
@click.option("--keep", is_flag=True, help="Keep the temporary directory, and say where it is.")
def command(*, keep: bool) -> None:
    """Move a real tree between two GridFTP servers, killing the worker half-way."""
    sys.exit(main(keep=keep))
