"""``towpath admin audit``: read the audit log, and prove that nobody changed it."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from towpath.cli.deployment import Deployment, data_option
from towpath.cli.on_database import on_nexus
from towpath.nexus.audit_chain import Verdict, check
from towpath.nexus.audit_sealing import Checkpoint, CheckpointError
from towpath.nexus.store import audit as store
from towpath.nexus.store.audit import Sealed
from towpath.platform.database import Connection

LIST_LIMIT = 10_000
BROKEN = 1
"""The exit code of a chain that is not whole."""

_format = click.option(
    "-F", "--format", "output", type=click.Choice(["text", "json"]), default="text"
)


@click.group()
def audit() -> None:
    """Read the audit log, and check that it is whole."""


@audit.command()
@_format
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Another copy of DIR/audit/head.json, such as one kept on another machine.",
)
@data_option
def verify(output: str, checkpoint: Path | None, data: Path) -> None:
    """Check every record against the chain, and the chain against the checkpoint.

    Exits with 1 if a record was changed, removed, inserted or moved, and says which is the first.
    """
    deployment = Deployment.find(data)
    file = Checkpoint(checkpoint or deployment.directory.audit_checkpoint)
    try:
        noted = file.read()
    except CheckpointError as error:
        raise click.ClickException(str(error)) from error

    async def look(connection: Connection) -> tuple[Verdict, int]:
        verdict = await check(store.chain(connection), noted)
        return verdict, await store.pending(connection)

    verdict, pending = on_nexus(deployment, look)
    if output == "json":
        document = {
            "whole": verdict.broken_at is None,
            "records": verdict.head.sequence,
            "head": verdict.head.hash.hex(),
            "checkpoint": None if noted is None else noted.sequence,
            "broken_at": verdict.broken_at,
            "why": verdict.why or None,
            "pending": pending,
        }
        click.echo(json.dumps(document))
    elif verdict.broken_at is None:
        click.echo(f"whole: {verdict.head.sequence} records, head {verdict.head.hash.hex()}")
        if pending:
            click.echo(f"{pending} more are recorded and not in the chain yet")
    else:
        click.echo(f"broken at {verdict.broken_at}: {verdict.why}", err=True)
    if noted is None:
        click.echo("warning: there is no checkpoint: a missing end would not be seen", err=True)
    if verdict.broken_at is not None:
        raise SystemExit(BROKEN)


@audit.command(name="list")
@click.option("--kind", help="Only this kind; one that ends in '.' is a family: 'login.'.")
@click.option("--actor", type=click.UUID, help="Only what this identity or client did.")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="Only since then (UTC).",
)
@click.option("--limit", type=click.IntRange(1, LIST_LIMIT), default=100, show_default=True)
@_format
@data_option
def list_acts(
    kind: str | None,
    actor: UUID | None,
    since: datetime | None,
    limit: int,
    output: str,
    data: Path,
) -> None:
    """Show the newest records, the newest last."""
    since = None if since is None else since.replace(tzinfo=UTC)
    find = partial(store.listed, kind=kind, actor=actor, since=since, limit=limit)
    rows = on_nexus(Deployment.find(data), find)
    if output == "json":
        click.echo(json.dumps([_document(row) for row in rows], indent=2))
        return
    for row in rows:
        parts = [f"{row.at:%Y-%m-%dT%H:%M:%SZ}", row.kind]
        parts += [
            f"{name}={value}"
            for name in ("actor", "subject", "client", "address")
            if (value := getattr(row, name)) is not None
        ]
        click.echo("  ".join([*parts, json.dumps(row.details) if row.details else ""]).rstrip())


def _document(row: Sealed) -> dict[str, Any]:
    return {
        "sequence": row.sequence,
        "at": row.at.isoformat(timespec="microseconds"),
        "kind": row.kind,
        "actor": None if row.actor is None else str(row.actor),
        "subject": row.subject,
        "client": None if row.client is None else str(row.client),
        "address": row.address,
        "request_id": row.request_id,
        "details": row.details,
        "hash": row.hash.hex(),
    }
