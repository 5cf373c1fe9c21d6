"""``towpath gridftp``: list, copy and sum files on GridFTP servers, without the service; be one.

What can be asked is here; `gridftp_look`, `gridftp_copy` and `gridftp_serve` do it. See
`towpath.start`.
"""

import re
from pathlib import Path
from typing import Any, Final

import click

from towpath.cli.globus_files import credential_option
from towpath.gridftp.client.ahead import DialledAhead
from towpath.gridftp.client.copy.locations import Location
from towpath.gridftp.wire.features import CHECKSUMS
from towpath.start import importing

MAX_STREAMS: Final = 64
GRID_SECURITY: Final = Path("/etc/grid-security")


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


def _host_and_port(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    if value is None:
        return None
    host, _, digits = value.rpartition(":")
    if not (digits.isascii() and digits.isdigit() and int(digits) < 1 << 16):
        raise click.BadParameter(f"{value!r} is not PORT or HOST:PORT", ctx, param)
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(digits)


def _port_range(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", value)
    if match is None or not 0 < int(match[1]) <= int(match[2]) < 1 << 16:
        raise click.BadParameter(f"{value!r} is not FIRST-LAST", ctx, param)
    return int(match[1]), int(match[2])


@click.group(name="gridftp")
def command() -> None:
    """List, copy and sum files on GridFTP servers, without the service; serve files.

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


@command.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    required=True,
    help="The directory that is served as /.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="Address to listen at, in numbers; may be repeated.  [default: all]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=2811,
    show_default=True,
    help="0: any free one.",
)
@click.option(
    "--cert",
    "certificate",
    type=click.Path(path_type=Path),
    default=GRID_SECURITY / "hostcert.pem",
    show_default=True,
    help="This host's certificate, PEM, with its chain.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    default=GRID_SECURITY / "hostkey.pem",
    show_default=True,
    help="Its key, PEM, without pass phrase.",
)
@click.option(
    "--trust-dir",
    type=click.Path(path_type=Path),
    default=GRID_SECURITY / "certificates",
    show_default=True,
    help="Authorities whose users may log in.",
)
@click.option(
    "--gridmap",
    type=click.Path(path_type=Path),
    default=GRID_SECURITY / "grid-mapfile",
    show_default=True,
    help="Which account a certificate's name is.",
)
@click.option(
    "--rules",
    metavar="RULES",
    help="What may be read (R), written (W), both (RW), or neither (N): R/,RW/upload,N/private. "
    "The longest path counts.  [default: RW/]",
)
@click.option(
    "--anonymous",
    is_flag=False,
    flag_value="",
    metavar="[ACCOUNT]",
    help="Let everybody in, without password and encryption, as this account; without root as "
    "your own.",
)
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="Let users in by password, in clear text; see 'towpath gridftp passwd'.",
)
@click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    callback=_host_and_port,
    help="Serve metrics for Prometheus here, over HTTP.  [default host: 127.0.0.1]",
)
@click.option(
    "--access-log",
    type=click.Path(path_type=Path),
    help="Append a line of JSON for each login and transfer; - is the standard output.",
)
@click.option(
    "--user",
    default="nobody",
    show_default=True,
    help="Started by root: the account of the process that talks to the network. Nobody is "
    "mapped to it.",
)
@click.option(
    "--allow-root",
    is_flag=True,
    help="Started by root: serve root's own account, and no other. For tests.",
)
@click.option(
    "--data-ports",
    metavar="FIRST-LAST",
    callback=_port_range,
    help="Ports for incoming data connections, as the firewall has them.  [default: any]",
)
@click.option(
    "--durable",
    is_flag=True,
    help="Say that a file is stored only when the disk has it (fsync).",
)
def serve(**given: Any) -> None:
    """Serve the files in a directory by GridFTP, until SIGTERM.

    Started by root, each user gets a process of their own account. Started by anybody else, it
    serves that account only, and the gridmap must map users to it. Prints "ready gsiftp://HOST:PORT"
    when it serves.
    """
    with importing():
        from towpath.cli import gridftp_serve  # noqa: PLC0415 - stage 2
    gridftp_serve.serve(gridftp_serve.Options.given(**given))


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("user")
@click.option("--account", help="The local account that the user gets.  [default: USER]")
@click.option("--stdin-pass", is_flag=True, help="Read the password from standard input, a line.")
def passwd(file: Path, user: str, account: str | None, stdin_pass: bool) -> None:  # noqa: FBT001
    """Set a password in the file that 'serve --password-file' reads."""
    password = (
        click.get_text_stream("stdin").readline().rstrip("\r\n")
        if stdin_pass
        else click.prompt("Password", hide_input=True, confirmation_prompt=True)
    )
    with importing():
        from towpath.cli.password_file import set_password  # noqa: PLC0415 - stage 2
    try:
        set_password(file, user, account or user, password)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def _dialled(*locations: Location) -> DialledAhead:
    return DialledAhead(location.server for location in locations if location.server is not None)
