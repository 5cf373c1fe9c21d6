"""What ``towpath gridftp ls`` and ``sum`` do. Their options are in `towpath.cli.gridftp`."""

import asyncio
import os
import posixpath
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import click

from towpath.cli.globus_files import Logins, run_client
from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.dial import Dial
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind, printable
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.start import leave


def list_files(
    dial: Dial, url: Location, credential: Path | None, *, details: bool, recursive: bool
) -> None:
    """Print what is in a directory, or of a file."""

    async def look(session: Session, path: str) -> None:
        entry = await session.stat(path)
        if not entry.is_directory:
            _print([_line(entry._replace(name=posixpath.basename(path)), details=details)])
            return
        entries = [item async for batch in session.list(path) for item in batch]
        entries.sort(key=lambda item: item.name)
        _print([_line(item, details=details) for item in entries])

    if recursive:
        _list_tree(dial, url, credential, details=details)
    else:
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


def _list_tree(dial: Dial, url: Location, credential: Path | None, *, details: bool) -> None:
    """Print everything below a directory as it is found; a directory before what is in it."""
    # 10 ms for a large tree, and nothing for who lists one directory.
    from towpath.gridftp.client.data.security import DataSecurity  # noqa: PLC0415
    from towpath.gridftp.client.tree_listing import ALL_FACTS, FACTS, list_tree  # noqa: PLC0415
    from towpath.gridftp.security.dcsc import DataCredential  # noqa: PLC0415

    assert url.server is not None
    server = url.server
    proxy, trust = (None, None) if url.clear else Logins().find(credential)
    started: list[Session] = []

    async def open_session() -> Session:
        if started:
            return started.pop()
        return await Session.start(server, credential=proxy, trust=trust, dial=dial)

    async def security() -> DataSecurity:
        if url.clear:  # the credential would be public
            return DataSecurity()
        return DataSecurity(await asyncio.to_thread(DataCredential.create, datetime.now(UTC)))

    async def run() -> None:
        path = url.path
        if path.startswith("/~"):
            session = await open_session()
            started.append(session)
            await session.ready()
            path = url.at_home(session).path
        facts = ALL_FACTS if details else FACTS
        whole = True
        try:
            async for entries, failed in list_tree(
                open_session, path, security=security, facts=facts
            ):
                entries.sort(key=lambda item: item.name)
                _print([_line(item, details=details) for item in entries])
                for _path, error in failed:
                    whole = False
                    click.echo(f"Error: {error}", err=True)
        except GridFTPError as error:
            if error.kind is not Kind.NOT_A_DIRECTORY or error.path != path:
                raise
            session = await open_session()
            await session.ready()
            entry = await session.stat(path)
            _print([_line(entry._replace(name=posixpath.basename(path)), details=details)])
            await session.close()
        if not whole:
            sys.exit(1)
        leave()

    run_client(run())


def _print(lines: list[str]) -> None:
    if lines:
        click.echo(os.fsencode("\n".join(lines)))


def _line(entry: Entry, *, details: bool) -> str:
    shown = _shown(entry.name)
    if entry.type is EntryType.DIRECTORY:
        shown += "/"
    if not details:
        return shown
    time = "-" if entry.modified is None else _time(entry.modified)
    kind = {EntryType.FILE: "-", EntryType.OTHER: "?"}.get(entry.type, "d")
    mode = "---------" if entry.mode is None else _mode(entry.mode)
    owner, group = (_shown(text or "-") for text in (entry.owner, entry.group))
    link = "" if entry.link_target is None else f" -> {_shown(entry.link_target)}"
    return f"{kind}{mode} {owner:8} {group:8} {entry.size:>14} {time} {shown}{link}"


def _shown(text: str) -> str:
    """A terminal gets no control characters from a server; a pipe gets the name as it is."""
    return printable(text, 4096) if _is_terminal() else text


@cache
def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _time(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _mode(mode: int) -> str:
    return "".join(
        letter if mode >> (8 - place) & 1 else "-" for place, letter in enumerate("rwxrwxrwx")
    )
