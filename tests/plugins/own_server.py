"""Our own GridFTP server, whole, in a thread of the tests; it is used as the servers of GCT are."""

import asyncio
import getpass
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from towpath.demo.authority import Domain
from towpath.dsi.posix import PosixStorage
from towpath.dsi.storage import Storage
from towpath.gridftp.security.acceptor import HostSecurity
from towpath.gridftp.server.acceptor import ControlServer, listen
from towpath.gridftp.server.account_process import Sessions
from towpath.gridftp.server.accounts import Accounts
from towpath.gridftp.server.commands.base import Refused, Transferred
from towpath.gridftp.server.control import LoginReport, Service
from towpath.gridftp.server.frames import Opening
from towpath.gridftp.server.gridmap import Gridmap
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.server.permission import Tokens
from towpath.gridftp.server.session import SessionHost

START_S = 30.0


@dataclass
class OwnServer:
    """A running server."""

    port: int
    domain: Domain
    events: list[Transferred | Refused] = field(default_factory=list)
    """What its sessions told the access log."""
    logins: list[LoginReport] = field(default_factory=list)
    """And its logins."""
    control: ControlServer | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def act(self, what: Callable[[ControlServer], None]) -> None:
        """Do something with its control connections, in its own thread; then return."""
        done = threading.Event()

        def run() -> None:
            assert self.control is not None
            what(self.control)
            done.set()

        assert self.loop is not None
        self.loop.call_soon_threadsafe(run)
        assert done.wait(START_S)

    def url(self, path: str | os.PathLike[str]) -> str:
        """The gsiftp URL of an absolute path here."""
        return f"gsiftp://localhost:{self.port}{os.fspath(path)}"


@contextmanager
def own_server(
    domain: Domain,
    storage: Storage | Callable[[Opening], Storage] | None = None,
    *,
    limits: Limits | None = None,
    anonymous: bool = False,
    gridmap: bool = True,
    tokens: Tokens | None = None,
    **options: Any,
) -> Iterator[OwnServer]:
    """Run one on a free port of 127.0.0.1. `options` are those of `SessionHost`.

    `gridmap`: whether users of the gridmap may log in; `tokens` takes logins by grant.
    """
    limits = limits or Limits()
    server = OwnServer(0, domain)
    host = SessionHost(
        storage or PosixStorage(),
        limits,
        trust=lambda: domain.trust,
        report=server.events.append,
        **options,
    )
    failed: list[BaseException] = []
    started = threading.Event()
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        security = HostSecurity(
            domain.host.credential(), domain.trust, now=lambda: datetime.now(UTC)
        )
        sessions = Sessions(host, failed=failed.append)
        account = getpass.getuser()
        with ThreadPoolExecutor(2) as threads:
            service = Service(
                accounts=Accounts(
                    Gridmap(domain.gridmap_file),
                    only=account,
                    anonymous=account if anonymous else None,
                )
                if gridmap
                else None,
                security=lambda: security,
                open_session=sessions.open,
                threads=threads,
                limits=limits,
                report=server.logins.append,
                tokens=tokens,
            )
            control = ControlServer(service)
            server.control = control
            (listening,) = listen(0, ["127.0.0.1"])
            server.port = listening.getsockname()[1]
            await control.start([listening])
            stopped = asyncio.Event()
            stop.append((asyncio.get_running_loop(), stopped))
            server.loop = asyncio.get_running_loop()
            started.set()
            await stopped.wait()
            await control.close()
            await sessions.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="own server")
    thread.start()
    assert started.wait(START_S)
    try:
        yield server
    finally:
        ((loop, stopped),) = stop
        loop.call_soon_threadsafe(stopped.set)
        thread.join(START_S)
        host.close()
    assert not thread.is_alive()
    assert failed == []


@pytest.fixture(scope="session")
def own_a(domain_a: Domain) -> Iterator[OwnServer]:
    """Our own server of domain A, on all files of the user who runs the tests."""
    with own_server(domain_a) as server:
        yield server


@pytest.fixture(scope="session")
def own_b(domain_b: Domain) -> Iterator[OwnServer]:
    """Our own server of domain B."""
    with own_server(domain_b) as server:
        yield server


def guc(domain: Domain, *arguments: str, trust: Path | None = None) -> str:
    """Run globus-url-copy as the domain's user, and give what it said. It must succeed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(domain.directory),
        "X509_CERT_DIR": str(trust or domain.trust_dir),
        "X509_USER_PROXY": str(domain.proxy_file),
    }
    done = subprocess.run(
        ["globus-url-copy", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"globus-url-copy {arguments}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
