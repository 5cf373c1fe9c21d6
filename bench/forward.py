"""Remote forwards: a port of this machine whose connections come out at a computer that has dialled
in. What people use who want to reach a computer that cannot be dialled.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import BenchError
from bench.ssh import Ssh, waited
from towpath.demo.servers import Host

TO = 9000
"""The port of loopback at the computer that dials in."""

CIPHER = "aes128-gcm@openssh.com"
"""The one that costs OpenSSH least on processors that have AES; its own choice is another."""


@dataclass(frozen=True)
class Forward:
    """A port that leads to `TO` at a computer."""

    listen: int
    pids: Sequence[int]
    """Of both ends."""


@contextmanager
def by_openssh(ssh: Ssh, inside: Host, listen: int) -> Iterator[Forward]:
    """`ssh -R` from `inside` to the host of a server. Raises `BenchError`."""
    options = ("-N", "-c", CIPHER, "-o", "ExitOnForwardFailure=yes", "-v")
    way = f"{ssh.host.address}:{listen}:127.0.0.1:{TO}"
    words = [*inside.enter, *ssh.words(*options, "-R", way)]
    words[words.index("LogLevel=ERROR")] = "LogLevel=VERBOSE"
    log = ssh.work / f"forward-{listen}.log"
    with _running(words, log, b"remote forward success") as process:
        yield Forward(listen, (ssh.server_pid, process.pid))


@contextmanager
def by_asyncssh(keys: Path, server: Host, inside: Host, listen: int) -> Iterator[Forward]:
    """The same by asyncssh, with a server of its own. `keys`: those of an `Ssh`."""
    program = (sys.executable, "-P", str(Path(__file__).with_name("asyncssh_forward.py")))
    at = (server.address, str(listen + 1), str(keys))
    serve = [*server.enter, *program, "serve", *at]
    forward = [*inside.enter, *program, "forward", *at, str(listen), str(TO)]
    with (
        _running(serve, keys / f"serve-{listen}.log", b"\n") as one,
        _running(forward, keys / f"forward-{listen}.log", b"\n") as other,
    ):
        yield Forward(listen, (one.pid, other.pid))


@contextmanager
def end(host: Host, log: Path, *words: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`bench.ends` on a host; one that listens does so when this returns."""
    program = [*host.enter, sys.executable, "-P", Path(__file__).with_name("ends.py"), *words]
    with _running(program, log, b"\n" if "listen" in words else b"") as process:
        yield process


@contextmanager
def _running(
    words: Sequence[str | Path], log: Path, ready: bytes
) -> Iterator["subprocess.Popen[bytes]"]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            if not waited(lambda: ready in log.read_bytes(), process):
                said = log.read_text(errors="replace").strip()[-1000:]
                raise BenchError(f"{' '.join(map(str, words))}: {said}")
            yield process
        finally:
            process.kill()
