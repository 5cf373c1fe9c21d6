"""A host at the end of a link that can be cut: a network namespace of this machine.

What is started on it dies with it, and nothing is left behind. It needs root, iproute2 and nft.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from socket import gethostname

from towpath.demo.servers import Host

DEVICE = "far"
"""What the link's end is called on the host."""

_NETWORKS = IPv4Address("198.18.0.0")
"""198.18.0.0/15 is nobody's: it is set aside for measurements (RFC 2544)."""

_NETWORK_SIZE = 4
_NETWORKS_IN_ALL = 2**17 // _NETWORK_SIZE

_NAMESPACE = 'mount -t tmpfs tmpfs /run && ip link set lo up && echo && exec "$@"'

_HOSTS = "127.0.0.1 localhost {machine}\n{near} near\n{far} far\n"
_NAME = (
    "cat >/run/hosts && mount --bind /run/hosts /etc/hosts"
    " && mount --bind /dev/null /etc/resolv.conf"
)
"""Servers ask for the machine's own name, and for those of addresses."""

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


class LinkError(RuntimeError):
    """The host cannot be made here."""


class Link:
    """The host, and the link to it; use `open`."""

    def __init__(self, holder: "subprocess.Popen[bytes]", near: str, far: str) -> None:
        self._holder = holder
        self._epoch = 1
        self.near = Host(near, near)
        """This machine, as the host sees it. Both go by their addresses: there are no names."""
        self.far = Host(far, far, _enter(holder.pid))
        """The host."""
        self.network = ip_network(f"{near}/30", strict=False)
        self.up()

    @classmethod
    @contextmanager
    def open(cls) -> Iterator["Link"]:
        """Make the host; the link is up. Raises LinkError."""
        holder = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "setpriv", "--pdeathsig", "KILL"),
                *("sh", "-c", _NAMESPACE, "sh", "sleep", "infinity"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with holder:
            try:
                assert holder.stdout is not None
                assert holder.stderr is not None
                if not holder.stdout.readline():
                    said = holder.stderr.read().decode(errors="replace").strip()
                    raise LinkError(f"no network namespace can be made here: {said}")
                yield cls(holder, *_connect(holder.pid))
            finally:
                holder.kill()

    @property
    def received_bytes(self) -> int:
        """What has arrived at the host's end of the link so far, headers included: also what was
        sent again, or while the link was down."""
        for line in Path(f"/proc/{self._holder.pid}/net/dev").read_text().splitlines():
            name, _, counters = line.strip().partition(":")
            if name == DEVICE:
                return int(counters.split()[0])
        raise LinkError("the host has no link any more")

    @property
    def calls(self) -> int:
        """How many packets that ask for a connection have come to the host's end since the link
        last went up or down: a connection that is not answered asks again."""
        told = json.loads(_do(*self.far.enter, "nft", "--json", "list", "counters"))
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
        _do(*self.far.enter, "nft", "--file", "-", text=_RULES.format(what=what))


def _connect(namespace: int) -> tuple[str, str]:
    """Lay the link; the addresses of its two ends."""
    first = _NETWORKS + namespace % _NETWORKS_IN_ALL * _NETWORK_SIZE
    near, far = str(first + 1), str(first + 2)
    name = f"towpath{namespace}"
    enter = _enter(namespace)
    _do("ip", "link", "add", name, "type", "veth", "peer", "name", DEVICE, "netns", str(namespace))
    for at, address, device in (((), near, name), (enter, far, DEVICE)):
        _do(*at, "ip", "address", "add", f"{address}/30", "dev", device)
        _do(*at, "ip", "link", "set", device, "up")
    hosts = _HOSTS.format(machine=gethostname(), near=near, far=far)
    _do(*enter, "sh", "-c", _NAME, text=hosts)
    return near, far


def _enter(namespace: int) -> tuple[str, ...]:
    return ("nsenter", f"--target={namespace}", "--net", "--mount")


def _do(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LinkError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
