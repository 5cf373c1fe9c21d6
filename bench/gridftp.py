"""Area `gridftp`: our client against globus-url-copy, and tar over ssh, between two servers.

Data channels are authenticated and the data itself goes in clear text, which is the default of
both. Nothing is verified where a side does not say so. Ours is measured three ways: as a library
in a process that runs already (new sessions, nothing kept), as a command, and `warm`, as a library
whose sessions and data channels are left from the copy before.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.measure import BenchError, Sample
from bench.rig import Library, Site, Tree, nested, program_path
from bench.rounds import Check, Contest, Mover, Place, Plan, Ratio, Room
from bench.tar import TarOverSsh
from bench.wan import Wan, Way
from towpath.demo.trees import TreeFile, uniform

GUC_TREE = ("-r", "-cd", "-fast", "-pp")
"""guc's fastest way with a tree: one mode E channel for all files, pipelined commands."""

GUC_TREES: Mapping[str, tuple[str, ...]] = {"guc": GUC_TREE, "guc -cc 4": (*GUC_TREE, "-cc", "4")}
"""More sessions help guc on long paths and cost it on short ones: whichever is better counts."""

GUC_BIG: Mapping[str, tuple[str, ...]] = {
    "guc -p 1": ("-fast", "-p", "1"),
    "guc -p 4": ("-fast", "-p", "4"),
}
GUC_VERIFY = ("-fast", "-p", "4", "-verify-checksum")


@dataclass(frozen=True)
class Scale:
    """How much is moved, and how far."""

    fan: int
    """Small files are in so many directories in each of so many."""
    small: int
    """How many small files near by."""
    small_far: Mapping[str, int]
    """The same far away, by the number in the contest's name."""
    small_bytes: int
    big_bytes: int
    listed: tuple[int, int]
    """Directories, and empty files in each."""
    way: Way


FULL = Scale(
    fan=10,
    small=10_000,
    small_far={"500": 500, "2000": 2000},
    small_bytes=1024,
    big_bytes=4 * 1024**3,
    listed=(1000, 100),
    way=Way(),
)
QUICK = replace(
    FULL,
    fan=2,
    small=40,
    small_far={"500": 8, "2000": 16},
    big_bytes=64 * 1024**2,
    listed=(10, 10),
    way=Way(rtt_s=0.01),
)


class Field:
    """Servers, trees and the library's process, for one contest after the other."""

    def __init__(self, site: Site, room: Room, tar: TarOverSsh | None = None) -> None:
        self.site = site
        self.tar = tar
        self.scale = QUICK if room.quick else FULL
        self._room = room
        self._library: Library | None = None

    def small_files(self, count: int) -> Tree:
        """Many small files."""
        files = nested(self.scale.fan, count, self.scale.small_bytes)
        return Tree.make(self._room.trees / f"small-{count}", files)

    def big_file(self) -> Tree:
        """One large file."""
        return Tree.make(self._room.trees / "big", [TreeFile("file", self.scale.big_bytes)])

    def tiny_file(self) -> Tree:
        """One small file."""
        return Tree.make(self._room.trees / "tiny", [TreeFile("file", self.scale.small_bytes)])

    def empty_files(self) -> Tree:
        """A large tree to be listed."""
        return Tree.make(self._room.trees / "listed", list(uniform(*self.scale.listed, 0)))

    def ours(self, contest: str) -> "Ours":
        """Our sides of a contest, with a new process for the library."""
        self.close()
        self._library = Library.start(self.site)
        ours = Ours(self.site, self._library, self._room.profiles, contest)
        ours.load(self.tiny_file())
        return ours

    def close(self) -> None:
        """End the library's process."""
        if self._library is not None:
            self._library.close()
            self._library = None


