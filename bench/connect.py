"""Area `connect`: what agents that nobody can dial move, near and far, against remote forwards.

The service with its relay, a GridFTP server, and two computers behind routers that translate
addresses and let nothing in are network namespaces of this machine (`towpath.demo.internet`). The
same file goes to the same place by a task, and through a port that `ssh -R` of OpenSSH, or of
asyncssh, has opened beside the relay.
"""

import json
import math
import re
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench.distance import lines
from bench.forward import TO, Forward, by_asyncssh, by_openssh, end
from bench.measure import BenchError, private_bytes, tree, tree_cpu_s
from bench.rig import Tree
from bench.ssh import Ssh
from towpath.demo.agents import Agent, AgentError
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.demo.internet import Internet, Lay, lay_line
from towpath.demo.namespace import LinkError
from towpath.demo.servers import Host
from towpath.demo.trees import TreeFile

AREA = "connect"
ROUNDS = 3

SOCKET_BUFFER_BYTES = 64 * 1024**2
"""How far kernels may tune a window, far away: at 4 Gbit/s and 100 ms, 48 MiB are on the way."""

PATIENCE_S = 900.0
LOOK_EVERY_S = 0.05
MEMORY_EVERY_S = 0.1

OURS, PRIVATE = "connect", "connect, private"
PEERS = ("ssh", "asyncssh")


@dataclass(frozen=True)
class Distance:
    """Of each home from everything else."""

    name: str
    size_bytes: int
    rtt_s: float = 0.0
    bits_per_s: float = math.inf


FULL = (
    Distance("near", 4 * 1024**3),
    Distance("far", 512 * 1024**2, rtt_s=0.1, bits_per_s=1e9),
    Distance("far_wide", 1024**3, rtt_s=0.1, bits_per_s=4e9),
)
QUICK = (
    Distance("near", 32 * 1024**2),
    Distance("far", 8 * 1024**2, rtt_s=0.02, bits_per_s=1e9),
)


class Way(NamedTuple):
    """From whom to whom. What the forward leads to is an agent's computer."""

    source: str
    destination: str
    forwarded: str

    @property
    def name(self) -> str:
        """Of its figures."""
        return f"{self.source}_to_{self.destination}"


WAYS = (
    Way("agent", "gct", "agent"),
    Way("gct", "agent", "agent"),
    Way("agent", "other_agent", "agent"),
)


class Ran(NamedTuple):
    """What one copy took."""

    wall_s: float
    relay_cpu_s: float
    """Of what is between: the relay, or both ends of the forward."""
    ends_cpu_s: float
    """Of the agents that took part."""
    relay_bytes: int
    """Most private memory at any look, as the next."""
    ends_bytes: int


Side = Callable[[Way, Tree, Path], Ran]
Found = dict[tuple[str, str, str], list[Ran]]
"""By distance, way and side, round by round."""


def measure(
    console: Console, *, quick: bool, rounds: int | None, only: str, directory: Path
) -> str:
    """Take the figures; show a table, return them as a line of JSON. Raises `BenchError`."""
    found: Found = {}
    distances = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="towpath-bench-", dir=directory) as trees:
        for distance in distances:
            ways = [way for way in WAYS if re.search(only, f"{distance.name}_{way.name}")]
            with tempfile.TemporaryDirectory(prefix="towpath-bench-") as state:
                if ways:
                    try:
                        with _Field.open(distance, Path(trees), Path(state)) as at:
                            _hold(console, at, ways, rounds or (1 if quick else ROUNDS), found)
                    except (LinkError, AgentError) as error:
                        raise BenchError(str(error)) from None
    if not found:
        names = [f"{distance.name}_{way.name}" for distance in distances for way in WAYS]
        raise BenchError(f"nothing matches {only!r}: there are {', '.join(names)}")
    sizes = {distance.name: distance.size_bytes for distance in distances}
    console.print(_table(found, sizes))
    return json.dumps(_figures(found, sizes))


def _hold(console: Console, at: "_Field", ways: Sequence[Way], rounds: int, found: Found) -> None:
    for way in ways:
        tree = Tree.make(at.folder(way.source) / "tree", [TreeFile("file", at.distance.size_bytes)])
        for number in range(rounds + 1):  # the first does not count: sessions are opened
            for name, side in at.sides.items():
                if not number and name in PEERS:
                    continue
                to = Path(tempfile.mkdtemp(dir=at.folder(way.destination)))
                ran = side(way, tree, to / "file")
                tree.check(to, closely=number <= 1)
                (to / "file").unlink()
                rate = at.distance.size_bytes / ran.wall_s / 1e6
                what = f"{at.distance.name} {way.name} {number}/{rounds}, {name}"
                console.print(f"{what}: {ran.wall_s:.2f} s, {rate:.0f} MB/s", soft_wrap=True)
                if number:
                    found.setdefault((at.distance.name, way.name, name), []).append(ran)


