"""``towpath samples``: the process that serves the sample endpoints; `towpath up` runs it."""

import asyncio
import contextlib
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path

import click
import structlog
import uvloop

from towpath.cli.deployment import Deployment, data_option
from towpath.platform import logs
from towpath.samples.layout import SAMPLES, Place
from towpath.samples.registration import authority_of
from towpath.samples.server import serve

_log = structlog.stdlib.get_logger("towpath.samples")


@click.command(name="samples", hidden=True)
@click.argument("descriptors", nargs=len(SAMPLES), type=int)
@data_option
def command(descriptors: tuple[int, ...], data: Path) -> None:
    """Serve at sockets that listen already, until SIGTERM."""
    deployment = Deployment.find(data)
    logs.configure("samples", deployment.settings().log, deployment.directory.log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(descriptors, Place(deployment.directory.samples)))


async def _run(descriptors: tuple[int, ...], place: Place) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    trees = [place.tree(one) for one in SAMPLES]
    # copies: the sockets stay open for the process that is started after this one
    listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    authority = authority_of(place, datetime.now(UTC))
    with contextlib.suppress(asyncio.CancelledError):
        await serve(trees, listeners, authority, failed=_failed)


def _failed(error: BaseException) -> None:
    _log.warning("samples.failed", error=str(error), kind=type(error).__name__)
