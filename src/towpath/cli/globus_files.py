"""Credentials and trusted authorities where Globus tools have them, and errors as they are told."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from towpath.gridftp.errors import GridFTPError

if TYPE_CHECKING:
    from towpath.gridftp.security.credentials import Credential
    from towpath.gridftp.security.trust import TrustRoots

credential_option = click.option(
    "--credential",
    type=click.Path(path_type=Path),
    help="Proxy file to log in with  [default: $X509_USER_PROXY, /tmp/x509up_u<uid>]",
)


def proxy_file() -> Path:
    """Where the user's proxy is, or will be."""
    return Path(os.environ.get("X509_USER_PROXY") or f"/tmp/x509up_u{os.getuid()}")  # noqa: S108


def credential_in(file: Path | None) -> Credential:
    """The credential in this file, or in the usual one. Raises ClickException."""
    # Here and below: the options above are read before anything is imported that works.
    from towpath.gridftp.security.credentials import Credential  # noqa: PLC0415

    path = file or proxy_file()
    try:
        return Credential.from_proxy_file(path)
    except FileNotFoundError:
        raise click.ClickException(
            f"no credential at {path}: make one with grid-proxy-init or 'towpath myproxy logon',"
            " or set X509_USER_PROXY"
        ) from None
    except (OSError, ValueError) as error:
        raise click.ClickException(f"the credential {path} cannot be used: {error}") from None


def trust_roots() -> TrustRoots:
    """The trusted authorities. Raises ClickException."""
    from towpath.gridftp.security.trust import TrustRoots  # noqa: PLC0415

    named = os.environ.get("X509_CERT_DIR")
    usual = [Path.home() / ".globus/certificates", Path("/etc/grid-security/certificates")]
    candidates = [Path(named)] if named else [path for path in usual if path.is_dir()]
    if not candidates:
        raise click.ClickException(
            "no trusted authorities: set X509_CERT_DIR to a directory with their certificates"
        )
    try:
        return TrustRoots.from_directory(candidates[0])
    except (OSError, ValueError) as error:
        raise click.ClickException(f"the trusted authorities cannot be read: {error}") from None


class Logins:
    """Finds what to log in with. A file is read once, and so are the authorities."""

    def __init__(self) -> None:
        self._credentials: dict[Path | None, Credential] = {}
        self._trust: TrustRoots | None = None

    def find(self, file: Path | None) -> tuple[Credential, TrustRoots]:
        """The credential in this file, or in the usual one, and whom to trust."""
        if file not in self._credentials:
            self._credentials[file] = credential_in(file)
        credential = self._credentials[file]
        self._trust = self._trust or trust_roots()
        credential.ssl_context(self._trust)  # at hand now; a session would make it in a thread
        return credential, self._trust


def run_client(work: Coroutine[Any, Any, None]) -> None:
    """Run it; what goes wrong is told with what can be done."""
    import asyncio  # noqa: PLC0415

    try:
        asyncio.run(work)
    except GridFTPError as error:
        raise click.ClickException(f"{error}\n{error.advice}") from None
