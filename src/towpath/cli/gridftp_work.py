"""What ``towpath gridftp`` does. Its options are in `towpath.cli.gridftp`."""

import os
import posixpath
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from towpath.cli.globus_files import credential_in, run_client, trust_roots
from towpath.cli.gridftp_progress import reporter
from towpath.gridftp.client.copy.copying import copy
from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.copy.plan import Access, CopyingOptions, End
from towpath.gridftp.client.dial import Dial
from towpath.gridftp.client.pool import SessionPool
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import printable
from towpath.gridftp.security.credentials import Credential
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.start import leave


def list_files(
    dial: Dial, url: Location, credential: Path | None, *, details: bool, recursive: bool
) -> None:
    """Print what is in a directory, or of a file."""

    async def run() -> None:
        async with _session(dial, url, credential) as (session, location):
            entry = await session.stat(location.path)
            if not entry.is_directory:
                _print_entry(entry, posixpath.basename(location.path), details=details)
                return
            waiting = [""]
            while waiting:
                relative = waiting.pop(0)
                entries = [
                    item
                    async for batch in session.list(posixpath.join(location.path, relative))
                    for item in batch
                ]
                for item in sorted(entries, key=lambda item: item.name):
                    name = posixpath.join(relative, item.name)
                    _print_entry(item, name, details=details)
                    if recursive and item.is_directory and item.link_target is None:
                        waiting.append(name)

    run_client(run())
    leave()


def checksum(dial: Dial, url: Location, credential: Path | None, algorithm: str) -> None:
    """Print a file's checksum."""

    async def run() -> None:
        async with _session(dial, url, credential) as (session, location):
            digest = await session.checksum(location.path, algorithm)
            click.echo(os.fsencode(f"{digest}  {_shown(location.path)}"))

    run_client(run())
    leave()


def copy_files(
    dial: Dial,
    source: tuple[Location, Path | None],
    destination: tuple[Location, Path | None],
    *,
    recursive: bool,
    parallel: int,
    verify: bool,
    encrypt: bool,
) -> None:
    """Copy; each end is a location and the file of the credential for it."""
    options = CopyingOptions(recursive, parallel, verify, encrypt)
    logins = _Logins()
    ends = [
        End(location, logins.access(location, file)) for location, file in (source, destination)
    ]

    async def run() -> None:
        pool = SessionPool(dial)
        try:
            with reporter() as progress:
                complete = await copy(ends[0], ends[1], options, progress, pool)
            progress.conclude()
            if complete:
                # All is there and nothing runs: the servers' sessions end by themselves.
                leave()
        finally:
            await pool.close()
        if not complete:
            sys.exit(1)

    run_client(run())


@asynccontextmanager
async def _session(
    dial: Dial, location: Location, credential: Path | None
) -> AsyncIterator[tuple[Session, Location]]:
    login = _Logins().access(location, credential).login(location)
    session = await Session.open(
        login.server, credential=login.credential, trust=login.trust, dial=dial
    )
    try:
        yield session, location.at_home(session)
    finally:
        await session.close()


class _Logins:
    """Reads credentials and trusted authorities, each once."""

    def __init__(self) -> None:
        self._trust: TrustRoots | None = None
        self._credentials: dict[Path | None, Credential] = {}

    def access(self, location: Location, file: Path | None) -> Access:
        """The login for a server; for a path here, and in clear text, none is needed."""
        if location.server is None or location.clear:
            return Access(None, None)
        if file not in self._credentials:
            self._credentials[file] = credential_in(file)
        credential = self._credentials[file]
        self._trust = self._trust or trust_roots()
        credential.ssl_context(
            self._trust
        )  # a session would make it in a thread, which takes longer
        return Access(credential, self._trust)


def _print_entry(entry: Entry, name: str, *, details: bool) -> None:
    shown = _shown(name) + ("/" if entry.is_directory else "")
    if details:
        time = "-" if entry.modified is None else _time(entry.modified)
        kind = {EntryType.FILE: "-", EntryType.OTHER: "?"}.get(entry.type, "d")
        mode = "---------" if entry.mode is None else _mode(entry.mode)
        owner, group = (_shown(text or "-") for text in (entry.owner, entry.group))
        link = "" if entry.link_target is None else f" -> {_shown(entry.link_target)}"
        shown = f"{kind}{mode} {owner:8} {group:8} {entry.size:>14} {time} {shown}{link}"
    click.echo(os.fsencode(shown))


def _shown(text: str) -> str:
    """A terminal gets no control characters from a server; a pipe gets the name as it is."""
    return printable(text, 4096) if sys.stdout.isatty() else text


def _time(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _mode(mode: int) -> str:
    return "".join(
        letter if mode >> (8 - place) & 1 else "-" for place, letter in enumerate("rwxrwxrwx")
    )
