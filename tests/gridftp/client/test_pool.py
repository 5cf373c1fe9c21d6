"""The pool: who shares a session with whom, how long it waits, and that nothing is left behind."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plugins.doubles import ScriptedServer, scripted
from plugins.sessions import OpenLane
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.dial import Server, Timeouts, default_dial
from towpath.gridftp.client.lane import Lane, Piece
from towpath.gridftp.client.pool import Login, SessionPool
from towpath.gridftp.client.session import Session
from towpath.gridftp.errors import GridFTPError, Kind

LONG_S = 10.0
"""For what happens at once; a busy machine may need it."""


@asynccontextmanager
async def pooled(**bounds) -> AsyncIterator[SessionPool]:
    pool = SessionPool(**bounds)
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def double() -> AsyncIterator[ScriptedServer]:
    """A server in clear text that has seen the end of each session when this ends."""
    async with scripted() as server:
        yield server
        await until(lambda: server.open_connections == 0)


@pytest.fixture
def login_a(domain_a: Domain, server_a: GctServer) -> Login:
    """At server A, as its domain's user."""
    return Login(Server("localhost", server_a.port), domain_a.credential, domain_a.trust)


def clear(server: ScriptedServer, owner: str = "") -> Login:
    """At a double, in clear text."""
    return Login(Server("127.0.0.1", server.port), None, None, owner)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():
            await asyncio.sleep(0.005)


async def open_logged_in(pool: SessionPool, login: Login) -> Session:
    session = await pool.take(login)
    await session.ready()
    return session


# -- sharing


async def test_a_session_given_back_is_taken_again(login_a, server_a, tmp_path) -> None:
    before = set(server_a.session_pids())
    async with pooled() as pool:
        seen = []
        for _ in range(3):
            async with pool.session(login_a) as session:
                assert (await session.stat(str(tmp_path))).is_directory
                seen.append(session)
        assert seen[0] is seen[1] is seen[2]
        assert len(set(server_a.session_pids()) - before) == 1
    await until(lambda: set(server_a.session_pids()) <= before)


async def test_a_session_in_use_is_nobody_elses(login_a) -> None:
    async with pooled() as pool, pool.session(login_a) as one, pool.session(login_a) as other:
        assert one is not other


async def test_sessions_are_shared_between_equal_logins_only(login_a, domain_a) -> None:
    logins = [
        login_a,
        replace(login_a, owner="somebody else"),
        replace(login_a, restriction="R/tmp"),
        replace(login_a, delegate=True),
        replace(login_a, credential=domain_a.make_proxy(timedelta(hours=1))),
        replace(login_a, trust=domain_a.trust),
        replace(login_a, server=replace(login_a.server, subject="/O=DomA/CN=localhost")),
    ]
    async with pooled() as pool:
        for login in logins:
            assert pool.take_parked(login) is None
            async with pool.session(login):
                pass
        again = [pool.take_parked(replace(login)) for login in logins]
        assert None not in again
        assert len(set(map(id, again))) == len(logins)
        for login, session in zip(logins, again, strict=True):
            pool.give_back(login, session, sound=True)


async def test_a_restriction_still_holds_when_the_session_is_taken_again(login_a, tmp_path) -> None:
    login = replace(login_a, restriction=f"R{tmp_path}")
    async with pooled() as pool:
        for _ in range(2):
            async with pool.session(login) as session:
                await session.stat(str(tmp_path))
                with pytest.raises(GridFTPError) as caught:
                    await session.stat("/etc/passwd")
                assert caught.value.kind is Kind.PATH_NOT_ALLOWED


async def test_an_expired_credential_gets_no_parked_session(login_a) -> None:
    now = datetime.now(UTC)
    async with pooled(clock=lambda: now) as pool:
        async with pool.session(login_a):
            pass
        now += timedelta(days=365)
        with pytest.raises(GridFTPError) as caught:
            await pool.take(login_a)
        assert caught.value.kind is Kind.CREDENTIAL_EXPIRED


