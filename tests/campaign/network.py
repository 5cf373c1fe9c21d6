"""The campaign's network: the relay in front of its servers, and the rules that lead there."""

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.relay import MARK

RELAY_PORT = 1999
EPHEMERAL_PORTS = (40_000, 49_999)
"""What the kernel may choose here; the servers' ports are others."""

_RULES = f"""
table ip campaign {{
  set relayed {{ type inet_service; flags interval; }}
  set refused {{ type inet_service; flags interval; counter; }}
  chain to_relay {{
    type nat hook output priority -100;
    ip daddr 127.0.0.1 tcp dport @relayed meta mark != {MARK} redirect to :{RELAY_PORT}
  }}
  chain refusing {{
    type filter hook output priority -150;
    ip daddr 127.0.0.1 tcp dport @refused tcp flags & (syn | ack) == syn reject with tcp reset
  }}
}}
"""


@dataclass(frozen=True)
class Trapped:
    """What a trap has hit: the server's port, and the port that the connection came from."""

    port: int
    client_port: int


class Network:
    """Use `open`, inside a network namespace of one's own."""

    def __init__(self, relay: asyncio.subprocess.Process) -> None:
        self._relay = relay
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, data_ports: list[range]) -> AsyncIterator["Network"]:
        """Bring the loopback up, and the relay and its rules."""
        await run("ip", "link", "set", "lo", "up")
        low, high = EPHEMERAL_PORTS
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{low} {high}")
        await run("nft", "-f", "-", stdin=_RULES)
        words = [word for ports in data_ports for word in ("--data", ports.start, ports.stop)]
        relay = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "campaign.relay", "--port", str(RELAY_PORT)),
            *map(str, words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        network = cls(relay)
        assert relay.stdout is not None
        await relay.stdout.readline()
        listening = asyncio.create_task(network._listen())
        try:
            yield network
        finally:
            relay.kill()
            await relay.wait()
            await asyncio.gather(listening, return_exceptions=True)

    async def relayed(self, ports: range, *, on: bool = True) -> None:
        """Whether these ports are reached by way of the relay. A port of which nobody listens must
        not be: the relay would take the connection."""
        await self._element("add" if on else "delete", "relayed", ports)

    async def refuse(self, ports: range) -> None:
        """From now on connections to these ports are refused."""
        await self._element("add", "refused", ports)

    async def refused(self, ports: range) -> int:
        """How many connections to these ports were refused so far."""
        listed = json.loads(await run("nft", "-j", "list", "set", "ip", "campaign", "refused"))
        refused: int = sum(
            element["elem"]["counter"]["packets"]
            for one in listed["nftables"]
            for element in one.get("set", {}).get("elem", [])
            if _first_port(element["elem"]["val"]) == ports.start
        )
        return refused

    async def accept(self, ports: range) -> int:
        """No longer refuse; how many were refused."""
        refused = await self.refused(ports)
        await self._element("delete", "refused", ports)
        return refused

    async def _element(self, verb: str, name: str, ports: range) -> None:
        value = f"{ports.start}-{ports.stop - 1}" if len(ports) > 1 else str(ports.start)
        await run("nft", verb, "element", "ip", "campaign", name, "{", value, "}")

    async def trap(
        self,
        what: str,
        ports: Sequence[range],
        *,
        direction: str,
        after: int,
        within_s: float,
        for_s: float = 0.0,
    ) -> Trapped | None:
        """When `after` bytes have passed `direction` (`up`: to the server) to one of the ports, do
        `what` to the connection that the next are on; None if not so many pass in time."""
        result = await self._ask(
            do="trap",
            what=what,
            ports=[[one.start, one.stop] for one in ports],
            direction=direction,
            after=after,
            for_s=for_s,
            within_s=within_s,
        )
        return None if result is None else Trapped(**result)

    async def passed(self) -> dict[str, int]:
        """Bytes that have passed so far, `up` and `down`, those of `data` channels among them, and
        connections `open` now."""
        result: dict[str, int] = await self._ask(do="tell")
        return result

    async def _ask(self, **request: Any) -> Any:
        number = next(self._numbers)
        self._asked[number] = asyncio.get_running_loop().create_future()
        assert self._relay.stdin is not None
        self._relay.stdin.write(json.dumps({"id": number, **request}).encode() + b"\n")
        await self._relay.stdin.drain()
        return await self._asked[number]

    async def _listen(self) -> None:
        assert self._relay.stdout is not None
        while line := await self._relay.stdout.readline():
            answer = json.loads(line)
            self._asked.pop(answer["id"]).set_result(answer["result"])
        for waiting in self._asked.values():
            waiting.cancel()


def _first_port(value: Any) -> int:
    return int(value["range"][0] if isinstance(value, dict) else value)


async def run(*command: str, stdin: str = "") -> str:
    """A program to its end; its standard output. Raises RuntimeError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate(stdin.encode())
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {output.decode(errors='replace')}")
    return output.decode()
