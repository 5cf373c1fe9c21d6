"""``python -m bench.distance RTT_S BITS_PER_S PID DEVICE PID DEVICE``: a long line between two
network namespaces, each named by a process in it.

Both ends are TAP devices of this process, and gone with it. See `bench.router`, which is what the
line consists of.
"""

import ctypes
import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import BenchError
from bench.router import NICENESS, Router
from towpath.demo.internet import Lay
from towpath.demo.namespace import Namespace

_CLONE_NEWNET = 0x4000_0000
_TUNSETIFF, _TUNSETOFFLOAD = 0x4004_54CA, 0x4004_54D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4 = 0x01, 0x02


@contextmanager
def lines(rtt_s: float, bits_per_s: float) -> Iterator[Lay]:
    """Lays lines of this length, all gone at the end."""
    processes: list[subprocess.Popen[str]] = []

    def lay(one: Namespace, name: str, other: Namespace | None, other_name: str) -> None:
        ends = (str(one.pid), name, str(os.getpid() if other is None else other.pid), other_name)
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "bench.distance"),
                *(str(rtt_s), str(bits_per_s), *ends),
            ],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        if not process.stdout.readline():
            raise BenchError("no long line can be made here: it needs root and /dev/net/tun")

    try:
        yield lay
    finally:
        for process in processes:
            process.kill()
            with process:
                pass


def main(rtt_s: str, bits_per_s: str, *ends: str) -> None:
    """Make the devices, say so by an empty line, and be the way between them for ever."""
    router = Router(float(rtt_s) / 2, float(bits_per_s), 0.0, offload=True)
    router.join(_device(*ends[:2]), _device(*ends[2:]))
    os.nice(NICENESS)
    print(flush=True)
    router.run()


def _device(pid: str, name: str) -> int:
    _enter(pid)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    fcntl.ioctl(device, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4)
    subprocess.run(["ip", "link", "set", name, "txqueuelen", "10000"], check=True)
    return device


def _enter(pid: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.setns is of Python 3.12
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
    os.close(namespace)


if __name__ == "__main__":
    main(*sys.argv[1:])
