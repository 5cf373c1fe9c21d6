"""Runs an agent (`towpath connect`) as the owner of a computer would: by its commands."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from towpath.connect import local_control
from towpath.demo.processes import descendants
from towpath.demo.servers import HERE, Host

START_TIMEOUT_S = 60.0
"""It takes a second or two; this is for a machine busy with other work."""

_ANSWER_S = 2.0
_POLL_S = 0.05


class AgentError(Exception):
    """`towpath connect` did not do what was asked; the message has its own words."""


class Agent:
    """What is on one computer; use `set_up`, then `start`. It dies with the thread that did."""

    def __init__(self, home: Path, host: Host) -> None:
        self.home = home
        """The directory of the agent is below."""
        self.host = host
        self.endpoint_id = ""
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def set_up(
        cls,
        key: str,
        home: Path,
        *,
        host: Host = HERE,
        shares: Sequence[Path] = (),
        words: Sequence[str] = (),
    ) -> Self:
        """Redeem a setup key, and share what is to be shared. `words`: further ones of the setup.

        Raises `AgentError`.
        """
        home.mkdir(parents=True, exist_ok=True)
        agent = cls(home, host)
        agent.towpath("setup", key, *words)
        for path in shares:
            agent.towpath("share", "--read-write", str(path))
        return agent

    def towpath(self, *arguments: str) -> str:
        """Run `towpath connect ...` there; its standard output. Raises `AgentError`."""
        done = subprocess.run(
            self._words(*arguments),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            env=self._environment(),
            check=False,
        )
        if done.returncode != 0:
            raise AgentError(f"towpath connect {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def start(self) -> None:
        """Start it, and wait until it is connected. Raises `AgentError`."""
        log = self.home / "start.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._words("start")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.relay() is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                said = log.read_text(errors="replace")[-2000:]
                raise AgentError(f"the agent is not connected: {said}")
            time.sleep(_POLL_S)

    def status(self) -> dict[str, Any]:
        """What `towpath connect status` says; nothing if it does not run, or sleeps."""
        try:
            return local_control.ask(
                self.directory / "control.sock", {"do": "status"}, timeout_s=_ANSWER_S
            )
        except (local_control.NotRunning, OSError):
            return {}

    def relay(self) -> str | None:
        """`host:port` of the relay that it is connected to."""
        connected = self.status().get("connected")
        return None if not connected else str(connected["relay"])

    @property
    def directory(self) -> Path:
        """The agent's own."""
        return self.home / "agent"

    @property
    def access_log(self) -> Path:
        """Its log: a line of JSON for each transfer, too."""
        return self.directory / "log" / "connect.log"

    def logged(self) -> str:
        """All that it has logged; a node that root runs does so to its standard error."""
        logs = (self.access_log, self.home / "start.log")
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())

    @property
    def pid(self) -> int:
        """The process that was started; all others are below it."""
        assert self._process is not None, "started"
        return self._process.pid

    def pids(self) -> list[int]:
        """All its processes."""
        return [self.pid, *descendants(self.pid)]

    def signal(self, number: int) -> None:
        """To all its processes: `SIGSTOP` is a computer that sleeps, `SIGCONT` one that wakes."""
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self, timeout_s: float) -> int:
        """Until it ends by itself; its exit status. Raises `subprocess.TimeoutExpired`."""
        assert self._process is not None, "started"
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        """Kill it with all its sessions."""
        process, self._process = self._process, None
        if process is None:
            return
        for pid in [process.pid, *descendants(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _words(self, *arguments: str) -> list[str]:
        return [
            *self.host.enter,
            *(sys.executable, "-P", "-m", "towpath.cli", "connect", *arguments),
            *("--dir", str(self.directory)),
        ]

    def _environment(self) -> dict[str, str]:
        """Nothing of the caller's own."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"}
