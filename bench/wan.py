"""Three hosts far from each other, on this machine: a client and two sites.

Each is a network namespace; `bench.router` is the way between them. Leaves nothing behind.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import gethostname

from bench.measure import BenchError
from towpath.demo.servers import Host

_NAMES = ("client", "source", "destination")
_ADDRESSES = ("10.77.0.1", "10.77.0.2", "10.77.0.3")


@dataclass(frozen=True)
class Way:
    """What lies between any two hosts. No packet is delayed by more than it says."""

    rtt_s: float = 0.05
    bits_per_s: float = 1e9
    """Out of each host."""
    loss: float = 0.0
    """The part of the packets that is lost, each way. With any, the emulator needs much CPU."""


@dataclass(frozen=True)
class Wan:
    """The hosts, and the process that is between them."""

    client: Host
    source: Host
    destination: Host
    router_pid: int

    @classmethod
    @contextmanager
    def open(cls, work: Path, way: Way) -> Iterator["Wan"]:
        """Make the hosts; programs started on them should end before this does.

        Needs root, /dev/net/tun and iproute2. Raises `BenchError` where it cannot be.
        """
        names = zip(_ADDRESSES, _NAMES, strict=True)
        # globus-url-copy asks for the machine's own name, too
        lines = [f"127.0.0.1 localhost {gethostname()}", *map(" ".join, names)]
        hosts = work / "hosts"
        hosts.write_text("\n".join(lines) + "\n")
        words = ["--rtt-s", way.rtt_s, "--bits-per-s", way.bits_per_s, "--loss", way.loss]
        router = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *(sys.executable, "-P", Path(__file__).with_name("router.py")),
                *map(str, words),
                *("--hosts", hosts),
                *_ADDRESSES,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with router:
            try:
                assert router.stdout is not None
                assert router.stderr is not None
                entries = router.stdout.readline()
                if not entries:
                    raise BenchError(
                        "no long path can be made here (it needs root, /dev/net/tun and iproute2):"
                        f" {router.stderr.read().strip()}"
                    )
                client, source, destination = (
                    Host(name, address, ("nsenter", *options))
                    for name, address, options in zip(
                        _NAMES, _ADDRESSES, json.loads(entries), strict=True
                    )
                )
                yield cls(client, source, destination, router.pid)
            finally:
                router.kill()
