"""Area `delete`: trees of small files, deleted by us, by `rm -r` over ssh, and by gfal-rm.

gfal-rm is how people delete by GridFTP today: one name after the other, each with its own round
trips. The service has no part in the contest over the long path, because it runs outside of it.
"""

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bench.measure import RUN_TIMEOUT_S, BenchError, Ran, Sample
from bench.rig import Library, Site, program_path
from bench.rounds import Contest, Mover, Place, Plan, Ratio, Room
from bench.ssh import Ssh
from bench.wan import Wan, Way
from towpath.demo.deployment import Deployment
from towpath.demo.servers import Server
from towpath.demo.trees import make_tree, uniform

LOOK_EVERY_S = 0.05
FILES_PER_DIRECTORY = 500


@dataclass(frozen=True)
class Scale:
    """How many files there are to delete."""

    many: int
    few: int
    """Where gfal-rm takes part: it deletes 1,000 files a second."""
    far: int
    """It deletes 10 a second over the long path."""
    way: Way


FULL = Scale(many=100_000, few=5_000, far=500, way=Way())
QUICK = Scale(many=1_000, few=20, far=10, way=Way(rtt_s=0.01))


class Field:
    """A server with trees, and all that can delete them."""

    def __init__(
        self, site: Site, server: Server, ssh: Ssh, room: Room, service: Deployment | None
    ) -> None:
        self.scale = QUICK if room.quick else FULL
        self._site = site
        self._server = server
        self._ssh = ssh
        self._profiles = room.profiles
        self._service = service
        self._endpoint = ""
        if service is not None:
            self._endpoint = service.add_endpoint(
                "server", server.url(""), site.domain.trust_dir, site.domain.proxy_file
            )
            service.get("task_list")  # the client's login is not part of a task
        self._library = Library.start(site)

    def close(self) -> None:
        """End the library's process."""
        self._library.close()

    def contest(self, name: str, files: int, peers: dict[str, str], *, far: bool) -> Contest:
        """All of ours against some peers; `peers` are sides by the word in the ratio's key."""
        per_directory = min(FILES_PER_DIRECTORY, max(files // 10, 1))
        end = "_wan" if far else ""
        ours = {"library": self._by_library(name)}
        if self._service is not None:
            ours["service"] = self._by_service
        all_peers: dict[str, Callable[[Path], Sample]] = {
            "ssh rm": self._by_ssh,
            "gfal-rm": self._by_gfal,
        }
        sides = ours | {side: all_peers[side] for side in peers.values()}
        ratios = [
            Ratio(f"delete_{'service_' if side == 'service' else ''}vs_{word}{end}", side, (peer,))
            for side in ours
            for word, peer in peers.items()
        ]
        return Contest(
            name,
            {side: self._made(delete, files, per_directory) for side, delete in sides.items()},
            tuple(ratios),
            _is_gone,
        )

    def _made(self, delete: Callable[[Path], Sample], files: int, per_directory: int) -> Mover:
        """The tree is made before the measurement begins."""

        def move(to: Path) -> Sample:
            tree = to / "tree"
            make_tree(tree, uniform(files // per_directory, per_directory, 0), seed=1)
            return delete(tree)

        return move

    def _by_library(self, contest: str) -> Callable[[Path], Sample]:
        def delete(tree: Path) -> Sample:
            job: dict[str, object] = {"do": "remove", "root": self._server.url(tree)}
            if self._profiles is not None:
                job["profile"] = str(self._profiles.resolve() / f"{contest}-library.txt")
            return self._site.measure(
                lambda: self._library.run(job),
                servers=(self._server.pid,),
                mover=self._library.pid,
            )

        return delete

    def _by_service(self, tree: Path) -> Sample:
        assert self._service is not None
        return self._site.measure(
            lambda: self._run(tree), servers=(self._server.pid,), service=self._service.pid
        )

    def _run(self, tree: Path) -> Ran:
        assert self._service is not None
        before_s, before_cpu_s = time.perf_counter(), time.thread_time()
        document = {
            "DATA_TYPE": "delete",
            "submission_id": str(uuid4()),
            "endpoint": self._endpoint,
            "recursive": True,
            "DATA": [{"DATA_TYPE": "delete_item", "path": str(tree)}],
        }
        task_id = self._service.post("delete", document)["task_id"]
        task = self._service.wait(task_id, RUN_TIMEOUT_S, LOOK_EVERY_S)
        ran = Ran(time.perf_counter() - before_s, time.thread_time() - before_cpu_s)
        if task["status"] != "SUCCEEDED" or task["faults"]:
            raise BenchError(f"the task did not go well: {task}")
        return ran

    def _by_ssh(self, tree: Path) -> Sample:
        return self._command(
            *self._ssh.words(), f"rm -r {shlex.quote(str(tree))}", servers=(self._ssh.server_pid,)
        )

    def _by_gfal(self, tree: Path) -> Sample:
        words = (
            # Its start-up script looks for a Python that has its modules: the system's.
            *("env", "GFAL_PYTHONBIN=/usr/bin/python3"),
            *(program_path("gfal-rm"), "-r", self._server.url(tree)),
        )
        return self._command(*words, servers=(self._server.pid,))

    def _command(self, *words: str | Path, servers: tuple[int, ...]) -> Sample:
        return self._site.command(*words, servers=servers)


def _is_gone(to: Path, closely: bool) -> None:  # noqa: FBT001, ARG001 - a Check
    if list(to.iterdir()):
        raise BenchError("something is left")


def _many(field: Field) -> Contest:
    return field.contest("delete", field.scale.many, {"ssh_rm": "ssh rm"}, far=False)


def _few(field: Field) -> Contest:
    return field.contest("delete_few", field.scale.few, {"gfal_rm": "gfal-rm"}, far=False)


def _far(field: Field) -> Contest:
    peers = {"ssh_rm": "ssh rm", "gfal_rm": "gfal-rm"}
    return field.contest("wan_delete", field.scale.far, peers, far=True)


@contextmanager
def _open_near(room: Room) -> Iterator[Field]:
    work = room.trees / "near"
    work.mkdir()
    with (
        Site.open(work) as site,
        Ssh.open(site.lasting, site.client, work / "ssh") as ssh,
        Deployment.start(room.state / "deployment") as service,
    ):
        site.lasting.add(service.pid)
        yield from _field(Field(site, site.source, ssh, room, service))
        service.stop()


@contextmanager
def _open_far(room: Room) -> Iterator[Field]:
    work = room.trees / "far"
    work.mkdir()
    way = (QUICK if room.quick else FULL).way
    with (
        Wan.open(work, way) as wan,
        Site.open(work, client=wan.client, source=wan.source, destination=wan.destination) as site,
        Ssh.open(site.lasting, wan.source, work / "ssh") as ssh,
    ):
        site.lasting.add(wan.router_pid)
        yield from _field(Field(site, site.source, ssh, room, None))


def _field(field: Field) -> Iterator[Field]:
    try:
        yield field
    finally:
        field.close()


PLACES = (
    Place(_open_far, (Plan("wan_delete", 120, _far),)),
    Place(_open_near, (Plan("delete", 25, _many), Plan("delete_few", 10, _few))),
)
