"""How the command ``towpath`` starts, and how it ends.

A copy of one small file takes little more than a tenth of a second, and most of that is importing.
So the command imports in stages, each with what it needs and no more:

1. What reads the command line: click and the options (`towpath.cli`, `towpath.cli.gridftp`).
2. The client (`towpath.cli.gridftp_look`, `gridftp_copy`), while the servers, dialled already, get
   ready (`towpath.gridftp.client.ahead`).
3. What signs (`cryptography`, in `towpath.gridftp.security`), while the servers work on the logins.
   What a login reads of certificates needs no library (`towpath.gridftp.security.certificates`).

The bar of a terminal (`rich`), delegation and revocation lists are imported by those who use them.
`tests/cli/test_start.py` holds the stages. This module takes care of the rest: of the collector,
which would look again and again at what importing makes, and of the end.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_owns_process = False


def main() -> None:
    """The console script."""
    global _owns_process  # noqa: PLW0603 - it is a fact about the process
    _owns_process = True
    with importing():
        from towpath.cli import main as command  # noqa: PLC0415 - stage 1
    command(prog_name="towpath")


@contextmanager
def importing() -> Iterator[None]:
    """Import without the collector; what has been imported is never garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def leave() -> None:
    """End the process successfully, now, if it is the command's own.

    Only for who has nothing open that an abrupt end could harm: nothing is closed or waited for,
    and taking the interpreter apart, a tenth of a short command's time, is left to the system.
    """
    if not _owns_process:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return  # the usual way of ending tells of it
    os._exit(0)