@dataclass
class _Field:
    """Everything that takes part, at one distance."""

    distance: Distance
    trees: Path
    state: Path
    service: Host
    deployment: Deployment
    gct: GctServer
    hosts: Mapping[str, Host]
    agents: Mapping[str, Agent]
    endpoints: Mapping[str, str]
    forwards: Mapping[str, Forward]
    """Of the agent's computer, by peer."""
    sides: dict[str, Side] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def open(cls, distance: Distance, trees: Path, state: Path) -> Iterator["_Field"]:
        """Start them all."""
        with ExitStack() as stack:
            lay: Lay = lay_line
            if distance.rtt_s:
                lay = stack.enter_context(lines(distance.rtt_s, distance.bits_per_s))
            internet = stack.enter_context(Internet.open())
            service, site = internet.site(), internet.site()
            names = ("agent", "other_agent")
            hosts = {name: internet.home(lay=lay).host() for name in names}
            hosts |= {"gct": site, "service": service}
            if distance.rtt_s:
                for host in hosts.values():
                    _widen(host)
            for name in ("gct", *names):
                (trees / name).mkdir(exist_ok=True)
            domain = Domain.create(state / "domain", "Bench")
            domain.issue("host", "localhost", hosts=("localhost", site.address))
            gct = stack.enter_context(GctServer.start(domain, state / "gct", host=site))
            settings = {"TOWPATH_DIAL__ALLOW_NETWORKS": json.dumps([str(internet.network)])}
            deployment = stack.enter_context(
                Deployment.start(state / "deployment", settings, host=service)
            )
            endpoints = {
                "gct": deployment.add_endpoint(
                    "gct", gct.url(""), domain.trust_dir, domain.proxy_file
                )
            }
            agents = {}
            for name in names:
                document = {"DATA_TYPE": "endpoint", "display_name": name}
                made = deployment.post("endpoint", document | {"is_globus_connect": True})
                endpoints[name] = made["id"]
                agents[name] = stack.enter_context(
                    Agent.set_up(
                        made["globus_connect_setup_key"],
                        state / name,
                        host=hosts[name],
                        shares=[trees / name],
                    )
                )
                agents[name].start()
            ssh = stack.enter_context(Ssh.open(set(), service, state / "ssh"))
            forwards = {
                "ssh": stack.enter_context(by_openssh(ssh, hosts["agent"], 9100)),
                "asyncssh": stack.enter_context(
                    by_asyncssh(ssh.work, service, hosts["agent"], 9200)
                ),
            }
            made_field = cls(
                distance, trees, state, service, deployment, gct, hosts, agents, endpoints, forwards
            )
            made_field.sides = {
                OURS: made_field._task(private=False),
                PRIVATE: made_field._task(private=True),
                **{name: made_field._forwarded(forward) for name, forward in forwards.items()},
            }
            yield made_field
            deployment.stop()

    def folder(self, name: str) -> Path:
        """What an end sees."""
        return self.trees / name

    def _task(self, *, private: bool) -> Side:
        def run(way: Way, tree: Tree, to: Path) -> Ran:
            agents = [self.agents[n].pid for n in (way.source, way.destination) if n != "gct"]
            with _watched([self._relay_pid()], agents) as watched:
                began = time.perf_counter()
                task_id = self.deployment.transfer(
                    self.endpoints[way.source],
                    self.endpoints[way.destination],
                    [(str(tree.root / "file"), str(to), False)],
                    verify_checksum=False,
                    encrypt_data=private,
                )
                task = self.deployment.wait(task_id, PATIENCE_S, LOOK_EVERY_S)
                wall_s = time.perf_counter() - began
            if task["status"] != "SUCCEEDED" or task["faults"]:
                events = self.deployment.events(task_id)
                raise BenchError(f"the task did not go well: {task} {events}")
            return watched.ran(wall_s)

        return run

    def _forwarded(self, forward: Forward) -> Side:
        def run(way: Way, tree: Tree, to: Path) -> Ran:
            ends = {way.source: ("send", tree.root / "file"), way.destination: ("take", to)}
            near = ends.pop(way.forwarded)
            ((other, far),) = ends.items()
            logs = self.state / "inside.log", self.state / "outside.log"
            address, port = self.service.address, str(forward.listen)
            with (
                _watched(forward.pids, []) as watched,
                end(
                    self.hosts[way.forwarded], logs[0], *near, "listen", "127.0.0.1", str(TO)
                ) as inside,
            ):
                began = time.perf_counter()
                with end(self.hosts[other], logs[1], *far, "dial", address, port) as outside:
                    for process in (outside, inside):
                        if process.wait(PATIENCE_S):
                            raise BenchError(f"{forward}: {[log.read_text() for log in logs]}")
                wall_s = time.perf_counter() - began
            return watched.ran(wall_s)

        return run

    def _relay_pid(self) -> int:
        for pid in tree(self.deployment.pid):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"towpath.cli" in words and b"relay" in words:
                return pid
        raise BenchError("no relay runs")


