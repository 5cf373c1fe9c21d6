"""What relays are told, and what becomes of what they tell."""

from collections.abc import Sequence
from uuid import UUID

from towpath.platform.database import Connection, Database
from towpath.platform.dial import DialPolicy, DialRefused
from towpath.transfer.store import circuits, relays
from towpath.transfer.store.relays import Connected, Lost
from towpath.tunnel.names import CONNECT_PORT, connect_host, endpoint_of_host

HEARTBEAT_S = 5
"""`store.relays.DEAD_AFTER_S` is four of them."""


async def take_presence(
    conn: Connection,
    relay_id: UUID,
    *,
    connected: Sequence[Connected],
    lost: Sequence[Lost],
    all_named: bool,
) -> None:
    """Who came to a relay and who went. Tasks that waited for who came go on. In a transaction."""
    if lost:
        await relays.lose(conn, relay_id, lost)
    if all_named:
        await relays.lose_all_but(conn, relay_id, [one.node_id for one in connected])
    if connected:
        came = await relays.connect(conn, relay_id, connected, news=not all_named)
        for endpoint_id in sorted(set(came)):
            await circuits.close_now(conn, connect_host(endpoint_id), CONNECT_PORT)


FIRST_DATA_PORT = 1024
"""Below it are services that are no data connections: mail, SSH, and others that believe whom they
hear. A relay that went there would be anybody's way to them; GridFTP servers do not go there."""


class Dials:
    """Decides where a relay may dial for an agent."""

    def __init__(self, database: Database, policy: DialPolicy) -> None:
        self._database = database
        self._policy = policy

    async def refusal(self, endpoint_id: UUID, ip: str, port: int) -> str | None:
        """Why not; None: it may. An agent reaches only what its transfers go to just now, and what
        the operator's policy allows; else a relay would be a way into the network that it is in."""
        if port < FIRST_DATA_PORT:
            return f"port {port} is none of a data connection"
        async with self._database.connection() as conn:
            partners = await relays.partners(conn, endpoint_id)
            agents = {host: endpoint_of_host(host) for host, _ in partners}
            connect_ids = {one for one in agents.values() if one is not None}
            if connect_ids and ip in await relays.relay_addresses(conn):
                return None  # relays are the operator's own
            declared = {address for _, data_hosts in partners for address in data_hosts}
            for one in connect_ids:
                # What one relay has reached is, if it is private, another host for another relay.
                declared |= await relays.own_addresses(conn, one)
        if ip not in declared:
            for host in sorted(host for host, agent in agents.items() if agent is None):
                if await self._leads_to(host, port, ip):
                    break
            else:
                return f"{ip} does not belong to the other side of an active task of this endpoint"
        try:
            self._policy.check(ip, port)
        except DialRefused as refused:
            return str(refused)
        return None

    async def _leads_to(self, host: str, port: int, ip: str) -> bool:
        try:
            return ip in await self._policy.addresses(host, port)
        except (DialRefused, OSError, UnicodeError):
            return False
