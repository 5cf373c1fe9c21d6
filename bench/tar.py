"""The peer that is no GridFTP: tar at the source, through ssh with a new login, to tar."""

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import BenchError, Sample, run_command
from bench.rig import Site, Tree
from bench.rounds import Mover
from bench.ssh import Ssh, waited
from towpath.demo.servers import Host

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
    ssh: Ssh

    @classmethod
    @contextmanager
    def open(
        cls, site: Site, source: Host, destination: Host, work: Path
    ) -> Iterator["TarOverSsh"]:
        """Start the server."""
        with Ssh.open(site.lasting, destination, work) as ssh:
            yield cls(site, source, ssh)

    @property
    def server_pid(self) -> int:
        """Of the SSH server."""
        return self.ssh.server_pid

    def mover(self, tree: Tree) -> Mover:
        """What is in the tree's directory, with a new login."""
        return lambda to: self._measure(tree, to, self.ssh.words())

    def warm_mover(self, tree: Tree) -> Mover:
        """The same through a connection that is open already."""

        def move(to: Path) -> Sample:
            control = self.ssh.work / "control"
            kept = self.ssh.words("-o", f"ControlPath={control}")
            with subprocess.Popen([*self.source.enter, *kept, "-M", "-N"]) as master:
                self.site.lasting.add(master.pid)
                try:
                    if not waited(control.exists, master):
                        raise BenchError("ssh did not log in")
                    return self._measure(tree, to, kept, master.pid)
                finally:
                    self.site.lasting.discard(master.pid)
                    master.terminate()

        return move

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
