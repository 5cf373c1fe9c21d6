"""``towpath myproxy``: get a credential for a pass phrase, and keep one at a MyProxy server."""

import asyncio
import getpass
import os
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from towpath.cli.globus_files import (
    credential_in,
    credential_option,
    proxy_file,
    run_client,
    trust_roots,
)
from towpath.gridftp.client.dial import Server
from towpath.gridftp.client.myproxy import MyProxy
from towpath.gridftp.errors import printable
from towpath.gridftp.security.trust import TrustRoots
from towpath.gridftp.wire.myproxy import DEFAULT_PORT, VALUE_LIMIT_BYTES, StoredCredential
from towpath.platform.files import write_private

LONGEST_HOURS: Final = 24 * 366 * 10
"""The server counts seconds in 32 bits."""

Function = TypeVar("Function", bound=Callable[..., Any])


def _server(ctx: click.Context, param: click.Parameter, value: str) -> Server:
    """HOST, HOST:PORT, or [ADDRESS]:PORT."""
    host, colon, digits = value.rpartition(":")
    if not colon or value.endswith("]"):
        host, digits = value, os.environ.get("MYPROXY_SERVER_PORT") or str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (digits.isascii() and digits.isdigit() and 0 < int(digits) < 1 << 16):
        raise click.BadParameter(f"{value!r} is not HOST or HOST:PORT", ctx, param)
    return Server(host, int(digits), os.environ.get("MYPROXY_SERVER_DN") or None)


