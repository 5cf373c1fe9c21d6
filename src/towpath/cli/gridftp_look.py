"""What ``towpath gridftp ls`` and ``sum`` do. Their options are in `towpath.cli.gridftp`."""

import os
import posixpath
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from towpath.cli.globus_files import Logins, run_client
from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.dial import Dial
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import printable
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.start import leave


def list_files(
    dial: Dial, url: Location, credential: Path | None, *, details: bool, recursive: bool
) -> None:
    """Print what is in a directory, or of a file."""

    async def look(session: Session, path: str) -> None:
        entry = await session.stat(path)
        if not entry.is_directory:
            _print_entry(entry, posixpath.basename(path), details=details)
            return
        waiting = [""]
        while waiting:
            relative = waiting.pop(0)
            entries = [
                item
                async for batch in session.list(posixpath.join(path, relative))
                for item in batch
            ]
            for item in sorted(entries, key=lambda item: item.name):
                name = posixpath.join(relative, item.name)
                _print_entry(item, name, details=details)
                if recursive and item.is_directory and item.link_target is None:
                    waiting.append(name)

    _look(dial, url, credential, look)


def checksum(dial: Dial, url: Location, credential: Path | None, algorithm: str) -> None:
    """Print a file's checksum."""

    async def look(session: Session, path: str) -> None:
        digest = await session.checksum(path, algorithm)
        click.echo(os.fsencode(f"{digest}  {_shown(path)}"))

    _look(dial, url, credential, look)


def _look(
    dial: Dial,
    url: Location,
    credential: Path | None,
    look: Callable[[Session, str], Awaitable[None]],
) -> None:
    """Log in, look at the path, and end."""
    assert url.server is not None
    server = url.server
    proxy, trust = (None, None) if url.clear else Logins().find(credential)

    async def run() -> None:
        session = await Session.open(server, credential=proxy, trust=trust, dial=dial)
        try:
            await look(session, url.at_home(session).path)
            leave()  # nothing of ours runs there: the server's session ends by itself
        finally:
            await session.close()

    run_client(run())


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