async def test_what_is_sent_before_ready_comes_with_the_login(login_a, tmp_path) -> None:
    async with pooled() as pool:
        session = await pool.take(login_a)
        (reply,) = session.submit([f"MLST {tmp_path}"])
        await session.ready()
        assert (await reply).ok
        pool.give_back(login_a, session, sound=True)
        assert pool.take_parked(login_a) is session
        pool.give_back(login_a, session, sound=False)


RTT_S = 0.3
"""Long against what the server computes during a login, also on a busy machine."""


@asynccontextmanager
async def far_away(port: int) -> AsyncIterator[Callable[[str, int], Awaitable[socket.socket]]]:
    """How to dial a server that is RTT_S away: every byte takes half of it, and connecting all."""
    loop = asyncio.get_running_loop()
    open_connections = 0

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            loop.call_later(RTT_S / 2, writer.write, data)
        await asyncio.sleep(RTT_S / 2)
        writer.close()
        await writer.wait_closed()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        open_connections += 1
        reader_there, writer_there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, writer_there), carry(reader_there, writer))
        open_connections -= 1

    async def dial(host: str, _port: int) -> socket.socket:
        await asyncio.sleep(RTT_S)
        return await default_dial(host, proxy.sockets[0].getsockname()[1])

    proxy = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with proxy:
        yield dial
        await until(lambda: open_connections == 0)


@pytest.mark.parametrize(
    ("parked", "restriction", "round_trips"), [(False, None, 3), (False, "R/", 4), (True, None, 1)]
)
async def test_a_cold_first_answer_takes_three_round_trips(
    login_a: Login, server_a: GctServer, parked: bool, restriction: str | None, round_trips: int
) -> None:
    """One to connect, one for the server's part of the handshake, one for ours and the command.

    A restriction is awaited before anything else is sent, and a parked session is there already.
    """
    loop = asyncio.get_running_loop()
    login = replace(login_a, restriction=restriction)
    async with far_away(server_a.port) as dial, pooled(dial=dial) as pool:
        if parked:
            async with pool.session(login):
                pass
        begin = loop.time()
        session = await pool.take(login)
        (answer,) = session.submit(["MLST /"])
        assert (await answer).ok
        took = (loop.time() - begin) / RTT_S
        assert round_trips <= took < round_trips + 0.9
        await session.ready()
        pool.give_back(login, session, sound=True)


# -- soundness


@pytest.mark.parametrize("how", ["said so", "unanswered", "logging in", "closed"])
async def test_an_unsound_session_is_closed(how: str) -> None:
    async with double() as server, pooled() as pool:
        login = clear(server)
        session = await pool.take(login)
        if how != "logging in":
            await session.ready()
        if how == "unanswered":
            session.submit(["NOOP"])
        elif how == "closed":
            await session.close()
        pool.give_back(login, session, sound=how != "said so")
        assert pool.take_parked(login) is None
        await until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("path", ["/no/such/file", "no\nname"])
async def test_an_error_that_leaves_no_answer_open_does_not_cost_the_session(
    login_a, path: str
) -> None:
    async with pooled() as pool:
        with pytest.raises(GridFTPError):
            async with pool.session(login_a) as session:
                await session.stat(path)
        assert pool.take_parked(login_a) is session
        pool.give_back(login_a, session, sound=False)


async def test_a_use_that_was_broken_off_costs_the_session() -> None:
    async with double() as server, pooled() as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.session(clear(server)):
                1 / 0  # noqa: B018
        assert pool.take_parked(clear(server)) is None


# -- bounds


async def test_too_many_of_one_login_or_in_all(login_a) -> None:
    async with double() as server, pooled(per_login=2, in_all=3) as pool:
        a, b = clear(server, "a"), clear(server, "b")
        of_a = [await open_logged_in(pool, a) for _ in range(3)]
        of_b = [await open_logged_in(pool, b) for _ in range(2)]
        for session in of_a:
            pool.give_back(a, session, sound=True)
        await until(lambda: of_a[0].closed)  # the one of the login that waited longest
        for session in of_b:
            pool.give_back(b, session, sound=True)
        await until(lambda: of_a[1].closed)  # the one of all
        assert not any(session.closed for session in (of_a[2], *of_b))
        assert server.open_connections == 3
        assert pool.take_parked(b) is of_b[1]  # the one most likely to be alive
        pool.give_back(b, of_b[1], sound=True)


