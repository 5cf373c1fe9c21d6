"""What relays tell: tasks go on; and where they may dial."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from uuid import UUID, uuid4

import pytest

from towpath.platform.database import Connection, Database
from towpath.platform.dial import DialPolicy
from towpath.transfer.connect.carrying import Dials, take_presence
from towpath.transfer.connect.nodes import new_endpoint
from towpath.transfer.store import circuits, connect, endpoints, relays, submissions
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.relays import Connected, Lost
from towpath.transfer.store.rows import fetch_one
from towpath.transfer.store.tasks import NewItem, NewTask
from towpath.tunnel.names import CONNECT_PORT

OWNER = uuid4()


@pytest.fixture
async def laptop(database: Database) -> Endpoint:
    made = new_endpoint(
        kind="personal",
        endpoint_id=uuid4(),
        owner_id=OWNER,
        owner_string="o@example.org",
        display_name="laptop",
        public=True,
        details={},
    )
    async with database.transaction() as conn:
        await endpoints.insert(conn, made, {})
        await connect.make(conn, made.id, "personal")
    return made


async def site(conn: Connection, host: str, *data_hosts: str) -> Endpoint:
    made = Endpoint(
        id=uuid4(),
        owner_id=OWNER,
        owner_string="o@example.org",
        display_name="site",
        host=host,
        port=2811,
        subject=None,
        data_hosts=data_hosts,
        public=True,
        details={},
    )
    await endpoints.insert(conn, made, {})
    return made


async def task(conn: Connection, source: UUID, destination: UUID) -> UUID:
    made = NewTask(
        id=uuid4(),
        owner_id=OWNER,
        username="o@example.org",
        submission_id=uuid4(),
        type="TRANSFER",
        label=None,
        options={},
        source_endpoint_id=source,
        destination_endpoint_id=destination,
        deadline=datetime.now(UTC) + timedelta(hours=1),
        items=[NewItem("/a", "/b", False)],
    )
    await submissions.create(conn, [made])
    return made.id


async def node_of(conn: Connection, endpoint: Endpoint) -> UUID:
    node_id = uuid4()
    await connect.add_node(
        conn,
        node_id=node_id,
        endpoint_id=endpoint.id,
        name="n",
        token_hash=node_id.bytes,
        tunnel_key="ssh-ed25519 A",
        version="0.1.0",
        certificate="",
    )
    return node_id


async def relay(conn: Connection, *data_addresses: str) -> UUID:
    relay_id = uuid4()
    await relays.add(conn, relay_id, str(relay_id))
    await relays.heartbeat(
        conn,
        relay_id,
        host="relay.example.org",
        port=443,
        host_key="k",
        data_addresses=data_addresses,
        version="0.1.0",
        agents=0,
        draining=False,
    )
    return relay_id


@pytest.mark.parametrize("doubted", [True, False])
async def test_tasks_go_on_when_an_agent_is_back(
    database: Database,
    laptop: Endpoint,
    doubted: bool,
) -> None:
    async with database.transaction() as conn:
        relay_id = await relay(conn)
        node = await node_of(conn, laptop)
        other = await site(conn, "gridftp.example.org")
        task_id = await task(conn, laptop.id, other.id)
        await conn.execute("UPDATE task SET not_before = now() + interval '300 s'")
    if doubted:
        await circuits.doubt(database, laptop.host, CONNECT_PORT)
    async with database.transaction() as conn:
        await take_presence(
            conn,
            relay_id,
            connected=[Connected(node, "192.0.2.7", None, "0.2.0", None)],
            lost=[],
            all_named=False,
        )
        row = await fetch_one(
            conn, "SELECT not_before <= now() FROM task WHERE id = %s", (task_id,)
        )
        assert row == (True,)
        assert await fetch_one(conn, "SELECT FROM circuit") is None


async def test_a_relay_that_begins_says_who_is_there(database: Database, laptop: Endpoint) -> None:
    async def here() -> set[UUID]:
        async with database.connection() as conn:
            found = await relays.presence(conn, laptop.id)
        return {one.node_id for one in found if one.relay_id is not None}

    async with database.transaction() as conn:
        first, second = await relay(conn), await relay(conn)
        a, b, c = [await node_of(conn, laptop) for _ in range(3)]

    async def say(relay_id: UUID, *nodes: UUID, lost: UUID | None = None, everybody: bool) -> None:
        async with database.transaction() as conn:
            await take_presence(
                conn,
                relay_id,
                connected=[Connected(node, None, None, None, None) for node in nodes],
                lost=[] if lost is None else [Lost(lost, None)],
                all_named=everybody,
            )

    await say(first, a, b, everybody=True)
    await say(second, c, everybody=True)
    assert await here() == {a, b, c}
    await say(first, b, everybody=True)
    assert await here() == {b, c}
    await say(second, b, everybody=False)  # its agent has gone there
    await say(first, lost=b, everybody=False)
    assert await here() == {b, c}
    async with database.transaction() as conn:
        assert await relays.remove(conn, second)
    assert await here() == set()


async def test_a_relay_dials_only_the_other_side_of_a_transfer(
    database: Database, laptop: Endpoint
) -> None:
    dials = Dials(database, DialPolicy(allow_loopback=True))

    async def refusal(ip: str, port: int = 50_000) -> str | None:
        return await dials.refusal(laptop.id, ip, port)

    async with database.transaction() as conn:
        named = await site(conn, "localhost", "1.1.1.1", "10.0.0.1")
        stranger = await site(conn, "9.9.9.9")
    assert await refusal("127.0.0.1") is not None
    async with database.transaction() as conn:
        running = await task(conn, laptop.id, named.id)
        await task(conn, stranger.id, named.id)
    assert await refusal("127.0.0.1") is None
    assert await refusal("1.1.1.1") is None
    assert "data connection" in str(await refusal("1.1.1.1", 25)), "nobody's way to send mail"
    assert "private" in str(await refusal("10.0.0.1")), "the operator's policy holds as well"
    assert "other side" in str(await refusal("9.9.9.9"))
    async with database.transaction() as conn:
        await conn.execute("UPDATE task SET status = 'FAILED' WHERE id = %s", (running,))
    assert await refusal("127.0.0.1") is not None


async def test_a_relay_dials_relays_and_agents_of_the_other_side(
    database: Database, laptop: Endpoint
) -> None:
    dials = Dials(database, DialPolicy())
    async with database.transaction() as conn:
        home = await relay(conn, "10.0.0.9")
        away = new_endpoint(
            kind="personal",
            endpoint_id=uuid4(),
            owner_id=OWNER,
            owner_string="o",
            display_name="pc",
            public=True,
            details={},
        )
        await endpoints.insert(conn, away, {})
        await connect.make(conn, away.id, "personal")
        node = await node_of(conn, away)
        await relays.connect(conn, home, [Connected(node, "10.1.1.1", "10.1.1.1", None, None)])
    assert await dials.refusal(laptop.id, "10.0.0.9", 50_000) is not None
    async with database.transaction() as conn:
        await task(conn, laptop.id, away.id)
    assert await dials.refusal(laptop.id, "10.0.0.9", 50_000) is None, "another relay"
    at_home = Dials(database, DialPolicy(allow_networks=[ip_network("10.1.0.0/16")]))
    assert await at_home.refusal(laptop.id, "10.1.1.1", 50_000) is None, "the agent itself"
    assert "private" in str(await dials.refusal(laptop.id, "10.1.1.1", 50_000))
    assert await dials.refusal(laptop.id, "10.1.1.2", 50_000) is not None
