"""``towpath relay``: where agents that nobody can dial meet the service."""

import asyncio
import contextlib
import ipaddress
import json
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import httpx
import structlog
import uvloop
from prometheus_client import start_http_server

from towpath.cli.deployment import Deployment, data_option
from towpath.platform import logs
from towpath.platform.dial import DialPolicy, Network, dial_policy
from towpath.platform.files import private_directory, write_private
from towpath.platform.settings import LogSettings
from towpath.relay.limits import SERVICE_S
from towpath.relay.metrics import registry_of
from towpath.relay.relay import Place, Relay
from towpath.relay.service import Service

CONNECTIONS_TO_SERVICE: Final = 16
"""At once: logins of agents, reports, and what may be dialled."""

_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound

_log = structlog.stdlib.get_logger("towpath.relay")


@dataclass(frozen=True)
class _Plan:
    """What to run, wherever it was read from."""

    place: Place
    url: str
    authority: Path | None
    client_id: str
    client_secret: str
    policy: Callable[[int], DialPolicy]
    log_directory: Path
    log: LogSettings

    def __repr__(self) -> str:
        return f"_Plan({self.url}, {self.place})"


def _port_range(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    first, _dash, last = value.partition("-")
    try:
        ports = int(first), int(last)
    except ValueError:
        ports = 0, 0
    if not 0 < ports[0] <= ports[1] < 65536:
        raise click.BadParameter("a first and a last port, such as 50000-51000")
    return ports


@click.command(name="relay")
@data_option
@click.option("--service", metavar="URL", help="Relay for the service at this address.")
@click.option("--client-id", help="This relay's, from 'towpath admin relay add'.")
@click.option(
    "--client-secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With the secret that goes with it.",
)
@click.option(
    "--ca",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The CA certificate of the service, if no public one signed its certificate.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="For the relay's own key, and its logs.",
)
@click.option("--host", help="What agents dial: a name or an address of this machine.")
@click.option("--bind", help="The address to listen on.  [default: 0.0.0.0]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The one port that agents dial.  [default: 443]"
)
@click.option("--data-ports", callback=_port_range, metavar="FIRST-LAST", help="Of listeners.")
@click.option(
    "--allow-network",
    "networks",
    multiple=True,
    type=ipaddress.ip_network,
    metavar="CIDR",
    help="A private network where GridFTP servers are.",
)
@click.option("--metrics", type=int, metavar="PORT", help="Serve Prometheus there, on loopback.")
def command(data: Path, metrics: int | None, **elsewhere: Any) -> None:
    """Run a relay until SIGTERM.

    With --data, for the deployment of this machine, whose settings say where ('towpath up' runs it
    by itself). With --service, for a service elsewhere. Prints "ready HOST:PORT" when it serves.
    """
    plan = _elsewhere(**elsewhere) if elsewhere["service"] else _of_deployment(data)
    logs.configure("relay", plan.log, plan.log_directory, console=bool(elsewhere["service"]))
    _raise_descriptor_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(plan, metrics))
    except OSError as error:
        _log.exception("relay.failed")
        raise click.ClickException(str(error)) from error