@dataclass(frozen=True)
class Ours:
    """Ways to use our client."""

    site: Site
    library: Library
    profiles: Path | None
    contest: str

    def load(self, tiny: Tree) -> None:
        """Throw-away jobs of each kind, so that modules are loaded."""
        to = self.site.work / "loaded"
        to.mkdir(exist_ok=True)
        self.library.run(self._copy_job(tiny, to, "/file", verify=True))
        self.library.run(self._list_job(tiny, to))
        shutil.rmtree(to)

    def cold(self, tree: Tree, end: str, *, verify: bool = False) -> Mover:
        """In a process that runs already; everything else is new."""
        side = "verified" if verify else "library"
        return lambda to: self._run(side, self._copy_job(tree, to, end, verify=verify))

    def warm(self, tree: Tree, end: str) -> Mover:
        """The same again at once, with the sessions and data channels that are there then."""

        def move(to: Path) -> Sample:
            before = to.with_name("before")
            before.mkdir()
            self.library.run(self._copy_job(tree, before, end, pooled=True))
            shutil.rmtree(before)
            job = self._copy_job(tree, to, end, pooled=True)
            sample = self._run("warm", job, sessions_stay=True)
            self.library.run({"do": "forget"})
            return sample

        return move

    def command(self, tree: Tree, end: str) -> Mover:
        """As anybody would type it."""
        words = (program_path("towpath"), "gridftp", "cp", "--no-verify")
        recursive = ("--recursive",) if end == "/" else ()
        return lambda to: self.site.command(*words, *recursive, *self.site.urls(tree.root, to, end))

    def listing(self, tree: Tree) -> Mover:
        """A listing of everything, by the library."""
        return lambda to: self._run("library", self._list_job(tree, to))

    def _copy_job(
        self, tree: Tree, to: Path, end: str, *, verify: bool = False, pooled: bool = False
    ) -> dict[str, object]:
        source, destination = self.site.urls(tree.root, to, end)
        return {
            "do": "copy",
            "source": source,
            "destination": destination,
            "verify": verify,
            "pooled": pooled,
        }

    def _list_job(self, tree: Tree, to: Path) -> dict[str, object]:
        return {"do": "list", "root": self.site.source.url(tree.root), "names": str(to / "names")}

    def _run(self, side: str, job: dict[str, object], *, sessions_stay: bool = False) -> Sample:
        if self.profiles is not None:
            job |= {"profile": str(self.profiles.resolve() / f"{self.contest}-{side}.txt")}
        return self.site.measure(
            lambda: self.library.run(job), mover=self.library.pid, sessions_stay=sessions_stay
        )


def _small_near(name: str, field: Field) -> Contest:
    tree, ours = field.small_files(field.scale.small), field.ours(name)
    guc = {side: field.site.guc(tree, "/", *words) for side, words in GUC_TREES.items()}
    sides = {
        "library": ours.cold(tree, "/"),
        "command": ours.command(tree, "/"),
        "verified": ours.cold(tree, "/", verify=True),
        **guc,
    }
    ratios = (
        Ratio("small_files_vs_guc", "library", tuple(guc)),
        Ratio("small_files_command_vs_guc", "command", tuple(guc)),
        Ratio("small_files_verified_vs_guc", "verified", tuple(guc)),
    )
    return Contest(name, sides, ratios, tree.check)


def _small_far(count: str, name: str, field: Field) -> Contest:
    assert field.tar is not None
    tree, ours = field.small_files(field.scale.small_far[count]), field.ours(name)
    guc = {side: field.site.guc(tree, "/", *words) for side, words in GUC_TREES.items()}
    mine = {
        "library": ours.cold(tree, "/"),
        "command": ours.command(tree, "/"),
        "warm": ours.warm(tree, "/"),
        "verified": ours.cold(tree, "/", verify=True),
    }
    # guc with one pair of sessions, as people use it; with four it is faster on long paths, and
    # costs the servers more: that is told as well.
    peers = {"guc": ("guc",), "guc_cc4": ("guc -cc 4",), "tar": ("tar",)}
    ratios = [
        Ratio(f"small_files_{count}_{side}_vs_{peer}_wan", side, sides)
        for peer, sides in peers.items()
        for side in mine
    ]
    if count == "2000":  # the harder one is the one that is told in short
        ratios += [
            Ratio(f"small_files_vs_{peer}_wan", "library", sides) for peer, sides in peers.items()
        ]
    ratios.append(Ratio(f"small_files_{count}_warm_vs_warm_tar_wan", "warm", ("tar warm",)))
    tar = {"tar": field.tar.mover(tree), "tar warm": field.tar.warm_mover(tree)}
    return Contest(name, {**mine, **guc, **tar}, tuple(ratios), tree.check)


