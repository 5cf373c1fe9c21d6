"""Area `recovery`: what is sent again, and how soon it goes on, when a copy is broken half-way.

No contest of speed: one large file is copied to a host at the end of a link, and at half of it
the client, the server or the link goes away for a while. Bytes are counted at the host's end of
the link, headers and all, and not told by anybody who takes part.
"""

import getpass
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.table import Table

from bench.measure import BenchError
from bench.rig import Site, Tree, program_path
from bench.ssh import Ssh
from towpath.demo.deployment import FINAL, Deployment
from towpath.demo.gct import GctServer
from towpath.demo.link import Link
from towpath.demo.namespace import LinkError
from towpath.demo.servers import Host
from towpath.demo.trees import TreeFile

AREA = "recovery"
ROUNDS = 3

RESUMED_BYTES = 1024 * 1024
"""So much has arrived when a copy goes on: logins, and what compares digests, are far less."""

QUIET_BYTES_S = 512 * 1024
"""Slower than this, nothing is copied; what a killed client had under way has arrived."""

QUIET_S = 0.1
PATIENCE_S = 900.0
"""For a copy, before and after the break. Who has not ended by then never does, for us."""

_POLL_S = 0.01


@dataclass(frozen=True)
class Scale:
    """How much, and for how long."""

    size_bytes: int
    server_away_s: float
    link_down_s: float
    guc_retry_s: int
    """It ends when a server refuses the connection: it must not try before the server is back."""
    settings: Mapping[str, str] = field(default_factory=dict)


FULL = Scale(size_bytes=4 * 1024**3, server_away_s=3, link_down_s=5, guc_retry_s=5)
QUICK = Scale(
    size_bytes=128 * 1024**2,
    server_away_s=0.2,
    link_down_s=0.2,
    guc_retry_s=1,
    settings={"TOWPATH_ENGINE__SETTLE_S": "0.5", "TOWPATH_ENGINE__RETRY_FIRST_S": "0.2"},
)


class Recovered(NamedTuple):
    """What came of one copy that was broken."""

    sent_ratio: float
    """Bytes that were sent to the destination, of the file's size."""
    resume_s: float
    """From the return of what was away until data arrived."""
    rest_s: float
    """From there to the end."""


class Server(Protocol):
    """The destination's."""

    def kill(self) -> None:
        """Kill -9, with all sessions."""

    def start(self) -> None:
        """Start it again, where it was."""


class Side(Protocol):
    """Copies the file."""

    server: Server
    restarts_itself: bool
    """Whether a killed client comes back without anybody's doing."""

    def begin(self) -> None:
        """Start."""

    def kill(self) -> None:
        """Kill -9 of what commands the copy."""

    def again(self) -> None:
        """What a user would do to go on with it."""

    def ended(self) -> bool:
        """Whether the copy has ended well. Raises `BenchError` if it has ended otherwise."""

    def abandon(self) -> None:
        """End what still runs."""


@dataclass
class Gct:
    """The site's destination server."""

    site: Site
    host: Host

    def kill(self) -> None:
        """See `Server`."""
        self.site.destination.stop()

    def start(self) -> None:
        """See `Server`."""
        gone = self.site.destination
        self.site.destination = GctServer.start(
            self.site.domain, gone.workdir, port=gone.port, host=self.host
        )


@dataclass
class Service:
    """Ours: a task, with both ends' digests compared."""

    server: Server
    deployment: Deployment
    endpoints: tuple[str, str]
    paths: tuple[Path, Path]
    restarts_itself = True
    _task_id: str = ""

    def begin(self) -> None:
        """See `Side`."""
        here, there = map(str, self.paths)
        self._task_id = self.deployment.transfer(*self.endpoints, [(here, there, None)])

    def kill(self) -> None:
        """The worker: `up` starts another one."""
        for pid in self.deployment.worker_pids():
            subprocess.run(["kill", "-KILL", str(pid)], check=True)

    def again(self) -> None:
        """Nothing: the task goes on by itself."""

    def ended(self) -> bool:
        """See `Side`."""
        task = self.deployment.task(self._task_id)
        if task["status"] == "FAILED":
            raise BenchError(f"the task failed: {task['fatal_error']}")
        return task["status"] in FINAL

    def abandon(self) -> None:
        """See `Side`."""
        if self._task_id and not self.ended():
            self.deployment.post(f"task/{self._task_id}/cancel", {})
            self.deployment.wait(self._task_id, PATIENCE_S)


