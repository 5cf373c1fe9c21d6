"""``towpath gridftp``: list, copy and sum files on GridFTP servers, without the service."""

import os
import posixpath
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from towpath.cli.globus_files import credential_in, credential_option, run_client, trust_roots
from towpath.cli.gridftp_progress import reporter
from towpath.gridftp.client.copy.copying import copy
from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.client.copy.movers import CHECKSUMS
from towpath.gridftp.client.copy.plan import Access, CopyingOptions, End
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import printable
from towpath.gridftp.wire.listings import Entry, EntryType

MAX_STREAMS: Final = 64


def _location(ctx: click.Context, param: click.Parameter, value: str) -> Location:
    """A path, or a URL of a server."""
    try:
        return Location.parse(value)
    except ValueError as error:
        raise click.BadParameter(f"{value}: {error}", ctx, param) from None


def _remote(ctx: click.Context, param: click.Parameter, value: str) -> Location:
    """A URL of a server only."""
    location = _location(ctx, param, value)
    if location.server is None:
        raise click.BadParameter(f"{value} is local; name a server: gsiftp://host/path", ctx, param)
    return location


@click.group(name="gridftp")
def command() -> None:
    """List, copy and sum files on GridFTP servers, without the service.

    Servers are named as gsiftp://HOST[:PORT]/PATH. The login uses the proxy of $X509_USER_PROXY
    (else /tmp/x509up_u<uid>, as grid-proxy-init makes it), and trusts the authorities in
    $X509_CERT_DIR (else ~/.globus/certificates, else /etc/grid-security/certificates).
    """


@command.command(name="ls")
@click.argument("url", callback=_remote)
@click.option("-l", "--long", "details", is_flag=True, help="Mode, owner, size and time too.")
@click.option("-r", "--recursive", is_flag=True, help="Everything below, too.")
@credential_option
def list_files(url: Location, details: bool, recursive: bool, credential: Path | None) -> None:  # noqa: FBT001
    """List a directory, or tell of a file."""

    async def run() -> None:
        async with _session(url, credential) as (session, location):
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


@command.command(name="sum")
@click.argument("url", callback=_remote)
@click.option(
    "-a",
    "--algorithm",
    type=click.Choice(CHECKSUMS, case_sensitive=False),
    default="SHA256",
    show_default=True,
)
@credential_option
def checksum(url: Location, algorithm: str, credential: Path | None) -> None:
    """Let the server compute a file's checksum; printed as sha256sum does."""

    async def run() -> None:
        async with _session(url, credential) as (session, location):
            digest = await session.checksum(location.path, algorithm)
            click.echo(os.fsencode(f"{digest}  {_shown(location.path)}"))

    run_client(run())


@command.command(name="cp")
@click.argument("source", callback=_location, metavar="SRC")
@click.argument("destination", callback=_location, metavar="DST")
@click.option("-r", "--recursive", is_flag=True, help="Copy what is in directory SRC into DST.")
@click.option(
    "-p",
    "--parallel",
    type=click.IntRange(1, MAX_STREAMS),
    default=1,
    show_default=True,
    help="Connections for a large file: on long paths more are faster.",
)
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Compare checksums computed by both ends.",
)
@click.option("--encrypt", is_flag=True, help="Encrypt the data too, not only the commands.")
@click.option("--source-credential", type=click.Path(path_type=Path), help="Proxy for SRC only.")
@click.option(
    "--destination-credential", type=click.Path(path_type=Path), help="Proxy for DST only."
)
@credential_option
def copy_files(
    source: Location,
    destination: Location,
    recursive: bool,  # noqa: FBT001
    parallel: int,
    verify: bool,  # noqa: FBT001
    encrypt: bool,  # noqa: FBT001
    credential: Path | None,
    source_credential: Path | None,
    destination_credential: Path | None,
) -> None:
    """Copy a file or, with -r, a directory: from here, to here, or from server to server.

    Between two servers the bytes go directly. They need not trust each other's authorities: each
    login uses the credential for that server, and both get a throw-away one for the data.
    """
    if source.server is None and destination.server is None:
        raise click.UsageError("SRC and DST are both local; cp does that")
    options = CopyingOptions(recursive, parallel, verify, encrypt)

    async def run() -> None:
        ends = (
            End(source, _access(source, source_credential or credential)),
            End(destination, _access(destination, destination_credential or credential)),
        )
        with reporter() as progress:
            complete = await copy(*ends, options, progress)
        progress.conclude()
        if not complete:
            sys.exit(1)

    run_client(run())


@asynccontextmanager
async def _session(
    location: Location, credential: Path | None
) -> AsyncIterator[tuple[Session, Location]]:
    session = await _access(location, credential).open(location)
    try:
        yield session, location.at_home(session)
    finally:
        await session.close()


def _access(location: Location, file: Path | None) -> Access:
    """The login for a server; for a path here, and in clear text, none is needed."""
    if location.server is None or location.clear:
        return Access(None, None)
    return Access(credential_in(file), trust_roots())


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
