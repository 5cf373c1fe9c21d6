"""A whole deployment, as its operator starts it, for tests with a browser or other programs."""

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from plugins.rig import QUICK
from towpath.cli import main

BIN = Path(sys.executable).parent
STOP_S = 60.0


@dataclass(frozen=True)
class Running:
    """One ``towpath up``."""

    data: Path
    url: str

    @property
    def authority(self) -> Path:
        """The CA that its clients trust."""
        return self.data / "tls" / "ca.pem"

    def tls(self) -> ssl.SSLContext:
        """Trusts it."""
        return ssl.create_default_context(cafile=str(self.authority))

    def towpath(self, *words: str, typed: str | None = None) -> str:
        """Run a command for it, which must succeed; what it prints.

        In a thread: in this one playwright's event loop may be running.
        """
        command = [*words, "--data", str(self.data)]
        with ThreadPoolExecutor(1) as thread:
            done = thread.submit(CliRunner().invoke, main, command, input=typed).result()
        assert done.exit_code == 0, done.output
        return done.stdout


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A deployment at ``https://localhost:PORT`` with one worker, for all tests of a process.

    Its name is no address: passkeys are for names only (WebAuthn, 5.1.2).
    """
    data = tmp_path_factory.mktemp("running") / "data"
    words = ["up", "--data", str(data), "--host", "localhost", "--port", "0", "--workers", "1"]
    process = subprocess.Popen(
        [BIN / "towpath", *words],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | QUICK | {"TOWPATH_SAMPLES__ENABLED": "false"},
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("ready "):
                yield Running(data, line.split()[1])
                break
        else:
            raise AssertionError("towpath up ended before it was ready")
    finally:
        process.terminate()
        process.wait(STOP_S)
        process.stdout.close()
