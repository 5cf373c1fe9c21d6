"""``towpath up``: everything on one machine. Composition only; each part is somewhere else."""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx
import psycopg
import structlog
import uvloop
from starlette.types import ASGIApp

from towpath import __version__
from towpath.cli.deployment import data_option, load_settings
from towpath.cli.up_connect import OwnRelay, renew_keys
from towpath.cli.up_notify import notifiers
from towpath.cli.up_reference import described
from towpath.cli.up_timers import own_timers
from towpath.gui.app import LOGIN_CALLBACK
from towpath.gui.app import create_app as create_gui
from towpath.nexus import app as nexus
from towpath.nexus.audit_sealing import AuditSealer, Checkpoint, CheckpointError
from towpath.nexus.bootstrap import (
    OWN_RELAY,
    RELAY,
    TIMERS,
    TRANSFER,
    BootstrapError,
    ClientSecret,
    bootstrap,
    ensure_web_client,
)
from towpath.nexus.federation.logins import Logins
from towpath.nexus.federation.relying_party import RelyingParty
from towpath.nexus.groups import app as groups
from towpath.nexus.oauth.keys import KeyRing
from towpath.nexus.people.accounts import default_domain, local_provider
from towpath.nexus.people.service import first_administrator_link
from towpath.nexus.store.identities import CLIENTS_DOMAIN
from towpath.nexus.well_known import WEB_CLIENT
from towpath.platform import logs, reference
from towpath.platform.certificates import CertificateError, server_certificate
from towpath.platform.database import (
    Database,
    EmbeddedPostgres,
    PostgresError,
    at_start,
)
from towpath.platform.dial import dial_policy
from towpath.platform.errors import FLOWS_ERRORS, SEARCH_ERRORS, TRANSFER_ERRORS
from towpath.platform.guard import Guard
from towpath.platform.http import PathDispatch, absent_app, origin_of
from towpath.platform.mail import Post, mailer
from towpath.platform.migrations import MigrationError, migrate
from towpath.platform.outbound import Outbound
from towpath.platform.secrets import Sealer, SealError
from towpath.platform.serving import HttpsServer, bind, spare_requests
from towpath.platform.settings import DataDirectory, Settings
from towpath.platform.supervisor import Supervisor
from towpath.samples.layout import SAMPLES
from towpath.samples.layout import Place as SamplePlace
from towpath.samples.registration import Prepared as Samples
from towpath.samples.registration import SamplesError
from towpath.samples.registration import prepare as prepare_samples
from towpath.samples.registration import withdraw as withdraw_samples
from towpath.timers.api.app import PREFIXES as TIMER_PATHS
from towpath.transfer.api.app import create_app as create_transfer
from towpath.transfer.api.service import TransferService
from towpath.transfer.manager.app import create_app as create_manager
from towpath.transfer.manager.asking import PREFIX as MANAGER_PREFIX
from towpath.transfer.store import relays
from towpath.transfer.watches.consents import ConsentWatch
from towpath.transfer.watches.expiry import ExpiryWatch
from towpath.transfer.watches.owners import OwnerWatch
from towpath.transfer.watches.principals import PrincipalWatch

SCHEMAS = {
    "nexus": "towpath.nexus.store",
    "transfer": "towpath.transfer.store",
    "timers": "towpath.timers.store",
}
CERTIFICATE_CHECK_S = 86_400
_TRANSFER_PATHS = ("/v0.10", "/v2/bookmarks")
_STREAMS_PATHS = ("/v2/tunnels", "/v2/stream_access_points")
_FLOWS_PATHS = ("/flows", "/runs", "/registered_apis", "/web_inputs")
_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound

# What can go wrong that a user can put right: one line, no traceback.
_EXPLAINED = (
    BootstrapError,
    CertificateError,
    CheckpointError,
    MigrationError,
    PostgresError,
    SamplesError,
    SealError,
    psycopg.OperationalError,
    OSError,
)

_log = structlog.stdlib.get_logger("towpath.up")


