"""Area `api`: what a request of the Transfer API costs, and how many it takes in.

No contest: next to it a bare uvicorn answers "hello" over the same TLS, and rates are told as parts
of its rate. Both servers are on one core, the client and PostgreSQL on the others; ours is a whole
`towpath up` without workers, on a database that commits to a disk.
"""

import asyncio
import itertools
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from uuid import uuid4

import httpx
import uvloop
from rich.console import Console

from bench.measure import BenchError, own_cpu_s, tree
from bench.report import figures
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.platform.database import Database

AREA = "api"

START_S = 30.0
ANSWER_S = 60.0
CONNECTIONS = 64
"""Requests under way for a rate. A server is busy all the time only if there is something to do
while the database is asked: with 8 it stood still for a quarter of it, and with 32 now and then.
Hello costs the same.
"""
TASKS = 128
"""That are asked for in turn, so that no two of those under way are the same one."""
SUBMITTERS = 32
"""Submissions under way: commits that come together share a write to the disk."""
_BODY_START = b"\r\n\r\n"


@dataclass(frozen=True)
class Scale:
    """How much, and for how long."""

    rounds: int
    round_s: float
    submit_s: float
    items: int
    bulks: int
    entries: int


FULL = Scale(rounds=5, round_s=3, submit_s=10, items=100_000, bulks=3, entries=100_000)
QUICK = Scale(rounds=1, round_s=0.3, submit_s=0.5, items=1000, bulks=1, entries=1000)


