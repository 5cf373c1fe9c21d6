"""``towpath verify``: whether a directory still is what a manifest says that was transferred."""

import contextlib
import json
import os
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import httpx
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from towpath.grants.keys import KeySet
from towpath.manifest.lines import BadManifestError
from towpath.manifest.verify import Advance, Finding, Found, Ground, Manifest, Side, verify
from towpath.transfer.names import to_wire

DIFFERS, NOT_TRUSTED, UNPROVED = 1, 3, 4
ASK_S = 20.0
KEYS = "/v0.10/manifest_keys"
KEYS_MOST = 1000
"""That a deployment has ever had: they stay published."""


@click.command(name="verify")
@click.argument("manifest", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Keys that you trust: what the deployment has at /v0.10/manifest_keys, kept in a file.",
)
@click.option("--issuer", metavar="URL", help="Ask this deployment for its keys now, over https.")
@click.option(
    "--authority",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="With --issuer: certificates, PEM, that its https is checked against.",
)
@click.option(
    "--any-key",
    is_flag=True,
    help="Take the manifest by the key that it brings, which anybody may have put there.",
)
@click.option(
    "--side",
    type=click.Choice(["destination", "source"]),
    default="destination",
    show_default=True,
    help="Which end DIRECTORY is.",
)
@click.option(
    "--base", metavar="PATH", help="DIRECTORY's path at that end.  [default: of all items]"
)
@click.option("--extra", is_flag=True, help="Also say what is there and not in the manifest.")
@click.option("--threads", type=click.IntRange(1, 256), help="[default: as many as processors]")
@click.option("-F", "--format", "output", type=click.Choice(["text", "json"]), default="text")
def command(
    manifest: Path,
    directory: Path,
    key: Path | None,
    issuer: str | None,
    authority: Path | None,
    any_key: bool,  # noqa: FBT001 - click's way
    side: Side,
    base: str | None,
    extra: bool,  # noqa: FBT001
    threads: int | None,
    output: str,
) -> None:
    """Compare the files of DIRECTORY with a MANIFEST, offline.

    Its signature is checked first; say whose keys you trust with --key, --issuer or --any-key.

    \b
    Exit status:
      0  every file is there, and byte for byte what was transferred
      1  files are missing or changed, or could not be read (or are extra, with --extra)
      2  the command was used wrongly
      3  the manifest was changed, cut off, or signed by somebody else
      4  nothing differs, but the transfer did not compare some of the files: their size fits
    """
    try:
        trusted = _trusted(key, issuer, authority, any_key=any_key)
        checked = Manifest(manifest, trusted)
        if issuer is not None and checked.issuer != issuer.rstrip("/"):
            raise BadManifestError(f"it is from {checked.issuer}, not from {issuer}")
        named = base or str(checked.head.get(f"{side}_base", "/"))
        ground = Ground(os.fsencode(directory), named, side, to_wire)
        say = _as_json if output == "json" else _as_text
        with _progress(checked) as (advance, echo):
            found = verify(
                checked,
                ground,
                report=lambda one: echo(say(one)),
                advance=advance,
                threads=threads,
                extra=extra,
            )
    except BadManifestError as error:
        click.echo(f"Error: {manifest}: {error}", err=True)
        raise SystemExit(NOT_TRUSTED) from None
    except OSError as error:
        raise click.ClickException(str(error)) from error
    _summary(checked, found, output, own=any_key)
    raise SystemExit(DIFFERS if found.differs else UNPROVED if found.unproved else 0)


def _trusted(
    key: Path | None, issuer: str | None, authority: Path | None, *, any_key: bool
) -> KeySet | None:
    """None: any."""
    if sum((key is not None, issuer is not None, any_key)) != 1:
        raise click.UsageError(
            "say whose signature counts: --key FILE, --issuer URL, or --any-key for whoever's"
        )
    if any_key:
        return None
    if issuer is not None and not issuer.startswith("https://"):
        raise click.UsageError("--issuer is an https URL: its keys would be anybody's otherwise")
    try:
        if key is not None:
            return KeySet.from_jwks(json.loads(key.read_bytes()), most=KEYS_MOST)
        answer = httpx.get(
            f"{str(issuer).rstrip('/')}{KEYS}",
            verify=True if authority is None else _trust(authority),
            timeout=ASK_S,
        )
        return KeySet.from_jwks(answer.raise_for_status().json(), most=KEYS_MOST)
    except (ValueError, httpx.HTTPError, OSError) as error:
        what = issuer if key is None else key
        raise click.ClickException(f"no keys could be had from {what}: {error}") from error


def _trust(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))


@contextlib.contextmanager
def _progress(manifest: Manifest) -> Iterator[tuple[Advance, Callable[[str], None]]]:
    """A bar, where somebody looks; and how a line is said, which goes above it on a screen."""
    console = Console(stderr=True)
    columns = (
        *(TextColumn("{task.fields[files]:,} files"), BarColumn(), DownloadColumn()),
        *(TransferSpeedColumn(), TimeRemainingColumn()),
    )
    with Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        redirect_stdout=False,  # what is found is for whoever reads our output, not for the bar
    ) as progress:
        bar = progress.add_task("", total=manifest.size_bytes, files=0)
        done = 0

        def advance(files: int, size: int) -> None:
            nonlocal done
            done += files
            progress.update(bar, advance=size, files=done)

        def above(text: str) -> None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

        on_a_screen = console.is_terminal and sys.stdout.isatty()
        yield advance, above if on_a_screen else click.echo


def _as_text(one: Finding) -> str:
    # a name may hold anything: it stays on its line
    shown = ascii(os.fsdecode(one.path))[1:-1] if not _plain(one.path) else os.fsdecode(one.path)
    return f"{one.kind:<10}  {shown}  ({one.why})"


def _plain(path: bytes) -> bool:
    text = os.fsdecode(path)
    return text.isprintable()


def _as_json(one: Finding) -> str:
    return json.dumps({"kind": one.kind, "path": os.fsdecode(one.path), "why": one.why})


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _summary(manifest: Manifest, found: Found, output: str, *, own: bool) -> None:
    head = manifest.head
    counts = {str(kind): number for kind, number in found.counts.items()}
    if output == "json":
        document = {
            "task_id": head.get("task_id"),
            "issuer": manifest.issuer,
            "key_id": manifest.tail.key_id,
            "complete": head.get("complete"),
            "files": found.files,
            "bytes": found.size_bytes,
            "weak": found.weak,
            "counts": counts,
        }
        click.echo(json.dumps(document))
        return
    say = sys.stdout.write
    said = ", ".join(f"{number:,} {kind}" for kind, number in counts.items()) or "nothing differs"
    files, size = _count(found.files, "file"), _count(found.size_bytes, "byte")
    say(f"{files}, {size}: {said}.\n")
    who = "by the key that it brought, " if own else ""
    say(
        f"Task {head.get('task_id')} of {manifest.issuer}, signed {who}{manifest.tail.key_id}"
        f" at {head.get('created_at')}.\n"
    )
    if not head.get("complete"):
        say("The transfer was not finished then: there may be more files.\n")
    if found.weak:
        say(
            f"Of {_count(found.weak, 'file')} the checksum finds accidents, and not what somebody"
            " made to fit (MD5, SHA1, ADLER32, xxHash).\n"
        )
