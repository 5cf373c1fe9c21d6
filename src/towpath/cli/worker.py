"""``towpath worker``: one worker process for the deployment in ``--data``."""

import asyncio
import fcntl
import os
from pathlib import Path

import click
import uvloop

from towpath.cli.deployment import Deployment, data_option
from towpath.platform import logs
from towpath.platform.database import Database, wait_for_database
from towpath.platform.dial import dial_policy
from towpath.platform.secrets import Sealer
from towpath.platform.settings import DataDirectory, Settings
from towpath.transfer.connect.keys import ConnectKeys
from towpath.transfer.engine.identity import WorkerName
from towpath.transfer.engine.telling import Teller
from towpath.transfer.engine.witness import Witness
from towpath.transfer.engine.worker import Worker, run_until_signal
from towpath.transfer.sessions import EndpointSessions
from towpath.transfer.store.leases import application_of

WORKERS_LIMIT = 1024


def claim_number(directory: DataDirectory) -> int:
    """The first worker number that no process holds; ours until this process ends.

    It names the log file, of which two processes must not have the same.
    """
    for number in range(1, WORKERS_LIMIT + 1):
        descriptor = os.open(directory.run / f"worker-{number}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return number
    raise click.ClickException(f"{WORKERS_LIMIT} workers run in {directory.root} already")


@click.command(name="worker")
@data_option
def command(data: Path) -> None:
    """Run one more transfer worker, until SIGTERM."""
    deployment = Deployment.find(data)
    settings = deployment.settings()
    number = claim_number(deployment.directory)
    logs.configure(f"worker-{number}", settings.log, deployment.directory.log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, deployment.directory, deployment.url))


async def _run(settings: Settings, directory: DataDirectory, url: str) -> None:
    assert settings.database.url is not None, "the deployment knows its database"
    name = WorkerName.own()
    await wait_for_database(settings.database.url)
    async with Database(
        settings.database.url,
        schema="transfer",
        max_size=settings.database.pool_size,
        application=application_of(str(name)),
    ) as database:
        sealer = Sealer(directory.seal_key)
        sessions = EndpointSessions(
            database,
            sealer,
            dial_policy(settings),
            settings.gridftp,
            connect=ConnectKeys(database, sealer, url),
        )
        witness = Witness(settings.database.url)
        witness.start()
        try:
            worker = Worker(
                database,
                sessions,
                settings,
                name=name,
                witness=witness,
                teller=Teller(database),
            )
            await run_until_signal(worker)
            witness.close()
        finally:
            await sessions.close()
