"""What a server says it can do (FEAT, RFC 2389)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from towpath.gridftp.wire.numbers import LARGEST, parse_unsigned
from towpath.gridftp.wire.replies import Reply

CHECKSUMS: Final = ("BLAKE3", "SHA256", "SHA1", "ADLER32", "MD5", "SHA512")
"""What we ask CKSM for, in our order of preference. BLAKE3 is as strong as SHA256 at a fifth of its
cost, and our own servers have it. Of what others have, SHA256 is the fastest strong one with
today's processors, and costs less than MD5."""

_SHARED_BYTES: Final = 8 * 1024
"""GCT says 1 KiB. What is longer than this is not kept for others."""


@dataclass(frozen=True)
class Features:
    """A parsed FEAT reply."""

    values: Mapping[str, str] = field(default_factory=dict)
    """Upper-case feature to its parameters as told."""
    checksums: tuple[str, ...] = ()
    """Algorithms CKSM takes, upper case, the server's most preferred first."""

    def __contains__(self, name: str) -> bool:
        return name.upper() in self.values

    @property
    def dcsc(self) -> bool:
        """Whether DCSC P (a credential of our choice for data channels) is taken."""
        return "P" in self.values.get("DCSC", "").upper().replace(" ", "").split(",")

    @property
    def mlsc(self) -> bool:
        """Whether directories can be listed on the control channel."""
        return "MLSC" in self.values

    @property
    def mlsr(self) -> bool:
        """Whether whole trees can be listed by one command."""
        return "MLSR" in self.values

    @property
    def storattr(self) -> bool:
        """Whether SITE STORATTR sets the time of the next STOR."""
        return "STORATTR" in self.values

    @property
    def mfmt(self) -> bool:
        """Whether MFMT sets times."""
        return "MFMT" in self.values

    @property
    def digest(self) -> bool:
        """Whether OPTS RETR and STOR Digest are taken, with any algorithm of `checksums`."""
        return "DIGEST" in self.values

    @property
    def parallel(self) -> bool:
        """Whether OPTS RETR Parallelism is taken."""
        return "PARALLEL" in self.values


def parse_features(reply: Reply) -> Features:
    """From the 211 reply to FEAT. All sessions of one server share what it says."""
    if sum(map(len, reply.raw)) > _SHARED_BYTES:
        return _parse(reply)
    return _parse_once(reply)


def _parse(reply: Reply) -> Features:
    values: dict[str, str] = {}
    for line in reply.lines[1:-1]:
        name, _, parameters = line.strip().partition(" ")
        if name:
            values[name.upper()] = parameters.strip()
    return Features(values, _checksums(values.get("CKSM", "")))


_parse_once = lru_cache(maxsize=64)(_parse)


def _checksums(text: str) -> tuple[str, ...]:
    preferences: list[tuple[int, int, str]] = []
    for position, item in enumerate(text.split(";")):
        name, _, preference = item.strip().partition(":")
        if name:
            try:
                rank = parse_unsigned(preference)
            except ValueError:
                rank = LARGEST
            preferences.append((rank, position, name.upper()))
    return tuple(name for _, _, name in sorted(preferences))


def common_checksum(offers: Iterable[Features]) -> str | None:
    """The algorithm to prefer of those that all servers offer, if there is one."""
    shared = set.intersection(*(set(offer.checksums) for offer in offers))
    return next((name for name in (*CHECKSUMS, *sorted(shared)) if name in shared), None)
