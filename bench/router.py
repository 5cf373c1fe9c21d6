"""The program behind `bench.wan`: makes network namespaces, and is the long way between them.

It stands in for `tc netem`, which not every kernel has. Each namespace has one TUN device, and all
of them lead here: a packet waits until its sender's link is free, crosses it, and travels for half
a round trip. Only this process's open files hold the namespaces: they end with it and with the
programs inside, however that comes about.
"""

import argparse
import ctypes
import fcntl
import json
import os
import random
import select
import struct
import subprocess
import time
from collections import deque
from pathlib import Path

DEVICE = "wan0"
QUEUE_S = 0.1
"""A link's queue. What would have to wait longer is lost, as in a router."""

SOCKET_BUFFER_BYTES = 64 * 1024**2
"""How far the kernel may tune a window: at 1 Gbit/s and 50 ms, 6 MiB are on the way."""

DEVICE_QUEUE_PACKETS = 10_000
"""Nothing is lost in a device while this process waits for the processor."""

NICENESS = -10
"""A way does not become longer because both its ends are busy."""

PACKETS_AT_ONCE = 64
"""Taken from one device before those that are due get their turn."""

_CLONE_NEWNS, _CLONE_NEWNET = 0x0002_0000, 0x4000_0000
_TUNSETIFF, _TUNSETOFFLOAD = 0x4004_54CA, 0x4004_54D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_TUN_F_CSUM, _TUN_F_TSO4 = 0x01, 0x02

_OFFLOAD_HEADER_BYTES = 10
"""`struct virtio_net_hdr`, before each packet when the device offloads."""

_SEGMENT_BYTES = struct.Struct("=4xH4x")
"""Of that header: how much each segment of the packet carries; 0: it is a single one."""

_SEGMENT_HEADERS_BYTES = 52
"""IPv4, TCP and its time stamps: on a wire each segment has them."""

_MAX_PACKET_BYTES = 65_536 + _OFFLOAD_HEADER_BYTES
_DESTINATION = slice(16, 20)
"""Where an IPv4 header has it."""


