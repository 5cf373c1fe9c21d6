"""Rows of the fault table that real servers can be made to produce, as a task's owner meets them.

What takes time is waiting, so all are begun at once: broken, told of, mended. Then each is looked
at: what was told, and that nothing but the mending was needed for the task to end well.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from plugins import peers
from plugins.outcomes import faults_of, first_fault, succeeded
from plugins.peers import serving
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.demo.trees import digests, make_tree, uniform
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.transfer.store.events import EventCode

pytestmark = SITE_GROUP
TOLD_S = 20
SMALL = [*uniform(1, 2, 1000)]
LARGE = [("large", 1 << 20)]
IS_ROOT = os.getuid() == 0
DATA_PORTS = 10


@dataclass
class Ground:
    """Where one fault is made: a directory with a source tree, and servers of their own."""

    site: Site
    root: Path
    stack: ExitStack
    servers: list[GctServer] = field(default_factory=list)

    @property
    def source(self) -> Path:
        return self.root / "src"

    @property
    def destination(self) -> Path:
        return self.root / "dst"

    @property
    def domain(self) -> Domain:
        return self.site.rig.domains[1]

    def serve(self, *args: str, domain: Domain | None = None, **options: Any) -> GctServer:
        workdir = self.root / f"server-{len(self.servers)}"
        server = GctServer.start(domain or self.domain, workdir, args=args, **options)
        self.servers.append(self.stack.enter_context(server))
        return server

    def copy_to(self, server: GctServer) -> str:
        """Submit the tree; the task id."""
        there = self.site.register(server.url(""), self.domain)
        item = (str(self.source), str(self.destination), True)
        return self.site.deployment.transfer(self.site.endpoints[0], there, [item])

    def put_right(self, server: GctServer) -> Callable[[], None]:
        """Puts an ordinary server in its place."""

        def mend() -> None:
            server.stop()
            self.serve(port=server.port)

        return mend


class Broken(NamedTuple):
    """A task that cannot go on, and what lets it."""

    task_id: str
    mend: Callable[[], object]


Break = Callable[[Ground], Broken]


def started_with(*args: str, **options: Any) -> Break:
    """A server that is set up so. `{}` stands for the source tree."""

    def begin(ground: Ground) -> Broken:
        server = ground.serve(*(one.format(ground.source) for one in args), **options)
        return Broken(ground.copy_to(server), ground.put_right(server))

    return begin


def with_clock(shift: str) -> Break:
    """A server whose clock is wrong."""
    [library] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    return started_with(env={"LD_PRELOAD": str(library), "FAKETIME": shift})


def mapped(line: str) -> Break:
    """A server with this line in its gridmap. `{}` stands for the user's name."""

    def begin(ground: Ground) -> Broken:
        server = ground.serve()
        gridmap = server.workdir / "gridmap"
        right = gridmap.read_text()
        gridmap.write_text(line.format(right.rpartition(" ")[0]))
        return Broken(ground.copy_to(server), lambda: gridmap.write_text(right))

    return begin


def an_old_revocation_list(ground: Ground) -> Broken:
    shutil.copytree(ground.domain.directory, ground.root / "domain")
    domain = Domain(ground.root / "domain", ground.domain.organization)
    domain.revoke(domain.issue("other", "Other"), valid=-timedelta(minutes=1))
    server = ground.serve(domain=domain)
    [revoked] = (server.workdir / "certificates").glob("*.r0")
    return Broken(ground.copy_to(server), revoked.unlink)


def nobody_there(ground: Ground) -> Broken:
    server = ground.serve()
    server.stop()
    return Broken(ground.copy_to(server), ground.put_right(server))


def a_server_that_hangs(ground: Ground) -> Broken:
    server = ground.serve()
    os.kill(server.pid, signal.SIGSTOP)
    return Broken(ground.copy_to(server), lambda: os.kill(server.pid, signal.SIGCONT))


def all_places_taken(ground: Ground) -> Broken:
    server = ground.serve("-connections-max", "1")
    taken = ground.stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
    assert taken.recv(1000).startswith(b"220 ")
    return Broken(ground.copy_to(server), ground.put_right(server))


def an_address_that_is_not_declared(ground: Ground) -> Broken:
    deployment = ground.site.deployment
    task_id = ground.copy_to(ground.serve("-data-interface", "127.0.0.77"))
    path = f"/v0.10/endpoint/{deployment.task(task_id)['destination_endpoint_id']}"

    def mend() -> None:
        document = {"DATA_TYPE": "endpoint", "data_hosts": ["127.0.0.77"]}
        deployment.client.put(path, json=document).raise_for_status()

    return Broken(task_id, mend)


