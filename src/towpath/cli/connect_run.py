"""``towpath connect start`` and ``stop``."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import click

from towpath.connect import local_control
from towpath.connect.directory import PERSONAL, AgentDirectory, Identity
from towpath.connect.errors import FINAL, ConnectError
from towpath.connect.running import hold, run_own
from towpath.connect.running_as_root import run_for_all
from towpath.platform import logs
from towpath.platform.settings import LogSettings

FINAL_STATUS: Final = 3
"""For what only the owner can put right: who watches the agent need not start it again."""
CONNECTED_S: Final = 30.0
"""How long `--background` waits for a tunnel; then the agent goes on trying by itself."""
STOPPED_S: Final = 30.0
LOOK_S: Final = 0.2


def start(directory: Path, *, background: bool, user: str) -> None:
    """Run it here, or leave one running."""
    agent = AgentDirectory(directory)
    try:
        identity = agent.identity()
        if background:
            _start_in_background(agent, identity, user)
            return
        held = hold(agent)
        click.echo(f"“{identity.display_name}” runs; 'towpath connect status' says more.", err=True)
        try:
            sys.exit(_run(agent, identity, user))
        finally:
            os.close(held)
    except ConnectError as error:
        click.echo(f"Error: {error.message}", err=True)
        sys.exit(FINAL_STATUS if error.trouble in FINAL else 1)
    except (OSError, KeyError) as error:
        raise click.ClickException(f"the agent cannot run: {error}") from None


def _run(agent: AgentDirectory, identity: Identity, user: str) -> int:
    root = os.geteuid() == 0 and identity.kind != PERSONAL
    if root:
        # The process that would write it could not rotate it: journald keeps it, or whoever asks.
        logs.configure("connect", LogSettings(), None, console=True, console_level=logging.INFO)
        return run_for_all(agent, user)
    logs.configure("connect", LogSettings(), agent.log_directory, console=True)
    if identity.kind == PERSONAL and os.geteuid() == 0:
        click.echo("warning: this agent serves root's own files, as root", err=True)
    run_own(agent)
    return 0


def _start_in_background(agent: AgentDirectory, identity: Identity, user: str) -> None:
    os.close(hold(agent))
    output = agent.start_log
    words = ["connect", "start", "--dir", str(agent.root), "--user", user]
    with output.open("wb") as file:
        output.chmod(0o600)
        process = subprocess.Popen(
            [sys.executable, "-m", "towpath.cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            cwd="/",
        )
    until = time.monotonic() + CONNECTED_S
    trouble = ""
    while time.monotonic() < until:
        if process.poll() is not None:
            told = output.read_text(errors="replace").strip()
            raise click.ClickException(told.removeprefix("Error: ") or "it ended at once")
        try:
            status = local_control.ask(agent.control_socket, {"do": "status"})
        except (local_control.NotRunning, OSError):
            pass
        else:
            if status.get("connected"):
                relay = status["connected"]["relay"]
                click.echo(f"“{identity.display_name}” is connected, by the relay {relay}.")
                return
            trouble = str(status.get("trouble") or "")
        time.sleep(LOOK_S)
    why = f" ({trouble})" if trouble else ""
    click.echo(f"It runs, and is not connected yet{why}; it goes on trying.")
    click.echo("See 'towpath connect status'.")


def stop(directory: Path) -> None:
    """Ask it to end, and wait until it has."""
    agent = AgentDirectory(directory)
    try:
        agent.identity()
        local_control.ask(agent.control_socket, {"do": "stop"})
    except local_control.NotRunning:
        click.echo("It does not run.")
        return
    except ConnectError as error:
        raise click.ClickException(error.message) from None
    except OSError as error:
        raise click.ClickException(f"the agent does not answer: {error}") from None
    until = time.monotonic() + STOPPED_S
    while time.monotonic() < until:
        try:
            os.close(hold(agent))
        except ConnectError:
            time.sleep(LOOK_S)
        else:
            click.echo("Stopped.")
            return
    raise click.ClickException("it was told to end, and has not yet")
