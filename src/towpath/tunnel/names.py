"""The host name by which an agent is known where GridFTP wants one."""

from typing import Final
from uuid import UUID

CONNECT_DOMAIN: Final = "connect.invalid"
"""Never resolved (RFC 6761, 6.4): who dials such a host dials a relay."""

CONNECT_PORT: Final = 2811
"""The port that goes with it; there is no socket behind it."""


def connect_host(endpoint_id: UUID | str) -> str:
    """The host name of an endpoint's agents, which is also that of their certificates."""
    return f"{UUID(str(endpoint_id))}.{CONNECT_DOMAIN}"


def endpoint_of_host(host: str) -> UUID | None:
    """Whose agents have this host name; None if it is that of an ordinary host."""
    name, _, domain = host.lower().partition(".")
    if domain.rstrip(".") != CONNECT_DOMAIN:
        return None
    try:
        endpoint_id = UUID(name)
    except ValueError:
        return None
    # UUID() also takes braces and "urn:uuid:"
    return endpoint_id if str(endpoint_id) == name else None