def no_data_port_left(ground: Ground) -> Broken:
    control_port, data_port, *_ = free_ports()
    server = ground.serve("-port-range", f"{data_port},{data_port}", port=control_port)
    taken = ground.stack.enter_context(socket.create_server(("127.0.0.1", data_port)))
    return Broken(ground.copy_to(server), taken.close)


def filtered(rule: str) -> Break:
    """A firewall in front of the server's data ports does this."""

    def begin(ground: Ground) -> Broken:
        make_tree(ground.source, LARGE, seed=1)
        control_port, *data_ports = free_ports()
        ports = f"{data_ports[0]}-{data_ports[-1]}"
        table = f"ip towpath_{control_port}"
        rules = f"type filter hook input priority 0\n tcp dport {ports} {rule}\n"
        nft("-f", "-", rules=f"table {table} {{\n chain data {{\n {rules} }}\n }}\n")
        filtering = ground.stack.enter_context(ExitStack())
        filtering.callback(nft, "delete", "table", *table.split())
        server = ground.serve("-port-range", ports.replace("-", ","), port=control_port)
        return Broken(ground.copy_to(server), filtering.close)

    return begin


def a_session_that_is_lost(ground: Ground) -> Broken:
    """While the data wait, so that it is known when."""
    task_id, mend = filtered("meta length > 20000 drop")(ground)
    [server] = ground.servers
    until((ground.destination / "large").exists, TOLD_S, "the data command runs")
    server.kill_sessions()
    return Broken(task_id, mend)


def a_bad_disk(ground: Ground) -> Broken:
    """Reading one of the files fails. An item may be a link, which is followed."""
    bad = ground.root / "bad"
    bad.symlink_to("/proc/self/mem")
    items = [
        (str(bad), str(ground.root / "copy"), False),
        (str(ground.source), str(ground.destination), True),
    ]

    def mend() -> None:
        bad.unlink()
        bad.write_text("")

    return Broken(ground.site.deployment.transfer(*ground.site.endpoints, items), mend)


def nft(*words: str, rules: str = "") -> None:
    subprocess.run(("nft", *words), input=rules, text=True, check=True)


def free_ports() -> list[int]:
    """One for a control channel and some for data, in a row; below those that the kernel gives."""
    while True:
        first = random.randrange(20_000, 30_000)
        ports = list(range(first, first + 1 + DATA_PORTS))
        with ExitStack() as stack, contextlib.suppress(OSError):
            for port in ports:
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return ports


class Row(NamedTuple):
    """What must be told."""

    begin: Break
    kind: Kind
    code: EventCode
    phase: str
    role: str = "destination"
    filters: bool = False
    """As only root may."""


NO_HOST = {"X509_USER_CERT": "/none", "X509_USER_KEY": "/none"}
CODE = EventCode
ROWS = {
    "timeout": Row(a_server_that_hangs, Kind.TIMEOUT, CODE.TIMEOUT, "login"),
    "stalled": Row(
        filtered("meta length > 20000 drop"), Kind.STALLED, CODE.TIMEOUT, "data", filters=True
    ),
    "connect-down": Row(nobody_there, Kind.CONNECT, CODE.CONNECT_FAILED, "connect"),
    "connect-full": Row(all_places_taken, Kind.CONNECT, CODE.CONNECT_FAILED, "connect"),
    "connect-offline": Row(
        started_with("-connections-disabled"), Kind.CONNECT, CODE.CONNECT_FAILED, "connect"
    ),
    "mapping": Row(mapped(""), Kind.MAPPING, CODE.AUTH, "login"),
    "login": Row(mapped("{} no-such-account\n"), Kind.LOGIN, CODE.AUTH, "login"),
    "authentication-clock": Row(
        with_clock("-30m"),
        Kind.AUTHENTICATION,
        CODE.AUTH,
        "login",
    ),
    "authentication-revocations": Row(
        an_old_revocation_list, Kind.AUTHENTICATION, CODE.AUTH, "login"
    ),
    "unsupported-login": Row(
        started_with("-aa", env=NO_HOST), Kind.UNSUPPORTED, CODE.ENDPOINT_ERROR, "login"
    ),
    "unsupported-command": Row(
        started_with("-disable-command-list", "DCSC"),
        Kind.UNSUPPORTED,
        CODE.ENDPOINT_ERROR,
        "data",
    ),
    "path_not_allowed": Row(
        started_with("-rp", "R{}"), Kind.PATH_NOT_ALLOWED, CODE.PERMISSION_DENIED, "listing"
    ),
    "encryption_required": Row(
        started_with("-encrypt-data"), Kind.ENCRYPTION_REQUIRED, CODE.ENDPOINT_ERROR, "data"
    ),
    "address_refused": Row(
        an_address_that_is_not_declared, Kind.ADDRESS_REFUSED, CODE.ENDPOINT_ERROR, "data"
    ),
    "data_auth": Row(
        with_clock("+7h"),
        Kind.DATA_AUTH,
        CODE.AUTH,
        "data",
    ),
    "storage": Row(a_bad_disk, Kind.STORAGE, CODE.ENDPOINT_ERROR, "data", "source"),
    "data_refused-ports": Row(no_data_port_left, Kind.DATA_REFUSED, CODE.CONNECTION_BROKEN, "data"),
    "data_refused-firewall": Row(
        filtered("tcp flags syn reject with tcp reset"),
        Kind.DATA_REFUSED,
        CODE.CONNECTION_BROKEN,
        "data",
        "source",
        filters=True,
    ),
    "data_broken": Row(
        filtered("meta length > 20000 reject with tcp reset"),
        Kind.DATA_BROKEN,
        CODE.CONNECTION_RESET,
        "data",
        "source",
        filters=True,
    ),
    "checksum_mismatch": Row(
        filtered("meta length > 20000 @ih,80000,32 set 0"),
        Kind.CHECKSUM_MISMATCH,
        CODE.VERIFY_CHECKSUM,
        "checksum",
        filters=True,
    ),
    "connection_lost": Row(
        a_session_that_is_lost,
        Kind.CONNECTION_LOST,
        CODE.CONNECTION_RESET,
        "data",
        filters=True,
    ),
}


