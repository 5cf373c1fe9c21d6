"""Where a file is: a path here, or a URL of a GridFTP server."""

from __future__ import annotations

import posixpath
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from towpath.gridftp.client.dial import Server

if TYPE_CHECKING:  # a command reads its locations before it imports the client (`towpath.start`)
    from towpath.gridftp.client.session import Session

DEFAULT_PORTS = {"gsiftp": 2811, "ftp": 21}


@dataclass(frozen=True)
class Location:
    """A path, and the server it is on (None: here). `clear` means anonymous and in clear text."""

    path: str
    server: Server | None = None
    clear: bool = False

    @classmethod
    def parse(cls, text: str) -> Location:
        """From `gsiftp://host[:port]/path`, `ftp://...`, `file:///path` or a plain path.

        `/~/` at the start of a server's path is the directory the login starts in. Percent escapes
        are those of URLs. Raises `ValueError`.
        """
        scheme, separator, _rest = text.partition("://")
        if not separator:
            if not text:
                raise ValueError("the path is empty")
            return cls(text)
        parts = urllib.parse.urlsplit(text, allow_fragments=False)
        raw = parts.path + (f"?{parts.query}" if parts.query else "")  # `?` is a letter of names
        path = urllib.parse.unquote(raw, errors="surrogateescape")
        if scheme == "file":
            if parts.hostname not in (None, "localhost"):
                raise ValueError("a file URL names this host only")
            return cls(path or "/")
        if scheme not in DEFAULT_PORTS:
            raise ValueError(f"{scheme}:// is not spoken here; use gsiftp://, ftp:// or a path")
        if not parts.hostname:
            raise ValueError("the URL names no host")
        if parts.username or parts.password:
            raise ValueError("the URL must not hold a user name or password")
        server = Server(parts.hostname, parts.port or DEFAULT_PORTS[scheme])
        return cls(path or "/", server, clear=scheme == "ftp")

    def child(self, name: str) -> str:
        """The path of an entry below this one; `name` may have several parts."""
        return posixpath.join(self.path, name)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return posixpath.basename(self.path.rstrip("/"))

    def at_home(self, session: Session) -> Location:
        """With `/~/` replaced by the session's starting directory."""
        if self.path != "/~" and not self.path.startswith("/~/"):
            return self
        path = posixpath.join(session.home or "/", self.path[3:])
        return Location(path, self.server, self.clear)
