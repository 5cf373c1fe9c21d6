"""``towpath up``, ``env``, ``doctor`` as their user meets them, with the unmodified ``globus``."""

import json
import os
import re
import shlex
import signal
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from towpath.platform import migrations

BIN = Path(sys.executable).parent
START_S = 60.0


def run(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
        check=False,
    )


@dataclass
class Up:
    """One ``towpath up``."""

    data: Path
    process: subprocess.Popen[str]
    url: str

    @staticmethod
    def run(data: Path, *options: str, **variables: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(BIN / "towpath"), "up", "--data", str(data), "--workers", "0", *options],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | variables,
        )

    @classmethod
    def start(cls, data: Path, *options: str) -> "Up":
        process = cls.run(data, *options)
        assert process.stdout is not None
        line = process.stdout.readline()
        if line.startswith("administrator https://"):  # until there is one
            line = process.stdout.readline()
        assert line.startswith("ready https://"), line
        return cls(data, process, line.split()[1])

    @property
    def state(self) -> dict[str, object]:
        found = json.loads((self.data / "run" / "state.json").read_text())
        assert isinstance(found, dict)
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        assert self.process.stdout is not None
        code = self.process.wait(START_S)
        self.process.stdout.close()
        return code


def gone(pid: object) -> bool:
    """Whether the process ends, within the time that its death signal needs."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        if status.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    started = Up.start(tmp_path_factory.mktemp("up") / "data", "--port", "0")
    yield started
    started.stop(signal.SIGTERM)


@pytest.fixture
def globus_env(up: Up, tmp_path: Path) -> dict[str, str]:
    """What a shell has after ``eval "$(towpath env)"``."""
    printed = run("towpath", "env", "--data", str(up.data))
    assert printed.returncode == 0, printed.stderr
    variables = {**os.environ, "HOME": str(tmp_path)}
    for line in printed.stdout.splitlines():
        word, assignment = shlex.split(line)
        assert word == "export"
        name, _, value = assignment.partition("=")
        variables[name] = value
    return variables


def test_globus_whoami(up: Up, globus_env: dict[str, str]) -> None:
    username = globus_env["GLOBUS_CLI_CLIENT_ID"] + "@clients.auth.globus.org"
    shown = run("globus", "whoami", env=globus_env)
    assert (shown.returncode, shown.stdout) == (0, username + "\n")
    document = json.loads(run("globus", "whoami", "-F", "json", env=globus_env).stdout)
    assert document["preferred_username"] == username


def test_wrong_secret_is_the_clients_own_message(globus_env: dict[str, str]) -> None:
    globus_env["GLOBUS_CLI_CLIENT_SECRET"] = "A" * 43 + "="
    shown = run("globus", "whoami", env=globus_env)
    assert shown.returncode == 1
    assert "MissingLoginError" in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize(
    "command",
    [("flows", "list"), ("search", "index", "list")],
)
def test_absent_services_say_so(globus_env: dict[str, str], command: tuple[str, ...]) -> None:
    shown = run("globus", *command, env=globus_env)
    assert shown.returncode == 1
    assert "NOT_FOUND" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_env_keeps_the_callers_proxy_exceptions(up: Up) -> None:
    caller = {**os.environ, "NO_PROXY": "a.b,127.0.0.1", "no_proxy": "c"}
    printed = run("towpath", "env", "--data", str(up.data), env=caller).stdout
    assert "export NO_PROXY='a.b,127.0.0.1'\n" in printed
    assert "export no_proxy='c,127.0.0.1'\n" in printed
    assert f"export GLOBUS_SDK_SERVICE_URL_AUTH='{up.url}/'\n" in printed


def test_env_without_a_deployment_is_explained(tmp_path: Path) -> None:
    shown = run("towpath", "env", "--data", str(tmp_path))
    assert shown.returncode == 1
    assert len(shown.stderr.splitlines()) == 1
    assert "towpath up --data" in shown.stderr
    assert list(tmp_path.iterdir()) == []


def test_everything_in_the_directory_is_private_and_no_secret_is_logged(
    up: Up, globus_env: dict[str, str]
) -> None:
    run("globus", "whoami", env=globus_env)
    assert stat.S_IMODE(up.data.stat().st_mode) == 0o700
    for path in up.data.rglob("*"):
        if not path.is_relative_to(up.data / "postgres") and not path.is_socket():
            assert path.stat().st_mode & 0o077 == 0, path
    secrets = [
        json.loads((up.data / "secrets" / f"{name}.json").read_text())["client_secret"]
        for name in ("operator", "transfer")
    ]
    log = (up.data / "log" / "up.log").read_text()
    assert "up.ready" in log
    assert not any(secret in log for secret in secrets)


def test_all_apis_are_told_of_without_a_token(up: Up) -> None:
    trust = ssl.create_default_context(cafile=str(up.data / "tls" / "ca.pem"))
    with httpx.Client(base_url=str(up.state["url"]), verify=trust, timeout=60) as http:
        for name in ("", "timers", "manager", "groups"):
            page = http.get(f"/docs/{name}".rstrip("/"))
            assert page.status_code == 200
            [document] = re.findall(r'<a href="(/openapi[^"]*)">', page.text)
            told = http.get(document).json()
            assert told["openapi"] == "3.1.0"
            assert f"<h1>{told['info']['title']}" in page.text


def test_a_second_up_on_the_directory_is_refused(up: Up) -> None:
    shown = run("towpath", "up", "--data", str(up.data), "--port", "0")
    assert shown.returncode == 1
    assert f"process {up.process.pid}" in shown.stderr


def test_a_taken_port_is_explained(up: Up, tmp_path: Path) -> None:
    port = str(up.state["port"])
    shown = run("towpath", "up", "--data", str(tmp_path / "d"), "--port", port)
    assert shown.returncode == 1
    assert f"127.0.0.1:{port}" in shown.stderr
    assert "Traceback" not in shown.stderr
    doctor = run("towpath", "doctor", "--data", str(tmp_path / "d"), "--port", port)
    assert doctor.returncode == 1
    assert "choose another with --port" in doctor.stdout
    assert run("towpath", "doctor", "--data", str(up.data), "--port", port).returncode == 0


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)]
)
def test_stopped_or_killed_it_leaves_no_orphan_and_carries_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    first = Up.start(tmp_path / "data", "--port", "0", "--workers", "1")
    state = first.state
    children = Path(f"/proc/{first.process.pid}/task/{first.process.pid}/children")
    worker = next(p for p in children.read_text().split() if int(p) != state["postgres_pid"])
    operator = (tmp_path / "data" / "secrets" / "operator.json").read_text()
    code = first.stop(number)
    assert code == (0 if number is signal.SIGTERM else -signal.SIGKILL)
    if number is signal.SIGTERM:
        assert gone(state["postgres_pid"])
    # after kill -9 at once, while what was left behind may still be ending
    second = Up.start(tmp_path / "data", "--port", str(state["port"]))
    assert gone(state["postgres_pid"])
    assert gone(worker)
    assert second.url == first.url
    assert (tmp_path / "data" / "secrets" / "operator.json").read_text() == operator
    assert second.stop() == 0


def test_killed_all_at_once_postgres_included(tmp_path: Path) -> None:
    first = Up.start(tmp_path / "data", "--port", "0")
    postgres = first.state["postgres_pid"]
    assert isinstance(postgres, int)
    os.kill(postgres, signal.SIGKILL)
    first.stop(signal.SIGKILL)
    second = Up.start(tmp_path / "data", "--port", "0")
    assert second.stop(signal.SIGINT) == 0


def test_a_database_that_goes_away_while_it_starts_is_waited_for(
    tmp_path: Path, database_url: str
) -> None:
    data = tmp_path / "data"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (migrations.LOCK,))
        process = Up.run(data, "--port", "0", TOWPATH_DATABASE__URL=database_url)
        assert process.stdout is not None
        deadline = time.monotonic() + START_S
        while not connection.execute(_END_WHO_WAITS).fetchall():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        connection.execute("SELECT pg_advisory_unlock(%s)", (migrations.LOCK,))
        line = process.stdout.readline()
        if line.startswith("administrator https://"):  # until there is one
            line = process.stdout.readline()
        assert line.startswith("ready https://"), line
    assert Up(data, process, line.split()[1]).stop() == 0
    assert "database.awaited" in (data / "log" / "up.log").read_text()


_END_WHO_WAITS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event = 'advisory'"
)
