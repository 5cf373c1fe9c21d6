"""What a campaign runs on: servers, PostgreSQL, API, workers; each can be killed and comes back.

All of it is in namespaces of its own (network, processes, mounts) and ends with them.
"""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from campaign.network import Network, run
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.platform.database import EmbeddedPostgres

ACCOUNT = "nobody"
"""Whom the servers run as: file permissions apply to them."""

WORKERS = 3

SETTINGS: Mapping[str, str] = {
    # the campaign runs the workers itself, beside the API, to kill each by itself
    "TOWPATH_ENGINE__WORKERS": "0",
    # A campaign of minutes has as many recoveries as a year of service: everything that is waited
    # for is a tenth of what it is there, and in the same order.
    "TOWPATH_ENGINE__LEASE_S": "4",
    "TOWPATH_ENGINE__RENEW_S": "1",
    "TOWPATH_ENGINE__SETTLE_S": "1",
    "TOWPATH_ENGINE__POLL_S": "1",
    "TOWPATH_ENGINE__RETRY_FIRST_S": "0.3",
    "TOWPATH_ENGINE__RETRY_MAX_S": "3",
    "TOWPATH_ENGINE__LANE_IDLE_S": "2",
    "TOWPATH_GRIDFTP__CONNECT_S": "3",
    "TOWPATH_GRIDFTP__LOGIN_S": "5",
    "TOWPATH_GRIDFTP__REPLY_S": "4",
    "TOWPATH_GRIDFTP__STALL_S": "4",
    "TOWPATH_LIMITS__RUNNING_TASKS_PER_OWNER": "32",
    "TOWPATH_LIMITS__ACTIVE_TASKS_PER_OWNER": "1000",
    "TOWPATH_LOG__MAX_BYTES": str(64 * 1024 * 1024),
}

STORAGE_BYTES = 4 * 1024**3
"""What tasks of a campaign need at once is a fraction of it."""

FAKETIME = "/usr/$LIB/faketime/libfaketime.so.1"
"""Debian's; the loader knows what `$LIB` is here."""

POSTGRES_OPTIONS: Mapping[str, str] = {
    # processes are killed here, never the machine: what PostgreSQL wrote stays with the kernel
    "fsync": "off",
}


@dataclass
class Place:
    """A server that tasks copy from and to; `endpoint_id` once it is registered."""

    name: str
    domain: Domain
    workdir: Path
    port: int
    data_ports: range
    honest: bool
    """Whether what it receives arrives as it was sent. Only there tasks go that do not verify."""
    server: GctServer | None = None
    endpoint_id: str = ""

    @property
    def outgoing(self) -> Path:
        """What is copied from here."""
        return self.workdir / "outgoing"

    @property
    def incoming(self) -> Path:
        """What is copied to here: a file system of its own, which may be full."""
        return self.workdir / "incoming"

    @property
    def storage_name(self) -> str:
        """For whom must be alone with `incoming`."""
        return f"storage of {self.name}"

    async def make_storage(self) -> None:
        """Before it is used."""
        for storage in (self.outgoing, self.incoming):
            storage.mkdir(parents=True)
            options = ("-t", "tmpfs", "-o", f"mode=755,size={STORAGE_BYTES}", "storage")
            await run("mount", *options, str(storage))

    async def fill(self) -> None:
        """From now on there is no room for what comes in."""
        while True:
            status = os.statvfs(self.incoming)
            used = (status.f_blocks - status.f_bfree) * status.f_frsize
            size = max(used, status.f_frsize)  # 0 would be no limit
            with suppress(RuntimeError):  # more has come in meanwhile
                await run("mount", "-o", f"remount,size={size}", str(self.incoming))
                return

    async def free(self) -> None:
        """There is room again."""
        await run("mount", "-o", f"remount,size={STORAGE_BYTES}", str(self.incoming))

    async def end_storage(self) -> None:
        """Whoever still uses it keeps it until it ends, too."""
        for storage in (self.outgoing, self.incoming):
            await run("umount", "--lazy", str(storage))

    def session_pids(self) -> list[int]:
        """The processes of its sessions."""
        return [] if self.server is None else self.server.session_pids()

    @property
    def control_ports(self) -> range:
        """The one that it listens at."""
        return range(self.port, self.port + 1)

    async def start(self, network: Network) -> None:
        """Start the server, which must not run."""
        self.server = await asyncio.to_thread(
            GctServer.start,
            self.domain,
            self.workdir,
            port=self.port,
            account=ACCOUNT,
            args=(
                *("-port-range", f"{self.data_ports.start},{self.data_ports.stop - 1}"),
                *("-d", "ALL"),
            ),
        )
        for ports in (self.control_ports, self.data_ports):
            await network.relayed(ports)

    async def stop(self, network: Network, *, sessions_too: bool = True) -> None:
        """Kill it, with all its sessions or without."""
        assert self.server is not None
        for ports in (
            (self.control_ports, self.data_ports) if sessions_too else (self.control_ports,)
        ):
            await network.relayed(ports, on=False)
        if sessions_too:
            await asyncio.to_thread(self.server.stop)
        else:
            await asyncio.to_thread(self.server.stop_listening)
        self.server = None