class _Watched:
    def __init__(self, relay: Sequence[int], ends: Sequence[int]) -> None:
        self._groups = relay, ends
        self._before = [tree_cpu_s(group) for group in self._groups]
        self.cpu_s = [0.0, 0.0]
        self.peaks = [0, 0]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while True:
            now = [private_bytes(group) for group in self._groups]
            self.peaks = [max(pair) for pair in zip(self.peaks, now, strict=True)]
            if self._over.wait(MEMORY_EVERY_S):
                return

    def end(self) -> None:
        """Nothing more is counted."""
        self._over.set()
        self._thread.join()
        now = [tree_cpu_s(group) for group in self._groups]
        self.cpu_s = [after - before for after, before in zip(now, self._before, strict=True)]

    def ran(self, wall_s: float) -> Ran:
        """All of it."""
        (relay_s, ends_s), (relay_bytes, ends_bytes) = self.cpu_s, self.peaks
        return Ran(wall_s, relay_s, ends_s, relay_bytes, ends_bytes)


@contextmanager
def _watched(relay: Sequence[int], ends: Sequence[int]) -> Iterator[_Watched]:
    watched = _Watched(relay, ends)
    try:
        yield watched
    finally:
        watched.end()


def _widen(host: Host) -> None:
    """Let windows grow as far as they must."""
    lines_ = [
        f"echo 4096 {usual} {SOCKET_BUFFER_BYTES} >/proc/sys/net/ipv4/{name}"
        for name, usual in (("tcp_rmem", 131072), ("tcp_wmem", 65536))
    ]
    subprocess.run([*host.enter, "sh", "-c", " && ".join(lines_)], check=True)


def _figures(found: Found, sizes: Mapping[str, int]) -> dict[str, float]:
    told: dict[str, float] = {}
    for (distance, way, side), runs in found.items():
        key = f"connect_{distance}_{way}"
        if side in PEERS:
            for name, how in ((OURS, ""), (PRIVATE, "_private")):
                pairs = zip(found[distance, way, name], runs, strict=True)
                ratio = statistics.median(peer.wall_s / ours.wall_s for ours, peer in pairs)
                told[f"{key}{how}_vs_{side}"] = round(ratio, 2)
            continue
        how = "" if side == OURS else "_private"
        rate = statistics.median(sizes[distance] / run.wall_s for run in runs) / 1e6
        told[f"{key}{how}_mb_s"] = round(rate, 1)
    return told


def _table(found: Found, sizes: Mapping[str, int]) -> Table:
    shown = Table(
        caption="medians (min-max); CPU seconds for each GB; MiB: most private memory at any look."
        " Between: the relay, or both ends of the forward"
    )
    for heading in ("distance, way", "side"):
        shown.add_column(heading)
    for heading in ("n", "MB/s", "CPU between", "of agents", "MiB between", "of agents"):
        shown.add_column(heading, justify="right")
    last = ""
    for (distance, way, side), runs in found.items():
        size = sizes[distance]
        name = f"{distance} {way}"
        if name != last:
            shown.add_section()
        rates = sorted(size / run.wall_s / 1e6 for run in runs)
        shown.add_row(
            "" if name == last else name,
            side,
            str(len(runs)),
            f"{statistics.median(rates):.0f} ({rates[0]:.0f}-{rates[-1]:.0f})",
            *(
                f"{statistics.median(one) / size * 1e9:.2f}"
                for one in ([r.relay_cpu_s for r in runs], [r.ends_cpu_s for r in runs])
            ),
            *(
                f"{max(one) / 2**20:.0f}"
                for one in ([r.relay_bytes for r in runs], [r.ends_bytes for r in runs])
            ),
        )
        last = name
    return shown
