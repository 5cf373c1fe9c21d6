"""Peers that vanish: no end, no reset, nothing comes any more. In a network of the test's own."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can make networks"),
]

PROGRAM = """
import json, socket, subprocess, sys, time
from towpath.relay import joins
from towpath.relay.joins import Joiner

def connected():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        return ours, listening.accept()[0]

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
joins.SILENT_S, joins.SWEEP_S = 10, 1
(one, half), (other, second_half) = connected(), connected()
port = one.getsockname()[1]
ended = []
joiner = Joiner(1)
joiner.join(half, second_half, ended.append)
one.sendall(b"x")
assert other.recv(1) == b"x"
rules = f"add table inet t; add chain inet t c {{ type filter hook input priority 0; }};" + "".join(
    f"add rule inet t c tcp {side} {port} drop;" for side in ("sport", "dport"))
subprocess.run(["nft", rules], check=True)
if sys.argv[1] == "busy":
    other.sendall(bytes(100_000))
began = time.monotonic()
other.settimeout(100)
try:
    other.recv(1)
    how = "an end"
except ConnectionResetError:
    how = "a reset"
print(json.dumps([how, time.monotonic() - began, ended[0].failure]))
"""


@pytest.mark.parametrize(
    ("what", "least_s", "most_s", "failure"),
    [
        ("idle", 15, 45, "timed out"),  # keep-alive: 15 s, and three questions every 5 s
        ("busy", 8, 20, "acknowledged nothing"),  # here after 10 s instead of 180
    ],
)
def test_the_other_end_is_reset(what: str, least_s: float, most_s: float, failure: str) -> None:
    words = ["unshare", "--net", sys.executable, "-c", PROGRAM, what]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    how, took_s, why = json.loads(done.stdout)
    assert how == "a reset"
    assert least_s < took_s < most_s
    assert failure in why
