"""An internet on this machine: sites that anybody can dial, and homes that nobody can.

A home is what people have: computers with private addresses behind a router that translates them
(nftables masquerade) and lets nothing in that nobody inside has asked for. All of them are network
namespaces, and gone when this is closed. It needs root, iproute2 and nft.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network
from itertools import count
from pathlib import Path

from towpath.demo.namespace import LinkError, Namespace, run
from towpath.demo.servers import Host

_NETWORKS = IPv4Address("198.19.0.0")
"""198.18.0.0/15 is nobody's: it is set aside for measurements (RFC 2544). The other half of it is
for `towpath.demo.link`."""

_NETWORKS_IN_ALL = 2**16 // 256

_HOME = IPv4Network("192.168.1.0/24")
"""Of every home, as it comes from the shop: the same address is somebody else in the next one."""

PUBLIC, PRIVATE = "public", "private"
"""What a router's two sides are called there; a host's only one is `public`, or `private`."""

_SWITCH = "switch"

_ROUTER = """\
flush ruleset
table ip addresses {{
  chain leaving {{
    type nat hook postrouting priority srcnat
    oifname "public" masquerade
  }}
}}
table inet wall {{
  chain passing {{
    type filter hook forward priority filter; policy drop
    ct state established,related accept
    iifname "private" {let_out} accept
  }}
  chain arriving {{
    type filter hook input priority filter; policy drop
    ct state established,related accept
    iifname {{ "private", "lo" }} accept
  }}
}}
"""
"""What comes from outside unasked is dropped without a word, so that who dials waits in vain."""


class Internet:
    """The network between all; use `open`."""

    def __init__(self, stack: ExitStack, exchange: Namespace, network: IPv4Network) -> None:
        self._stack = stack
        self._exchange = exchange
        self.network = network
        self._sites: dict[str, Namespace] = {}
        """By address."""
        self._addresses = map(str, network.hosts())
        address = self.next_address()
        exchange.run("ip", "link", "add", "name", _SWITCH, "type", "bridge")
        exchange.run("ip", "link", "set", _SWITCH, "up")
        self.plug(None, f"towpath{exchange.pid}", address)
        self.here = Host(address, address)
        """This machine. All go by their addresses: there are no names."""

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["Internet"]:
        """Make it, with this machine as its first host. Raises LinkError."""
        with ExitStack() as stack:
            exchange = stack.enter_context(Namespace.open())
            yield cls(stack, exchange, _free_network(exchange.pid))

    def site(self) -> Host:
        """A host of its own, that anybody can dial."""
        end, address = self.namespace(), self.next_address()
        self.plug(end, PUBLIC, address)
        end.know({"this": address})
        self._sites[address] = end
        return Host(address, address, end.enter)

    def passed_bytes(self, site: Host) -> int:
        """What a site has sent and received so far, headers included."""
        devices = Path(f"/proc/{self._sites[site.address].pid}/net/dev").read_text()
        (line,) = [line for line in devices.splitlines() if line.strip().startswith(f"{PUBLIC}:")]
        counters = line.partition(":")[2].split()
        return int(counters[0]) + int(counters[8])

    def home(self, let_out: str = "", lay: "Lay | None" = None) -> "Home":
        """A router, and nobody behind it yet. `let_out`: all that may leave, in words of nft;
        `lay` lays its line to all others."""
        return Home(self, let_out, lay or lay_line)

    def namespace(self) -> Namespace:
        """One that is gone when all is."""
        return self._stack.enter_context(Namespace.open())

    def next_address(self) -> str:
        """One that nobody has had."""
        return next(self._addresses)

    def plug(
        self, end: Namespace | None, device: str, address: str, lay: "Lay | None" = None
    ) -> None:
        """Connect a namespace, or this machine, by a device of its own."""
        at = f"{address}/{self.network.prefixlen}"
        _plug(self._exchange, _SWITCH, end, device, at, lay or lay_line)


class Home:
    """A router and those behind it; see `Internet.home`."""

    def __init__(self, internet: Internet, let_out: str, lay: "Lay") -> None:
        self._internet = internet
        self._router = internet.namespace()
        self._addresses = map(str, _HOME.hosts())
        self._inside = next(self._addresses)
        self._ends: dict[str, Namespace] = {}
        """By address."""
        self.address = internet.next_address()
        """The public one: whoever calls from here seems to be it."""
        internet.plug(self._router, PUBLIC, self.address, lay)
        self._router.run("ip", "link", "add", "name", PRIVATE, "type", "bridge")
        self._router.run(
            "ip", "address", "add", f"{self._inside}/{_HOME.prefixlen}", "dev", PRIVATE
        )
        self._router.run("ip", "link", "set", PRIVATE, "up")
        self._router.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        self.let_out(let_out)

    def let_out(self, what: str = "") -> None:
        """From now on only this, in words of nft (`tcp dport 443`); nothing: all."""
        self._router.run("nft", "--file", "-", text=_ROUTER.format(let_out=what))

    def host(self) -> Host:
        """A computer behind the router."""
        end, address = self._internet.namespace(), next(self._addresses)
        at = f"{address}/{_HOME.prefixlen}"
        _plug(self._router, PRIVATE, end, PRIVATE, at, lay_line)
        end.run("ip", "route", "add", "default", "via", self._inside)
        end.know({"this": address})
        self._ends[address] = end
        return Host(address, address, end.enter)

    def renumber(self, host: Host) -> Host:
        """Give a computer another address; whatever it had open hangs in the air."""
        end, address = self._ends.pop(host.address), next(self._addresses)
        end.run("ip", "address", "flush", "dev", PRIVATE)
        end.run("ip", "address", "add", f"{address}/{_HOME.prefixlen}", "dev", PRIVATE)
        end.run("ip", "route", "add", "default", "via", self._inside)
        self._ends[address] = end
        return Host(address, address, end.enter)

    def move(self) -> None:
        """Give the router another public address, as providers do over night: it forgets all
        connections that it translated."""
        self.address = self._internet.next_address()
        self._router.run("ip", "address", "flush", "dev", PUBLIC)
        prefix = self._internet.network.prefixlen
        self._router.run("ip", "address", "add", f"{self.address}/{prefix}", "dev", PUBLIC)


Lay = Callable[[Namespace, str, Namespace | None, str], None]
"""Makes a line between two devices with these names, in these namespaces (None: this machine)."""

_lines = count()


def lay_line(one: Namespace, name: str, other: Namespace | None, other_name: str) -> None:
    """One that takes no time and carries what the processor can. Raises LinkError."""
    at = str(os.getpid() if other is None else other.pid)
    one.run(
        *("ip", "link", "add", name, "type", "veth"),
        *("peer", "name", other_name, "netns", at),
    )


def _plug(
    switch: Namespace, bridge: str, end: Namespace | None, device: str, address: str, lay: Lay
) -> None:
    line = f"line{next(_lines)}"
    lay(switch, line, end, device)
    switch.run("ip", "link", "set", line, "master", bridge, "up")
    do = run if end is None else end.run
    do("ip", "address", "add", address, "dev", device)
    do("ip", "link", "set", device, "up")


def _free_network(seed: int) -> IPv4Network:
    """One that this machine is not in: several internets may be open at once."""
    taken = run("ip", "-4", "-o", "address")
    for number in range(_NETWORKS_IN_ALL):
        first = _NETWORKS + (seed + number) % _NETWORKS_IN_ALL * 256
        if f" {str(first).rpartition('.')[0]}." not in taken:
            return IPv4Network(f"{first}/24")
    raise LinkError(f"all networks of {_NETWORKS}/16 are in use on this machine")