@dataclass(frozen=True)
class Case:
    """A row, begun and mended."""

    ground: Ground
    task_id: str
    faults: list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def cases(site: Site) -> Iterator[dict[str, Case]]:
    begun: dict[str, tuple[Ground, Broken]] = {}
    found: dict[str, Case] = {}
    with ExitStack() as stack:
        for name, row in ROWS.items():
            if row.filters and not IS_ROOT:
                continue
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="towpath-test-")))
            ground = Ground(site, root, stack)
            make_tree(ground.source, SMALL, seed=1)
            begun[name] = ground, row.begin(ground)
        for name, (ground, broken) in reversed(begun.items()):  # the slow ones began first

            def told(task_id: str = broken.task_id) -> list[tuple[str, dict[str, Any]]]:
                return faults_of(site.deployment, task_id)

            with contextlib.suppress(AssertionError):  # its own test says so
                until(told, TOLD_S, "a fault is told")
            found[name] = Case(ground, broken.task_id, told())
            broken.mend()
        yield found


@pytest.mark.parametrize("name", ROWS)
def test_told_and_over_when_it_is_mended(site: Site, cases: dict[str, Case], name: str) -> None:
    if name not in cases:
        pytest.skip("only root may filter packets")
    row, case = ROWS[name], cases[name]
    assert case.faults, site.deployment.events(case.task_id)
    code, told = case.faults[0]
    print(told)
    facts = GridFTPError(row.kind, "", "")
    assert (code, told["phase"], told["role"]) == (row.code, row.phase, row.role)
    assert told["advice"] == facts.advice
    assert told["who_can_fix"] == " or ".join(facts.fixers)
    assert told["error"]
    assert told["endpoint"].startswith("localhost:")
    assert "until the deadline" in told["next"]
    succeeded(site.deployment, case.task_id)
    assert digests(case.ground.destination) == digests(case.ground.source)


def test_an_endpoint_that_is_deleted(site: Site, tmp_path: Path) -> None:
    """While its task waits for the next try."""
    make_tree(tmp_path / "src", SMALL, seed=1)
    with serving(peers.hangs_up) as gone:
        there = site.register(gone.url, site.rig.domains[1])
    item = (str(tmp_path / "src"), str(tmp_path / "dst"), True)
    task_id = site.deployment.transfer(site.endpoints[0], there, [item])
    first_fault(site.deployment, task_id)
    site.deployment.client.delete(f"/v0.10/endpoint/{there}").raise_for_status()
    task = site.deployment.wait(task_id, 30)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", CODE.ENDPOINT_ERROR)
    [*_, (_, told)] = faults_of(site.deployment, task_id)
    assert "not registered any more" in told["error"]
    assert (told["role"], told["who_can_fix"]) == ("destination", "you")
    assert told["next"] == "The task has failed."
    assert "again" in told["advice"]
