"""`towpath gridftp serve`, run as an operator runs it, and used with globus-url-copy."""

from __future__ import annotations

import ftplib
import hashlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from plugins.dialogue import OPENING
from towpath.cli import gridftp_serve, main
from towpath.cli.gridftp import serve as serve_command
from towpath.cli.password_file import PasswordFile
from towpath.demo.authority import Domain, write_secret
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.server.commands.base import LoginCredential
from towpath.gridftp.server.frames import Opening, frame
from towpath.gridftp.server.session import SessionHost

START_TIMEOUT_S = 60.0
"""For a machine busy with other work."""
LOG_TIMEOUT_S = 20.0


class Server:
    """The running command, and what belongs to it."""

    def __init__(self, process: subprocess.Popen[str], port: int, workdir: Path) -> None:
        self.process = process
        self.port = port
        self.files = workdir / "files"
        self.log = workdir / "access.log"

    def url(self, path: str) -> str:
        return f"gsiftp://localhost:{self.port}{path}"

    def events(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """The lines of the access log with this event, once there are so many."""
        deadline = time.monotonic() + LOG_TIMEOUT_S
        found: list[dict[str, Any]] = []
        while time.monotonic() < deadline:
            lines = [json.loads(line) for line in self.log.read_text().splitlines()]
            found = [line for line in lines if line["event"] == name]
            if len(found) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{len(found)} events {name!r}: {self.log.read_text()}")


Serve = Callable[..., Any]


def _equip(
    account: str | None, domain: Domain, trust: Path, workdir: Path, mapped: str
) -> list[str]:
    """The files that the server is told of, as options; owned by who runs it."""
    shutil.copytree(trust, workdir / "certificates")
    (workdir / "host.pem").write_bytes(domain.host.certificate_file.read_bytes())
    write_secret(workdir / "host.key", domain.host.key_file.read_bytes())
    mapping = re.sub(r"(?m)\S+$", mapped, domain.gridmap_file.read_text())
    (workdir / "gridmap").write_text(mapping)
    (workdir / "files").mkdir()
    (workdir / "files").chmod(0o777)
    workdir.chmod(0o777)
    if account is not None:
        shutil.chown(workdir / "host.key", account)
    return [
        *("--root", str(workdir / "files")),
        *("--cert", str(workdir / "host.pem"), "--key", str(workdir / "host.key")),
        *("--trust-dir", str(workdir / "certificates")),
        *("--gridmap", str(workdir / "gridmap")),
        *("--access-log", str(workdir / "access.log")),
        *("--host", "127.0.0.1", "--port", "0"),
    ]


@contextmanager
def _serving(
    domain: Domain,
    workdir: Path,
    *arguments: str,
    account: str | None,
    mapped: str | None = None,
    trust: Path | None = None,
) -> Iterator[Server]:
    me = pwd.getpwuid(os.geteuid()).pw_name
    mapped = mapped or account or me
    options = _equip(account, domain, trust or domain.trust_dir, workdir, mapped)
    become = ["setpriv", "--pdeathsig", "TERM"]
    if account is not None:
        entry = pwd.getpwnam(account)
        become += [f"--reuid={account}", f"--regid={entry.pw_gid}", "--clear-groups"]
    with subprocess.Popen(
        [*become, sys.executable, "-m", "towpath.cli", "gridftp", "serve", *options, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            ready = process.stdout.readline()
            match = re.fullmatch(r"ready gsiftp://127\.0\.0\.1:(\d+)\n", ready)
            if match is None:
                process.kill()
                raise AssertionError(ready + process.stderr.read())
            yield Server(process, int(match[1]), workdir)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(START_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


@pytest.fixture
def workdir(open_tmp_path: Path) -> Path:
    return open_tmp_path


@pytest.fixture
def serve(domain_a: Domain, workdir: Path, unprivileged_account: str | None) -> Serve:
    """Start a server that runs as an ordinary user."""

    def start(*arguments: str, trust: Path | None = None) -> Any:
        return _serving(domain_a, workdir, *arguments, account=unprivileged_account, trust=trust)

    return start


def guc(
    domain: Domain, *arguments: str, check: bool = True, trust: Path | None = None
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        ["globus-url-copy", *arguments],
        env={
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "X509_USER_PROXY": str(domain.proxy_file),
            "X509_CERT_DIR": str(trust or domain.trust_dir),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if check:
        assert result.returncode == 0, result.stderr
    return result


def test_files_go_there_and_back(serve: Serve, domain_a: Domain, tmp_path: Path) -> None:
    content = os.urandom(3_000_001)
    (tmp_path / "source").write_bytes(content)
    with serve() as server:
        guc(domain_a, f"file://{tmp_path}/source", server.url("/stored"))
        assert (server.files / "stored").read_bytes() == content
        guc(domain_a, "-p", "4", f"file://{tmp_path}/source", server.url("/parallel"))
        guc(domain_a, "-dcpriv", server.url("/parallel"), f"file://{tmp_path}/back")
        assert (tmp_path / "back").read_bytes() == content
        logins = server.events("login", 3)
        transfers = server.events("transfer", 3)
    assert {login["subject"] for login in logins} == {transfers[0]["subject"]}
    assert all(login["peer"] == "127.0.0.1" for login in logins)
    stored = next(one for one in transfers if one["path"] == "/stored")
    assert (stored["command"], stored["bytes"], stored["outcome"]) == ("STOR", len(content), "ok")
    assert stored["first"] == 0
    assert stored["session"] in {login["session"] for login in logins}
    assert stored["seconds"] > 0
    back = next(one for one in transfers if one["command"] in ("RETR", "ERET"))
    assert (back["bytes"], back["protection"]) == (len(content), "private")


def test_a_tree_of_small_files(serve: Serve, domain_a: Domain, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(100):
        file = source / f"d{number % 7}" / f"f{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(1024))
    with serve() as server:
        guc(domain_a, "-r", "-cd", "-fast", "-pp", f"file://{source}/", server.url("/tree/"))
        guc(domain_a, "-r", "-cd", "-fast", server.url("/tree/"), f"file://{tmp_path}/back/")
        assert len(server.events("transfer", 200)) >= 200
    assert _digests(tmp_path / "back") == _digests(source)


def _digests(tree: Path) -> dict[Path, str]:
    return {
        file.relative_to(tree): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in tree.rglob("*")
        if file.is_file()
    }


def test_rules_and_the_root_hold(serve: Serve, domain_a: Domain, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with serve("--rules", "R/,RW/upload") as server:
        (server.files / "upload").mkdir()
        (server.files / "upload").chmod(0o777)
        (server.files / "secret").symlink_to("/etc/passwd")
        guc(domain_a, f"file://{tmp_path}/x", server.url("/upload/x"))
        refused = guc(domain_a, f"file://{tmp_path}/x", server.url("/x"), check=False)
        assert refused.returncode != 0
        assert "not allowed" in refused.stderr
        for path in ("/secret", "/../../etc/passwd", "/upload/../../../etc/passwd"):
            out = guc(domain_a, server.url(path), f"file://{tmp_path}/out", check=False)
            assert out.returncode != 0, path
        assert [one["path"] for one in server.events("transfer") if one["outcome"] == "ok"] == [
            "/upload/x"
        ]


def test_metrics(serve: Serve, domain_a: Domain, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(12_345))
    port = _free_port()
    with serve("--metrics", str(port)) as server:
        guc(domain_a, f"file://{tmp_path}/x", server.url("/x"))
        guc(domain_a, server.url("/no"), f"file://{tmp_path}/no", check=False)
        server.events("transfer")
        text = _metrics(port)
    numbers = dict(re.findall(r"^(\S+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE))
    assert numbers['towpath_gridftp_logins_total{outcome="ok"}'] == "2.0"
    assert numbers['towpath_gridftp_transfers_total{kind="receive",outcome="ok"}'] == "1.0"
    key = 'towpath_gridftp_transferred_bytes_total{direction="received",protection="clear"}'
    assert numbers[key] == "12345.0"
    assert numbers['towpath_gridftp_transfer_seconds_count{kind="receive"}'] == "1.0"
    assert numbers["towpath_gridftp_lost_reports_total"] == "0.0"
    assert "towpath_gridftp_sessions" in numbers


def _metrics(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_nobody_without_a_mapping(
    serve: Serve, domain_b: Domain, both_trust: Path, tmp_path: Path
) -> None:
    with serve(trust=both_trust) as server:
        (server.files / "x").write_bytes(b"x")
        out = f"file://{tmp_path}/out"
        result = guc(domain_b, server.url("/x"), out, check=False, trust=both_trust)
        assert result.returncode != 0
        (event,) = server.events("login_refused")
    assert "Gridmap" in event["reason"]
    assert event["subject"].startswith("/O=DomB")


def test_anonymous_only_where_asked_for(serve: Serve, tmp_path: Path) -> None:
    def get(server: Server) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "globus-url-copy",
                f"ftp://anonymous:me@127.0.0.1:{server.port}/x",
                f"file://{tmp_path}/out",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    with serve("--anonymous") as server:
        (server.files / "x").write_bytes(b"for all")
        result = get(server)
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "out").read_bytes() == b"for all"
        (login,) = server.events("login")
        assert login["subject"] == ""


def test_anonymous_is_off(serve: Serve, tmp_path: Path) -> None:
    with serve() as server:
        (server.files / "x").write_bytes(b"not for all")
        result = subprocess.run(
            [
                "globus-url-copy",
                f"ftp://anonymous:me@127.0.0.1:{server.port}/x",
                f"file://{tmp_path}/out",
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert result.returncode != 0
        assert not (tmp_path / "out").exists() or (tmp_path / "out").read_bytes() == b""


def test_passwords(serve: Serve, workdir: Path, unprivileged_account: str | None) -> None:
    account = unprivileged_account or pwd.getpwuid(os.geteuid()).pw_name
    file = workdir / "passwords"
    subprocess.run(
        [
            *(sys.executable, "-m", "towpath.cli", "gridftp", "passwd"),
            *(str(file), "ana", "--account", account, "--stdin-pass"),
        ],
        input="tr0ub4dor\n",
        text=True,
        check=True,
        timeout=60,
    )
    if unprivileged_account is not None:
        shutil.chown(file, unprivileged_account)
    with serve("--password-file", str(file)) as server:
        (server.files / "x").write_bytes(b"for ana")
        for word, works in (("wrong", False), ("tr0ub4dor", True)):
            result = subprocess.run(
                [
                    "globus-url-copy",
                    f"ftp://ana:{word}@127.0.0.1:{server.port}/x",
                    f"file://{workdir}/out",
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert (result.returncode == 0) == works, result.stderr
        assert (workdir / "out").read_bytes() == b"for ana"
        text = server.log.read_text()
    assert "tr0ub4dor" not in text
    assert "tr0ub4dor" not in file.read_text()


def test_a_password_file_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "passwords"
    with pytest.raises(FileNotFoundError):
        PasswordFile(file)
    file.write_text("ana:ana:plain text\n")
    with pytest.raises(ValueError, match="line 1"):
        PasswordFile(file)


def test_data_ports_and_durable_files(serve: Serve, domain_a: Domain, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 100_000)
    with serve("--data-ports", "47000-47999", "--durable", "--anonymous") as server:
        guc(domain_a, "-p", "2", f"file://{tmp_path}/x", server.url("/x"))
        assert (server.files / "x").read_bytes() == b"x" * 100_000
        with ftplib.FTP() as client:
            client.connect("127.0.0.1", server.port, timeout=30)
            client.login("anonymous", "me")
            for _ in range(3):
                _host, port = client.makepasv()
                assert 47000 <= port <= 47999
        (refused,) = _refused(server)
    assert refused["command"] == "DELE /no"
    assert refused["reply"].startswith("550")


def _refused(server: Server) -> list[dict[str, Any]]:
    """What the log says of a command that is refused."""
    with ftplib.FTP() as client:
        client.connect("127.0.0.1", server.port, timeout=30)
        client.login("anonymous", "me")
        with pytest.raises(ftplib.error_perm):
            client.delete("/no")
    return server.events("refused")


@pytest.mark.skipif(os.getuid() != 0, reason="becoming other users takes root")
def test_as_root_each_user_has_a_process_of_their_own_account(
    domain_a: Domain, workdir: Path, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(b"x" * 1000)
    port = _free_port()
    with _serving(
        domain_a, workdir, "--metrics", str(port), account=None, mapped="daemon"
    ) as server:
        guc(domain_a, f"file://{tmp_path}/x", server.url("/x"))
        assert (server.files / "x").owner() == "daemon"
        (transfer,) = server.events("transfer")
        assert (transfer["account"], transfer["bytes"]) == ("daemon", 1000)
        assert 'transfers_total{kind="receive",outcome="ok"} 1.0' in _metrics(port)
        assert server.process.returncode is None
    assert server.process.returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="becoming other users takes root")
def test_as_root_nobody_becomes_the_user_of_the_acceptor(
    domain_a: Domain, workdir: Path, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with _serving(domain_a, workdir, account=None, mapped="nobody") as server:
        result = guc(domain_a, f"file://{tmp_path}/x", server.url("/x"), check=False)
        assert result.returncode != 0
    assert not (server.files / "x").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="becoming other users takes root")
def test_as_root_the_account_of_everybody_is_named(domain_a: Domain, tmp_path: Path) -> None:
    result = subprocess.run(
        [
            *(sys.executable, "-m", "towpath.cli", "gridftp", "serve"),
            *("--root", str(tmp_path), "--port", "0", "--anonymous"),
            *("--trust-dir", str(domain_a.trust_dir), "--gridmap", str(domain_a.gridmap_file)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode != 0
    assert "name the account" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--rules", "X/a", "no rule"),
        ("--metrics", "here", "not PORT"),
        ("--data-ports", "9-1", "not FIRST-LAST"),
        ("--root", "/no/such/directory", "cannot serve"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, option: str, value: str, message: str
) -> None:
    options = {"--root": str(tmp_path), "--port": "0", option: value}
    result = subprocess.run(
        [
            *(sys.executable, "-m", "towpath.cli", "gridftp", "serve"),
            *(word for pair in options.items() for word in pair),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode != 0
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_the_unit_for_systemd_starts_it() -> None:
    """Its command line, with the options of its example, is one that the command takes."""
    unit = (Path(__file__).parents[2] / "deploy" / "towpath-gridftp.service").read_text()
    (line,) = re.findall(r"^ExecStart=\S+/towpath gridftp (.*)$", unit, re.MULTILINE)
    (options,) = re.findall(r"^#   OPTIONS=(.*)$", unit, re.MULTILINE)
    words = line.replace("$OPTIONS", options).split()
    assert words.pop(0) == "serve"
    # as below the program: a command keeps the help option that it is first asked for
    above = click.Context(main, help_option_names=["-h", "--help"])
    context = serve_command.make_context("serve", words, parent=above)
    assert context.params["access_log"] == Path("-")
    assert context.params["metrics"] == ("127.0.0.1", 9811)


async def test_data_connections_know_whom_to_believe_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that runs for months: revocation lists are renewed under it, and those that it began
    with are out of date soon, by which nobody would be believed."""
    domain = Domain.create(tmp_path / "d", "DomC")
    options = gridftp_serve.Options.given(
        rules=None,
        hosts=(),
        root=tmp_path,
        port=0,
        certificate=domain.host.certificate_file,
        key=domain.host.key_file,
        trust_dir=domain.trust_dir,
        gridmap=domain.gridmap_file,
        anonymous=None,
        password_file=None,
        metrics=None,
        access_log=None,
        user="nobody",
        allow_root=True,
        data_ports=None,
        durable=False,
    )
    host = gridftp_serve._make_host(options, lambda _report: None)
    given: list[LoginCredential | None] = []
    taken = SessionHost.credential

    def credential(host: SessionHost, opening: Opening) -> LoginCredential | None:
        given.append(taken(host, opening))
        return given[-1]

    monkeypatch.setattr(SessionHost, "credential", credential)
    opening = replace(OPENING, credential=domain.credential.to_pem().decode())

    async def one_session() -> TrustRoots:
        ours, theirs = socket.socketpair()
        with ours:
            ours.sendall(frame(b"QUIT"))
            await host.run(theirs, opening)
        found = given[-1]
        assert found is not None
        return found.trust

    first = await one_session()
    assert not first.revocation_lists
    domain.revoke(domain.user)
    assert await one_session() is first  # it has been looked at a moment ago
    monkeypatch.setattr(gridftp_serve, "REFRESH_S", 0.0)
    assert (await one_session()).revocation_lists
    for file in domain.trust_dir.iterdir():
        file.unlink()
    assert (await one_session()).revocation_lists  # what was read last stays
    host.close()
