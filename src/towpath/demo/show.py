"""The show: a real tree moves between two GridFTP servers of two authorities, a worker is killed
half-way, and everything arrives, verified. Nothing in it is staged: servers, service and command
line are the ones that users have: GCT's servers where they are installed, else our own.
"""

import os
import shutil
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from towpath.demo.authority import Domain
from towpath.demo.deployment import FINAL, Deployment, DeploymentError
from towpath.demo.gct import GctServer, ServerMissing
from towpath.demo.own import OwnServer
from towpath.demo.servers import Server
from towpath.demo.trees import TreeFile, digests, make_tree

FILES = 2_000
SIZE_BYTES = 500 * 1000 * 1000
TOP_UP_SEED = 2026
# Of what the machine offers we take ordinary files only, and none so large that it fills the show.
BORROWED_FILE_MAX_BYTES = 20 * 1000 * 1000
BORROWED_PART = 0.6
LARGE_FILE_BYTES = 100 * 1000 * 1000
KINDS: dict[type[Server], str] = {
    GctServer: "of the Grid Community Toolkit",
    OwnServer: "our own",
}
SHOW_TIMEOUT_S = 240.0
LOOK_EVERY_S = 0.1


class Tree(NamedTuple):
    """What was put together to be moved."""

    files: int
    size_bytes: int


def run(console: Console, *, keep: bool, servers: type[Server]) -> int:
    """Run the show; the exit code. Everything is made below a temporary directory."""
    work = Path(tempfile.mkdtemp(prefix="towpath-demo-"))
    try:
        return _show(console, work, servers)
    except (ServerMissing, DeploymentError, OSError) as error:
        console.print(f"[red]demo:[/] {error}", highlight=False)
        return 1
    finally:
        if keep:
            console.print(f"kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)


def _show(console: Console, work: Path, servers: type[Server]) -> int:
    source, destination = work / "laboratory" / "data", work / "archive" / "data"
    destination.parent.mkdir(parents=True)
    tree = collect(source)
    console.print(
        f"a tree of [bold]{tree.files:,}[/] files, [bold]{tree.size_bytes / 1e6:,.0f} MB[/]:"
        " this machine's own, topped up"
    )
    laboratory = Domain.create(work / "domain-laboratory", "Laboratory")
    archive = Domain.create(work / "domain-archive", "Archive", user="Bob")
    with (
        servers.start(laboratory, work / "server-laboratory") as source_server,
        servers.start(archive, work / "server-archive") as destination_server,
        Deployment.start(work / "deployment") as service,
    ):
        console.print(
            f"two GridFTP servers ({KINDS[servers]}) that trust different authorities:"
            f" {source_server.url('/')} (Laboratory), {destination_server.url('/')} (Archive)"
        )
        console.print(f"the service: {service.url}")
        ids = (
            service.add_endpoint(
                "laboratory", source_server.url(""), laboratory.trust_dir, laboratory.proxy_file
            ),
            service.add_endpoint(
                "archive", destination_server.url(""), archive.trust_dir, archive.proxy_file
            ),
        )
        started = time.monotonic()
        task_id = service.transfer(*ids, [(str(source), str(destination), True)])
        console.print(f"$ globus transfer --recursive {ids[0]}:{source} {ids[1]}:{destination}")
        task = _watch(console, service, task_id, tree)
        seconds = time.monotonic() - started
        _report(console, service, task, seconds)
        service.stop()
    if task["status"] != "SUCCEEDED":
        return 1
    return 0 if _compare(console, source, destination) else 1


def collect(root: Path) -> Tree:
    """Copy files of this machine and of the Python environment; top up to the promised size."""
    root.mkdir(parents=True)
    count = size = 0
    for file in _borrowed():
        if count >= FILES * BORROWED_PART or size >= SIZE_BYTES * BORROWED_PART:
            break
        # Names that differ only in case would be told, rightly, as what may be lost.
        target = root / f"borrowed/{count // 100:03}" / file.name.lower()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(file, target)
        except OSError:
            continue  # not ours to read, or gone meanwhile
        count += 1
        size += target.stat().st_size
    count = sum(1 for path in root.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    missing = FILES - count
    rest = max(SIZE_BYTES - size - LARGE_FILE_BYTES, 0) // (missing - 1)
    made = [TreeFile("made/large.bin", LARGE_FILE_BYTES)]
    made += [TreeFile(f"made/{i // 100:03}/{i:05}.bin", rest) for i in range(missing - 1)]
    size += make_tree(root, made, TOP_UP_SEED)
    return Tree(FILES, size)


def _borrowed() -> Iterator[Path]:
    """Ordinary files of the machine and of this Python environment, in a fixed order."""
    for top in ("/etc", "/usr/share/doc", sysconfig.get_paths()["purelib"]):
        for directory, subdirectories, names in os.walk(top):
            subdirectories.sort()
            for name in sorted(names):
                path = Path(directory, name)
                if (
                    path.is_file()
                    and not path.is_symlink()
                    and os.access(path, os.R_OK)
                    and path.stat().st_size <= BORROWED_FILE_MAX_BYTES
                ):
                    yield path


def _watch(console: Console, service: Deployment, task_id: str, tree: Tree) -> dict[str, Any]:
    """Show the progress, and kill the worker half-way."""
    killed = False
    deadline = time.monotonic() + SHOW_TIMEOUT_S
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("moving", total=tree.size_bytes)
        while time.monotonic() < deadline:
            task = service.task(task_id)
            progress.update(
                bar,
                completed=task["bytes_transferred"],
                description=f"{task['files_transferred']:>5,} of {task['files']:,} files",
            )
            if task["status"] in FINAL:
                return task
            half = tree.size_bytes // 2
            if not killed and task["bytes_transferred"] >= half:
                killed = True
                for pid in service.worker_pids():
                    os.kill(pid, signal.SIGKILL)
                    console.print(
                        f"half-way: [bold red]kill -9[/] of the worker (pid {pid});"
                        " another takes over"
                    )
            time.sleep(LOOK_EVERY_S)
    raise DeploymentError(f"the transfer did not end in {SHOW_TIMEOUT_S:.0f} s")


def _report(console: Console, service: Deployment, task: dict[str, Any], seconds: float) -> None:
    for event in service.events(task["task_id"]):
        console.print(f"  {event['time']}  {event['code']:<10} {event['description']}")
    rate = task["bytes_transferred"] / seconds / 1e6
    console.print(
        f"[bold]{task['status']}[/]: {task['files_transferred']:,} files,"
        f" {task['bytes_transferred'] / 1e6:,.0f} MB in {seconds:.1f} s ({rate:.0f} MB/s,"
        f" recovery included); faults: {task['faults']};"
        f" sent twice: at most {task['bytes_resent'] / 1e6:.1f} MB;"
        f" checksummed: {task['bytes_checksummed'] / 1e6:,.0f} MB"
    )


def _compare(console: Console, source: Path, destination: Path) -> bool:
    """SHA-256 of both trees, computed here, without the service."""
    here, there = digests(source), digests(destination)
    wrong = sorted(path for path in here.keys() | there.keys() if here.get(path) != there.get(path))
    if wrong:
        console.print(f"[red]{len(wrong)} files differ[/], the first: {wrong[0]}")
        return False
    console.print(f"SHA-256 of both trees: [bold green]{len(here):,} files identical[/]")
    return True


def main(*, keep: bool, own: bool) -> int:
    """Run the show on this terminal. `own`: with our own servers though others are here."""
    servers: type[Server] = OwnServer if own or not GctServer.installed() else GctServer
    return run(Console(file=sys.stdout, soft_wrap=True), keep=keep, servers=servers)
