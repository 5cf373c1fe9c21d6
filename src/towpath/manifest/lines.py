"""A manifest's lines: a head, one for each file, a tail that signs all that is before it.

Each line is JSON written one way only (`line`), so that every byte of a manifest counts: those
before the tail are under the SHA-256 that the tail signs, and the tail is taken only if it is
written exactly as we write it.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from towpath.grants.jws import NotTakenError, read, sign
from towpath.grants.keys import KeySet, SigningKey

VERSION: Final = 1
KIND: Final = "towpath-manifest"
"""`typ` of the signed statement: what is signed for something else is no manifest."""
LINE_LIMIT: Final = 64 * 1024
"""Bytes of a line: two paths of 4,096 bytes, each byte escaped, and all the rest."""


class BadManifestError(Exception):
    """It is not what its signer wrote, or nothing that anybody signed; the message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, as the manifest has it. Paths are spelled as in the API."""

    source_path: str
    destination_path: str
    size: int
    algorithm: str | None
    """None: it was not compared."""
    digest: str | None
    range_bytes: int | None
    """The digest is one of digests, each of so many bytes of the file (the last one of less)."""


def line(document: Mapping[str, Any]) -> bytes:
    """A document as its line."""
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


class Sealing:
    """Takes in the lines that go out, and makes the tail."""

    def __init__(self, claims: Mapping[str, Any]) -> None:
        """`claims`: what the tail says besides, such as the issuer and the task."""
        self._claims = dict(claims)
        self._sum = hashlib.sha256()
        self._files = 0
        self._size = 0

    def take(self, lines: bytes, *, files: int, size_bytes: int) -> None:
        """These lines come next; so many of them are of files."""
        self._sum.update(lines)
        self._files += files
        self._size += size_bytes

    def tail(self, key: SigningKey) -> bytes:
        """The last line."""
        claims = {
            **self._claims,
            "files": self._files,
            "bytes": self._size,
            "sha256": self._sum.hexdigest(),
        }
        return _tail(sign(claims, key, kind=KIND), KeySet.of([key]))


def _tail(statement: str, keys: KeySet) -> bytes:
    return line({"signed": statement, "key": keys.to_jwks()["keys"][0]})


@dataclass(frozen=True, slots=True)
class Tail:
    """What is signed."""

    claims: Mapping[str, Any]
    key_id: str


def read_tail(last: bytes, trusted: KeySet | None) -> Tail:
    """The signed statement of a last line, if one of the `trusted` keys signed it; None: the key
    that is in it, which anybody could have put there. Raises BadManifestError.
    """
    try:
        document = json.loads(last)
        if not isinstance(document, dict) or document.keys() != {"signed", "key"}:
            raise ValueError("no tail")
        statement = str(document["signed"])
        brought = KeySet.from_jwks({"keys": [document["key"]]})
        [key_id] = brought.keys
        written = _tail(statement, brought)
    except (ValueError, RecursionError):
        raise BadManifestError(
            "it has no signature at its end: it is no manifest, or was cut off"
        ) from None
    if written != last:
        raise BadManifestError("its last line is not as it was written")
    if trusted is not None:
        ours = trusted.keys.get(key_id)
        if ours is None:
            raise BadManifestError(f"it is signed with the key {key_id}, which is not one of yours")
        if ours != brought.keys[key_id]:
            raise BadManifestError("its key is not the one of that name")
    try:
        return Tail(read(statement, brought, kind=KIND), key_id)
    except NotTakenError as error:
        raise BadManifestError(f"its signature does not hold: {error.sentence}") from None


def head_of(first: bytes) -> dict[str, Any]:
    """The first line. Raises BadManifestError."""
    try:
        document = json.loads(first)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("towpath_manifest") != VERSION:
        raise BadManifestError("it is no manifest, or one of a version that is not known here")
    return document


def entry_of(one: bytes) -> Entry:
    """A file's line. Raises BadManifestError."""
    try:
        document = json.loads(one)
        paths, size = (document["source_path"], document["destination_path"]), document["size"]
        range_bytes = document.get("range_bytes")
        whole = all(isinstance(path, str) for path in paths) and range(size).stop >= 0
        whole &= range_bytes is None or range(range_bytes).stop > 0
        entry = Entry(*paths, size, document["algorithm"], document["digest"], range_bytes)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise BadManifestError("a line of it is no file") from None
    if not whole:
        raise BadManifestError("a line of it is no file")
    return entry
