"""Area `server`: our GridFTP server against that of the Grid Community Toolkit.

Both are driven by the same client, globus-url-copy, from one of their kind to another, so that
nothing but servers touches the data. CPU seconds are those of both servers. What a session costs
is measured with sessions that have logged in and wait. Then there are our client and our servers
together, as they are meant, against what they replace.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

from bench.gridftp import GUC_TREE, GUC_TREES, GUC_VERIFY, Ours
from bench.measure import Ran, Sample, private_bytes
from bench.rig import Library, Site, Tree, nested
from bench.rounds import Contest, Mover, Place, Plan, Ratio, Room
from bench.tar import TarOverSsh
from towpath.demo.own import OwnServer
from towpath.demo.servers import HERE
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
    many: int
    """Small files for our client."""
    fan: int
    sessions: int


FULL = Scale(big_bytes=4 * 1024**3, small=2000, many=100_000, fan=10, sessions=100)
QUICK = replace(FULL, big_bytes=64 * 1024**2, small=40, many=60, fan=2, sessions=3)
SMALL_BYTES = 1024


@dataclass
class Field:
    """Two servers of each kind."""

    own: Site
    gct: Site
    tar: TarOverSsh
    room: Room
    _library: Library | None = None

    @property
    def scale(self) -> Scale:
        """Of this run."""
        return QUICK if self.room.quick else FULL

    def sites(self) -> tuple[tuple[str, Site], ...]:
        """By the name of their side."""
        return ("own", self.own), ("gct", self.gct)

    def ours(self, contest: str) -> Ours:
        """Our client at our servers, with a new process for the library."""
        self.close()
        self._library = Library.start(self.own)
        self.gct.lasting.add(self._library.pid)
        ours = Ours(self.own, self._library, self.room.profiles, contest)
        ours.load(Tree.make(self.room.trees / "tiny", [TreeFile("file", SMALL_BYTES)]))
        return ours

    def close(self) -> None:
        """End the library's process."""
        if self._library is not None:
            self.gct.lasting.discard(self._library.pid)
            self._library.close()
            self._library = None


@contextmanager
def _open(room: Room) -> Iterator[Field]:
    own, gct = room.trees / "own", room.trees / "gct"
    for work in (own, gct):
        work.mkdir()
    with (
        Site.open(own, servers=OwnServer) as ours,
        Site.open(gct) as theirs,
        TarOverSsh.open(ours, HERE, HERE, own / "ssh") as tar,
    ):
        for one, other in ((ours, theirs), (theirs, ours)):
            one.lasting.update((*other.server_pids, tar.server_pid))
        field = Field(ours, theirs, tar, room)
        try:
            yield field
        finally:
            field.close()


def _big(
    keys: dict[str, str], ours: str, words: tuple[str, ...], name: str, field: Field
) -> Contest:
    """One large file, with one and with four streams: whichever is faster counts for the peer.

    `ours` is the way that is faster for us; alike are those with as many streams on both sides.
    """
    tree = Tree.make(field.room.trees / "big", [TreeFile("file", field.scale.big_bytes)])
    sides = {
        f"{side} -p {streams}": site.guc(tree, "/file", "-fast", "-p", str(streams), *words)
        for streams in (1, 4)
        for side, site in field.sites()
    }
    peers = ("gct -p 1", "gct -p 4")
    parts = {"rate": attrgetter("wall_s"), "cpu": SERVER_CPU_S}
    best = tuple(Ratio(key, ours, peers, parts[part]) for part, key in keys.items())
    alike = tuple(
        Ratio(f"{key}_p{streams}", f"own -p {streams}", (f"gct -p {streams}",), parts[part])
        for streams in (1, 4)
        for part, key in keys.items()
    )
    return Contest(name, sides, best + alike, tree.check)


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
    """Sessions that wait; the sample's bytes are private memory of the server for each.

    More than the server had before its first one: what ended sessions leave is used again.
    """
    servers = (site.source.pid,)
    before = private_bytes(servers)

    async def wait(_to: Path) -> Sample:
        before_s = time.perf_counter()
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


def _own_small(name: str, field: Field) -> Contest:
    """What a user has today, and what he would have: a tree from one host to another."""
    files = nested(field.scale.fan, field.scale.many, SMALL_BYTES)
    tree, ours = Tree.make(field.room.trees / "many", files), field.ours(name)
    guc = {f"{side} on GCT": field.gct.guc(tree, "/", *words) for side, words in GUC_TREES.items()}
    sides = {"library": ours.cold(tree, "/"), **guc, "tar": field.tar.mover(tree)}
    ratios = (
        Ratio("own_small_files_vs_guc_on_gct", "library", tuple(guc)),
        Ratio("own_small_files_vs_tar", "library", ("tar",)),
    )
    return Contest(name, sides, ratios, tree.check)


def _own_verified(name: str, field: Field) -> Contest:
    """What it costs to know that a large file has arrived: digests computed while it moves."""
    tree = Tree.make(field.room.trees / "big", [TreeFile("file", field.scale.big_bytes)])
    ours = field.ours(name)
    sides = {
        "library": ours.cold(tree, "/file"),
        "verified": ours.cold(tree, "/file", verify=True),
        "guc MD5 on GCT": field.gct.guc(tree, "/file", *GUC_VERIFY),
    }
    ratios = (
        Ratio("own_verified_vs_unverified", "verified", ("library",)),
        Ratio("own_verified_vs_guc_verify_on_gct", "verified", ("guc MD5 on GCT",)),
    )
    return Contest(name, sides, ratios, tree.check)


def _plan(name: str, round_s: float, make: partial[Contest]) -> Plan[Field]:
    return Plan(name, round_s, partial(make, name))


PLACES = (
    Place(
        _open,
        (
            _plan(
                "server_big",
                25,
                partial(
                    _big,
                    {"rate": "server_rate_vs_gct", "cpu": "server_cpu_vs_gct"},
                    "own -p 1",
                    (),
                ),
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
                    "own -p 4",
                    ("-dcpriv",),
                ),
            ),
            _plan("server_small_files", 5, partial(_small)),
            _plan("server_session_memory", 10, partial(_memory)),
            _plan("own_small_files", 250, partial(_own_small)),
            _plan("own_big_verified", 50, partial(_own_verified)),
        ),
    ),
)