def _all(*options: Callable[[Function], Function]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_server_option = click.option(
    "-s",
    "--server",
    metavar="HOST[:PORT]",
    envvar="MYPROXY_SERVER",
    required=True,
    callback=_server,
    help="The MyProxy server  [default: $MYPROXY_SERVER]",
)
_user_options = _all(
    _server_option,
    click.option(
        "-l",
        "--username",
        default=lambda: os.environ.get("LOGNAME") or getpass.getuser(),
        help="The user's name at the server  [default: $LOGNAME]",
    ),
    click.option("-k", "--name", default="", help="Of one of several credentials."),
)
_stdin_option = click.option(
    "--stdin-pass", is_flag=True, help="Read the pass phrase from standard input, a line."
)


def _hours(flag: str, name: str, default: int, text: str) -> Callable[[Function], Function]:
    return click.option(
        flag,
        name,
        type=click.IntRange(1, LONGEST_HOURS),
        default=default,
        show_default=True,
        help=text,
    )


@click.group(name="myproxy")
def command() -> None:
    """Get a credential for a pass phrase, and keep one at a MyProxy server.

    The server must prove that it is this host (or $MYPROXY_SERVER_DN) to the authorities in
    $X509_CERT_DIR (else ~/.globus/certificates, else /etc/grid-security/certificates). Pass phrases
    are asked for, or read from standard input; never from the command line.
    """


@command.command()
@_user_options
@_hours("-t", "--hours", 12, "How long the credential shall be good for.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write it  [default: $X509_USER_PROXY, /tmp/x509up_u<uid>]",
)
@click.option(
    "--credential",
    type=click.Path(path_type=Path),
    help="Proxy file to show to the server  [default: none]",
)
@_stdin_option
def logon(
    server: Server,
    username: str,
    name: str,
    hours: int,
    out: Path | None,
    credential: Path | None,
    stdin_pass: bool,  # noqa: FBT001
) -> None:
    """Get a credential for a pass phrase.

    It is written where GridFTP clients look for it.
    """
    own = None if credential is None else credential_in(credential)
    myproxy = MyProxy(server, trust_roots())
    (passphrase,) = _passphrases(["MyProxy pass phrase"], stdin=stdin_pass)
    path = out or proxy_file()

    async def run() -> None:
        got = await myproxy.logon(
            username, passphrase, lifetime=timedelta(hours=hours), name=name, credential=own
        )
        try:
            await asyncio.to_thread(write_private, path, got.to_pem())
        except OSError as error:
            raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
        click.echo(f"{path}: {got.subject}, valid until {_shown(got.not_after)}")

    run_client(run())


@command.command()
@_user_options
@_hours("-t", "--hours", 168, "How long the server shall be able to use it.")
@_hours("--logon-hours", "logon_hours", 12, "Longest life of what a logon gives.")
@click.option("-d", "--description", default="")
@credential_option
@_stdin_option
def store(
    server: Server,
    username: str,
    name: str,
    hours: int,
    logon_hours: int,
    description: str,
    credential: Path | None,
    stdin_pass: bool,  # noqa: FBT001
) -> None:
    """Let the server keep a proxy of your credential.

    Who knows the pass phrase gets proxies of it. The server gets a key of its own; yours stays
    here.
    """
    own = credential_in(credential)
    myproxy = MyProxy(server, trust_roots())
    (passphrase,) = _passphrases(["New MyProxy pass phrase"], stdin=stdin_pass, confirm=True)

    async def run() -> None:
        until = await myproxy.store(
            username,
            passphrase,
            credential=own,
            lifetime=timedelta(hours=hours),
            logon_lifetime=timedelta(hours=logon_hours),
            name=name,
            description=description,
        )
        click.echo(f"Stored: {own.subject}, valid until {_shown(until)}")

    run_client(run())


@command.command()
@_user_options
@credential_option
def info(server: Server, username: str, name: str, credential: Path | None) -> None:
    """Tell which credentials of yours the server keeps."""
    own = credential_in(credential)
    myproxy = MyProxy(server, trust_roots())

    async def run() -> None:
        now = datetime.now(UTC).timestamp()
        for stored in await myproxy.info(username, credential=own, name=name):
            click.echo(_told(stored, now))

    run_client(run())


@command.command()
@_user_options
@credential_option
def destroy(server: Server, username: str, name: str, credential: Path | None) -> None:
    """Have the server remove a credential of yours."""
    own = credential_in(credential)
    myproxy = MyProxy(server, trust_roots())
    run_client(myproxy.destroy(username, credential=own, name=name))


@command.command()
@_user_options
@credential_option
@_stdin_option
def passwd(
    server: Server,
    username: str,
    name: str,
    credential: Path | None,
    stdin_pass: bool,  # noqa: FBT001
) -> None:
    """Change the pass phrase of a stored credential.

    With --stdin-pass the old one comes first, the new one on a second line.
    """
    own = credential_in(credential)
    myproxy = MyProxy(server, trust_roots())
    old, new = _passphrases(
        ["Old MyProxy pass phrase", "New MyProxy pass phrase"], stdin=stdin_pass, confirm=True
    )
    run_client(myproxy.change_passphrase(username, old, new, credential=own, name=name))


@command.command()
@_server_option
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="The directory to write to  [default: $X509_CERT_DIR, ~/.globus/certificates]",
)
def trustroots(server: Server, into: Path | None) -> None:
    """Get the trusted authorities that the server gives.

    With their policies and revocation lists. Files of the same names are replaced; nothing is
    removed. The server itself must be trusted already.
    """
    directory = into or Path(
        os.environ.get("X509_CERT_DIR") or Path.home() / ".globus/certificates"
    )
    myproxy = MyProxy(server, trust_roots())

    async def run() -> None:
        files = await myproxy.trust_roots()
        texts = {name: content.decode("utf-8", "replace") for name, content in files.items()}
        try:
            roots = TrustRoots.from_files(texts)
        except ValueError as error:
            raise click.ClickException(
                f"the trust roots of {server} cannot be used, nothing is changed: {error}"
            ) from None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name, content in sorted(files.items()):
                _replace(directory / name, content)
        except OSError as error:
            raise click.ClickException(f"{error.filename}: {error.strerror}") from None
        count = len(roots.authorities)
        click.echo(f"{directory}: {len(files)} files, {count} authorities")

    run_client(run())


def _passphrases(prompts: list[str], *, stdin: bool, confirm: bool = False) -> list[str]:
    """One for each prompt; `confirm`: the last is asked for twice."""
    if not stdin:
        last = len(prompts) - 1
        return [
            str(
                click.prompt(
                    prompt, hide_input=True, err=True, confirmation_prompt=confirm and at == last
                )
            )
            for at, prompt in enumerate(prompts)
        ]
    # one byte more than is taken, so that what is too long is refused and not cut
    lines = [sys.stdin.buffer.readline(VALUE_LIMIT_BYTES + 2) for _ in prompts]
    return [line.rstrip(b"\r\n").decode("utf-8", "surrogateescape") for line in lines]


def _replace(path: Path, content: bytes) -> None:
    """Write a file for everyone to read; who reads sees the old content or the new."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".towpath-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _told(stored: StoredCredential, now_unix_s: float) -> str:
    until = _shown(datetime.fromtimestamp(stored.ends_unix_s, UTC))
    state = "expired" if stored.ends_unix_s <= now_unix_s else "valid until"
    parts = [f"{stored.name or '-':12} {state} {until}  {stored.owner}"]
    if stored.description:
        parts.append(stored.description)
    if stored.locked:
        parts.append(f"locked: {stored.locked}")
    return printable("  ".join(parts))


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
