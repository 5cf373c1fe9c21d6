"""The pure parts of the web interface have their tests beside them, in its own language."""

import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).parents[2] / "web"


def test_what_is_tested_beside_the_code() -> None:
    command = [sys.executable, WEB / "npm.py", "run", "--silent", "test"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
