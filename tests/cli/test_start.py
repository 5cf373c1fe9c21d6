"""The command starts in stages (`towpath.start`): nothing is imported before it is needed."""

import gc
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from towpath import start
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer

_IMPORTED = re.compile(r"(?m)^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$")

SERVICE = {"fastapi", "httpx", "pydantic", "psycopg", "structlog", "uvicorn", "uvloop"}
"""What only the service needs."""

CLIENT = {"asyncio", "ssl", "towpath.gridftp.client.session", "towpath.gridftp.security.gsi"}
"""What the second stage imports: nothing of it before the servers are dialled."""

COPYING = {"towpath.gridftp.client.pool", "towpath.gridftp.client.tree"}
"""The same, for who copies."""

SIGNING = {"cryptography.x509"}
"""What the third stage imports."""

SLOW = {"rich"}
"""For a bar on a terminal."""


def run(
    *words: str, domain: Domain, trust: Path, stdout: int | None = None
) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run the command; the modules it has imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "towpath.cli", *words],
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "X509_USER_PROXY": str(domain.proxy_file),
            "X509_CERT_DIR": str(trust),
        },
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    return done, set(_IMPORTED.findall(done.stderr))


@pytest.mark.parametrize("words", [["--help"], ["gridftp", "cp", "--help"]])
def test_help_imports_the_options_only(words: list[str], domain_a: Domain) -> None:
    done, modules = run(*words, domain=domain_a, trust=domain_a.trust_dir)
    assert done.returncode == 0
    assert "click" in modules
    assert not modules & (SERVICE | CLIENT | COPYING | SIGNING | SLOW)


def test_listing_signs_nothing(domain_a: Domain, server_a: GctServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done, modules = run(
        "gridftp", "ls", server_a.url(tmp_path), domain=domain_a, trust=domain_a.trust_dir
    )
    assert done.stdout == "file\n"
    assert modules >= CLIENT
    assert not modules & (SERVICE | COPYING | SIGNING | SLOW)


def test_copy_between_servers(domain_a: Domain, server_a: GctServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    done, modules = run(
        *("gridftp", "cp", server_a.url(tmp_path / "file"), server_a.url(tmp_path / "copy")),
        domain=domain_a,
        trust=domain_a.trust_dir,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy").read_text() == "content"
    assert modules >= CLIENT | COPYING | SIGNING
    assert not modules & (SERVICE | SLOW)


def test_what_cannot_be_written_is_told(
    domain_a: Domain, server_a: GctServer, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    words = ("gridftp", "ls", server_a.url(tmp_path))
    with Path("/dev/full").open("w") as full:
        done, _ = run(*words, domain=domain_a, trust=domain_a.trust_dir, stdout=full.fileno())
    assert done.returncode != 0
    assert "No space left on device" in done.stderr


def test_only_the_command_itself_leaves() -> None:
    start.leave()


def test_the_collector_rests_while_modules_are_imported() -> None:
    with start.importing():
        assert not gc.isenabled()
    assert gc.isenabled()
