"""Host and port as PORT, PASV and SPAS write them."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.replies import Reply

_SIX_NUMBERS = re.compile(
    r"(?<![\d,])(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})(?![\d,])", re.ASCII
)


class HostPort(NamedTuple):
    """An IPv4 address and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        """The six numbers of PORT (RFC 959). Raises ValueError if the host is no IPv4 address."""
        numbers = str(ipaddress.IPv4Address(self.host)).replace(".", ",")
        return f"{numbers},{self.port >> 8},{self.port & 0xFF}"


def parse_six_numbers(text: str) -> HostPort | None:
    """The first `h1,h2,h3,h4,p1,p2` in a text."""
    match = _SIX_NUMBERS.search(text)
    if match is None:
        return None
    numbers = [int(number) for number in match.groups()]
    if any(number > 255 for number in numbers):
        return None
    port = numbers[4] << 8 | numbers[5]
    return HostPort(".".join(map(str, numbers[:4])), port) if port else None


def parse_passive(reply: Reply, *, where: str = "") -> list[HostPort]:
    """The addresses of a reply to PASV (227, one) or SPAS (229, one a stripe).

    Raises GridFTPError(PROTOCOL) when there is none.
    """
    if reply.code == 227:
        candidates: tuple[str, ...] = (reply.text,)
    elif reply.code == 229:
        candidates = reply.lines[1:-1]
    else:
        candidates = ()
    addresses = [parse_six_numbers(text) for text in candidates]
    found = [address for address in addresses if address is not None]
    if not found or len(found) != len(addresses):
        raise GridFTPError(
            Kind.PROTOCOL, "the server gave no data address", where, reply=repr(reply)
        )
    return found
