"""Wall time, CPU time and memory of one run, over whole process trees."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SAMPLE_EVERY_S = 0.05
"""Memory is looked at this often: a shorter peak is missed, more looks would take CPU away."""

SESSIONS_END_S = 2.0
"""Servers get so long to end their sessions after a run, so that the end's CPU is counted too."""

RUN_TIMEOUT_S = 900.0
"""For runs that hang; the longest takes about a minute."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_POLL_S = 0.02


class BenchError(Exception):
    """A run failed, or did not do what it was measured for; no figure can be told."""


class Sample(NamedTuple):
    """What one run took."""

    wall_s: float
    mover_cpu_s: float
    """User and system time of what moved the files: a command, or the service and its client."""
    server_cpu_s: float
    """The same of the servers with their sessions."""
    peak_bytes: int
    """Most private memory at any look, of mover and servers together."""

    @property
    def cpu_s(self) -> float:
        """All CPU seconds."""
        return self.mover_cpu_s + self.server_cpu_s


class Ran(NamedTuple):
    """What the mover itself took, as told by who ran it."""

    wall_s: float
    cpu_s: float
    """Of what took part and is neither a server nor the service."""


Action = Callable[[], Ran]
"""Moves the files to the end."""


def measure(
    action: Action,
    *,
    servers: Sequence[int],
    service: int | None = None,
    bystanders: Collection[int] = (),
    sessions_stay: bool = False,
) -> Sample:
    """Run `action` and measure it.

    `servers` are the pids of the servers, `service` that of a lasting service that does the work,
    `bystanders` children of this process that have no part in it: the memory of all other
    descendants of this process counts. `sessions_stay`: the mover keeps its sessions for later.
    """
    if not Path("/proc/thread-self/children").exists():
        raise BenchError("this kernel does not list the children of processes (PROC_CHILDREN)")
    services = () if service is None else (service,)
    servers_before, service_before = tree_cpu_s(servers), tree_cpu_s(services)
    memory = _MemoryPeak(frozenset(bystanders))
    memory.start()
    try:
        ran = action()
    finally:
        peak_bytes = memory.finish()
    deadline = time.monotonic() + (0 if sessions_stay else SESSIONS_END_S)
    while time.monotonic() < deadline and any(len(tree(pid)) > 1 for pid in servers):
        time.sleep(_POLL_S)
    return Sample(
        ran.wall_s,
        ran.cpu_s + tree_cpu_s(services) - service_before,
        tree_cpu_s(servers) - servers_before,
        peak_bytes,
    )


def run_command(command: Sequence[str | Path], environment: Mapping[str, str]) -> Ran:
    """Run a program to its end. Its CPU seconds include those of its ended children.

    Raises `BenchError` with the program's words if it fails or hangs.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    timer = threading.Timer(RUN_TIMEOUT_S, process.kill)
    timer.start()
    try:
        with process.stdout:
            said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)  # the only call that tells of one child's CPU
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        timer.cancel()
    if process.returncode != 0:
        text = said.decode(errors="replace").strip()[-2000:]
        words = " ".join(map(str, command))
        raise BenchError(f"{words}\nended with {process.returncode}: {text}")
    return Ran(wall_s, usage.ru_utime + usage.ru_stime)


def tree(root: int, without: Collection[int] = ()) -> list[int]:
    """A living process and its descendants, leaving out the trees of `without`."""
    found = [root]
    for pid in found:
        try:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                children = map(int, (thread / "children").read_text().split())
                found += [child for child in children if child not in without]
        except OSError:
            continue  # it ended meanwhile
    return found


def tree_cpu_s(roots: Sequence[int]) -> float:
    """CPU seconds of process trees so far, including those of children that ended."""
    while True:
        pids = [pid for root in roots for pid in tree(root)]
        try:
            total = sum(map(_cpu_s, pids))
        except OSError:
            dead = [root for root in roots if not Path(f"/proc/{root}").exists()]
            if dead:
                raise BenchError(f"process {dead[0]} is gone: a server or the service") from None
            continue
        # one that ended between two looks may have been counted twice or not at all
        if pids == [pid for root in roots for pid in tree(root)]:
            return total


def own_cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / _TICKS_PER_S  # utime, stime


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_PER_S  # utime, stime, cutime, cstime


def private_bytes(roots: Sequence[int]) -> int:
    """Private memory of process trees."""
    return sum(_private_bytes(pid) for root in roots for pid in tree(root))


def _private_bytes(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES  # resident less shared


def _words(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class _MemoryPeak(threading.Thread):
    """Looks at the private memory of this process's descendants until it is told to finish."""

    def __init__(self, without: frozenset[int]) -> None:
        super().__init__(daemon=True)
        self._without = without
        self._own_words = _words(os.getpid())
        self._peak_bytes = 0
        self._finished = threading.Event()

    def run(self) -> None:
        while True:
            pids = [
                pid
                for pid in tree(os.getpid(), self._without)[1:]
                # between fork and exec a child shows our own memory
                if _words(pid) != self._own_words
            ]
            self._peak_bytes = max(self._peak_bytes, sum(map(_private_bytes, pids)))
            if self._finished.wait(SAMPLE_EVERY_S):
                return

    def finish(self) -> int:
        """End, and tell the most that was seen, in bytes."""
        self._finished.set()
        self.join()
        return self._peak_bytes


def end_on_sigterm() -> None:
    """Let SIGTERM unwind the stack, so that servers are stopped and directories removed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
