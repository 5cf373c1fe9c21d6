"""Runs our own GridFTP server as an administrator would: as a process, through its command."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from towpath.demo.authority import Domain
from towpath.demo.processes import descendants, until_ready
from towpath.demo.servers import HERE, Host


class OwnServer:
    """`towpath gridftp serve` for one domain, on the files of this machine; use `start`.

    It dies with the thread that started it.
    """

    def __init__(
        self, process: "subprocess.Popen[str]", host: Host, port: int, workdir: Path
    ) -> None:
        self._process = process
        self._host = host
        self.port = port
        self.workdir = workdir

    @classmethod
    def start(
        cls,
        domain: Domain,
        workdir: Path,
        *,
        host: Host = HERE,
        port: int | None = None,
        root: Path = Path("/"),
        args: Sequence[str] = (),
    ) -> Self:
        """Start it and wait until it accepts connections. Raises `OSError` with what it said."""
        workdir.mkdir(parents=True, exist_ok=True)
        log = workdir / "server.out"
        command = [
            *host.enter,
            *("setpriv", "--pdeathsig", "KILL"),
            *(sys.executable, "-P", "-m", "towpath.cli", "gridftp", "serve"),
            *("--root", str(root), "--host", host.address, "--port", str(port or 0)),
            *("--cert", str(domain.host.certificate_file), "--key", str(domain.host.key_file)),
            *("--trust-dir", str(domain.trust_dir), "--gridmap", str(domain.gridmap_file)),
            *(["--allow-root"] if os.geteuid() == 0 else []),  # whom the domain's user is mapped to
            *args,
        ]
        with log.open("w") as errors:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=workdir,
                start_new_session=True,
            )
        line = until_ready(process, log, "our server")
        return cls(process, host, int(line.rpartition(":")[2]), workdir)

    @property
    def pid(self) -> int:
        """The process that was started; all others are below it."""
        return self._process.pid

    @property
    def address(self) -> str:
        """`name:port`."""
        return f"{self._host.name}:{self.port}"

    def url(self, path: str | os.PathLike[str]) -> str:
        """The gsiftp URL of an absolute path here."""
        return f"gsiftp://{self.address}{os.fspath(path)}"

    def stop(self) -> None:
        """Kill the server with all its sessions."""
        tree = [self.pid, *descendants(self.pid)]
        for pid in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()
