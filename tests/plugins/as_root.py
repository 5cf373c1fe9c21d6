"""Our server with its privileges separated: the launcher in a process of its own (it forks, and
takes signals). Needs root."""

import contextlib
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from towpath.demo.authority import Domain

PROGRAM = Path(__file__).parent / "launched.py"
ACCOUNTS = ("daemon", "games", "nobody")


class Launched:
    """The launcher in a process of its own (it forks, and takes signals)."""

    def __init__(self, domain: Domain, workdir: Path, *options: str) -> None:
        trust = workdir / "certificates"
        shutil.copytree(domain.trust_dir, trust)
        (workdir / "gridmap").write_text(
            f'"/O={domain.organization}/CN=Alice" {",".join(ACCOUNTS)}\n'
        )
        (workdir / "host.pem").write_bytes(domain.host.credential().to_pem())
        (workdir / "host.pem").chmod(0o600)  # root's
        workdir.chmod(0o755)
        self.log = workdir / "log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(workdir), *options],
                stdout=subprocess.PIPE,
                stderr=output,
            )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline() or b"0")
        assert self.port, self.log.read_text()

    def pids(self) -> dict[str, list[int]]:
        """Of the children, by the account they run as."""
        found: dict[str, list[int]] = {}
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in map(int, text.split()):
            with contextlib.suppress(FileNotFoundError):
                uid = Path(f"/proc/{pid}").stat().st_uid
                status = Path(f"/proc/{pid}/status").read_text()
                uid = int(status.split("Uid:")[1].split()[0])
                found.setdefault(pwd.getpwuid(uid).pw_name, []).append(pid)
        return found


@contextlib.contextmanager
def launched(domain: Domain, workdir: Path, *options: str) -> Iterator[Launched]:
    running = Launched(domain, workdir, *options)
    try:
        yield running
    finally:
        running.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(20)
        running.process.kill()
        running.process.wait()
        assert running.process.stdout is not None
        running.process.stdout.close()
