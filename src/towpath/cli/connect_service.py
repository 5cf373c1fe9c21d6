"""``towpath connect service``: a unit for `systemd --user`."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import click

from towpath.connect.directory import AgentDirectory
from towpath.connect.errors import ConnectError

UNIT: Final = "towpath-connect.service"
TEXT: Final = """\
# Made by 'towpath connect service install'.
[Unit]
Description=Towpath Connect
After=network-online.target

[Service]
ExecStart={command} connect start --dir {directory}
Restart=on-failure
RestartSec=5
# What only its owner can put right: see 'towpath connect logs'.
RestartPreventExitStatus=3

[Install]
WantedBy=default.target
"""


def unit_file() -> Path:
    """Where systemd looks for the user's units."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "systemd" / "user" / UNIT


def install(directory: Path) -> None:
    """Write the unit, and start it if there is a systemd of the user's."""
    try:
        AgentDirectory(directory).identity()
    except ConnectError as error:
        raise click.ClickException(error.message) from None
    file = unit_file()
    command = shutil.which("towpath") or f"{sys.executable} -m towpath.cli"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(TEXT.format(command=command, directory=_escaped(directory.absolute())))
    click.echo(f"Written: {file}")
    if _systemctl("daemon-reload") and _systemctl("enable", "--now", UNIT):
        click.echo("It runs, and starts with each login.")
    else:
        click.echo(f"To start it: systemctl --user enable --now {UNIT}")
    click.echo(
        f"It ends when you log out. To keep it: sudo loginctl enable-linger {getpass.getuser()}"
    )


def uninstall(_directory: Path) -> None:
    """Stop it and remove the unit."""
    file = unit_file()
    if not file.exists():
        click.echo("There is no such unit.")
        return
    _systemctl("disable", "--now", UNIT)
    file.unlink()
    _systemctl("daemon-reload")
    click.echo(f"Removed: {file}")


def _systemctl(*words: str) -> bool:
    """Whether systemd did it."""
    try:
        done = subprocess.run(
            ["systemctl", "--user", *words], check=False, capture_output=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _escaped(path: Path) -> str:
    """For a unit (systemd.service(5), systemd.unit(5)): blanks and per cent signs."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