async def test_too_many_at_one_server() -> None:
    """Of all its users together: the oldest one goes; other servers' stay."""
    async with double() as one, double() as other, pooled(per_server=2) as pool:
        logins = [clear(one, "a"), clear(other, "a"), clear(one, "b"), clear(one, "c")]
        for login in logins:
            session = await open_logged_in(pool, login)
            pool.give_back(login, session, sound=True)
        await until(lambda: one.open_connections == 2)
        assert pool.take_parked(logins[0]) is None
        for login in logins[1:]:
            session_left = pool.take_parked(login)
            assert session_left is not None
            pool.give_back(login, session_left, sound=True)


async def test_nothing_is_parked_where_nothing_may_be() -> None:
    async with double() as server, pooled(in_all=0) as pool:
        async with pool.session(clear(server)):
            pass
        await until(lambda: server.open_connections == 0)


async def test_a_session_waits_only_so_long() -> None:
    async with double() as server, pooled(idle_s=0.2) as pool:
        loop = asyncio.get_running_loop()
        async with pool.session(clear(server)):
            pass
        parked_at = loop.time()
        await until(lambda: server.open_connections == 0)
        assert loop.time() - parked_at >= 0.2
        async with pool.session(clear(server)):  # it keeps what comes later, too
            pass
        assert server.open_connections == 1
        await until(lambda: server.open_connections == 0)


async def test_a_closed_pool_keeps_nothing() -> None:
    async with double() as server:
        pool = SessionPool()
        login = clear(server)
        session = await open_logged_in(pool, login)
        await pool.close()
        assert server.open_connections == 1
        pool.give_back(login, session, sound=True)
        assert pool.take_parked(login) is None
        await pool.close()
        assert session.closed


# -- alive


@pytest.mark.long
async def test_a_parked_session_outlives_the_servers_patience(domain_a, tmp_path) -> None:
    args = ["-control-idle-timeout", "2"]
    with GctServer.start(domain_a, tmp_path / "server", args=args) as server:
        login = Login(Server("localhost", server.port), domain_a.credential, domain_a.trust)
        async with pooled(keepalive_s=0.5) as careful, pooled(keepalive_s=600) as careless:
            async with careful.session(login) as kept:
                pass
            async with careless.session(login) as dropped:
                pass
            async with asyncio.timeout(60):
                await dropped.channel.lost
            await asyncio.sleep(2)
            assert careless.take_parked(login) is None
            assert careful.take_parked(login) is kept
            await kept.stat("/")
            careful.give_back(login, kept, sound=True)


async def test_a_session_without_a_sign_of_life_is_dropped() -> None:
    timeouts = Timeouts(reply_s=0.1, close_s=0.1)
    async with double() as server, pooled(timeouts=timeouts, keepalive_s=0.05) as pool:
        async with pool.session(clear(server)) as session:
            pass
        await until(lambda: server.received.count("NOOP") >= 3)
        assert not session.closed
        server.answers["NOOP"] = None
        await until(lambda: server.open_connections == 0)
        assert session.closed
        assert pool.take_parked(clear(server)) is None


async def test_a_session_lost_while_parked_is_dropped_without_a_word(
    login_a, server_a, caplog
) -> None:
    async with pooled() as pool:
        before = set(server_a.session_pids())
        async with pool.session(login_a) as session:
            pass
        (pid,) = set(server_a.session_pids()) - before
        os.kill(pid, signal.SIGKILL)
        await until(lambda: len(pool._sessions) == 0)
        async with pool.session(login_a) as other:
            assert other is not session
            await other.stat("/")
    assert caplog.records == []


