"""Area `server`: our GridFTP server against that of the Grid Community Toolkit.

Both are driven by the same client, globus-url-copy, from one of their kind to another, so that
nothing but servers touches the data. CPU seconds are those of both servers. What a session costs
is measured with sessions that have logged in and wait.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

from bench.gridftp import GUC_TREE
from bench.measure import Ran, Sample, private_bytes
from bench.rig import Site, Tree, nested
from bench.rounds import Contest, Mover, Place, Plan, Ratio, Room
from towpath.demo.own import OwnServer
from towpath.demo.trees import TreeFile
from towpath.gridftp.client.dial import Server
from towpath.gridftp.client.session import Session, close_all

SERVER_CPU_S = attrgetter("server_cpu_s")
MEMORY_BYTES = attrgetter("peak_bytes")


@dataclass(frozen=True)
class Scale:
    """How much is moved, and how many sessions wait."""

    big_bytes: int
    small: int
    fan: int
    sessions: int


FULL = Scale(big_bytes=4 * 1024**3, small=2000, fan=10, sessions=100)
QUICK = replace(FULL, big_bytes=64 * 1024**2, small=40, fan=2, sessions=3)
SMALL_BYTES = 1024


@dataclass(frozen=True)
class Field:
    """Two servers of each kind."""

    own: Site
    gct: Site
    room: Room

    @property
    def scale(self) -> Scale:
        """Of this run."""
        return QUICK if self.room.quick else FULL

    def sites(self) -> tuple[tuple[str, Site], ...]:
        """By the name of their side."""
        return ("own", self.own), ("gct", self.gct)


@contextmanager
def _open(room: Room) -> Iterator[Field]:
    own, gct = room.trees / "own", room.trees / "gct"
    for work in (own, gct):
        work.mkdir()
    with Site.open(own, servers=OwnServer) as ours, Site.open(gct) as theirs:
        for one, other in ((ours, theirs), (theirs, ours)):
            one.lasting.update(other.server_pids)
        yield Field(ours, theirs, room)


def _big(keys: dict[str, str], words: tuple[str, ...], name: str, field: Field) -> Contest:
    """One large file, with one and with four streams: whichever is faster counts for the peer."""
    tree = Tree.make(field.room.trees / "big", [TreeFile("file", field.scale.big_bytes)])
    sides = {
        f"{side} -p {streams}": site.guc(tree, "/file", "-fast", "-p", str(streams), *words)
        for streams in (1, 4)
        for side, site in field.sites()
    }
    peers = ("gct -p 1", "gct -p 4")
    parts = {"rate": attrgetter("wall_s"), "cpu": SERVER_CPU_S}
    ratios = tuple(Ratio(key, "own -p 4", peers, parts[part]) for part, key in keys.items())
    return Contest(name, sides, ratios, tree.check)


def _small(name: str, field: Field) -> Contest:
    files = nested(field.scale.fan, field.scale.small, SMALL_BYTES)
    tree = Tree.make(field.room.trees / "small", files)
    sides = {side: site.guc(tree, "/", *GUC_TREE) for side, site in field.sites()}
    ratios = (
        Ratio("server_small_files_vs_gct", "own", ("gct",)),
        Ratio("server_small_files_cpu_vs_gct", "own", ("gct",), SERVER_CPU_S),
    )
    return Contest(name, sides, ratios, tree.check)


def _memory(name: str, field: Field) -> Contest:
    sides = {side: _waiting(site, field.scale.sessions) for side, site in field.sites()}
    ratios = (Ratio("session_memory_vs_gct", "own", ("gct",), MEMORY_BYTES),)
    return Contest(name, sides, ratios, lambda _to, _closely: None)


def _waiting(site: Site, count: int) -> Mover:
    """Sessions that wait; the sample's bytes are private memory of the server for each."""

    async def wait(_to: Path) -> Sample:
        servers = (site.source.pid,)
        before, before_s = private_bytes(servers), time.perf_counter()
        server = Server("localhost", site.source.port)
        credential, trust = site.domain.credential, site.domain.trust
        sessions: list[Session] = []
        try:
            while len(sessions) < count:
                session = await Session.open(server, credential=credential, trust=trust)
                sessions.append(session)
            ran = Ran(time.perf_counter() - before_s, 0.0)
            used = max((private_bytes(servers) - before) // count, 1)
        finally:
            await close_all(sessions)
        return Sample(ran.wall_s, ran.cpu_s, 0.0, used)

    return lambda to: asyncio.run(wait(to))


def _plan(name: str, round_s: float, make: partial[Contest]) -> Plan[Field]:
    return Plan(name, round_s, partial(make, name))


PLACES = (
    Place(
        _open,
        (
            _plan(
                "server_big",
                25,
                partial(_big, {"rate": "server_rate_vs_gct", "cpu": "server_cpu_vs_gct"}, ()),
            ),
            _plan(
                "server_big_private",
                40,
                partial(
                    _big,
                    {
                        "rate": "server_rate_vs_gct_private",
                        "cpu": "server_cpu_vs_gct_private",
                    },
                    ("-dcpriv",),
                ),
            ),
            _plan("server_small_files", 5, partial(_small)),
            _plan("server_session_memory", 10, partial(_memory)),
        ),
    ),
)
