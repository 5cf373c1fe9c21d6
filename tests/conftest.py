"""The rig: two real GridFTP servers that trust two different authorities."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from towpath.demo.authority import Domain, merge_trust
from towpath.demo.gct import GctServer

# --import-mode=importlib leaves sys.path alone; the plugin modules are named from this folder
sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = [
    "plugins.secrets_seen",
    "plugins.collected",
    "plugins.database",
    "plugins.nexus",
    "plugins.tasks",
    "plugins.rig",
    "plugins.site",
    "plugins.sessions",
    "plugins.myproxy",
    "plugins.pairs",
    "plugins.dialogue",
    "plugins.own_server",
    "plugins.nexus_people",
    "plugins.browser",
    "plugins.node",
    "plugins.federated",
    "plugins.deployment",
    "plugins.gui",
    "plugins.cast",
    "plugins.nat",
    "plugins.connect",
    "plugins.standings",
    "plugins.timers",
]


@pytest.fixture(scope="session")
def domain_a(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    """An authority with host, user and proxy certificates."""
    return Domain.create(tmp_path_factory.mktemp("domain-a"), "DomA")


@pytest.fixture(scope="session")
def domain_b(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    """A second authority; nothing of it trusts the first."""
    return Domain.create(tmp_path_factory.mktemp("domain-b"), "DomB", user="Bob")


@pytest.fixture(scope="session")
def both_trust(
    tmp_path_factory: pytest.TempPathFactory, domain_a: Domain, domain_b: Domain
) -> Path:
    """A certificates directory with both authorities."""
    return merge_trust(tmp_path_factory.mktemp("trust") / "certificates", domain_a, domain_b)


@pytest.fixture(scope="session")
def server_a(domain_a: Domain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GctServer]:
    """A GridFTP server of domain A, run by the user who runs the tests."""
    with GctServer.start(domain_a, tmp_path_factory.mktemp("server-a")) as server:
        yield server


@pytest.fixture(scope="session")
def server_b(domain_b: Domain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GctServer]:
    """A GridFTP server of domain B."""
    with GctServer.start(domain_b, tmp_path_factory.mktemp("server-b")) as server:
        yield server


@pytest.fixture(scope="session")
def unprivileged_account() -> str | None:
    """Whom an unprivileged server runs as: `nobody` when we are root, else ourselves (None)."""
    return "nobody" if os.getuid() == 0 else None


@pytest.fixture
def open_tmp_path() -> Iterator[Path]:
    """A directory that other accounts can reach too (pytest's own are closed to them)."""
    path = Path(tempfile.mkdtemp(prefix="towpath-test-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def unprivileged_server(
    domain_a: Domain, unprivileged_account: str | None, open_tmp_path: Path
) -> Iterator[GctServer]:
    """A server of domain A to which file permissions apply, whoever runs the tests."""
    workdir = open_tmp_path / "server"
    with GctServer.start(domain_a, workdir, account=unprivileged_account) as server:
        yield server