def main() -> None:
    """Make the namespaces, tell how to enter them, and forward for ever.

    What is told is one line of JSON: for each address the options for nsenter(1).
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rtt-s", type=float, required=True, help="between any two namespaces")
    parser.add_argument("--bits-per-s", type=float, required=True, help="out of each namespace")
    parser.add_argument("--loss", type=float, required=True, help="part of the packets, each way")
    parser.add_argument("--hosts", type=Path, required=True, help="the /etc/hosts in there")
    parser.add_argument("addresses", nargs="+", help="one for each namespace")
    options = parser.parse_args()
    # With offload a packet may be 64 KiB, which saves 40 system calls of 42. Losing such a packet
    # would be losing 45 in a row.
    router = Router(options.rtt_s / 2, options.bits_per_s, options.loss, offload=not options.loss)
    _separate_files(options.hosts)
    entries = []
    for address in options.addresses:
        _unshare(_CLONE_NEWNET)
        namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
        router.add(address, _device(address, offload=not options.loss))
        here = f"/proc/{os.getpid()}"
        entries.append([f"--mount={here}/ns/mnt", f"--net={here}/fd/{namespace}"])
    os.nice(NICENESS)
    print(json.dumps(entries), flush=True)
    router.run()


class Router:
    """Takes packets from devices and gives them to others when their time has come."""

    def __init__(self, one_way_s: float, bits_per_s: float, loss: float, *, offload: bool) -> None:
        self._one_way_s = one_way_s
        self._s_per_byte = 8 / bits_per_s
        self._loss = loss
        self._offload = offload
        self._routes: dict[bytes, int] = {}
        self._ends: dict[int, int] = {}
        self._free_s: dict[int, float] = {}
        self._under_way: dict[int, deque[tuple[float, int, bytes]]] = {}

    def add(self, address: str, device: int) -> None:
        """The device behind an IPv4 address."""
        self._routes[bytes(map(int, address.split(".")))] = device
        self._free_s[device] = 0.0
        self._under_way[device] = deque()

    def join(self, device: int, other: int) -> None:
        """Two devices that are the ends of one line, whatever passes there."""
        for end in (device, other):
            self._free_s[end] = 0.0
            self._under_way[end] = deque()
        self._ends |= {device: other, other: device}

    def run(self) -> None:
        """Forward until killed."""
        devices = list(self._under_way)
        while True:
            next_s = min((queue[0][0] for queue in self._under_way.values() if queue), default=None)
            wait_s = None if next_s is None else max(0.0, next_s - time.monotonic())
            ready, _, _ = select.select(devices, (), (), wait_s)  # unlike epoll, not in whole ms
            for device in ready:
                self._take(device)
            self._deliver()

    def _take(self, device: int) -> None:
        queue = self._under_way[device]
        start = _OFFLOAD_HEADER_BYTES if self._offload else 0
        for _ in range(PACKETS_AT_ONCE):
            try:
                packet = os.read(device, _MAX_PACKET_BYTES)
            except BlockingIOError:
                return
            now_s = time.monotonic()
            target = self._target(device, packet[start:])
            if target is None or (self._loss and random.random() < self._loss):
                continue  # also what is no IPv4
            starts_s = max(now_s, self._free_s[device])
            if starts_s - now_s > QUEUE_S:
                continue
            self._free_s[device] = starts_s + self._wire_bytes(packet) * self._s_per_byte
            queue.append((self._free_s[device] + self._one_way_s, target, packet))

    def _target(self, device: int, packet: bytes) -> int | None:
        return self._ends.get(device) or self._routes.get(packet[_DESTINATION])

    def _wire_bytes(self, packet: bytes) -> int:
        if not self._offload:
            return len(packet)
        size = len(packet) - _OFFLOAD_HEADER_BYTES
        (segment,) = _SEGMENT_BYTES.unpack_from(packet)
        more = (size - _SEGMENT_HEADERS_BYTES - 1) // segment if segment else 0
        return size + more * _SEGMENT_HEADERS_BYTES

    def _deliver(self) -> None:
        now_s = time.monotonic()
        for queue in self._under_way.values():
            while queue and queue[0][0] <= now_s:
                _, target, packet = queue.popleft()
                try:
                    os.write(target, packet)
                except OSError:
                    continue  # the receiver's kernel has no room: the packet is lost


def _separate_files(hosts: Path) -> None:
    """A view of the file system of our own: our names, no name servers, and an empty /run."""
    _unshare(_CLONE_NEWNS)
    _do("mount", "--make-rprivate", "/")
    _do("mount", "--bind", str(hosts), "/etc/hosts")
    _do("mount", "--bind", "/dev/null", "/etc/resolv.conf")
    _do("mount", "-t", "tmpfs", "towpath-bench", "/run")


def _device(address: str, *, offload: bool) -> int:
    """The way out of the namespace that this process is in."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = _IFF_TUN | _IFF_NO_PI | (_IFF_VNET_HDR if offload else 0)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), flags))
    if offload:
        fcntl.ioctl(device, _TUNSETOFFLOAD, _TUN_F_CSUM | _TUN_F_TSO4)
    _do("ip", "link", "set", "lo", "up")
    _do("ip", "address", "add", f"{address}/24", "dev", DEVICE, "noprefixroute")
    _do("ip", "link", "set", DEVICE, "txqueuelen", str(DEVICE_QUEUE_PACKETS), "up")
    network = f"{address.rpartition('.')[0]}.0/24"
    # Cubic by route, since a namespace may choose only among what the machine lets every user have.
    _do("ip", "route", "add", network, "dev", DEVICE, "src", address, "congctl", "cubic")
    for name, usual in (("tcp_rmem", "4096 131072"), ("tcp_wmem", "4096 65536")):
        Path(f"/proc/sys/net/ipv4/{name}").write_text(f"{usual} {SOCKET_BUFFER_BYTES}")
    return device


def _unshare(what: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # os.unshare is of Python 3.12
    if libc.unshare(what) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")


def _do(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(str(error)) from None
