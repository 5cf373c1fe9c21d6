"""The setup key: one word that says where the service is, whom to believe there, and who comes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from towpath.connect.errors import ConnectError, Trouble

MAX_KEY: Final = 512
"""Characters: a host name has at most 253, the rest 115."""

PUBLIC: Final = "public"
"""In the place of a digest: the service's certificate is one that browsers believe."""

_KEY = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})"
    r"/(?P<pin>[0-9a-fA-F]{64}|public)/(?P<secret>[A-Za-z0-9_-]{43})"
)


@dataclass(frozen=True)
class SetupKey:
    """The parts of a key."""

    host: str
    port: int
    pin: str | None
    """SHA-256, in hex, of the certificate (DER) of the authority that signed the service's; None:
    a public authority did."""
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> SetupKey:
        """Raises `ConnectError`. What is wrong is said without the key: it is a secret."""
        match = _KEY.fullmatch(text.strip()) if len(text) <= MAX_KEY else None
        if match is None or not 0 < int(match["port"]) < 1 << 16:
            raise ConnectError(
                Trouble.KEY,
                "this is no setup key: it is one word, HOST:PORT/DIGEST/SECRET, as the service "
                "shows it. Copy all of it",
            )
        pin = match["pin"].lower()
        return cls(
            host=match["host"].strip("[]"),
            port=int(match["port"]),
            pin=None if pin == PUBLIC else pin,
            secret=match["secret"],
        )

    @property
    def url(self) -> str:
        """The service's origin."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}"
