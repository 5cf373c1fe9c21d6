"""The rig itself: servers start, serve, can be killed, and go away."""

import os
import subprocess
from pathlib import Path

import pytest

from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer, ServerMissing


def copy(domain: Domain, source: str, destination: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["globus-url-copy", source, destination],
        env={
            "PATH": os.environ["PATH"],
            "X509_CERT_DIR": str(domain.trust_dir),
            "X509_USER_PROXY": str(domain.proxy_file),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_serves_and_counts_bytes(domain_a: Domain, server_a: GctServer, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(os.urandom(1_000_000))
    before = server_a.bytes_written()
    done = copy(domain_a, f"file://{tmp_path}/in", server_a.url(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    assert 1_000_000 <= server_a.bytes_written() - before < 1_500_000
    assert f"FILE={tmp_path}/out".encode() in server_a.transfer_log.read_bytes()


def test_permissions_apply_to_an_unprivileged_server(
    domain_a: Domain, unprivileged_server: GctServer, open_tmp_path: Path
) -> None:
    closed = open_tmp_path / "closed"
    closed.write_bytes(b"x")
    closed.chmod(0)
    done = copy(domain_a, unprivileged_server.url(closed), f"file://{open_tmp_path}/out")
    assert done.returncode == 1
    assert "Permission denied" in done.stderr


def test_stop_ends_everything(domain_a: Domain, tmp_path: Path) -> None:
    server = GctServer.start(domain_a, tmp_path / "s")
    assert server.session_pids() == []
    server.stop()
    assert not Path(f"/proc/{server.pid}").exists()


def test_says_why_it_did_not_start(domain_a: Domain, tmp_path: Path) -> None:
    with pytest.raises(ServerMissing, match="did not start: "):
        GctServer.start(domain_a, tmp_path, args=("-no-such-option",))


def test_says_what_is_missing(
    domain_a: Domain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.demo.gct._PROGRAM", "no-such-server")
    with pytest.raises(ServerMissing, match="make deps"):
        GctServer.start(domain_a, tmp_path)
