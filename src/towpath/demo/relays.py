"""Runs a relay (`towpath relay`) beside the one that `towpath up` runs by itself."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from towpath.demo.authority import write_secret
from towpath.demo.deployment import Deployment
from towpath.demo.processes import until_ready
from towpath.demo.servers import HERE, Host


class Relay:
    """One more relay of a deployment; use `start`. It dies with the thread that did."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @classmethod
    def start(
        cls, service: Deployment, name: str, workdir: Path, *, network: str, host: Host = HERE
    ) -> Self:
        """Register it, start it, and wait until it serves. `network`: where it may dial.

        Raises `OSError` with what it said.
        """
        workdir.mkdir(parents=True)
        client = json.loads(service.towpath("admin", "relay", "add", name, "--format", "json"))
        secret = workdir / "secret"
        write_secret(secret, client["client_secret"].encode())
        log = workdir / "relay.out"
        with log.open("w") as errors:
            process = subprocess.Popen(
                [
                    *host.enter,
                    *("setpriv", "--pdeathsig", "KILL"),
                    *(sys.executable, "-P", "-m", "towpath.cli", "relay"),
                    *("--service", service.url, "--ca", str(service.data_dir / "tls" / "ca.pem")),
                    *("--client-id", client["client_id"], "--client-secret-file", str(secret)),
                    *("--dir", str(workdir / "relay"), "--allow-network", network),
                    *("--host", host.address, "--bind", host.address, "--port", "0"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={"PATH": os.environ["PATH"], "HOME": str(workdir), "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        until_ready(process, log, "the relay")
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def stop(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()