def _of_deployment(data: Path) -> _Plan:
    deployment = Deployment.find(data)
    settings = deployment.settings()
    directory = deployment.directory
    try:
        client = json.loads(directory.relay_file.read_bytes())
        client_id, secret = str(client["client_id"]), str(client["client_secret"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(
            f"this deployment has no relay yet ({error}): 'towpath up' makes one with the first"
            " endpoint for Towpath Connect"
        ) from error
    relay = settings.relay
    host = relay.host or deployment.host
    bind = "0.0.0.0" if relay.host else _address(settings.http.host)  # noqa: S104 - it is named
    place = Place(directory.relay, host, bind, relay.port, _addresses(host, bind), relay.data_ports)
    return _Plan(
        place=place,
        url=deployment.url,
        authority=deployment.authority,
        client_id=client_id,
        client_secret=secret,
        policy=lambda port: dial_policy(settings, own_listeners=_own(place, port)),
        log_directory=directory.log,
        log=settings.log,
    )


def _elsewhere(
    *,
    service: str,
    client_id: str | None,
    client_secret_file: Path | None,
    ca: Path | None,
    directory: Path | None,
    host: str | None,
    bind: str | None,
    port: int | None,
    data_ports: tuple[int, int] | None,
    networks: tuple[Network, ...],
) -> _Plan:
    if client_id is None or client_secret_file is None or directory is None:
        raise click.UsageError("--service needs --client-id, --client-secret-file and --dir")
    named = host or socket.getfqdn()
    bound = _address(bind or "0.0.0.0")  # noqa: S104 - agents come from everywhere
    place = Place(
        directory,
        named,
        bound,
        443 if port is None else port,
        _addresses(named, bound),
        data_ports,
    )
    try:
        secret = client_secret_file.read_text().strip()
        private_directory(directory)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    return _Plan(
        place=place,
        url=service.rstrip("/"),
        authority=ca,
        client_id=client_id,
        client_secret=secret,
        policy=lambda port: DialPolicy(allow_networks=networks, own_listeners=_own(place, port)),
        log_directory=directory / "log",
        log=LogSettings(),
    )


def _own(place: Place, port: int) -> list[tuple[str, int]]:
    return [(ip, port) for ip in (place.bind_host, *place.data_addresses)]


def _addresses(host: str, bind: str) -> tuple[str, ...]:
    """The IP addresses of the relay's host, IPv4 first: PASV has no others."""
    try:
        found = {str(one[4][0]) for one in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        if bind not in _WILDCARDS:
            return (bind,)
        raise click.ClickException(
            f"{host} has no address ({error}): name the relay by one that agents and GridFTP"
            " servers can dial"
        ) from error
    if not ipaddress.ip_address(bind).is_loopback:
        # a host's own name is often loopback to itself, by its hosts file: nobody else is told that
        outside = {ip for ip in found if not ipaddress.ip_address(ip).is_loopback}
        found = outside or _outward() or found
    return tuple(sorted(found, key=lambda ip: (":" in ip, ip)))


def _outward() -> set[str]:
    """The address from which this machine goes out. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
        try:
            unsent.connect(("192.0.2.1", 9))
        except OSError:
            return set()
        return {str(unsent.getsockname()[0])}


def _address(host: str) -> str:
    """An address to listen on, as such."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return _addresses(host, "127.0.0.1")[0]


def _raise_descriptor_limit() -> None:
    """Each join has two descriptors and more while bytes move."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(plan: _Plan, metrics: int | None) -> None:
    trust = ssl.create_default_context(
        cafile=None if plan.authority is None else str(plan.authority)
    )
    async with httpx.AsyncClient(
        base_url=plan.url,
        verify=trust,
        timeout=SERVICE_S,
        trust_env=False,  # as the other parts of a deployment do
        limits=httpx.Limits(max_connections=CONNECTIONS_TO_SERVICE),
    ) as http:
        service = Service(http, plan.client_id, plan.client_secret)
        relay = _bound(plan, service)
        if metrics is not None:
            start_http_server(metrics, "127.0.0.1", registry_of(relay))
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        try:
            relay.start()
            click.echo(f"ready {plan.place.host}:{relay.port}")
            await ended.wait()
            await relay.drain()
        finally:
            await relay.close()


def _bound(plan: _Plan, service: Service) -> Relay:
    """Where any port would do, that of last time: agents have been told it, and firewalls may have
    been opened.
    """
    place = plan.place
    file = place.directory / "port"
    remembered = 0
    if place.port == 0:
        with contextlib.suppress(OSError, ValueError):
            remembered = int(file.read_text())
    try:
        relay = Relay(replace(place, port=place.port or remembered), service, plan.policy)
    except OSError as error:
        if not remembered:
            raise
        _log.warning("relay.port_taken", port=remembered, error=str(error))
        relay = Relay(place, service, plan.policy)
    if place.port == 0 and relay.port != remembered:
        write_private(file, f"{relay.port}\n".encode())
    return relay
