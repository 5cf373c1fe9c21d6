"""Names of worker processes, from which another worker of the same host can tell who is dead.

A lease ends by itself 15 s after its worker's death. Where the death can be seen, nobody needs to
wait: a name carries the kernel's boot, the process namespace, the pid and the process's start, so
`is_dead` cannot mistake another host, another container or a reused pid for it.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_DEAD_STATES = frozenset("ZX")  # proc(5): a zombie has no threads left that could send


@dataclass(frozen=True, slots=True)
class WorkerName:
    """`str()` is what leases hold: `HOST/SPACE/PID/START`."""

    host: str
    space: str
    pid: int
    start: str

    @classmethod
    def own(cls) -> "WorkerName":
        """This process's."""
        pid = os.getpid()
        state = _state_and_start(pid)
        assert state is not None, "we are alive"
        return cls(socket.gethostname(), _space(), pid, state[1])

    @classmethod
    def parse(cls, text: str) -> "WorkerName | None":
        """From a lease; None if it is not such a name."""
        parts = text.split("/")
        if len(parts) != 4 or not parts[2].isdecimal():
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3])

    def __str__(self) -> str:
        return f"{self.host}/{self.space}/{self.pid}/{self.start}"

    def is_dead(self) -> bool:
        """Whether this process is known to have ended; False where that cannot be seen."""
        if self.space != _space():
            return False
        state = _state_and_start(self.pid)
        return state is None or state[0] in _DEAD_STATES or state[1] != self.start


def _space() -> str:
    """Where pids mean the same: one boot of one kernel, one process namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"


def _state_and_start(pid: int) -> tuple[str, str] | None:
    """State letter and start (clock ticks since boot) of a process; proc(5), fields 3 and 22."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[19]