def _big(name: str, field: Field) -> Contest:
    tree, ours = field.big_file(), field.ours(name)
    guc = {side: field.site.guc(tree, "/file", *words) for side, words in GUC_BIG.items()}
    sides = {
        "library": ours.cold(tree, "/file"),
        "verified": ours.cold(tree, "/file", verify=True),
        **guc,
        "guc MD5": field.site.guc(tree, "/file", *GUC_VERIFY),
        "guc SHA256": field.site.guc(tree, "/file", *GUC_VERIFY, "-checksum-alg", "SHA256"),
    }
    ratios = (
        Ratio("big_vs_guc", "library", tuple(guc)),
        Ratio("verified_big_vs_guc_verify", "verified", ("guc MD5",)),
        Ratio("verified_big_vs_guc_verify_sha256", "verified", ("guc SHA256",)),
        Ratio("verified_big_vs_guc_unverified", "verified", tuple(guc)),
    )
    return Contest(name, sides, ratios, tree.check)


def _tiny(name: str, field: Field) -> Contest:
    tree, ours = field.tiny_file(), field.ours(name)
    sides = {
        "library": ours.cold(tree, "/file"),
        "command": ours.command(tree, "/file"),
        "guc": field.site.guc(tree, "/file"),
    }
    ratios = (
        Ratio("tiny_file_vs_guc", "library", ("guc",)),
        Ratio("tiny_file_command_vs_guc", "command", ("guc",)),
    )
    return Contest(name, sides, ratios, tree.check)


def _listing(key: str, name: str, field: Field) -> Contest:
    tree, ours = field.empty_files(), field.ours(name)

    def guc(to: Path) -> Sample:
        dump = to / "dump"
        urls = field.site.urls(tree.root, to / "nothing", "/")
        sample = field.site.command(
            program_path("globus-url-copy"), "-r", "-fast", "-do", dump, *urls
        )
        start = f'"{urls[0]}'
        found = [line.removeprefix(start) for line in dump.read_text().splitlines()]
        # a directory's line is a comment; a file's has both URLs in quotes, and facts
        names = [line.partition('"')[0] for line in found if not line.startswith("#")]
        (to / "names").write_text("\n".join(names))
        return sample

    sides = {"library": ours.listing(tree), "guc": guc}
    return Contest(name, sides, (Ratio(key, "library", ("guc",)),), _names_check(tree))


def _names_check(tree: Tree) -> Check:
    expected = {file.path for file in tree.files}

    def check(to: Path, closely: bool) -> None:  # noqa: FBT001
        names = (to / "names").read_text().splitlines()
        if len(names) != len(expected):
            raise BenchError(f"{len(names)} files listed of {len(expected)}")
        if closely and set(names) != expected:
            raise BenchError("other files were listed than there are")

    return check


@contextmanager
def _near(room: Room) -> Iterator[Field]:
    """Everything on this host."""
    with Site.open(_folder(room, "near")) as site:
        yield from _field(Field(site, room))


@contextmanager
def _far(room: Room) -> Iterator[Field]:
    """Client, source and destination far from each other."""
    work = _folder(room, "far")
    way = (QUICK if room.quick else FULL).way
    with (
        Wan.open(work, way) as wan,
        Site.open(work, client=wan.client, source=wan.source, destination=wan.destination) as site,
        TarOverSsh.open(site, wan.source, wan.destination, work / "ssh") as tar,
    ):
        site.lasting.add(wan.router_pid)
        yield from _field(Field(site, room, tar))


def _folder(room: Room, name: str) -> Path:
    folder = room.trees / name
    folder.mkdir()
    return folder


def _field(field: Field) -> Iterator[Field]:
    try:
        yield field
    finally:
        field.close()


def _plan(name: str, round_s: float, make: Callable[[str, Field], Contest]) -> Plan[Field]:
    return Plan(name, round_s, partial(make, name))


PLACES = (
    Place(
        _far,
        (
            _plan("wan_small_files_500", 40, partial(_small_far, "500")),
            _plan("wan_small_files_2000", 50, partial(_small_far, "2000")),
            _plan("wan_listing", 60, partial(_listing, "listing_vs_guc_wan")),
        ),
    ),
    Place(
        _near,
        (
            _plan("small_files", 20, _small_near),
            _plan("big", 65, _big),
            _plan("tiny_file", 2, _tiny),
            _plan("listing", 5, partial(_listing, "listing_vs_guc")),
        ),
    ),
)
