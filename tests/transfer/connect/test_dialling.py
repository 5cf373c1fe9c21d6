"""Agents are found, and whoever is not there is named."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from plugins.relay_front import Front, answering
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.database import Database
from towpath.platform.secrets import Sealer
from towpath.transfer.connect.dialling import Agents
from towpath.transfer.connect.keys import ConnectKeys
from towpath.transfer.connect.nodes import new_endpoint
from towpath.transfer.store import connect, endpoints, relays
from towpath.transfer.store.relays import DEAD_AFTER_S, Connected, Lost
from towpath.tunnel.prologue import OK, Refusal, refusal

OWNER = uuid4()
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC).timestamp()


@pytest.fixture
def agents(database: Database, tmp_path: Path) -> Agents:
    keys = ConnectKeys(database, Sealer(tmp_path / "seal.key"), "https://towpath.test")
    return Agents(database, keys, now=lambda: NOON)


async def registered(database: Database, nodes: int = 1) -> tuple[UUID, list[UUID]]:
    """A server endpoint with so many nodes."""
    made = new_endpoint(
        kind="server",
        endpoint_id=uuid4(),
        owner_id=OWNER,
        owner_string="o@example.org",
        display_name="site",
        public=True,
        details={},
    )
    ids = [uuid4() for _ in range(nodes)]
    async with database.transaction() as conn:
        await endpoints.insert(conn, made, {})
        await connect.make(conn, made.id, "server")
        for number, node_id in enumerate(ids):
            await connect.add_node(
                conn,
                node_id=node_id,
                endpoint_id=made.id,
                name=f"dtn{number}",
                token_hash=node_id.bytes,
                tunnel_key="ssh-ed25519 A",
                version="0.1.0",
                certificate="",
            )
    return made.id, ids


async def connected(database: Database, front: Front, *nodes: UUID) -> UUID:
    """These are at a relay; its id."""
    relay_id = uuid4()
    async with database.transaction() as conn:
        await relays.add(conn, relay_id, str(relay_id))
        await relays.heartbeat(
            conn,
            relay_id,
            host="127.0.0.1",
            port=front.port,
            host_key="k",
            data_addresses=["192.0.2.9"],
            version="0.1.0",
            agents=len(nodes),
            draining=False,
        )
        some = [Connected(node, "192.0.2.7", None, None, None) for node in nodes]
        await relays.connect(conn, relay_id, some)
    return relay_id


async def refused(agents: Agents, endpoint_id: UUID) -> GridFTPError:
    with pytest.raises(GridFTPError) as caught:
        await agents.dial(endpoint_id)
    assert str(endpoint_id) in caught.value.where
    return caught.value


async def test_a_pass_is_shown_and_nothing_more_is_read(database: Database, agents: Agents) -> None:
    endpoint_id, (node,) = await registered(database)
    async with answering(OK + b"220 ready\r\n") as front:
        await connected(database, front, node)
        with await agents.dial(endpoint_id) as connection:
            connection.setblocking(True)
            assert connection.recv(100) == b"220 ready\r\n"
    (said,) = front.said
    assert said.startswith(b"TPJ1 pass ")


async def test_who_is_not_there_is_named(database: Database, agents: Agents) -> None:
    endpoint_id, (node,) = await registered(database)
    error = await refused(agents, endpoint_id)
    assert error.kind is Kind.AWAY
    assert "“site” has been set up and was never connected" in error.message
    async with answering(OK) as front:
        relay_id = await connected(database, front, node)
        heard = datetime(2026, 3, 1, 10, 41, tzinfo=UTC)
        async with database.connection() as conn:
            await relays.lose(conn, relay_id, [Lost(node, heard)])
        error = await refused(agents, endpoint_id)
        assert error.kind is Kind.AWAY
        assert "“site” has not been connected since 10:41 UTC" in error.message

        other = await connected(database, front, node)
        async with database.connection() as conn:
            await relays.lose(conn, relay_id, [Lost(node, heard)])  # late news of the first one
        (await agents.dial(endpoint_id)).close()
        async with database.connection() as conn:
            await conn.execute(
                "UPDATE relay SET heard_at = now() - make_interval(secs => %s)"
                " WHERE client_id = %s",
                (DEAD_AFTER_S + 1, other),
            )
        assert (await refused(agents, endpoint_id)).kind is Kind.AWAY


async def test_who_takes_no_session_is_named(database: Database, agents: Agents) -> None:
    endpoint_id, nodes = await registered(database, 2)

    async def told(*, paused: Callable[[int], bool], draining: Callable[[int], bool]) -> None:
        async with database.connection() as conn:
            for number, node in enumerate(nodes):
                await connect.report(
                    conn,
                    node,
                    name="n",
                    version="0.1.0",
                    paused=paused(number),
                    draining=draining(number),
                    folders=[],
                )

    async with answering(OK) as front:
        await connected(database, front, *nodes)
        await told(paused=lambda _: True, draining=lambda _: False)
        error = await refused(agents, endpoint_id)
        assert error.kind is Kind.PAUSED
        assert "“site” is paused" in error.message
        await told(paused=lambda number: number == 0, draining=lambda number: number == 1)
        assert (await refused(agents, endpoint_id)).kind is Kind.DRAINING
        await told(paused=lambda number: number == 0, draining=lambda _: False)
        (await agents.dial(endpoint_id)).close()


async def test_sessions_spread_over_nodes(database: Database, agents: Agents) -> None:
    endpoint_id, nodes = await registered(database, 3)
    async with answering(OK) as front:
        await connected(database, front, *nodes)
        held = [await agents.dial(endpoint_id) for _ in range(6)]
        assert sorted(front.nodes()) == sorted([*map(str, nodes)] * 2)
        held.pop(0).close()
        free = front.nodes()[0]
        held.append(await agents.dial(endpoint_id))
        assert front.nodes()[-1] == free
        for connection in held:
            connection.close()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (refusal(Refusal.GONE, "not here"), Kind.AWAY, "has just lost its connection"),
        (refusal(Refusal.BUSY, "64 at most"), Kind.CONNECT, "does not connect us"),
        (b"", Kind.CONNECTION_LOST, "hung up"),
        (b"HTTP/1.1 400 Bad Request\r\n", Kind.PROTOCOL, "no relay"),
    ],
)
async def test_what_a_relay_says_instead(
    database: Database, agents: Agents, answer: bytes, kind: Kind, words: str
) -> None:
    endpoint_id, (node,) = await registered(database)
    async with answering(answer) as front:
        await connected(database, front, node)
        error = await refused(agents, endpoint_id)
    assert error.kind is kind
    assert words in error.message


async def test_a_relay_that_is_down(database: Database, agents: Agents) -> None:
    endpoint_id, (node,) = await registered(database)
    async with answering(OK) as front:
        await connected(database, front, node)
    error = await refused(agents, endpoint_id)
    assert error.kind is Kind.CONNECT
    assert "the relay 127.0.0.1" in error.message
