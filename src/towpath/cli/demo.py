"""`towpath demo`."""

import sys

import click

from towpath.demo.show import main


@click.command(name="demo")
@click.option("--keep", is_flag=True, help="Keep the temporary directory, and say where it is.")
@click.option("--own", is_flag=True, help="With our own servers, though those of GCT are here.")
def command(*, keep: bool, own: bool) -> None:
    """Move a real tree between two GridFTP servers, killing the worker half-way.

    The servers are those of the Grid Community Toolkit, or our own if it is not installed.
    """
    sys.exit(main(keep=keep, own=own))
