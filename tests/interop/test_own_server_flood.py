"""Half-open connections and port scans at our server while people work with it.

Nothing here depends on the speed of the machine: no login of anyone else fails, not even once, and
every transfer ends well; how long they take is told.
"""

import asyncio
import contextlib
import os
import random
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plugins.front import Client, adat, now
from towpath.demo.authority import Domain
from towpath.demo.own import OwnServer
from towpath.demo.processes import descendants
from towpath.gridftp.security.gsi import Initiator

FILE_BYTES = 8 * 1024 * 1024 + 5
KEPT_OPEN = 150
"""Connections that one of the flood's threads leaves open; there are places for 200 in all."""
THREADS = 4
GROWTH_BYTES = 24 * 1024 * 1024
"""What may stay: 16 MiB of buffers for the transfers after these, and what the allocator keeps.
10,000 logins under way would have 800 MiB."""
WAIT_S = 60.0


def memory_bytes(server: OwnServer) -> int:
    """Of all its processes, what is shared divided by who shares it."""
    total = 0
    for pid in (server.pid, *descendants(server.pid)):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def descriptors(server: OwnServer) -> int:
    """Of all its processes."""
    pids = (server.pid, *descendants(server.pid))
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids)


def settled(value: Callable[[], int], most: int) -> int:
    """Wait until it is not more than that; what it is."""
    until = time.monotonic() + WAIT_S
    while (found := value()) > most and time.monotonic() < until:
        time.sleep(0.2)
    return found


class Flood(threading.Thread):
    """All kinds of half sent logins, from an address of its own, some connections kept open."""

    def __init__(self, port: int, count: int, host: str, hello: bytes) -> None:
        super().__init__()
        self._port, self._count, self._host = port, count, host
        self._dice = random.Random(host)
        half = hello[: len(hello) // 2]
        self._sayings = (
            b"",
            b"AUTH GSSAPI\r\n",
            b"AUTH GSSAPI\r\nADAT AAAA\r\n",
            b"AUTH GSSAPI\r\n" + half,
            b"AUTH GSSAPI\r\n" + hello + b"\r\n",
            b"AUTH GSSAPI\r\n" + hello + b"\r\n" + half,
            b"AUTH GSSAPI\r\n" * 3 + hello + b"\r\nADAT " + b"A" * 5000,
            b"USER x\r\nPASS x\r\n" * 900,
            b"A" * 130_000,
            b"\0" * 100,
            b"\r\n" * 300,
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"SSH-2.0-OpenSSH_9\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
            b"\xff\xf4\xff\xf2ABOR\r\n",
            b"ENC AAAA\r\nQUIT\r\n",
        )
        self.came = 0

    def run(self) -> None:
        """Connection after connection."""
        dice = self._dice
        kept: list[socket.socket] = []
        for number in range(self._count):
            one = socket.create_connection(
                ("127.0.0.1", self._port), timeout=30, source_address=(self._host, 0)
            )
            self.came += 1
            one.setblocking(False)
            with contextlib.suppress(OSError):  # dropped already, or more than the buffers take
                one.send(self._sayings[number % len(self._sayings)])
            match dice.randrange(6):
                case 0:  # a scan: it is reset
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.close()
                case 1:
                    one.close()
                case 2:
                    with contextlib.suppress(OSError):
                        one.shutdown(socket.SHUT_WR)
                    kept.append(one)
                case _:
                    kept.append(one)
            if len(kept) > KEPT_OPEN:
                kept.pop(dice.randrange(len(kept))).close()
        for one in kept:
            one.close()


@dataclass
class Work:
    """What people do meanwhile."""

    server: OwnServer
    domain: Domain
    workdir: Path
    over: threading.Event = field(default_factory=threading.Event)
    transfers: int = 0
    logins: list[float] = field(default_factory=list)
    """Seconds of each."""
    problems: list[str] = field(default_factory=list)

    def transfer(self) -> None:
        """A file there and back, again and again, until all is over."""
        source, there, back = (self.workdir / name for name in ("source", "there", "back"))
        source.write_bytes(random.Random(1).randbytes(FILE_BYTES))
        while not self.transfers or not self.over.is_set():
            for ends in (
                (f"file://{source}", self.server.url(there)),
                (self.server.url(there), f"file://{back}"),
            ):
                done = subprocess.run(
                    ("globus-url-copy", "-fast", "-p", "4", *ends),
                    env={
                        "PATH": os.environ["PATH"],
                        "HOME": str(self.workdir),
                        "X509_CERT_DIR": str(self.domain.trust_dir),
                        "X509_USER_PROXY": str(self.domain.proxy_file),
                    },
                    capture_output=True,
                    timeout=WAIT_S,
                    check=False,
                )
                if done.returncode:
                    self.problems.append(f"a transfer failed: {done.stderr!r}")
                    return
            if back.read_bytes() != source.read_bytes():
                self.problems.append("a file came back as another")
            there.unlink()
            back.unlink()
            self.transfers += 1

    def log_in(self) -> None:
        """One login after the other."""
        while not self.logins or not self.over.is_set():
            began = time.monotonic()
            try:
                asyncio.run(asyncio.wait_for(self._login(), WAIT_S))
            except Exception as error:  # noqa: BLE001 - told
                self.problems.append(f"a login failed: {error!r}")
            self.logins.append(time.monotonic() - began)

    async def _login(self) -> None:
        async with await Client.connect(self.server.port) as client:
            codes = [reply.code for reply in await client.log_in(self.domain)]
            assert codes == [331, 230], codes
            assert (await client.ask_wrapped(b"NOOP")).code == 200
            client.send_wrapped(b"QUIT")
            assert await client.all_codes() == [221]


def flood(server: OwnServer, domain: Domain, count: int) -> None:
    """So many connections, from four addresses."""
    client = Initiator(domain.credential, domain.trust, "localhost", None, now=now)
    (hello,) = client.step(None)
    floods = [
        Flood(server.port, count // THREADS, f"127.0.7.{number + 1}", adat(hello))
        for number in range(THREADS)
    ]
    for one in floods:
        one.start()
    for one in floods:
        one.join()
    assert sum(one.came for one in floods) == count


def withstand(domain: Domain, workdir: Path, count: int) -> Work:
    """A flood while people work."""
    with OwnServer.start(domain, workdir / "server") as server:
        warm = Work(server, domain, workdir)
        warm.over.set()
        idle = descriptors(server)
        warm.log_in()
        warm.transfer()
        flood(server, domain, 300)
        open_before = settled(lambda: descriptors(server), idle + 8)
        before = memory_bytes(server)

        work = Work(server, domain, workdir)
        threads = [threading.Thread(target=run) for run in (work.transfer, work.log_in)]
        for thread in threads:
            thread.start()
        try:
            flood(server, domain, count)
        finally:
            work.over.set()
            for thread in threads:
                thread.join()
        assert work.problems == [] == warm.problems
        assert settled(lambda: descriptors(server), open_before) <= open_before
        grown = settled(lambda: memory_bytes(server), before + GROWTH_BYTES) - before
        print(
            f"{count} connections: {work.transfers} transfers both ways, "
            f"{len(work.logins)} logins, the longest {max(work.logins):.2f} s; "
            f"memory {grown / 2**20:+.1f} MiB"
        )
        assert grown <= GROWTH_BYTES
    return work


def test_a_flood_of_half_open_connections(domain_a: Domain, tmp_path: Path) -> None:
    withstand(domain_a, tmp_path, 300)


@pytest.mark.long
def test_ten_thousand_half_open_connections(domain_a: Domain, tmp_path: Path) -> None:
    withstand(domain_a, tmp_path, 10_000)
