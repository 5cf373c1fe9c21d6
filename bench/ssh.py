"""Logins by ssh from one host to another, with a server and a key of their own."""

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import BenchError
from bench.rig import program_path
from towpath.demo.processes import descendants
from towpath.demo.servers import Host

START_TIMEOUT_S = 20.0
_POLL_S = 0.02
_SERVER_OPTIONS = """\
ListenAddress {address}
Port {port}
HostKey {work}/host
AuthorizedKeysFile {work}/user.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
UseDNS no
PidFile none
ClientAliveInterval 5
GatewayPorts clientspecified
SetEnv HOME={work}
"""
"""HOME, so that no start-up file of the user's shell is read, whatever it takes; ClientAlive, so
that sessions end when all else was killed."""

_START = 'mkdir -p /run/sshd && exec "$@"'
_START_HERE = f"mount -t tmpfs tmpfs /run && {_START}"
"""Where others use /run, too, the server gets one of its own."""


@dataclass
class Ssh:
    """An SSH server, and the words of a login to it."""

    host: Host
    work: Path
    port: int
    _lasting: set[int]
    """Where its process is told of: see `bench.rig.Site`."""
    _process: "subprocess.Popen[bytes] | None" = None

    @classmethod
    @contextmanager
    def open(cls, lasting: set[int], host: Host, work: Path) -> Iterator["Ssh"]:
        """Start the server on a host. Needs root."""
        work.mkdir()
        for name in ("host", "user"):
            words = ("-q", "-t", "ed25519", "-N", "", "-f", work / name)
            subprocess.run([program_path("ssh-keygen"), *words], check=True)
        here = not host.enter
        port = _free_port(host.address) if here else 22
        name = f"[{host.name}]:{port}" if here else host.name
        (work / "known").write_text(f"{name} {(work / 'host.pub').read_text()}")
        options = _SERVER_OPTIONS.format(address=host.address, port=port, work=work)
        (work / "options").write_text(options)
        ssh = cls(host, work, port, lasting)
        try:
            ssh.start()
            yield ssh
        finally:
            ssh.kill()

    @property
    def server_pid(self) -> int:
        """The listening process."""
        assert self._process is not None, "started"
        return self._process.pid

    def start(self) -> None:
        """Start it, again after `kill`. Raises `BenchError`."""
        here = not self.host.enter
        enter = ("unshare", "--mount") if here else self.host.enter
        log = self.work / "log"
        with log.open("wb") as output:
            self._process = server = subprocess.Popen(
                [
                    *enter,
                    *("sh", "-c", _START_HERE if here else _START, "sh"),
                    *("setpriv", "--pdeathsig", "KILL"),
                    *(program_path("sshd"), "-D", "-e", "-f", self.work / "options"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._lasting.add(server.pid)
        if not waited(lambda: b"Server listening" in log.read_bytes(), server):
            said = log.read_text(errors="replace").strip()
            raise BenchError(f"sshd did not start: {said}")

    def kill(self) -> None:
        """Kill -9, with all sessions: the way may be gone before the end of a connection has come
        along it."""
        server, self._process = self._process, None
        if server is None:
            return
        self._lasting.discard(server.pid)
        for pid in [*descendants(server.pid), server.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.wait()

    def words(self, *options: str) -> list[str | Path]:
        """The beginning of a command that logs in."""
        return [
            *(program_path("ssh"), "-F", "none", "-i", self.work / "user", "-l", getpass.getuser()),
            *("-o", "BatchMode=yes", "-o", "LogLevel=ERROR", "-p", str(self.port)),
            *("-o", f"UserKnownHostsFile={self.work}/known"),
            *options,
            self.host.name,
        ]


def waited(ready: Callable[[], bool], process: "subprocess.Popen[bytes]") -> bool:
    """Whether it became ready, before its process or our patience ended."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
