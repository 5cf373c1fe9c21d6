"""``towpath gridftp``: list, copy and sum files on GridFTP servers, without the service.

What can be asked is here; `gridftp_look` and `gridftp_copy` do it. See `towpath.start`.
"""

from pathlib import Path
from typing import Final

import click

from towpath.cli.globus_files import credential_option
from towpath.gridftp.client.ahead import DialledAhead
from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.wire.features import CHECKSUMS
from towpath.start import importing

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
    dial = _dialled(url)
    with importing():
        from towpath.cli import gridftp_look  # noqa: PLC0415 - stage 2
    gridftp_look.list_files(dial, url, credential, details=details, recursive=recursive)


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
    dial = _dialled(url)
    with importing():
        from towpath.cli import gridftp_look  # noqa: PLC0415 - stage 2
    gridftp_look.checksum(dial, url, credential, algorithm)


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
    dial = _dialled(source, destination)
    with importing():
        from towpath.cli import gridftp_copy  # noqa: PLC0415 - stage 2
    gridftp_copy.copy_files(
        dial,
        (source, source_credential or credential),
        (destination, destination_credential or credential),
        recursive=recursive,
        parallel=parallel,
        verify=verify,
        encrypt=encrypt,
    )


def _dialled(*locations: Location) -> DialledAhead:
    return DialledAhead(location.server for location in locations if location.server is not None)
