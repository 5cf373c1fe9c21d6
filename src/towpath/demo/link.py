"""A host at the end of a link that can be cut: a network namespace of this machine.

What is started on it dies with it, and nothing is left behind. It needs root, iproute2 and nft.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_network
from pathlib import Path

from towpath.demo.namespace import LinkError, Namespace, run
from towpath.demo.servers import Host

DEVICE = "far"
"""What the link's end is called on the host."""

_NETWORKS = IPv4Address("198.18.0.0")
"""198.18.0.0/15 is nobody's: it is set aside for measurements (RFC 2544). This is the half of it
that `towpath.demo.internet` does not use."""

_NETWORK_SIZE = 4
_NETWORKS_IN_ALL = 2**16 // _NETWORK_SIZE

_DOWN = "ct mark 0 drop\ndrop"
"""Connections would be forgotten if no rule asked for them."""

_UP = """\
tcp flags & rst == rst accept
ct mark 0 ct mark set {epoch}
ct mark != {epoch} meta l4proto tcp reject with tcp reset
"""
"""A connection is marked by its first packet; those of an earlier epoch are known no more."""

_RULES = """\
flush ruleset
table inet link {{
  counter calls {{
  }}
  chain arriving {{
    type filter hook input priority 0
    tcp flags & (syn | ack) == syn counter name calls
    {what}
  }}
  chain leaving {{
    type filter hook output priority 0
    {what}
  }}
}}
"""


class Link:
    """The host, and the link to it; use `open`."""

    def __init__(self, end: Namespace, near: str, far: str) -> None:
        self._end = end
        self._epoch = 1
        self.near = Host(near, near)
        """This machine, as the host sees it. Both go by their addresses: there are no names."""
        self.far = Host(far, far, end.enter)
        """The host."""
        self.network = ip_network(f"{near}/30", strict=False)
        self.up()

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["Link"]:
        """Make the host; the link is up. Raises LinkError."""
        with Namespace.open() as end:
            yield cls(end, *_connect(end))

    @property
    def received_bytes(self) -> int:
        """What has arrived at the host's end of the link so far, headers included: also what was
        sent again, or while the link was down."""
        for line in Path(f"/proc/{self._end.pid}/net/dev").read_text().splitlines():
            name, _, counters = line.strip().partition(":")
            if name == DEVICE:
                return int(counters.split()[0])
        raise LinkError("the host has no link any more")

    @property
    def calls(self) -> int:
        """How many packets that ask for a connection have come to the host's end since the link
        last went up or down: a connection that is not answered asks again."""
        told = json.loads(self._end.run("nft", "--json", "list", "counters"))
        [counter] = [one["counter"] for one in told["nftables"] if "counter" in one]
        packets: int = counter["packets"]
        return packets

    def down(self) -> None:
        """From now on packets vanish, in both directions."""
        self._rule(_DOWN)

    def up(self) -> None:
        """Packets pass again; TCP goes on where it was, when it tries again."""
        self._rule(_UP.format(epoch=self._epoch))

    def up_anew(self) -> None:
        """As `up`, but connections from before are reset, as by a firewall that was restarted."""
        self._epoch += 1
        self.up()

    def _rule(self, what: str) -> None:
        self._end.run("nft", "--file", "-", text=_RULES.format(what=what))


def _connect(end: Namespace) -> tuple[str, str]:
    """Lay the link; the addresses of its two ends."""
    first = _NETWORKS + end.pid % _NETWORKS_IN_ALL * _NETWORK_SIZE
    near, far = str(first + 1), str(first + 2)
    name = f"towpath{end.pid}"
    run("ip", "link", "add", name, "type", "veth", "peer", "name", DEVICE, "netns", str(end.pid))
    for at, address, device in (((), near, name), (end.enter, far, DEVICE)):
        run(*at, "ip", "address", "add", f"{address}/30", "dev", device)
        run(*at, "ip", "link", "set", device, "up")
    end.know({"near": near, "far": far})
    return near, far