class Postgres(EmbeddedPostgres):
    """With a clock that can be set (libfaketime), for all of it at once."""

    @property
    def _clock(self) -> Path:
        return self.directory / "clock"

    def set_clock(self, ahead: timedelta) -> None:
        """So far before the real time, or behind it. It takes a second until it is noticed."""
        new = self._clock.with_suffix(".new")
        new.write_text(f"{ahead.total_seconds():+.0f}s\n")
        new.chmod(0o644)
        new.replace(self._clock)

    def _wrapped(self, command: Sequence[str], death_signal: signal.Signals) -> list[str]:
        environment = (
            f"LD_PRELOAD={FAKETIME}",
            f"FAKETIME_TIMESTAMP_FILE={self._clock}",
            "FAKETIME_CACHE_DURATION=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        )
        return super()._wrapped(["/usr/bin/env", *environment, *command], death_signal)


@dataclass
class Ground:
    """The whole of it; use `open`."""

    root: Path
    network: Network
    places: dict[str, Place]
    postgres: Postgres
    settings: dict[str, str]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    api: Deployment | None = None
    submitting: int = 0
    """Submissions that are not answered yet."""
    _submission: asyncio.Event = field(default_factory=asyncio.Event)
    _client: httpx.AsyncClient | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, root: Path) -> AsyncIterator["Ground"]:
        """Start everything; needs namespaces of one's own."""
        root.chmod(0o755)
        async with AsyncExitStack() as stack:
            domains = await asyncio.to_thread(_domains, root)
            places = {
                name: Place(
                    name,
                    domains[number % len(domains)],
                    root / name,
                    28_111 + number,
                    range(50_000 + 1000 * number, 51_000 + 1000 * number),
                    honest=name == HONEST,
                )
                for number, name in enumerate(PLACES)
            }
            network = await stack.enter_async_context(
                Network.open([place.data_ports for place in places.values()])
            )
            postgres = Postgres(root / "postgres", options=POSTGRES_OPTIONS)
            stack.push_async_callback(postgres.stop)
            postgres.directory.mkdir()
            postgres.set_clock(timedelta(0))
            await postgres.start()
            settings = {**SETTINGS, "TOWPATH_DATABASE__URL": postgres.url}
            ground = cls(root, network, places, postgres, settings)
            stack.push_async_callback(ground._close)
            for place in places.values():
                await place.make_storage()
                await place.start(network)
            await ground.start_api()
            for place in places.values():
                await ground._register(place)
            for _ in range(WORKERS):
                ground.start_worker()
            supervising = asyncio.create_task(ground._supervise())
            stack.callback(supervising.cancel)
            yield ground

    # The API.

    @property
    def data_dir(self) -> Path:
        """Of the deployment."""
        return self.root / "deployment"

    async def start_api(self) -> None:
        """Start the API, which must not run."""
        self.api = await asyncio.to_thread(Deployment.start, self.data_dir, self.settings)

    async def kill_api(self) -> None:
        """SIGKILL."""
        api, self.api = self.api, None
        assert api is not None
        await asyncio.to_thread(api.kill)

    async def ask(
        self, method: str, route: str, document: Mapping[str, Any] | None = None, **query: Any
    ) -> httpx.Response:
        """One request to the Transfer API, as the operator. Raises httpx.TransportError."""
        if self._client is None:
            authority = ssl.create_default_context(cafile=self.data_dir / "tls" / "ca.pem")
            self._client = httpx.AsyncClient(verify=authority, timeout=20, trust_env=False)
        if self.api is None:
            raise httpx.ConnectError("the API is down")
        if "Authorization" not in self._client.headers:
            token = self.api.client.headers["Authorization"]
            self._client.headers["Authorization"] = token
        url = f"{self.api.url}/v0.10/{route}"
        return await self._client.request(method, url, json=document, params=query)

    async def _register(self, place: Place) -> None:
        document = {
            "DATA_TYPE": "endpoint",
            "display_name": place.name,
            "DATA": [{"DATA_TYPE": "server", "uri": f"gsiftp://localhost:{place.port}"}],
            "trust_roots": dict(place.domain.trust.files),
        }
        answer = await self.ask("POST", "endpoint", document)
        answer.raise_for_status()
        place.endpoint_id = answer.json()["id"]
        await self.give_credential_for_long(place)

    async def give_credential_for_long(self, place: Place) -> None:
        """One that lasts; tries until the API takes it."""
        while True:
            try:
                await self.give_credential(place, place.domain.proxy_file.read_text())
            except httpx.TransportError:
                pass
            except httpx.HTTPStatusError as refused:
                if refused.response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
            else:
                return
            await asyncio.sleep(REPEAT_S)

    async def give_credential(self, place: Place, proxy: str) -> None:
        """Store a proxy for an endpoint. Raises httpx.HTTPError."""
        route = f"endpoint/{place.endpoint_id}/credential"
        (await self.ask("PUT", route, {"proxy": proxy})).raise_for_status()

    async def submit(self, document: Mapping[str, Any]) -> httpx.Response:
        """Post a task. Raises httpx.TransportError."""
        self.submitting += 1
        self._submission.set()
        try:
            return await self.ask("POST", str(document["DATA_TYPE"]), document)
        finally:
            self.submitting -= 1
            if not self.submitting:
                self._submission.clear()

    async def submission_begins(self, within_s: float) -> bool:
        """Whether somebody submits a task, within this time."""
        try:
            await asyncio.wait_for(self._submission.wait(), within_s)
        except TimeoutError:
            return False
        return True

    # Workers.

    @property
    def workers_said(self) -> Path:
        """What they wrote besides their logs."""
        return self.root / "workers.out"

    def start_worker(self) -> subprocess.Popen[bytes]:
        """One more; its process."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with self.workers_said.open("ab") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", "towpath.cli", "worker", "--data", str(self.data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=kept | self.settings,
            )
        self.workers.append(worker)
        return worker

    async def _supervise(self) -> None:
        """As `towpath up` does: a worker that has ended, for whatever reason, is started again."""
        while True:
            await asyncio.sleep(SUPERVISE_EVERY_S)
            for worker in list(self.workers):
                if worker.poll() is not None:
                    self.replace_worker(worker)

    def replace_worker(self, worker: subprocess.Popen[bytes]) -> None:
        """SIGKILL, and another in its place, as a supervisor would start it; unless somebody else
        has done that."""
        if worker in self.workers:
            self._end_worker(worker)
            self.start_worker()

    def _end_worker(self, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    async def _close(self) -> None:
        for worker in list(self.workers):
            self._end_worker(worker)
        if self._client is not None:
            await self._client.aclose()
        if self.api is not None:
            await asyncio.to_thread(self.api.stop)
        for place in self.places.values():
            if place.server is not None:
                place.server.stop()
            await place.end_storage()


SUPERVISE_EVERY_S = 0.5

REPEAT_S = 0.3
"""Before a request is sent again that got no answer."""

PLACES: Sequence[str] = ("alpha", "beta", "gamma")
HONEST = "gamma"


def _domains(root: Path) -> list[Domain]:
    return [Domain.create(root / name, name, user="Alice") for name in ("DomA", "DomB")]
