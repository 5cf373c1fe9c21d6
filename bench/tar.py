"""The peer that is no GridFTP: tar at the source, through ssh with a new login, to tar."""

import contextlib
import getpass
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import BenchError, Sample, run_command
from bench.rig import Site, Tree, program_path
from bench.rounds import Mover
from towpath.demo.gct import Host
from towpath.demo.processes import descendants

START_TIMEOUT_S = 20.0
_POLL_S = 0.02
_SERVER_OPTIONS = """\
ListenAddress {address}
HostKey {work}/host
AuthorizedKeysFile {work}/user.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
PidFile none
ClientAliveInterval 5
SetEnv HOME={work}
"""
"""HOME, so that no start-up file of the user's shell is read, whatever it takes; ClientAlive, so
that sessions end when all else was killed."""

_SCRIPT = """\
set -o pipefail
from=$1 to=$2
shift 2
tar -C "$from" -cf - . | "$@" tar -C "$to" -xf -
"""


@dataclass(frozen=True)
class TarOverSsh:
    """An SSH server at the destination, and a key to it at the source."""

    site: Site
    source: Host
    destination: Host
    work: Path
    server_pid: int

    @classmethod
    @contextmanager
    def open(
        cls, site: Site, source: Host, destination: Host, work: Path
    ) -> Iterator["TarOverSsh"]:
        """Start the server; both hosts must be network namespaces with a /run of their own."""
        work.mkdir()
        for name in ("host", "user"):
            words = ("-q", "-t", "ed25519", "-N", "", "-f", work / name)
            subprocess.run([program_path("ssh-keygen"), *words], check=True)
        (work / "known").write_text(f"{destination.name} {(work / 'host.pub').read_text()}")
        options, log = work / "options", work / "log"
        options.write_text(_SERVER_OPTIONS.format(address=destination.address, work=work))
        with log.open("wb") as output:
            server = subprocess.Popen(
                [
                    *destination.enter,
                    *("sh", "-c", 'mkdir -p /run/sshd && exec "$@"', "sh"),
                    *("setpriv", "--pdeathsig", "KILL"),
                    *(program_path("sshd"), "-D", "-e", "-f", options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        site.lasting.add(server.pid)
        try:
            if not _waited(lambda: b"Server listening" in log.read_bytes(), server):
                said = log.read_text(errors="replace").strip()
                raise BenchError(f"sshd did not start: {said}")
            yield cls(site, source, destination, work, server.pid)
        finally:
            site.lasting.discard(server.pid)
            # Sessions too: the way may be gone before the end of a connection has come along it.
            for pid in [*descendants(server.pid), server.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            server.wait()

    def mover(self, tree: Tree) -> Mover:
        """What is in the tree's directory, with a new login."""
        return lambda to: self._measure(tree, to, self._ssh())

    def warm_mover(self, tree: Tree) -> Mover:
        """The same through a connection that is open already."""

        def move(to: Path) -> Sample:
            control = self.work / "control"
            kept = self._ssh("-o", f"ControlPath={control}")
            with subprocess.Popen([*self.source.enter, *kept, "-M", "-N"]) as master:
                self.site.lasting.add(master.pid)
                try:
                    if not _waited(control.exists, master):
                        raise BenchError("ssh did not log in")
                    return self._measure(tree, to, kept, master.pid)
                finally:
                    self.site.lasting.discard(master.pid)
                    master.terminate()

        return move

    def _ssh(self, *options: str) -> list[str | Path]:
        return [
            *(program_path("ssh"), "-F", "none", "-i", self.work / "user", "-l", getpass.getuser()),
            *("-o", "BatchMode=yes", "-o", "LogLevel=ERROR"),
            *("-o", f"UserKnownHostsFile={self.work}/known"),
            *options,
            self.destination.name,
        ]

    def _measure(
        self, tree: Tree, to: Path, ssh: Sequence[str | Path], master: int | None = None
    ) -> Sample:
        words = ["bash", "-c", _SCRIPT, "bash", tree.root, shlex.quote(str(to)), *ssh]
        return self.site.measure(
            lambda: run_command([*self.source.enter, *words], self.site.environment),
            servers=(self.server_pid,),
            service=master,
            sessions_stay=master is not None,
        )


def _waited(ready: Callable[[], bool], process: "subprocess.Popen[bytes]") -> bool:
    """Whether it became ready, before its process or our patience ended."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
