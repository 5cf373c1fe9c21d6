"""Where the service may connect to (invariant I7).

A name is resolved once, every address is checked, and the connection goes to the address that was
checked: a name that resolves differently the second time gains nothing.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from towpath.platform.settings import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOK_UPS_AT_ONCE: Final = 32
"""A name whose servers do not answer holds a thread for up to half a minute, also when nobody waits
for it any more. Users name hosts, and all else that goes to threads must not wait for theirs."""
_LOOK_UPS: Final = ThreadPoolExecutor(LOOK_UPS_AT_ONCE, thread_name_prefix="look-up")

_Target = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
_Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, _Target]

_SHARED = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598, carrier-grade NAT
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


class DialRefused(Exception):  # noqa: N818 - it is an answer of the policy, not a fault
    """The policy does not allow this address; the message says what the operator can do."""


class DialPolicy:
    """Decides for every outbound address; refuses what is not plainly public.

    Loopback, link-local, private, multicast and reserved addresses are refused unless
    ``allow_networks`` has them; ``allow_loopback`` is for a deployment bound to loopback. The
    service's ``own_listeners`` are never dialled.
    """

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        allow_networks: Iterable[Network] = (),
        own_listeners: Collection[tuple[str, int]] = (),
    ) -> None:
        self._allow_loopback = allow_loopback
        self._allow_networks = tuple(allow_networks)
        self._own = {(_plain(ipaddress.ip_address(ip)), port) for ip, port in own_listeners}

    def check(self, ip: str | Address, port: int | None = None) -> None:
        """Pass, or raise :class:`DialRefused`. ValueError if ``ip`` is not an address."""
        address = _plain(ipaddress.ip_address(ip) if isinstance(ip, str) else ip)
        reason = self._reason(address, port)
        if reason is not None:
            raise DialRefused(f"{address} is {reason}")

    def is_named(self, ip: str) -> bool:
        """Whether the operator has said himself that this address is allowed. ValueError."""
        address = _plain(ipaddress.ip_address(ip))
        named = any(address in network for network in self._allow_networks)
        return named or (address.is_loopback and self._allow_loopback)

    def _reason(self, address: Address, port: int | None) -> str | None:
        if port is not None and self._is_own(address, port):
            return "this service's own address"
        if address.is_multicast or address.is_unspecified:
            return "not the address of a host"
        if any(address in network for network in self._allow_networks):
            return None
        advice = "; the operator can allow it with dial.allow_networks"
        if address.is_loopback:
            if self._allow_loopback:
                return None
            return "a loopback address; the operator can allow it with dial.allow_loopback"
        if address.is_link_local:
            return f"a link-local address{advice}"
        if address.is_private or address in _SHARED:
            return f"a private address{advice}"
        if address.is_reserved or not address.is_global:
            return f"a reserved address{advice}"
        return None

    def _is_own(self, address: Address, port: int) -> bool:
        # bound to 0.0.0.0 or ::, it answers on every address of this host: loopback stands for them
        wildcards = {
            (ipaddress.ip_address("0.0.0.0"), port),  # noqa: S104 - compared, not bound
            (ipaddress.ip_address("::"), port),
        }
        if (address, port) in self._own:
            return True
        return address.is_loopback and bool(wildcards & self._own)

    async def connect(self, host: str, port: int, *, timeout_s: float = 20.0) -> socket.socket:
        """A connected non-blocking TCP socket to an allowed address of ``host``.

        Raises :class:`DialRefused` if the name has an address that is not allowed, OSError
        (TimeoutError, ``socket.gaierror``) if there is none that answers within ``timeout_s``.
        """
        async with asyncio.timeout(timeout_s):
            found = await self._checked(host, port)
            failures: list[OSError] = []
            for family, kind, protocol, _, target in found:
                try:
                    return await _connected(family, kind, protocol, target)
                except OSError as error:
                    failures.append(error)
        raise failures[0] if failures else OSError(f"{host} has no address")

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of ``host``, all of them allowed: for a library that connects by itself.

        Raises :class:`DialRefused` if one is not allowed, OSError (``socket.gaierror``).
        """
        return [str(target[0]) for *_, target in await self._checked(host, port)]

    async def _checked(self, host: str, port: int) -> Sequence[_Found]:
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        loop = asyncio.get_running_loop()
        found: Sequence[_Found] = await loop.run_in_executor(_LOOK_UPS, look_up)
        for *_, target in found:
            try:
                self.check(str(target[0]).partition("%")[0], port)
            except DialRefused as error:
                raise DialRefused(f"{host}: {error}") from None
        return found


async def _connected(family: int, kind: int, protocol: int, target: _Target) -> socket.socket:
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connection, target)
    except BaseException:
        connection.close()
        raise
    return connection


def _plain(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one, where it is nothing else (mapped, 6to4, NAT64)."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return inner
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def dial_policy(
    settings: Settings, *, own_listeners: Collection[tuple[str, int]] = ()
) -> DialPolicy:
    """The deployment's policy; its own API, and further listeners of ours, are never dialled."""
    try:
        own = [(str(ipaddress.ip_address(settings.http.host)), settings.http.port)]
    except ValueError:  # a name: whatever it means here
        found = socket.getaddrinfo(settings.http.host, None, type=socket.SOCK_STREAM)
        own = [(str(target[0]).partition("%")[0], settings.http.port) for *_, target in found]
    return DialPolicy(
        allow_loopback=settings.allow_loopback,
        allow_networks=settings.dial.allow_networks,
        own_listeners=[*own, *own_listeners],
    )
