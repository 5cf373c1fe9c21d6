"""``towpath connect status`` and ``logs``."""

from __future__ import annotations

import json
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from towpath.connect import local_control
from towpath.connect.directory import PERSONAL, AgentDirectory
from towpath.connect.errors import ConnectError

FOLLOW_S: Final = 0.5
"""How often a log is looked at."""


def status(directory: Path, output: str) -> None:
    """All about it. The exit status is 0 if it is connected."""
    agent = AgentDirectory(directory)
    try:
        identity = agent.identity()
        try:
            told = local_control.ask(agent.control_socket, {"do": "status"})
        except local_control.NotRunning:
            told = {"running": False, "choices": agent.choices().to_document()}
    except ConnectError as error:
        raise click.ClickException(error.message) from None
    except OSError as error:
        raise click.ClickException(f"the agent cannot be asked: {error}") from None
    told = {
        "display_name": identity.display_name,
        "kind": identity.kind,
        "endpoint_id": identity.endpoint_id,
        "service": identity.url,
        "node_name": identity.node_name,
        **told,
    }
    if output == "json":
        click.echo(json.dumps(told))
    else:
        for line in _lines(told):
            click.echo(line)


def _lines(told: dict[str, Any]) -> list[str]:
    choices = told["choices"]
    lines = [f"{told['display_name']}  ({told['kind']}, {told['endpoint_id']})"]
    if not told["running"]:
        lines.append("Not running: start it with 'towpath connect start'.")
    elif told["connected"]:
        connected = told["connected"]
        lines.append(
            f"Connected since {_clock(connected['since'])} by the relay {connected['relay']},"
            f" seen as {connected['seen_as']}."
        )
        lines.append(
            f"Data comes in directly, at {told['open_at']}."
            if told["open_at"]
            else "Data comes in by the relay, or directly from agents nearby."
        )
    else:
        lines.append(f"Not connected: {told['trouble'] or 'it is trying'}.")
    if choices["paused"]:
        lines.append("Paused: 'towpath connect resume' ends that.")
    if choices["draining"]:
        lines.append("Draining: no new sessions.")
    if told["running"]:
        ways = told["data_connections"]
        lines.append(
            f"{told['sessions']} sessions, {told['bytes_per_s'] / 1e6:.1f} MB/s now,"
            f" {told['moved_bytes'] / 1e9:.3f} GB since it began;"
            f" data connections: {ways['direct']} direct, {ways['relayed']} by relay."
        )
        lines += [
            f"  session {one['session']}: {one['bytes_per_s'] / 1e6:.1f} MB/s,"
            f" {one['moved_bytes'] / 1e9:.3f} GB"
            for one in told["transfers"]
        ]
    limit = choices["limit_bytes_s"]
    lines.append("No bandwidth limit." if limit is None else f"Limit: {limit / 1e6:g} MB/s.")
    if told["kind"] == PERSONAL:
        lines += [f"  shared ({one['access']})  {one['path']}" for one in choices["folders"]]
        if not choices["folders"]:
            lines.append("Nothing is shared.")
    else:
        lines += [
            f"  collection ({one['access']})  {one['name']}: {one['base_path']}"
            for one in choices["collections"]
        ]
        lines += [
            f"  managers make collections ({one['access']}) in {one['path']}"
            for one in choices.get("roots", ())
        ]
    lines += [f"Warning: {text}" for text in told.get("warnings", [])]
    return lines


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def logs(directory: Path, lines: int, *, follow: bool) -> None:
    """The end of the log file."""
    agent = AgentDirectory(directory)
    path = agent.log_directory / "connect.log"
    if not path.exists() and agent.start_log.exists():
        path = agent.start_log  # of root's node for many accounts, started in the background
    try:
        with path.open(errors="replace") as file:
            for line in deque(file, lines):
                click.echo(line, nl=False)
            while follow:
                line = file.readline()
                if line:
                    click.echo(line, nl=False)
                    continue
                time.sleep(FOLLOW_S)
                if path.stat().st_ino != _inode(file):
                    file.close()
                    logs(directory, lines, follow=True)
                    return
    except FileNotFoundError:
        raise click.ClickException(
            f"there is no log in {path.parent}: an agent that root runs for many accounts tells its"
            " own to standard error, which systemd keeps (journalctl)"
        ) from None
    except OSError as error:
        raise click.ClickException(str(error)) from None


def _inode(file: Any) -> int:
    import os  # noqa: PLC0415

    return os.fstat(file.fileno()).st_ino
