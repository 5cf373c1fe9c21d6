"""The web interface comes with the package: whoever installs it needs no Node.js."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = "towpath/gui/built"
SHARED = "web/node_modules"
"""What npm has fetched already is taken from here: these tests need no registry."""

pytestmark = pytest.mark.long


def checkout(place: Path) -> Path:
    """What is in version control, and nothing else."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    assert not (place / "src" / BUILT).exists()
    return place


def build(project: Path, target: str, **environment: str) -> Path:
    """What the build backend makes."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target]
    done = subprocess.run(
        command,
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = (project / "dist").glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


def test_a_wheel_from_a_clean_copy_has_it(tmp_path: Path) -> None:
    project = checkout(tmp_path / "project")
    (project / SHARED).symlink_to(ROOT / SHARED)
    with zipfile.ZipFile(build(project, "wheel")) as wheel:
        names = wheel.namelist()
        index = wheel.read(f"{BUILT}/index.html").decode()
    assets = [name for name in names if name.startswith(f"{BUILT}/app/")]
    assert any(name.endswith(".js.br") for name in assets)
    assert "@NONCE@" in index, "the mark is filled in when it is served"
    for asset in index.split('"'):
        if asset.startswith("/app/"):
            assert f"{BUILT}{asset}" in names, asset
    assert not [name for name in names if "node_modules" in name or name.startswith("web/")]


def test_an_sdist_brings_it_and_needs_no_npm(tmp_path: Path) -> None:
    project = checkout(tmp_path / "project")
    shutil.copytree(ROOT / "src" / BUILT, project / "src" / BUILT)
    with tarfile.open(build(project, "sdist")) as sdist:
        sdist.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert not (unpacked / SHARED).exists()
    # neither Node.js nor a registry: where npm would be run, the build fails
    (unpacked / "web" / "npm.py").write_text("raise SystemExit('npm was run')\n")
    with zipfile.ZipFile(build(unpacked, "wheel")) as wheel:
        assert f"{BUILT}/index.html" in wheel.namelist()


def test_what_cannot_be_built_stops_the_build(tmp_path: Path) -> None:
    project = checkout(tmp_path / "project")
    (project / SHARED).symlink_to(ROOT / SHARED)
    (project / "web" / "src" / "main.tsx").write_text("this is not TypeScript {")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "the web interface could not be built" in done.stdout + done.stderr
    assert not list(project.glob("dist/*.whl"))
