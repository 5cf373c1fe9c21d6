"""What the sample endpoints are called, and where their files and keys are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

from towpath.platform.files import private_directory, write_private

ORGANIZATION: Final = "Towpath samples"
HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the two."""

    id: UUID
    """That of Globus's tutorial endpoint of this name, so that its examples work as they are."""
    name: str
    folder: str


SAMPLES: Final = (
    Sample(UUID("ddb59aef-6d04-11e5-ba46-22000b92c6ec"), "go#ep1", "ep1"),
    Sample(UUID("ddb59af0-6d04-11e5-ba46-22000b92c6ec"), "go#ep2", "ep2"),
)

EXAMPLE_DATA: Final = "share/godata"
_EXAMPLES: Final = {
    "file1.txt": b"The first of three small files.\n",
    "file2.txt": b"The second of three small files: move it somewhere.\n",
    "file3.txt": b"The third of three small files. All have arrived when they are whole.\n",
    "numbers.csv": b"".join(b"%d,%d\n" % (n, n * n) for n in range(100_000)),
}


@dataclass(frozen=True)
class Place:
    """Below the deployment's directory."""

    root: Path

    @property
    def authority_file(self) -> Path:
        """The authority that signs for hosts and users: certificate and key."""
        return self.root / "authority.pem"

    def tree(self, sample: Sample) -> Path:
        """What the endpoint shows as `/`."""
        return self.root / sample.folder

    def prepare(self) -> None:
        """Make what is not there yet. Raises `OSError`."""
        for sample in SAMPLES:
            tree = self.tree(sample)
            for folder in ("", "home", "share", EXAMPLE_DATA):
                private_directory(tree / folder)
            for name, content in _EXAMPLES.items():
                example = tree / EXAMPLE_DATA / name
                if not example.exists():
                    write_private(example, content)


def home_of(account: str) -> str:
    """Where an account's sessions start."""
    return f"/home/{account}"


def rules_of(account: str) -> Iterator[str]:
    """What an account may do, as GCT's `-rp` says it: longest prefix first."""
    yield f"RW{home_of(account)}"
    yield "R/share"
    yield "N/home"


def account_of(subject: str) -> str | None:
    """The account of a certificate's name: the identity for which the deployment issued it."""
    _, marker, name = subject.rpartition("/CN=")
    prefix = f"/O={ORGANIZATION}"
    if not marker or subject != f"{prefix}/CN={name}":
        return None
    try:
        return str(UUID(name))
    except ValueError:
        return None