async def test_what_a_dead_session_cost_is_done_again_if_it_may_be(login_a, server_a) -> None:
    async with pooled() as pool:
        for repeatable in (True, False):
            before = set(server_a.session_pids())
            async with pool.borrow(login_a, fresh=True) as borrowed:
                assert borrowed.fresh
            (pid,) = set(server_a.session_pids()) - before
            os.kill(pid, signal.SIGKILL)  # and before we can see it:
            tried: list[Session] = []

            async def look(session: Session, tried: list[Session] = tried) -> bool:
                tried.append(session)
                return (await session.stat("/")).is_directory

            if repeatable:
                assert await pool.run(login_a, look, repeatable=True)
                assert [session is borrowed.session for session in tried] == [True, False]
                pool.give_back(login_a, pool.take_parked(login_a), sound=False)
            else:
                with pytest.raises(GridFTPError) as caught:
                    await pool.run(login_a, look, repeatable=False)
                assert caught.value.kind is Kind.CONNECTION_LOST
                assert tried == [borrowed.session]


async def test_a_new_session_that_is_lost_is_not_tried_twice() -> None:
    async with double() as server, pooled() as pool:
        server.answers["MLST"] = "421 Service not available."
        with pytest.raises(GridFTPError) as caught:
            await pool.run(clear(server), lambda session: session.stat("/"), repeatable=True)
        assert caught.value.kind is Kind.CONNECTION_LOST
        assert server.received.count("MLST /") == 1


# -- lanes


@pytest.fixture
def copied(tree) -> Callable[[list[Piece]], None]:
    """Checks what a lane has moved."""

    def check(pieces: list[Piece]) -> None:
        for piece in pieces:
            moved = Path(piece.destination_path).read_bytes()
            assert moved == Path(piece.source_path).read_bytes()

    return check


async def move(lane: Lane, pieces: list[Piece]) -> None:
    lane.send(pieces)
    done = 0
    while done < len(pieces):
        outcomes = await lane.outcomes()
        assert {outcome.status for outcome in outcomes} == {"done"}
        done += len(outcomes)


async def test_a_lane_is_taken_again_with_its_data_channel(
    open_lane: OpenLane, tree, copied
) -> None:
    lane = await open_lane()
    pieces = tree(40)
    async with pooled(keepalive_s=0.05) as pool:
        await move(lane, pieces[:20])
        pool.keep_lane("key", lane)
        assert pool.take_lane("another") is None
        await asyncio.sleep(0.3)  # NOOPs do no harm to the data channel
        commands: list[bytes] = []
        queue = lane.source.channel.queue
        lane.source.channel.queue = lambda line, who: (commands.append(line), queue(line, who))[1]
        assert pool.take_lane("key") is lane
        assert pool.take_lane("key") is None
        await move(lane, pieces[20:])
        copied(pieces)
        assert {line.split(b" ")[0] for line in commands} == {b"RETR"}
        pool.keep_lane("key", lane)
    assert lane.source.closed
    assert lane.destination.closed


async def test_the_next_user_of_a_lane_hears_nothing_of_the_last(
    open_lane: OpenLane, tmp_path
) -> None:
    heard: list[int] = []
    lane = await open_lane(markers=True, on_progress=heard.append)
    (tmp_path / "file").write_bytes(b"x" * 1000)
    piece = Piece(str(tmp_path / "file"), str(tmp_path / "copy"), 1000)
    lane.send([piece], directories=["/proc/no"])
    while lane.due:
        await lane.outcomes()
    assert lane.directory_errors
    told = len(heard)
    async with pooled() as pool:
        pool.keep_lane("key", lane)
        assert pool.take_lane("key") is lane
        assert lane.directory_errors == {}
        await move(lane, [piece])
        assert len(heard) == told
        pool.keep_lane("key", lane)


