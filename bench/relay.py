"""Area `relay`: what agents cost a relay, how soon all come back, how fast it joins.

The relay is the real command; the service that it asks is a stand-in over HTTP, in this process. A
thousand agents are simulated by one other process. Then two programs move bytes, joined by the
relay, and through remote forwards of asyncssh and OpenSSH between the same two.
"""

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, Any, TypeVar
from uuid import uuid4

import asyncssh
import uvicorn
import uvloop
from fastapi import FastAPI, Request
from rich.console import Console

from bench import forward
from bench.measure import BenchError, own_cpu_s
from bench.report import figures
from bench.ssh import Ssh
from towpath.demo.servers import HERE
from towpath.grants.keys import KeySet, SigningKey
from towpath.tunnel import CONTROL_FORWARD, PROTOCOL, SUBSYSTEM
from towpath.tunnel import messages as words

AREA = "relay"

PATIENCE_S = 180.0
BURST_LOOK_S = 1.0
"""CPU is looked at so often while agents come back; the highest share is told."""
LISTEN_PORT = 9010
"""Of the forwards."""
RELAY_ID = str(uuid4())


@dataclass(frozen=True)
class Scale:
    """How much, and for how long."""

    agents: int
    idle_s: float
    joined_bytes: int
    forwarded_bytes: int
    rounds: int


FULL = Scale(1000, 60, 8 << 30, 1 << 30, 5)
QUICK = Scale(50, 5, 256 << 20, 64 << 20, 1)


