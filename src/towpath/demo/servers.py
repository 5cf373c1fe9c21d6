"""What the servers have in common that a demonstration, a test or a benchmark starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from towpath.demo.authority import Domain


@dataclass(frozen=True)
class Host:
    """Where a server runs, if not simply here: under which name and address."""

    name: str = "localhost"
    address: str = "127.0.0.1"
    enter: tuple[str, ...] = ()
    """The words before a program's own that run it there, such as those of nsenter(1)."""


HERE = Host()


class Server(Protocol):
    """A GridFTP server that trusts one domain."""

    port: int
    workdir: Path
    """Where its keys and logs are."""

    @classmethod
    def start(cls, domain: Domain, workdir: Path, *, host: Host = HERE) -> Self:
        """Start it and wait until it accepts connections; `workdir` gets its keys and logs."""

    @property
    def pid(self) -> int:
        """The process that listens; all others are below it."""

    def url(self, path: str | Path) -> str:
        """The gsiftp URL of an absolute path here."""

    def stop(self) -> None:
        """Kill it with all its sessions."""

    def __enter__(self) -> Self:
        """It runs already."""

    def __exit__(self, *_exception: object) -> None:
        """Stop it."""