def measure(console: Console, *, quick: bool) -> str:
    """Take the figures; show a table, return them as a line of JSON. Raises `BenchError`."""
    scale = QUICK if quick else FULL
    settings = {
        "TOWPATH_ENGINE__WORKERS": "0",
        "TOWPATH_SAMPLES__ENABLED": "false",
        # one owner stands for many
        "TOWPATH_LIMITS__ACTIVE_TASKS_PER_OWNER": "10000000",
        "TOWPATH_LIMITS__REQUESTS_PER_OWNER": "100000000",
    }
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as directory:
        root = Path(directory)
        domain = Domain.create(root / "domain", "Bench")
        with (
            Deployment.start(root / "deployment", settings) as deployment,
            GctServer.start(domain, root / "server") as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            ends = (
                deployment.add_endpoint("a", server.url(""), domain.trust_dir, domain.proxy_file),
                deployment.add_endpoint(
                    "b", "gsiftp://192.0.2.1:2811", domain.trust_dir, domain.proxy_file
                ),
            )
            found = runner.run(_Bench(scale, deployment, ends, console).run(root))
    return figures(console, found)


@dataclass
class _Bench:
    scale: Scale
    deployment: Deployment
    ends: tuple[str, str]
    console: Console
    bearer: str = field(init=False)

    def __post_init__(self) -> None:
        self.bearer = str(self.deployment.client.headers["Authorization"])

    async def run(self, root: Path) -> dict[str, float]:
        found = await self._listing(root / "many")  # first: what was freed before is used again
        with (
            _hello(self.deployment.data_dir / "tls") as (port, pid),
            _on_one_core([self.deployment.pid, pid], self.deployment.pid),
        ):
            found |= await self._against(port, pid)
        found |= await self._submissions()
        found |= await self._bulks()
        return found

    async def _against(self, hello_port: int, hello_pid: int) -> dict[str, float]:
        """Rounds of all three, one after the other. A ratio by CPU time is what the ratio of rates
        would be if nothing else ran on the machine: a server that is busy has its core for itself.
        """
        shown = [
            str(self.deployment.post("transfer", self._document(1))["task_id"])
            for _ in range(TASKS)
        ]
        tasks = itertools.cycle(shown)
        own = self.deployment.pid
        requests: dict[str, tuple[int, int, Callable[[], bytes]]] = {
            "hello": (hello_port, hello_pid, lambda: self._request("GET", "/")),
            "get_task": (self._port, own, lambda: self._task_request(next(tasks))),
            "post_transfer": (self._port, own, self._submission),
        }
        rates: dict[str, list[float]] = {name: [] for name in requests}
        costs: dict[str, list[float]] = {name: [] for name in requests}
        for _ in range(self.scale.rounds):
            for name, (port, pid, request) in requests.items():
                before = own_cpu_s(pid)
                done, took = await _load(port, request, CONNECTIONS, self.scale.round_s)
                rates[name].append(done / took)
                costs[name].append((own_cpu_s(pid) - before) / done * 1e6)
            await self._end_tasks(but=shown)
        self.console.print({name: [round(one) for one in them] for name, them in rates.items()})
        found: dict[str, float] = {}
        for name in requests:
            found[f"{name}_per_s"] = round(statistics.median(rates[name]))
            found[f"{name}_cpu_us"] = round(statistics.median(costs[name]))
        for name in ("get_task", "post_transfer"):
            for word, of, to in (
                ("", rates[name], rates["hello"]),
                ("_by_cpu", costs["hello"], costs[name]),
            ):
                ratios = [one / other for one, other in zip(of, to, strict=True)]
                found[f"{name}_to_hello{word}"] = round(statistics.median(ratios), 3)
        return found

    async def _end_tasks(self, *, but: list[str]) -> None:
        """Of one owner there are a hundred unfinished tasks by default, and not ten thousand: with
        each submission they are counted."""
        state = json.loads((self.deployment.data_dir / "run" / "state.json").read_text())
        async with (
            Database(state["database_url"], schema="transfer", max_size=1) as database,
            database.connection() as conn,
        ):
            await conn.execute(
                "UPDATE task SET status = 'SUCCEEDED', completion_time = now()"
                " WHERE status = 'ACTIVE' AND id <> ALL(%s::uuid[])",
                (but,),
            )

    async def _submissions(self) -> dict[str, float]:
        """One file each; every answer is a task that is there, and on the disk."""
        before = self._tasks()
        done, took = await _load(self._port, self._submission, SUBMITTERS, self.scale.submit_s)
        if self._tasks() - before != done:
            raise BenchError(f"{done} were accepted, {self._tasks() - before} are there")
        return {"submissions_per_s": round(done / took, 1)}

    async def _bulks(self) -> dict[str, float]:
        rates = []
        for _ in range(self.scale.bulks):
            body = json.dumps(self._document(self.scale.items)).encode()
            began = time.perf_counter()
            await _ask_once(self._port, self._request("POST", "/v0.10/transfer", body))
            rates.append(self.scale.items / (time.perf_counter() - began))
        return {"bulk_files_per_s": round(statistics.median(rates))}

    async def _listing(self, directory: Path) -> dict[str, float]:
        """A large directory: how much more memory the service needs at the most."""
        directory.mkdir()
        for number in range(self.scale.entries):
            (directory / f"file-of-a-usual-name-{number:06}.dat").touch()
        path = f"/v0.10/operation/endpoint/{self.ends[0]}/ls?path={directory}"
        await _ask_once(self._port, self._request("GET", path + "&limit=1"))
        pid = self.deployment.pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the highest mark
        before = _status_kib(pid, "VmRSS")
        began = time.perf_counter()
        first, size = await _ask_once(self._port, self._request("GET", path))
        took = time.perf_counter() - began
        return {
            "listing_s": round(took, 2),
            "listing_first_byte_s": round(first - began, 2),
            "listing_mb": round(size / 1e6, 1),
            "listing_memory_mib": round((_status_kib(pid, "VmHWM") - before) / 1024, 1),
        }

    @property
    def _port(self) -> int:
        return int(self.deployment.url.rpartition(":")[2])

    def _tasks(self) -> int:
        return int(self.deployment.get("task_list", limit=1)["total"])

    def _document(self, items: int) -> dict[str, object]:
        return {
            "DATA_TYPE": "transfer",
            "submission_id": str(uuid4()),
            "source_endpoint": self.ends[0],
            "destination_endpoint": self.ends[1],
            "verify_checksum": True,
            "DATA": [
                {
                    "DATA_TYPE": "transfer_item",
                    "source_path": f"/home/somebody/data/run/{number:06}.dat",
                    "destination_path": f"/archive/2026/run/{number:06}.dat",
                    "recursive": False,
                }
                for number in range(items)
            ],
        }

    def _task_request(self, task_id: str) -> bytes:
        return self._request("GET", f"/v0.10/task/{task_id}")

    def _submission(self) -> bytes:
        return self._request("POST", "/v0.10/transfer", json.dumps(self._document(1)).encode())

    def _request(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {self.bearer}\r\n"
            f"Accept: application/json\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/json\r\n\r\n"
        )
        return head.encode() + body


class _Client(asyncio.Protocol):
    """One connection; as little as an HTTP client can be, so that it is not what is measured."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[None] | None = None
        self._head = b""
        self._left = 0
        self._chunked = False
        self._tail = b""
        self.first_byte_at = 0.0
        self.size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent

    async def ask(self, request: bytes) -> None:
        """Until the answer is there. Raises `BenchError` if it is an error."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._head, self._tail, self.first_byte_at, self.size = b"", b"", 0.0, 0
        self._transport.write(request)
        await self._answer

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            return
        if not self.first_byte_at:
            self.first_byte_at = time.perf_counter()
        if _BODY_START not in self._head:
            self._head += data
            head, found, data = self._head.partition(_BODY_START)
            if not found:
                return
            self._head = head + found
            lower = head.lower()
            self._chunked = b"transfer-encoding: chunked" in lower
            if not self._chunked:
                self._left = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
        self.size += len(data)
        if self._chunked:
            self._tail = (self._tail + data)[-5:]
            ended = self._tail == b"0\r\n\r\n"
        else:
            self._left -= len(data)
            ended = self._left <= 0
        if ended:
            status = self._head[9:12]
            if status[:1] == b"2":
                answer.set_result(None)
            else:
                answer.set_exception(BenchError(f"answered {self._head!r} {data[:500]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BenchError(f"the connection ended: {exc}"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def _connect(port: int) -> _Client:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(_Client, "127.0.0.1", port, ssl=context)
    return client


async def _ask_once(port: int, request: bytes) -> tuple[float, int]:
    """When the first byte came, and the size of the answer."""
    client = await _connect(port)
    try:
        async with asyncio.timeout(ANSWER_S):
            await client.ask(request)
    finally:
        client.close()
    return client.first_byte_at, client.size


async def _load(
    port: int, request: Callable[[], bytes], clients: int, for_s: float
) -> tuple[int, float]:
    """Ask for so long; all answers, and the time until the last of them."""
    connections = [await _connect(port) for _ in range(clients)]
    began = time.perf_counter()
    ends = began + for_s
    done = 0

    async def work(client: _Client) -> None:
        nonlocal done
        while time.perf_counter() < ends:
            await client.ask(request())
            done += 1

    try:
        async with asyncio.timeout(for_s + ANSWER_S):
            await asyncio.gather(*map(work, connections))
    finally:
        for one in connections:
            one.close()
    return done, time.perf_counter() - began


@contextmanager
def _hello(tls: Path) -> Iterator[tuple[int, int]]:
    """uvicorn with nothing in it, with our certificate: its port and pid."""
    words = (str(tls / "server.pem"), str(tls / "server.key"))
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.hello", *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        _await_hello(port, process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _await_hello(port: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.HTTPError):
            httpx.get(f"https://127.0.0.1:{port}", verify=False, trust_env=False)
            return
        time.sleep(0.05)
    raise BenchError("the bare uvicorn does not answer")


@contextmanager
def _on_one_core(servers: list[int], deployment: int) -> Iterator[None]:
    """These processes on one core; everything else of the deployment, and we, on the others."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        raise BenchError("the client needs a core of its own")
    one = {min(cores)}
    for pid in tree(deployment):
        _pin(pid, cores - one)
    for pid in servers:
        _pin(pid, one)
    _pin(os.getpid(), cores - one)
    try:
        yield
    finally:
        for pid in (*tree(deployment), os.getpid()):
            _pin(pid, cores)


def _pin(pid: int, cores: set[int]) -> None:
    with suppress(FileNotFoundError):  # a connection's process may have ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)


def _status_kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise BenchError(f"no {name} of process {pid}")
