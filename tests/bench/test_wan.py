"""The long path is as long, as narrow and as lossy as it says, and leaves nothing behind."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from bench.measure import BenchError
from bench.rig import Site, Tree
from bench.tar import TarOverSsh
from bench.wan import Wan, Way

from towpath.demo.servers import Host
from towpath.demo.trees import TreeFile

RECEIVE = """
import hashlib, json, socket, sys, time
with socket.create_server((sys.argv[1], 0)) as server:
    print(server.getsockname()[1], flush=True)
    for _ in range(10):
        connection, _ = server.accept()
        connection.close()
    connection, _ = server.accept()
    started = time.monotonic()
    digest, size = hashlib.sha256(), 0
    while data := connection.recv(1 << 20):
        size += len(data)
        digest.update(data)
    print(json.dumps([digest.hexdigest(), size * 8 / (time.monotonic() - started)]))
"""
SEND = """
import hashlib, json, random, socket, struct, sys, time
to = (sys.argv[1], int(sys.argv[2]))
took_s = []
for _ in range(10):
    started = time.monotonic()
    socket.create_connection(to).close()
    took_s.append(time.monotonic() - started)
rtt_s = min(took_s)  # of a machine with other work
data = random.Random(1).randbytes(int(sys.argv[3]))
with socket.create_connection(to) as connection:
    connection.sendall(data)
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
print(json.dumps([hashlib.sha256(data).hexdigest(), rtt_s, struct.unpack_from("I", info, 100)[0]]))
"""


def on(host: Host, script: str, *words: str) -> "subprocess.Popen[str]":
    command = [*host.enter, sys.executable, "-c", script, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def send(wan: Wan, size: int) -> tuple[float, float, int]:
    """Round trip (s), rate (bit/s) and segments sent again of bytes from source to destination."""
    with on(wan.destination, RECEIVE, wan.destination.address) as receiver:
        assert receiver.stdout is not None
        port = receiver.stdout.readline().strip()
        # by name: the hosts know each other
        with on(wan.source, SEND, wan.destination.name, port, str(size)) as sender:
            assert sender.stdout is not None
            sent, rtt_s, again = json.loads(sender.stdout.read())
        received, bits_per_s = json.loads(receiver.stdout.read())
    assert sent == received
    return rtt_s, bits_per_s, again


def test_delay_and_rate(tmp_path: Path) -> None:
    with Wan.open(tmp_path, Way(rtt_s=0.04, bits_per_s=200e6)) as wan:
        rtt_s, bits_per_s, _ = send(wan, 20_000_000)
        entered = wan.source.enter
    assert 0.04 <= rtt_s < 0.08
    # 52 of 1500 bytes are headers; slow, because TCP starts slowly and the machine may be busy
    assert 50e6 < bits_per_s < 200e6 * 1448 / 1500
    left = subprocess.run([*entered, "true"], capture_output=True, check=False)
    assert left.returncode != 0


def test_loss(tmp_path: Path) -> None:
    with Wan.open(tmp_path, Way(rtt_s=0.002, loss=0.01)) as wan:
        _, _, again = send(wan, 5_000_000)
    assert again > 5_000_000 / 1448 * 0.01 / 3


@pytest.mark.long
def test_nothing_is_left_in_the_namespaces(tmp_path: Path) -> None:
    site_work, ssh_work, to = tmp_path / "site", tmp_path / "ssh", tmp_path / "to"
    tree = Tree.make(tmp_path / "tree", [TreeFile("file", 1000)])
    to.mkdir()
    with (
        Wan.open(tmp_path, Way(rtt_s=0.2)) as wan,
        Site.open(site_work, source=wan.source, destination=wan.destination) as site,
        TarOverSsh.open(site, wan.source, wan.destination, ssh_work) as tar,
    ):
        namespaces = {
            Path(word.partition("=")[2]).stat().st_ino
            for host in (wan.client, wan.source, wan.destination)
            for word in host.enter
            if word.startswith("--net=")
        }
        # the end of its session is still on the way when the way is taken down
        tar.warm_mover(tree)(to)
        tree.check(to, True)
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "ns/net").stat().st_ino in namespaces:
                left.append((process / "cmdline").read_bytes())
    assert len(namespaces) == 3
    assert left == []


def test_says_so_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    powerless = tmp_path / "python"
    words = f'exec setpriv --bounding-set=-sys_admin {sys.executable} "$@"'
    powerless.write_text(f"#!/bin/sh\n{words}\n")
    powerless.chmod(0o755)
    monkeypatch.setattr("bench.wan.sys.executable", str(powerless))
    with (
        pytest.raises(BenchError, match=r"needs root.*Operation not permitted"),
        Wan.open(tmp_path, Way()),
    ):
        raise AssertionError