@click.command(name="up")
@data_option
@click.option("--host", help="Address to serve on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="0: any free one.  [default: 8443]")
@click.option("--workers", type=click.IntRange(0, 64), help="Worker processes.  [default: 1]")
def command(data: Path, host: str | None, port: int | None, workers: int | None) -> None:
    """Run the whole service on this machine until SIGTERM.

    Prints "ready https://HOST:PORT" when it serves; before that, while nobody is administrator, a
    link that makes the first one. All its state is in the --data directory.
    """
    directory = DataDirectory(data)
    http = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    engine = {} if workers is None else {"workers": workers}
    settings = load_settings(directory, http=http, engine=engine)
    if (settings.http.cert is None) != (settings.http.key is None):
        raise click.ClickException("http.cert and http.key belong together: set both or neither")
    try:
        directory.prepare()
        with _sole_use(directory):
            logs.configure("up", settings.log, directory.log, console=True)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_until_signal(settings, directory))
    except _EXPLAINED as error:
        _log.info("up.failed", error=str(error), kind=type(error).__name__)
        raise click.ClickException(str(logs.scrub(str(error)))) from error


@contextlib.contextmanager
def _sole_use(directory: DataDirectory) -> Any:
    """One ``up`` for a directory. The lock ends with the process, however it ends."""
    descriptor = os.open(directory.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(descriptor, 32).decode(errors="replace").strip()
            raise click.ClickException(
                f"towpath up (process {pid}) runs in {directory.root} already: stop it first"
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


async def _until_signal(settings: Settings, directory: DataDirectory) -> None:
    """Serve. A signal cancels it wherever it is, and what was started is stopped in reverse."""
    serving = asyncio.create_task(_serve(settings, directory))
    signalled = False

    def stop() -> None:
        nonlocal signalled
        if not signalled:
            signalled = True
            serving.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        await serving
    except asyncio.CancelledError:
        if not signalled:
            raise
    _log.info("up.stopped")


async def _serve(settings: Settings, directory: DataDirectory) -> None:
    async with AsyncExitStack() as stack:
        failed = _Failures()
        # first, because a taken port is the likeliest mistake; it listens when all is ready
        bound = bind(settings.http.host, settings.http.port)
        stack.callback(bound.close)
        place = _Place.of(settings, bound)
        database_url = settings.database.url
        postgres: EmbeddedPostgres | None = None
        if database_url is None:
            postgres = EmbeddedPostgres(directory.postgres)
            stack.push_async_callback(postgres.stop)
            await postgres.start()
            database_url = postgres.url
        for schema, package in SCHEMAS.items():
            await at_start(partial(migrate, database_url, schema=schema, package=package))
        size = settings.database.pool_size
        databases = {
            schema: await stack.enter_async_context(
                Database(database_url, schema=schema, max_size=size)
            )
            for schema in SCHEMAS
        }
        clients = await at_start(partial(bootstrap, databases["nexus"], directory.secrets))

        await at_start(partial(_register_relay, databases["transfer"], clients[RELAY]))
        relay = OwnRelay(directory.root)
        admin_link = await at_start(partial(_ready_for_people, databases["nexus"], settings, place))
        samples: Samples | None = None
        if settings.serve_samples:
            samples = await _prepare_samples(directory, databases["transfer"], clients[TRANSFER])
            stack.callback(samples.close)
        else:
            await at_start(partial(withdraw_samples, databases["transfer"]))
        apps, end_streams = await stack.enter_async_context(
            _apps(place, directory, databases, clients, samples, relay, failed)
        )
        server = await _https_server(apps, bound, place, directory, failed)
        stack.push_async_callback(server.stop)
        stack.push_async_callback(end_streams)
        await server.start()
        failed.watch(server.wait(), "the API server ended")
        sealer = AuditSealer(databases["nexus"], Checkpoint(directory.audit_checkpoint))
        failed.watch(sealer.run(), "the audit log is not chained any more")

        workers = Supervisor(
            [sys.executable, "-m", "towpath.cli", "worker", "--data", str(directory.root)],
            count=settings.engine.workers,
        )

        def write_state() -> None:
            directory.write_state(_state(place, directory, postgres))

        write_state()
        if samples is not None:
            servers = _sample_servers(directory, samples)
            stack.push_async_callback(servers.stop)
            await servers.start()
        # it ends after the workers, whose sessions at agents go through it
        stack.push_async_callback(relay.stop)
        stack.push_async_callback(workers.stop)
        await workers.start()
        failed.watch(relay.run(databases["transfer"]), "the relay could not be started")
        if postgres is not None:
            failed.watch(postgres.keep_running(write_state), "the embedded PostgreSQL ended")
        stack.push_async_callback(failed.close)
        spare_requests()
        _log.info("up.ready", url=place.url, workers=settings.engine.workers)
        if admin_link is not None:
            print(f"administrator {admin_link}")
        print(f"ready {place.url}", flush=True)
        await failed.wait()


async def _ready_for_people(database: Database, settings: Settings, place: "_Place") -> str | None:
    """The deployment's own identity provider and web interface; and while there is no
    administrator, a link that makes one.
    """
    async with database.transaction() as connection:
        await local_provider(connection, settings.people, place.url)
        await ensure_web_client(connection, place.url + LOGIN_CALLBACK)
        return await first_administrator_link(connection, place.url)


async def _register_relay(database: Database, client: ClientSecret) -> None:
    async with database.connection() as connection:
        await relays.add(connection, client.client_id, OWN_RELAY)


async def _prepare_samples(
    directory: DataDirectory, database: Database, service: ClientSecret
) -> Samples:
    place, now = SamplePlace(directory.samples), datetime.now(UTC)
    owner = (service.client_id, f"{service.client_id}@{CLIENTS_DOMAIN}")
    return await at_start(partial(prepare_samples, database, place, owner, now))


def _sample_servers(directory: DataDirectory, samples: Samples) -> Supervisor:
    """One process. It may be started again: the sockets stay ours."""
    descriptors = [samples.listeners[one.id].fileno() for one in SAMPLES]
    words = [sys.executable, "-m", "towpath.cli", "samples", *map(str, descriptors)]
    return Supervisor([*words, "--data", str(directory.root)], count=1, pass_fds=descriptors)


def _state(
    place: "_Place", directory: DataDirectory, postgres: EmbeddedPostgres | None
) -> dict[str, Any]:
    """What other commands need to know of us."""
    http = place.settings.http
    return {
        "version": __version__,
        "pid": os.getpid(),
        "url": place.url,
        "host": place.host,
        "bound_host": http.host,
        "port": place.port,
        "authority": None if http.cert else str(directory.ca_file),
        # a server named in the settings may have its password in the URL: not repeated here
        "database_url": None if postgres is None else postgres.url,
        "postgres_pid": None if postgres is None else postgres.pid,
    }


@dataclass(frozen=True)
class _Place:
    """Where the API really is: port 0 is replaced, a wildcard has a name."""

    host: str
    port: int
    settings: Settings

    @classmethod
    def of(cls, settings: Settings, bound: socket.socket) -> "_Place":
        port = int(bound.getsockname()[1])
        host = settings.http.host
        if host in _WILDCARDS:
            host = settings.http.names[0] if settings.http.names else socket.gethostname()
        http = settings.http.model_copy(update={"port": port})
        return cls(host, port, settings.model_copy(update={"http": http}))

    @property
    def url(self) -> str:
        return origin_of(self.host, self.port)


async def _https_server(
    apps: ASGIApp,
    bound: socket.socket,
    place: _Place,
    directory: DataDirectory,
    failed: "_Failures",
) -> HttpsServer:
    http = place.settings.http
    if http.cert is not None and http.key is not None:
        return HttpsServer(apps, bound, cert=http.cert, key=http.key)
    names = [place.host, http.host, *http.names]
    files = await asyncio.to_thread(server_certificate, directory.tls, names)
    server = HttpsServer(apps, bound, cert=files.cert, key=files.key)

    async def renew() -> None:
        while True:
            await asyncio.sleep(CERTIFICATE_CHECK_S)
            await asyncio.to_thread(server_certificate, directory.tls, names)
            server.reload_certificate()

    failed.watch(renew(), "the certificate could not be renewed")
    return server


@asynccontextmanager
async def _apps(
    place: "_Place",
    directory: DataDirectory,
    databases: dict[str, Database],
    clients: dict[str, ClientSecret],
    samples: Samples | None,
    relay: OwnRelay,
    failed: "_Failures",
) -> AsyncIterator[tuple[ASGIApp, Callable[[], Awaitable[None]]]]:
    """Every service on one origin; Transfer reaches nexus as over the network, without one. And
    what ends answers that would go on for ever: the server waits for all of them when it stops.
    """
    settings, transfer_client = place.settings, clients[TRANSFER]
    sealer = Sealer(directory.seal_key)
    keys = KeyRing(databases["nexus"], sealer)
    await at_start(keys.ensure)
    domain = settings.people.domain or default_domain(place.url)
    sender = settings.mail.sender or f"towpath@{domain}"
    mails = mailer(settings.mail, directory.mail)
    post = Post(mails, sender)
    auth = nexus.create_app(
        databases["nexus"],
        issuer=place.url,
        keys=keys,
        people=settings.people,
        logins=Logins(
            databases["nexus"],
            RelyingParty(Outbound(dial_policy(settings))),
            Sealer(directory.seal_key),
            place.url,
        ),
        post=post,
    )
    group = groups.create_app(databases["nexus"], origin=place.url, post=post)
    async with (
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=auth), base_url="https://nexus"
        ) as client,
        AsyncExitStack() as stack,
    ):
        service = TransferService(
            database=databases["transfer"],
            guard=Guard(client, transfer_client.client_id, transfer_client.client_secret),
            sealer=sealer,
            dial=dial_policy(settings),
            limits=settings.limits,
            gridftp=settings.gridftp,
            engine=settings.engine,
            sharing=settings.sharing,
            authorities={} if samples is None else samples.authorities,
            origin=place.url,
            authority_file=None if settings.http.cert else directory.ca_file,
            connect_begins=relay.need,
            allow_http=settings.notify.allow_http,
        )
        failed.watch(renew_keys(service.connect_keys), "keys of grants are not renewed any more")
        login = httpx.BasicAuth(str(transfer_client.client_id), transfer_client.client_secret)
        watch = OwnerWatch(
            databases["transfer"],
            client,
            login,
            limits=settings.limits,
            engine=settings.engine,
        )
        failed.watch(watch.run(), "tasks do not follow their owners' accounts any more")
        people = PrincipalWatch(databases["transfer"], client, login)
        failed.watch(people.run(), "groups of tasks' owners are not known any more")
        of_tasks, of_timers = notifiers(
            service, databases["timers"], settings, service.dial, mails, sender, client, login
        )
        failed.watch(of_tasks.run(), "nobody is told of tasks any more")
        failed.watch(of_timers.run(), "nobody is told of timers any more")
        consents = ConsentWatch(
            databases["transfer"],
            service.guard.ask,
            limits=settings.limits,
            engine=settings.engine,
        )
        failed.watch(consents.run(), "tasks do not follow their owners' consents any more")
        failed.watch(service.pauses.run(), "tasks do not follow pause rules any more")
        expiry = ExpiryWatch(databases["transfer"])
        failed.watch(expiry.run(), "nobody is told of credentials that end any more")
        transfer = create_transfer(service, max_body_bytes=settings.http.max_body_bytes)
        timers = await stack.enter_async_context(
            own_timers(
                databases["timers"],
                clients[TIMERS],
                nexus=client,
                transfer=transfer,
                sealer=sealer,
                limits=settings.timers,
            )
        )
        for work, what in timers.work:
            failed.watch(work, what)
        manager = create_manager(service)
        apis = described(transfer=transfer, timers=timers.app, manager=manager, groups=group)
        absent: dict[str, ASGIApp] = {
            **dict.fromkeys(_FLOWS_PATHS, absent_app("flows", FLOWS_ERRORS, "Flows")),
            **dict.fromkeys(_STREAMS_PATHS, absent_app("streams", TRANSFER_ERRORS, "Streams")),
            "/v1": absent_app("search", SEARCH_ERRORS, "Search"),
            "/compute": absent_app("compute", SEARCH_ERRORS, "Compute"),
        }
        try:
            apps = PathDispatch(
                {
                    **absent,
                    **dict.fromkeys(_TRANSFER_PATHS, transfer),
                    **dict.fromkeys(TIMER_PATHS, timers.app),
                    **dict.fromkeys(reference.paths(apis), reference.create_reference(apis)),
                    MANAGER_PREFIX: manager,
                    **dict.fromkeys(nexus.PREFIXES, auth),
                    **dict.fromkeys(groups.PREFIXES, group),
                },
                default=create_gui(service_name=settings.people.service_name, client_id=WEB_CLIENT),
            )
            yield apps, service.hub.close
        finally:
            await post.close()
            await service.close()


class _Failures:
    """Background work whose end is the end of it all."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], str] = {}

    def watch(self, work: Any, what: str) -> None:
        """Run a coroutine; ``what`` is said if it ends."""
        self._tasks[asyncio.ensure_future(work)] = what

    async def wait(self) -> None:
        """Until one ends. Raises OSError that says which, and why."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        first = done.pop()
        error = first.exception()
        raise OSError(self._tasks[first] + (f": {error}" if error else "")) from error

    async def close(self) -> None:
        """Stop them all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
