"""What the service tells an agent about itself (`GET /connect/configuration`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from towpath.connect.errors import ConnectError, Trouble

INTERVAL_S: Final = 3600.0
"""How often it is asked for when the service does not say."""
SHORTEST_INTERVAL_S: Final = 30.0
"""Whatever the service says: keys and relays that change are told of by events."""
MAX_RELAYS: Final = 64
"""More are not tried: a deployment has some per site."""


@dataclass(frozen=True)
class Relay:
    """Where tunnels go."""

    host: str
    port: int
    host_key: str
    """Public, as in `authorized_keys`; nobody else is believed to be this relay."""

    @property
    def name(self) -> str:
        """For people."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class KnownCollection:
    """A collection as the service has it: its id belongs to a name that a node gave it."""

    id: str
    name: str
    base_path: str
    access: str


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A whole answer."""

    document: dict[str, Any]
    """As it came, to be kept."""
    issuer: str
    audience: str
    kind: str
    """`personal` or `server`."""
    display_name: str
    keys: dict[str, Any]
    """The JWKS of keys that sign grants."""
    authority: str
    service_subject: str
    host_certificate: str
    relays: tuple[Relay, ...]
    collections: tuple[KnownCollection, ...]
    managed_collections: tuple[KnownCollection, ...]
    """Those that managers of the endpoint have made at the service."""
    warning: str | None
    interval_s: float

    @classmethod
    def from_document(cls, document: object) -> Configuration:
        """Raises `ConnectError`(AWAY) for an answer that makes no sense."""
        try:
            if not isinstance(document, dict):
                raise TypeError("it is no document")
            interval = document.get("interval_s", INTERVAL_S)
            return cls(
                document=document,
                issuer=_text(document, "issuer"),
                audience=_text(document, "audience"),
                kind=_text(document, "kind"),
                display_name=_text(document, "display_name"),
                keys=_object(document, "keys"),
                authority=_text(document, "authority"),
                service_subject=_text(document, "service_subject"),
                host_certificate=_text(document, "host_certificate"),
                relays=tuple(
                    Relay(_text(one, "host"), int(one["port"]), _text(one, "host_key"))
                    for one in document["relays"][:MAX_RELAYS]
                ),
                collections=_collections(document, "collections"),
                managed_collections=_collections(document, "managed_collections"),
                warning=(document.get("versions") or {}).get("warning"),
                interval_s=max(SHORTEST_INTERVAL_S, float(interval)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConnectError(
                Trouble.AWAY,
                f"the service's answer about this endpoint makes no sense ({error!r}); "
                "it is asked again. If it stays so, update towpath here or there",
            ) from error

    def to_bytes(self) -> bytes:
        """To be kept in a file."""
        return json.dumps(self.document, indent=1).encode()


def _collections(document: dict[str, Any], name: str) -> tuple[KnownCollection, ...]:
    return tuple(
        KnownCollection(*(_text(one, key) for key in ("id", "name", "base_path", "access")))
        for one in document.get(name) or ()
    )


def _text(document: dict[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _object(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document[name]
    if not isinstance(value, dict):
        raise TypeError(f"{name} is no object")
    return value