@dataclass
class Command:
    """A peer's program."""

    server: Server
    words: Sequence[str | Path]
    environment: Mapping[str, str]
    log: Path
    dump_file: Path | None = None
    """Where it may keep what is left to do."""
    restarts_itself = False
    _process: "subprocess.Popen[bytes] | None" = None

    def begin(self) -> None:
        """See `Side`."""
        if self.dump_file is not None:
            self.dump_file.unlink(missing_ok=True)
        self.again()

    def kill(self) -> None:
        """See `Side`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def again(self) -> None:
        """The same command. With an empty dump file it would do nothing at all."""
        if self.dump_file is not None and not _has_content(self.dump_file):
            self.dump_file.unlink(missing_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def ended(self) -> bool:
        """See `Side`."""
        assert self._process is not None
        code = self._process.poll()
        if code not in (None, 0):
            said = self.log.read_text(errors="replace").strip()[-500:]
            raise BenchError(f"it ended with {code}: {said}")
        return code == 0

    def abandon(self) -> None:
        """See `Side`."""
        if self._process is not None:
            self.kill()


class Field:
    """The file, the link, and who copies."""

    def __init__(self, scale: Scale, link: Link, tree: Tree, to: Path) -> None:
        self.scale = scale
        self._link = link
        self._tree = tree
        self._to = to
        self.breaks = {
            "client": self._break_client,
            "server": self._break_server,
            "link": self._break_link,
            "connections": self._break_connections,
        }

    def run(self, side: Side, what: str) -> Recovered:
        """One copy that is broken half-way. Raises `BenchError` if the file does not arrive."""
        shutil.rmtree(self._to, ignore_errors=True)
        self._to.mkdir()
        before = self._link.received_bytes
        try:
            side.begin()
            self._until(lambda: self._link.received_bytes - before >= self.scale.size_bytes / 2)
            if side.ended():
                raise BenchError("it ended before it was broken")
            back_at = self.breaks[what](side)
            arrived = self._link.received_bytes
            self._until(
                lambda: self._link.received_bytes - arrived >= RESUMED_BYTES or side.ended()
            )
            resumed_at = time.monotonic()
            self._until(side.ended)
            ended_at = time.monotonic()
        finally:
            side.abandon()
        self._tree.check(self._to, closely=True)
        sent = self._link.received_bytes - before
        return Recovered(sent / self.scale.size_bytes, resumed_at - back_at, ended_at - resumed_at)

    def _break_client(self, side: Side) -> float:
        side.kill()
        killed_at = time.monotonic()
        self._until_quiet()
        if side.restarts_itself:
            return killed_at
        side.again()
        return time.monotonic()

    def _break_server(self, side: Side) -> float:
        side.server.kill()
        time.sleep(self.scale.server_away_s)
        side.server.start()
        return time.monotonic()

    def _break_link(self, side: Side) -> float:
        del side
        self._link.down()
        time.sleep(self.scale.link_down_s)
        self._link.up()
        return time.monotonic()

    def _break_connections(self, side: Side) -> float:
        del side
        self._link.down()
        time.sleep(self.scale.link_down_s)
        self._link.up_anew()
        return time.monotonic()

    def _until_quiet(self) -> None:
        while True:
            arrived = self._link.received_bytes
            time.sleep(QUIET_S)
            if self._link.received_bytes - arrived < QUIET_BYTES_S * QUIET_S:
                return

    @staticmethod
    def _until(done: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + PATIENCE_S
        while not done():
            if time.monotonic() > give_up_at:
                raise BenchError(f"not after {PATIENCE_S:g} s")
            time.sleep(_POLL_S)


def measure(
    console: Console, *, quick: bool, rounds: int | None, only: str, directory: Path
) -> str:
    """Take the figures; show a table, return them as a line of JSON. Raises `BenchError`."""
    scale = QUICK if quick else FULL
    with (
        tempfile.TemporaryDirectory(prefix="towpath-bench-", dir=directory) as trees,
        tempfile.TemporaryDirectory(prefix="towpath-bench-") as state,
    ):
        try:
            found = _measure(console, scale, rounds or (1 if quick else ROUNDS), only, trees, state)
        except LinkError as error:
            raise BenchError(str(error)) from None
    console.print(_table(found))
    return json.dumps(_figures(found))


Found = dict[tuple[str, str], list[Recovered | None]]
"""By break and side, round by round; None where the file did not arrive."""


def _measure(
    console: Console, scale: Scale, rounds: int, only: str, trees: str, state: str
) -> Found:
    found: Found = {}
    tree = Tree.make(Path(trees) / "big", [TreeFile("file", scale.size_bytes)])
    to = Path(trees) / "to"
    with Link.open() as link, _sides(scale, link, tree, to, Path(state)) as sides:
        field = Field(scale, link, tree, to)
        breaks = [what for what in field.breaks if re.search(only, what)]
        if not breaks:
            raise BenchError(f"no break matches {only!r}: there are {', '.join(field.breaks)}")
        for number in range(1, rounds + 1):
            for what in breaks:
                for name, side in sides.items():
                    at = f"{what} {number}/{rounds}, {name}"
                    one: Recovered | None = None
                    try:
                        one = field.run(side, what)
                    except BenchError as error:
                        if name == OURS:
                            raise BenchError(f"{at}: {error}") from None
                        console.print(f"{at}: {error}", markup=False, soft_wrap=True)
                    else:
                        console.print(
                            f"{at}: sent {one.sent_ratio:.4f}, went on after {one.resume_s:.1f} s,"
                            f" took {one.rest_s:.1f} s more"
                        )
                    found.setdefault((what, name), []).append(one)
    return found


OURS = "service"


@contextmanager
def _sides(
    scale: Scale, link: Link, tree: Tree, to: Path, state: Path
) -> Iterator[dict[str, Side]]:
    settings = {"TOWPATH_DIAL__ALLOW_NETWORKS": json.dumps([str(link.network)])}
    with (
        Site.open(state, source=link.near, destination=link.far) as site,
        Ssh.open(site.lasting, link.far, state / "ssh") as ssh,
        Deployment.start(state / "deployment", settings | dict(scale.settings)) as deployment,
    ):
        gct = Gct(site, link.far)
        here, there = (
            deployment.add_endpoint(
                name, server.url(""), site.domain.trust_dir, site.domain.proxy_file
            )
            for name, server in (("source", site.source), ("destination", site.destination))
        )
        service = Service(gct, deployment, (here, there), (tree.root / "file", to / "file"))
        dump = state / "dump"
        guc: list[str | Path] = [
            *(program_path("globus-url-copy"), "-fast", "-p", "1"),
            *("-rst", "-rst-retries", "0", "-rst-interval", str(scale.guc_retry_s)),
            *("-stall-timeout", "10"),
            *("-df", dump, *site.urls(tree.root, to, "/file")),
        ]
        rclone: list[str | Path] = [
            *(program_path("rclone"), "--config", "/dev/null", "copyto"),
            *("--retries", "100", "--retries-sleep", "1s", "--low-level-retries", "100"),
            *("--contimeout", "5s", "--timeout", "30s"),
            # a digest that takes longer than the timeout would make it copy again and again
            *("--ignore-checksum", "--sftp-disable-hashcheck"),
            *("--sftp-host", ssh.host.name, "--sftp-port", str(ssh.port)),
            *("--sftp-user", getpass.getuser(), "--sftp-key-file", ssh.work / "user"),
            *("--sftp-known-hosts-file", ssh.work / "known", "--sftp-shell-type", "unix"),
            *(tree.root / "file", f":sftp:{to}/file"),
        ]
        try:
            yield {
                OURS: service,
                "guc": Command(gct, guc, site.environment, state / "guc.log", dump),
                "rclone": Command(ssh, rclone, site.environment, state / "rclone.log"),
            }
        finally:
            site.destination.stop()  # the site knows only the first one


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _figures(found: Found) -> dict[str, float | None]:
    told: dict[str, float | None] = {}
    for (what, name), rounds in found.items():
        end = "" if name == OURS else f"_{name}"
        for word in ("sent_ratio", "resume_s"):
            told[f"recovery_{word}_{what}{end}"] = _median(rounds, word)
    return told


def _median(rounds: Sequence[Recovered | None], word: str) -> float | None:
    """None if the file did not arrive in every round."""
    values = [getattr(one, word) for one in rounds if one is not None]
    return round(statistics.median(values), 4) if len(values) == len(rounds) else None


def _table(found: Found) -> Table:
    shown = Table(
        caption="medians (min-max); sent: bytes that went to the destination, of the size"
    )
    for heading in ("what is killed", "side"):
        shown.add_column(heading)
    for heading in ("n", "sent", "goes on after s", "and takes s"):
        shown.add_column(heading, justify="right")
    for (what, name), rounds in found.items():
        good = [one for one in rounds if one is not None]
        cells = (
            [
                f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-"
                f"{max(values):.{digits}f})"
                for values, digits in zip(zip(*good, strict=True), (4, 1, 1), strict=True)
            ]
            if good
            else []
        )
        shown.add_row(what, name, f"{len(good)}/{len(rounds)}", *cells)
    return shown
