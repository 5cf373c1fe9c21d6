"""A directory of a server, seen as if it were all of it: paths begin there, in commands and in what
the server says. Pure.

It translates and keeps nobody out: that is the restriction's part (`commands.restrict`), or a
grant's. But nothing that could lead above it is put into a command, and what the server tells of
places outside is not passed on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.listings import Entry
from towpath.gridftp.wire.replies import Reply

_BEFORE_PATH: Final = {
    **dict.fromkeys(
        ("RETR", "STOR", "MLST", "MLSC", "MLSD", "MLSR", "MKD", "RMD", "DELE", "RNFR", "RNTO"), 1
    ),
    **dict.fromkeys(("SIZE", "MDTM", "CWD"), 1),
    **dict.fromkeys(("SITE RDEL", "SITE SYMLINKFROM", "SITE SYMLINKTO", "MFMT"), 2),
    **dict.fromkeys(("SITE UTIME", "SITE CHMOD", "SITE CHGRP", "SITE TRNC", "ESTO"), 3),
    **dict.fromkeys(("ERET", "CKSM"), 4),
}
"""How many words stand before a command's path."""

_WITHOUT_PATH: Final = frozenset(
    {"TYPE", "MODE", "FEAT", "PWD", "NOOP", "OPTS", "DCSC", "DCAU", "PBSZ", "PROT", "PASV", "PORT"}
    | {"TREV", "REST", "SCKS", "USER", "PASS"}
    | {"SITE STORATTR", "SITE TASKID", "SITE CLIENTINFO", "SITE WHOAMI", "SITE VERSION"}
)

_RESTRICT: Final = "SITE RESTRICT"
"""Names places as the server does."""


@dataclass(frozen=True, slots=True)
class Root:
    """Where it is, and what of it links may lead to."""

    path: str
    """Absolute, without a slash at its end; '' is the server's own top."""
    shown: tuple[str, ...] = ("/",)
    """Directories in it, with a slash at the end. Of a link the server tells what it leads to, with
    size and time: where that is in none of these, it is not passed on."""

    def command(self, line: str) -> str:
        """A command line for the server. Raises GridFTPError (INVALID_NAME) for one whose path is
        not absolute or has `..`, and ValueError for a command of which it is not known where its
        path is."""
        verb, _, rest = line.partition(" ")
        if verb == "SITE":
            verb = f"SITE {rest.partition(' ')[0]}"
        if verb in _WITHOUT_PATH or verb == _RESTRICT:
            return line
        before = _BEFORE_PATH.get(verb)
        if before is None:
            raise ValueError(f"{verb} is not known to have no path")
        *words, path = line.split(" ", before)
        if not path.startswith("/") or ".." in path.split("/"):
            raise GridFTPError(Kind.INVALID_NAME, "not a path of this collection", "", path)
        return " ".join([*words, f"{self.path}{path}" if path != "/" else self.path or "/"])

    def entry(self, entry: Entry) -> Entry | None:
        """What may be told of an entry; None: it is a link that leads out."""
        if entry.link_target is None:
            return entry
        inside = self.inside(entry.link_target)
        if inside is None or not f"{inside}/".replace("//", "/").startswith(self.shown):
            return None
        return entry._replace(link_target=inside)

    def inside(self, path: str) -> str | None:
        """A path of the server as one of here; None: it is outside."""
        if path == self.path:
            return "/"
        if path.startswith(self.path + "/"):
            return path[len(self.path) :]
        return None

    def words(self, reply: Reply) -> Reply:
        """A refusal, for people, without the way to here."""
        here = self.path.encode("utf-8", "surrogateescape")
        if not here or not any(here in line for line in reply.raw):
            return reply
        return Reply(
            reply.code,
            tuple(line.replace(here + b"/", b"/").replace(here, b"/") for line in reply.raw),
        )
