"""Runs a real GridFTP server (globus-gridftp-server of the Grid Community Toolkit)."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from towpath.demo.authority import Domain, write_secret
from towpath.demo.processes import descendants
from towpath.demo.servers import HERE, Host

START_TIMEOUT_S = 20.0
"""A server answers within 0.1 s; this is for a machine busy with other work."""

_PROGRAM = "globus-gridftp-server"
_LISTENING = re.compile(rb"Server listening at [^\s]*:(\d+)")
_POLL_S = 0.02


class ServerMissing(RuntimeError):  # noqa: N818 - reads as what it says
    """The GridFTP server is not installed, or did not start."""


class GctServer:
    """One server that trusts one domain; use `start`.

    Runs as the calling user, who is the account that the domain maps its user to. As root,
    `account` names another account to run as (permissions mean something only there).
    It dies with the thread that started it.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], host: Host, port: int, workdir: Path
    ) -> None:
        self._process = process
        self._host = host
        self.port = port
        self.workdir = workdir

    @staticmethod
    def installed() -> bool:
        """Whether this machine has it."""
        return _program() is not None

    @classmethod
    def start(
        cls,
        domain: Domain,
        workdir: Path,
        *,
        port: int | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        account: str | None = None,
        host: Host = HERE,
    ) -> "GctServer":
        """Start it and wait until it accepts connections. Port None: the kernel chooses one.

        `workdir` gets the server's keys and logs. Raises `ServerMissing`.
        """
        program = _program()
        if program is None:
            raise ServerMissing(f"{_PROGRAM} is not installed: run `make deps` as root")
        workdir.mkdir(parents=True, exist_ok=True)
        environment = cls._equip(domain, workdir, account) | dict(env or {})
        command = [*host.enter, "setpriv", "--pdeathsig", "KILL"]
        if account is not None:
            command += [f"--reuid={account}", f"--regid={_group(account)}", "--clear-groups"]
        command += [program, "-c", "none", "-p", str(port or 0), "-hostname", host.address]
        command += ["-control-interface", host.address, "-data-interface", host.address]
        command += ["-d", "ERROR", "-l", str(workdir / "server.log")]
        command += ["-Z", str(workdir / "transfer.log")]
        if os.getuid() == 0 and account is None:
            command.append("-allow-root")
        command += args
        with (workdir / "server.out").open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=workdir,
                start_new_session=True,
            )
        try:
            return cls(process, host, _wait_ready(process, workdir, port), workdir)
        except BaseException:
            process.kill()
            process.wait()
            raise

    @staticmethod
    def _equip(domain: Domain, workdir: Path, account: str | None) -> dict[str, str]:
        """Copy what the server reads to where its account can read it."""
        trust = workdir / "certificates"
        shutil.copytree(domain.trust_dir, trust, dirs_exist_ok=True)
        certificate, key = workdir / "host.pem", workdir / "host.key"
        gridmap = workdir / "gridmap"
        certificate.write_bytes(domain.host.certificate_file.read_bytes())
        write_secret(key, domain.host.key_file.read_bytes())
        mapping = domain.gridmap_file.read_text()
        if account is not None:
            mapping = re.sub(r"(?m)\S+$", account, mapping)
            for path in (workdir, certificate, key):
                shutil.chown(path, account)
        gridmap.write_text(mapping)
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(workdir),
            "X509_CERT_DIR": str(trust),
            "X509_USER_CERT": str(certificate),
            "X509_USER_KEY": str(key),
            "GRIDMAP": str(gridmap),
        }

    @property
    def pid(self) -> int:
        """The listening process; it forks one process for each session."""
        return self._process.pid

    @property
    def address(self) -> str:
        """`name:port`."""
        return f"{self._host.name}:{self.port}"

    @property
    def transfer_log(self) -> Path:
        """One line for each transfer, in netlogger form."""
        return self.workdir / "transfer.log"

    def url(self, path: str | os.PathLike[str]) -> str:
        """The gsiftp URL of an absolute path here."""
        return f"gsiftp://{self.address}{os.fspath(path)}"

    def session_pids(self) -> list[int]:
        """The processes of open sessions."""
        return descendants(self.pid)

    def kill_sessions(self) -> None:
        """Kill -9 every session, as a crash of the server's host would."""
        for pid in self.session_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def bytes_written(self) -> int:
        """Bytes that this server's processes have written so far, ended sessions included."""
        total = 0
        for pid in [self.pid, *descendants(self.pid)]:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/io").read_text()
                total += int(text.split("wchar:")[1].split()[0])
        return total

    def stop(self) -> None:
        """Kill the server with all its sessions."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def stop_listening(self) -> None:
        """Kill the listening process; its sessions go on, and end by themselves."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()


def _program() -> str | None:
    return shutil.which(_PROGRAM, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _wait_ready(process: subprocess.Popen[bytes], workdir: Path, port: int | None) -> int:
    output = workdir / "server.out"
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        found = _LISTENING.search(output.read_bytes())
        if found is not None:
            return int(found[1])
        if port is not None and _listens(process.pid, port):
            return port
        time.sleep(_POLL_S)
    said = output.read_text(errors="replace").strip()[-500:]
    raise ServerMissing(f"{_PROGRAM} did not start: {said or 'it said nothing'}")


def _listens(pid: int, port: int) -> bool:
    """Whether something listens on this TCP port (state 0A) where the process is, without
    connecting to it."""
    wanted = f":{port:04X}"
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(wanted) and fields[3] == "0A":
            return True
    return False


def _group(account: str) -> int:
    return pwd.getpwnam(account).pw_gid