def measure(console: Console, *, quick: bool) -> str:
    """Take the figures; show a table, return them as a line of JSON. Raises `BenchError`."""
    scale = QUICK if quick else FULL
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with (
        tempfile.TemporaryDirectory(prefix="towpath-bench-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        found = runner.run(_Bench(scale, Path(directory), console).run())
    return figures(console, found)


class _StandIn:
    """As much of a service as a relay asks: it knows every agent."""

    def __init__(self) -> None:
        self.connected: set[str] = set()
        self.reports = 0
        self.host_key = ""
        self.port = 0
        self._keys = KeySet.of([SigningKey.new()]).to_jwks()
        self.app = FastAPI()
        self.app.post("/v2/oauth2/token")(self._token)
        self.app.put("/v0.10/relay")(self._relay)
        self.app.post("/v0.10/relay/agent")(self._agent)
        self.app.post("/v0.10/relay/presence")(self._presence)

    async def _token(self) -> Any:
        return {"access_token": "t" * 40, "expires_in": 86_400}

    async def _relay(self, request: Request) -> Any:
        told = await request.json()
        self.host_key, self.port = told["host_key"], told["port"]
        return {"relay_id": RELAY_ID, "issuer": "bench", "keys": self._keys, "interval_s": 5}

    async def _agent(self, request: Request) -> Any:
        node_id = (await request.json())["node_id"]
        return {"endpoint_id": node_id, "kind": "personal", "limits": {}}

    async def _presence(self, request: Request) -> Any:
        told = await request.json()
        self.reports += 1
        if told["all"]:
            self.connected.clear()
        self.connected |= {one["node_id"] for one in told["connected"]}
        self.connected -= {one["node_id"] for one in told["lost"]}
        return {}


class _Bench:
    def __init__(self, scale: Scale, work: Path, console: Console) -> None:
        self._scale = scale
        self._work = work
        self._console = console
        self._service = _StandIn()
        self._secret = work / "secret"
        self._secret.write_text("s" * 40)

    async def run(self) -> dict[str, float]:
        async with self._serving() as url:
            relay = self._start_relay(url, port=0)
            try:
                await self._until(lambda: self._service.port != 0)
                found = await self._idle(relay)
                relay, storm = await self._storm(relay, url)
                found |= storm
                self._agents.kill()
                self._agents.wait()
                found |= await self._joined(relay)
            finally:
                relay.kill()
                relay.wait()
        return found | self._forwarded()

    # --- agents ----------------------------------------------------------------------------------

    async def _idle(self, relay: "subprocess.Popen[bytes]") -> dict[str, float]:
        scale = self._scale
        before = _resident(relay.pid)
        self._console.print(f"{scale.agents} agents come ...")
        self._agents = self._start_agents()
        began, cpu_began = time.monotonic(), own_cpu_s(relay.pid)
        await self._all_there()
        took_s, took_cpu_s = time.monotonic() - began, own_cpu_s(relay.pid) - cpu_began
        await asyncio.sleep(2)
        self._console.print(f"idle for {scale.idle_s:g} s ...")
        cpu_s = await self._cpu_share(relay.pid, scale.idle_s)
        if len(self._service.connected) != scale.agents:
            raise BenchError("an idle agent was lost")
        bytes_each = (_resident(relay.pid) - before) / scale.agents
        return {
            "agents": scale.agents,
            "relay_mib": round(_resident(relay.pid) / 2**20, 1),
            "kib_per_agent": round(bytes_each / 1024, 1),
            "idle_cpu_percent": round(cpu_s * 100, 2),
            "idle_cpu_ms_per_agent_minute": round(cpu_s * 60_000 / scale.agents, 2),
            "first_come_s": round(took_s, 1),
            "login_cpu_ms": round(took_cpu_s / scale.agents * 1000, 2),
        }

    async def _storm(
        self, relay: "subprocess.Popen[bytes]", url: str
    ) -> "tuple[subprocess.Popen[bytes], dict[str, float]]":
        self._console.print("the relay is killed, and started again ...")
        relay.send_signal(signal.SIGKILL)
        relay.wait()
        failed_before = self._told().get("failed", 0)
        self._service.connected.clear()
        self._service.reports = 0
        began = time.monotonic()
        again = self._start_relay(url, port=self._service.port)
        shares = []
        while len(self._service.connected) < self._scale.agents:
            if again.poll() is not None or time.monotonic() - began > PATIENCE_S:
                raise BenchError(f"only {len(self._service.connected)} agents came back")
            shares.append(await self._cpu_share(again.pid, BURST_LOOK_S))
        return again, {
            "storm_s": round(time.monotonic() - began, 1),
            "storm_cpu_percent_highest": round(max(shares) * 100),
            "storm_failed_logins": self._told().get("failed", 0) - failed_before,
            "storm_reports": self._service.reports,
        }

    def _start_agents(self) -> "subprocess.Popen[bytes]":
        self._agents_log = self._work / "agents.log"
        program = Path(__file__).with_name("relay_agents.py")
        service = self._service
        words_ = (str(service.port), service.host_key, str(self._scale.agents))
        with self._agents_log.open("wb") as log:
            return _started([sys.executable, "-P", program, *words_], log)

    def _told(self) -> dict[str, int]:
        """The last thing that the agents have said."""
        lines = self._agents_log.read_text().split("\n")
        told: dict[str, int] = json.loads(lines[-2]) if len(lines) > 1 else {}
        return told

    async def _all_there(self) -> None:
        await self._until(lambda: len(self._service.connected) == self._scale.agents)

    async def _until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            if time.monotonic() > deadline:
                raise BenchError(f"it took more than {PATIENCE_S:g} s")
            await asyncio.sleep(0.05)

    async def _cpu_share(self, pid: int, for_s: float) -> float:
        began, before = time.monotonic(), own_cpu_s(pid)
        await asyncio.sleep(for_s)
        return (own_cpu_s(pid) - before) / (time.monotonic() - began)

    # --- data ------------------------------------------------------------------------------------

    async def _joined(self, relay: "subprocess.Popen[bytes]") -> dict[str, float]:
        size = self._scale.joined_bytes
        self._console.print(f"{size >> 20} MiB through the relay ...")
        source = _hole(size)
        rates, cpu = [], []
        try:
            async with self._agent() as (reader, writer):
                writer.write(words.encode(words.Listen(2)))
                at = await _report(reader, words.Listening)
                for _ in range(self._scale.rounds):
                    before = own_cpu_s(relay.pid)
                    with _end(self._work, "send", source, "dial", "127.0.0.1", str(at.port)):
                        told = await _report(reader, words.Incoming)
                        where = ("ticket", "127.0.0.1", str(self._service.port), told.ticket)
                        began = time.monotonic()
                        with _end(self._work, "take", Path("/dev/null"), *where) as taking:
                            await asyncio.to_thread(taking.wait)
                        rates.append(size / (time.monotonic() - began))
                    cpu.append((own_cpu_s(relay.pid) - before) / (size / 1e9))
        finally:
            source.unlink()
        return {
            "joined_mb_s": round(median(rates) / 1e6),
            "joined_mb_s_least": round(min(rates) / 1e6),
            "joined_cpu_s_per_gb": round(median(cpu), 3),
        }

    @contextlib.asynccontextmanager
    async def _agent(
        self,
    ) -> "AsyncIterator[tuple[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]]]":
        async with asyncssh.connect(
            "127.0.0.1",
            self._service.port,
            config=None,
            agent_path=None,
            username=str(uuid4()),
            client_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            known_hosts=([asyncssh.import_public_key(self._service.host_key)], [], []),
        ) as connection:
            await connection.start_server(lambda *_: None, *CONTROL_FORWARD, encoding=None)
            writer, reader, _ = await connection.open_session(subsystem=SUBSYSTEM, encoding=None)
            writer.write(words.encode(words.Hello(1, "0.1.0", PROTOCOL)))
            await _report(reader, words.Welcome)
            yield reader, writer

    def _forwarded(self) -> dict[str, float]:
        size = self._scale.forwarded_bytes
        source = _hole(size)
        found: dict[str, float] = {}
        try:
            with Ssh.open(set(), HERE, self._work / "ssh") as ssh:
                ways: dict[str, AbstractContextManager[forward.Forward]] = {
                    "openssh": forward.by_openssh(ssh, HERE, LISTEN_PORT),
                    "asyncssh": forward.by_asyncssh(ssh.work, HERE, HERE, LISTEN_PORT + 10),
                }
                for name, way in ways.items():
                    self._console.print(f"{size >> 20} MiB through a forward of {name} ...")
                    with way as at:
                        rates = [self._through(at, source) for _ in range(self._scale.rounds)]
                    found[f"{name}_mb_s"] = round(median(rates) / 1e6)
        finally:
            source.unlink()
        return found

    def _through(self, at: forward.Forward, source: Path) -> float:
        taken = ("listen", "127.0.0.1", str(forward.TO))
        with forward.end(HERE, self._work / "take.log", "take", "/dev/null", *taken) as taking:
            began = time.monotonic()
            with _end(self._work, "send", source, "dial", "127.0.0.1", str(at.listen)):
                taking.wait()
            return source.stat().st_size / (time.monotonic() - began)

    # --- what runs -------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as bound:
            config = uvicorn.Config(self._service.app, log_level="warning", lifespan="off")
            server = uvicorn.Server(config)
            server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
            serving = asyncio.create_task(server.serve(sockets=[bound]))
            try:
                yield f"http://127.0.0.1:{bound.getsockname()[1]}"
            finally:
                server.should_exit = True
                await serving

    def _start_relay(self, url: str, *, port: int) -> "subprocess.Popen[bytes]":
        options = {
            "--service": url,
            "--client-id": RELAY_ID,
            "--client-secret-file": str(self._secret),
            "--dir": str(self._work / "relay"),
            "--host": "127.0.0.1",
            "--bind": "127.0.0.1",
            "--port": str(port),
        }
        words_ = [word for option in options.items() for word in option]
        with (self._work / "relay.log").open("ab") as log:
            return _started([sys.executable, "-m", "towpath.cli", "relay", *words_], log)


def _started(words_: Sequence[str | Path], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *words_],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )


@contextlib.contextmanager
def _end(work: Path, *words_: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    with forward.end(HERE, work / f"{words_[0]}.log", *words_) as process:
        yield process


def _hole(size: int) -> Path:
    """A file that nobody has written: reading it costs nothing."""
    path = Path(tempfile.gettempdir()) / f"towpath-bench-{os.getpid()}-hole"
    if os.access("/dev/shm", os.W_OK):
        path = Path("/dev/shm") / path.name
    with path.open("wb") as file:
        file.truncate(size)
    return path


_Report = TypeVar("_Report")


async def _report(reader: "asyncssh.SSHReader[bytes]", kind: type[_Report]) -> _Report:
    found = words.decode_report((await reader.readline()).rstrip(b"\n"))
    if not isinstance(found, kind):
        raise BenchError(f"the relay says {found!r}")
    return found


def _resident(pid: int) -> int:
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return int(fields[fields.index("Rss:") + 1]) * 1024
