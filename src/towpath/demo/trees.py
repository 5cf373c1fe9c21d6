"""Trees of files whose content follows from their names: made by seed, checked by digest."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_CHUNK_BYTES = 1024 * 1024


class TreeFile(NamedTuple):
    """A file to be: path relative to the tree's root, and size in bytes."""

    path: str
    size: int


def uniform(directories: int, files_per_directory: int, size: int) -> Iterator[TreeFile]:
    """Files of one size: `d0000/f0000`, ..."""
    for directory in range(directories):
        for file in range(files_per_directory):
            yield TreeFile(f"d{directory:04}/f{file:04}", size)


def content(path: str, size: int, seed: int) -> Iterator[bytes]:
    """The bytes of a file, in chunks: a cipher's key stream, so incompressible and fast."""
    key = hashlib.sha256(f"{seed}:".encode() + os.fsencode(path)).digest()
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    zeros = bytes(min(size, _CHUNK_BYTES))
    for start in range(0, size, _CHUNK_BYTES):
        yield stream.update(zeros[: size - start])


def make_tree(root: Path, files: Iterable[TreeFile], seed: int) -> int:
    """Write the files, with their directories, below `root`; the number of bytes written."""
    total = 0
    made: set[Path] = set()
    for path, size in files:
        target = root / path
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        with target.open("wb") as file:
            for chunk in content(path, size, seed):
                file.write(chunk)
        total += size
    return total


def expected_digests(files: Iterable[TreeFile], seed: int) -> dict[str, str]:
    """SHA-256 by path of what `make_tree` writes."""
    found: dict[str, str] = {}
    for path, size in files:
        digest = hashlib.sha256()
        for chunk in content(path, size, seed):
            digest.update(chunk)
        found[path] = digest.hexdigest()
    return found


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file below `root`, by relative path; links are not followed."""
    found: dict[str, str] = {}
    for directory, _subdirectories, names in os.walk(root):
        for name in names:
            path = Path(directory, name)
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[str(path.relative_to(root))] = digest
    return found