@pytest.mark.parametrize("side", ["source", "destination"])
async def test_a_parked_lane_goes_with_either_of_its_sessions(
    open_lane: OpenLane, server_a, server_b, side: str
) -> None:
    before = {*server_a.session_pids(), *server_b.session_pids()}
    lane = await open_lane()
    await move(lane, [])
    await asyncio.wait_for(_answered(lane), LONG_S)
    async with pooled() as pool:
        pool.keep_lane("key", lane)
        assert len(pool._lanes) == 1
        server = server_a if side == "source" else server_b
        (pid,) = set(server.session_pids()) - before
        os.kill(pid, signal.SIGKILL)
        await until(lambda: len(pool._lanes) == 0)
        await until(lambda: lane.source.closed and lane.destination.closed)
        assert pool.take_lane("key") is None


async def _answered(lane: Lane) -> None:
    while lane.source.channel.unanswered or lane.destination.channel.unanswered:
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("how", ["broken", "at work", "untold", "session lost"])
async def test_a_lane_that_cannot_go_on_is_closed(open_lane: OpenLane, tree, how: str) -> None:
    lane = await open_lane()
    (piece,) = tree(1)
    if how == "broken":
        await lane.close()
    elif how in ("at work", "untold"):
        lane.send([piece])
        if how == "untold":
            await asyncio.wait_for(_answered(lane), LONG_S)
    else:
        await lane.source.give_up()
    async with pooled() as pool:
        pool.keep_lane("key", lane)
        assert pool.take_lane("key") is None
    assert lane.broken
    assert lane.source.closed
    assert lane.destination.closed


async def test_lanes_are_bounded_too(open_lane: OpenLane) -> None:
    lanes = [await open_lane() for _ in range(3)]
    for lane in lanes:
        await asyncio.wait_for(_answered(lane), LONG_S)
    async with pooled(lanes_per_key=1, lanes_in_all=1, lane_idle_s=0.2) as pool:
        for lane, key in zip(lanes, ("one", "one", "two"), strict=True):
            pool.keep_lane(key, lane)
        assert pool.take_lane("one") is None
        assert len(pool._lanes) == 1
        await until(lambda: len(pool._lanes) == 0)
        await until(lambda: all(lane.source.closed for lane in lanes))


# -- cancellation


@pytest.mark.parametrize("what", ["take", "session", "run", "parked", "restricted"])
async def test_cancelling_at_any_moment_leaves_nothing(
    login_a: Login, server_a: GctServer, what: str
) -> None:
    """Cancel after one more turn of the loop each time, until it comes through."""
    dialled: list[socket.socket] = []

    async def dial(host: str, port: int) -> socket.socket:
        connection = await default_dial(host, port)
        dialled.append(connection)
        return connection

    login = replace(login_a, restriction="R/") if what == "restricted" else login_a
    before = set(server_a.session_pids())
    tasks_before = asyncio.all_tasks()

    async def use(pool: SessionPool) -> None:
        if what == "take":
            pool.give_back(login, await pool.take(login), sound=True)
        elif what == "run":
            await pool.run(login, lambda session: session.stat("/"), repeatable=True)
        else:
            async with pool.session(login) as session:
                await session.stat("/")

    came_through = False
    turns = 0
    while not came_through:
        pool = SessionPool(dial)
        if what == "parked":
            async with pool.session(login):
                pass
        using = asyncio.create_task(use(pool))
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns > 60:  # the turns after this are waits for the server
            await asyncio.sleep((turns - 60) / 500)
        using.cancel()
        await asyncio.wait([using])
        came_through = not using.cancelled()
        await pool.close()
        assert len(pool._sessions) == 0
        assert all(connection.fileno() == -1 for connection in dialled)
        assert asyncio.all_tasks() == tasks_before
        turns += 1 if turns < 12 else 7
    assert turns > 5 or what == "parked"
    await until(lambda: set(server_a.session_pids()) <= before)


async def test_cancelling_the_close_still_closes(login_a: Login, server_a: GctServer) -> None:
    before = set(server_a.session_pids())
    pool = SessionPool()
    sessions = [await open_logged_in(pool, login_a) for _ in range(3)]
    for session in sessions:
        pool.give_back(login_a, session, sound=True)
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    await until(lambda: not pool._closing)
    assert all(session.closed for session in sessions)
    await until(lambda: set(server_a.session_pids()) <= before)
