"""Runs a whole deployment (`towpath up`) as a user would: as a process, through its front door."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx

from towpath.demo.processes import descendants, until_ready
from towpath.demo.servers import HERE, Host
from towpath.gridftp.security.trust import TrustRoots

START_TIMEOUT_S = 90.0
"""The first start makes a database, keys and certificates; this is for a busy machine."""

STOP_TIMEOUT_S = 40.0
FINAL = frozenset({"SUCCEEDED", "FAILED"})
_TRANSFER_SCOPE = "urn:globus:auth:scope:transfer.api.globus.org:all"
_ENVIRONMENT_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")


class DeploymentError(Exception):
    """`towpath` did not do what was asked; the message has its own words."""


class Deployment:
    """One `towpath up` on a data directory; use `start`."""

    def __init__(self, data_dir: Path, process: subprocess.Popen[str], url: str) -> None:
        self.data_dir = data_dir
        self.url = url
        self._process = process
        self._client: httpx.Client | None = None
        self._environment: dict[str, str] | None = None

    @classmethod
    def start(
        cls, data_dir: Path, settings: Mapping[str, str] | None = None, *, host: Host = HERE
    ) -> Self:
        """Start and wait for `ready`. `settings`: `TOWPATH_*` variables. Raises DeploymentError."""
        data_dir.mkdir(parents=True, exist_ok=True)
        log = data_dir.with_name(f"{data_dir.name}.up.log")
        with log.open("a") as errors:
            process = subprocess.Popen(
                [
                    *host.enter,
                    *_towpath("up"),
                    *("--data", str(data_dir), "--host", host.address, "--port", "0"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=_environment(settings),
                start_new_session=True,
            )
        try:
            line = until_ready(process, log, "`towpath up`", START_TIMEOUT_S)
        except OSError as error:
            raise DeploymentError(str(error)) from None
        return cls(data_dir, process, line.split()[1])

    @property
    def pid(self) -> int:
        """The process that the operator started."""
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """The worker processes, by pid."""
        found = []
        for pid in descendants(self.pid):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"worker" in words and b"towpath.cli" in words:
                    found.append(pid)
        return sorted(found)

    def kill(self) -> None:
        """SIGKILL to every process at once, PostgreSQL included, and wait until all are gone."""
        tree = [self.pid, *descendants(self.pid)]
        for pid in tree:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._close()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while any(Path(f"/proc/{pid}").exists() for pid in tree):
            if time.monotonic() > deadline:
                raise DeploymentError("processes did not end after SIGKILL")
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM, as an operator would; the exit code."""
        self._close()
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DeploymentError("`towpath up` did not stop on SIGTERM") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._close()
        if self._process.poll() is None:
            self.kill()

    def _close(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    # The front door.

    def towpath(self, *arguments: str) -> str:
        """Run a `towpath` command on this deployment; its standard output."""
        done = subprocess.run(
            [*_towpath(*arguments), "--data", str(self.data_dir)],
            capture_output=True,
            text=True,
            timeout=60,
            env=_environment(None),
            check=False,
        )
        if done.returncode != 0:
            raise DeploymentError(f"towpath {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """What `eval "$(towpath env)"` sets, for running the `globus` command."""
        if self._environment is None:
            pairs = (
                line.removeprefix("export ").partition("=")
                for line in self.towpath("env").splitlines()
                if line.startswith("export ")
            )
            self._environment = {name: value.strip("'") for name, _, value in pairs}
        return dict(self._environment)

    # The API, as the operator's client.

    @property
    def client(self) -> httpx.Client:
        """An HTTP client that is logged in as the operator."""
        if self._client is None:
            client = httpx.Client(
                base_url=self.url,
                verify=ssl.create_default_context(cafile=self.data_dir / "tls" / "ca.pem"),
                timeout=60,
                trust_env=False,
            )
            self._client = client
            client.headers["Authorization"] = f"Bearer {self._token(_TRANSFER_SCOPE)}"
        return self._client

    def _token(self, scope: str) -> str:
        operator = json.loads((self.data_dir / "secrets" / "operator.json").read_text())
        answer = self.client.post(
            "/v2/oauth2/token",
            data={"grant_type": "client_credentials", "scope": scope},
            auth=(operator["client_id"], operator["client_secret"]),
        )
        answer.raise_for_status()
        token: str = answer.json()["access_token"]
        return token

    def _asked(self, method: str, route: str, **content: Any) -> dict[str, Any]:
        """An answer; the operator's client consents to what it needs, as the `globus` command does
        for a client."""
        answer = self.client.request(method, f"/v0.10/{route}", **content)
        if answer.status_code == 403 and answer.json()["code"] == "ConsentRequired":
            self._token(" ".join(answer.json()["required_scopes"]))
            answer = self.client.request(method, f"/v0.10/{route}", **content)
        if answer.is_error:
            raise DeploymentError(f"{method} {route}: {answer.status_code} {answer.text[:500]}")
        document: dict[str, Any] = answer.json()
        return document

    def get(self, route: str, **parameters: str | int) -> dict[str, Any]:
        """The document of a Transfer API route (`task/<id>`)."""
        return self._asked("GET", route, params=parameters)

    def post(self, route: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Post a document to a Transfer API route."""
        return self._asked("POST", route, json=document)

    def put(self, route: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Put a document at a Transfer API route."""
        return self._asked("PUT", route, json=document)

    def add_endpoint(self, name: str, url: str, trust_dir: Path, proxy_file: Path) -> str:
        """Register a GridFTP server with a credential for it; the endpoint's id."""
        document = {
            "DATA_TYPE": "endpoint",
            "display_name": name,
            "DATA": [{"DATA_TYPE": "server", "uri": url}],
            "trust_roots": dict(TrustRoots.from_directory(trust_dir).files),
        }
        endpoint_id: str = self.post("endpoint", document)["id"]
        self.put(f"endpoint/{endpoint_id}/credential", {"proxy": proxy_file.read_text("ascii")})
        return endpoint_id

    def transfer(
        self,
        source: str,
        destination: str,
        items: Iterable[tuple[str, str, bool | None]],
        **options: object,
    ) -> str:
        """Submit a transfer of (source path, destination path, recursive) items; the task id."""
        document = {
            "DATA_TYPE": "transfer",
            "submission_id": str(uuid4()),
            "source_endpoint": source,
            "destination_endpoint": destination,
            "verify_checksum": True,
            "DATA": [
                {
                    "DATA_TYPE": "transfer_item",
                    "source_path": source_path,
                    "destination_path": destination_path,
                    "recursive": recursive,
                }
                for source_path, destination_path, recursive in items
            ],
            **options,
        }
        task_id: str = self.post("transfer", document)["task_id"]
        return task_id

    def task(self, task_id: str) -> dict[str, Any]:
        """The task's document."""
        return self.get(f"task/{task_id}")

    def events(self, task_id: str) -> list[dict[str, Any]]:
        """The task's events, oldest first."""
        listed: list[dict[str, Any]] = self.get(f"task/{task_id}/event_list", limit=1000)["DATA"]
        return listed[::-1]

    def wait(self, task_id: str, timeout_s: float, every_s: float = 0.2) -> dict[str, Any]:
        """Wait for the task's end; its document. Raises DeploymentError with its events."""
        deadline = time.monotonic() + timeout_s
        while True:
            task = self.task(task_id)
            if task["status"] in FINAL:
                return task
            if time.monotonic() > deadline:
                told = "\n".join(
                    f"{e['time']} {e['code']} {e['details']}" for e in self.events(task_id)[-20:]
                )
                raise DeploymentError(f"not done after {timeout_s} s: {task}\n{told}")
            time.sleep(every_s)


def _towpath(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "towpath.cli", *arguments]


def _environment(settings: Mapping[str, str] | None) -> dict[str, str]:
    """Nothing of the caller's own TOWPATH_* or proxy variables reaches the deployment."""
    kept = {name: os.environ[name] for name in _ENVIRONMENT_KEPT if name in os.environ}
    return kept | dict(settings or {})
