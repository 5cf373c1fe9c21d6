"""Which addresses a session's data connections may have at their other end.

A server that dials whatever it is told to dial can be made to talk to anyone in a stranger's name
("FTP bounce", RFC 2577). Third-party transfers need just that: the other end is another server.
"""

from __future__ import annotations

import ipaddress
from typing import Final, Protocol

from towpath.gridftp.wire.addresses import HostPort

PRIVILEGED_PORTS: Final = 1024
"""Below it are the services that believe whom they hear; data connections are never there."""


class DataPolicy(Protocol):
    """Who may be at the other end of a session's data connections."""

    def may_dial(self, address: HostPort) -> bool:
        """Whether we may connect there (PORT)."""

    def may_accept(self, host: str) -> bool:
        """Whether this address may connect to us (PASV)."""


class PeerOnly:
    """For sessions of nobody in particular: only the host that the session comes from."""

    def __init__(self, peer_host: str) -> None:
        self._peer = _parsed(peer_host)

    def may_dial(self, address: HostPort) -> bool:
        """The peer, at a port of no service."""
        return self.may_accept(address.host) and address.port >= PRIVILEGED_PORTS

    def may_accept(self, host: str) -> bool:
        """The peer."""
        return _parsed(host) == self._peer


class AnyHost:
    """For sessions of users we know: third-party transfers, as GCT allows them.

    Who connects cannot be known beforehand: the other server need not have one address only, and
    PASV does not tell it. Without data channel authentication (DCAU N) whoever comes first is
    taken.
    """

    def __init__(self, peer_host: str) -> None:
        self._peer_is_local = _parsed(peer_host).is_loopback

    def may_dial(self, address: HostPort) -> bool:
        """Any host's port of no service; this machine's only for who is on this machine."""
        host = _parsed(address.host)
        if host.is_loopback:  # of IPv6, one of those that are reserved
            if not self._peer_is_local:
                return False
        elif host.is_multicast or host.is_unspecified or host.is_reserved:
            return False
        return address.port >= PRIVILEGED_PORTS

    def may_accept(self, _host: str) -> bool:
        """Anyone; see above."""
        return True


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address
