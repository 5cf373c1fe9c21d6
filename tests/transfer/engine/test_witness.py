"""The witness of a worker: what it proves when the worker dies, and what it must not prove.

The worker is this process; it dies as far as the witness can tell: the link to it ends. What it
knows of servers are sockets, so the servers are sockets here.
"""

import asyncio
import fcntl
import os
import resource
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from plugins.tasks import MakeTask
from towpath.gridftp.client.channel import ControlChannel
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.platform.database import Database
from towpath.transfer.engine.witness import AGAIN_AFTER_S, Witness
from towpath.transfer.engine.witness_process import QUIET_S, Held, Key, Lease, see_the_end
from towpath.transfer.store import leases
from towpath.transfer.store.leases import Grant
from towpath.transfer.store.rows import fetch_one

SOON_S = 10.0
"""For what takes milliseconds, on a busy machine too."""
WITNESS_S = 30.0
"""It waits for a server that does not end, and may have to try the database again."""

Told = list[str]
Serve = Callable[["Server"], None]


class Server(threading.Thread):
    """A server's end of one control connection; `ends` says what it does when it is told to end."""

    def __init__(self, connection: socket.socket, name: str, told: Told, ends: Serve) -> None:
        super().__init__(daemon=True)
        self.connection = connection
        self.name = name
        self.heard_end = threading.Event()
        self._told, self._ends = told, ends

    def run(self) -> None:
        """Until the client's end."""
        try:
            while self.connection.recv(4096):
                pass
        except OSError:
            return  # the test is over
        self._told.append(self.name)
        self.heard_end.set()
        self._ends(self)


def ends(server: Server) -> None:
    """As servers do, with a last word."""
    server.connection.sendall(b"221 Goodbye.\r\n")
    server.connection.close()


def resets(server: Server) -> None:
    """Its process is gone, and had not read everything."""
    server.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.connection.close()


def hangs(server: Server) -> None:
    """A command runs on."""
    del server


@dataclass
class Worker:
    """One with a single lease."""

    database: Database
    witness: Witness
    grant: Grant
    told: Told = field(default_factory=list)
    """By name, the servers that have heard the end of their session, in order."""
    channels: list[ControlChannel] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)

    async def open(
        self, name: str, ends: Serve, *, writes: bool = True, held: bool = True
    ) -> tuple[ControlChannel, Server]:
        """A session that the witness has."""
        channel, server = await connected(name, self.told, ends)
        self.channels.append(channel)
        self.servers.append(server)
        if held:
            self.witness.hold(self.grant, channel, writes=writes)
        return channel, server

    async def dies(self) -> None:
        """It touches nothing any more, and the witness has done what it can."""
        for channel in self.channels:
            channel.pause()
        process, link = self.witness._process, self.witness._link
        assert process is not None
        assert link is not None
        self.witness._link = None
        link.close()
        await asyncio.to_thread(process.wait, WITNESS_S)

    async def still_epoch(self) -> int | None:
        """Which the witness has noted."""
        return await still_epoch(self.database, self.grant)


async def still_epoch(database: Database, grant: Grant) -> int | None:
    async with database.connection() as conn:
        row = await fetch_one(
            conn, "SELECT still_epoch FROM task WHERE task_no = %s", (grant.task_no,)
        )
    assert row is not None
    return row[0]


async def connected(name: str, told: Told, ends: Serve) -> tuple[ControlChannel, Server]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        connection = socket.create_connection(listening.getsockname())
        server = Server(listening.accept()[0], name, told, ends)
    connection.setblocking(False)
    _, channel = await loop.create_connection(
        lambda: ControlChannel(name, clear_text=True), sock=connection
    )
    server.start()
    return channel, server


@pytest.fixture
async def worker(
    database: Database, database_url: str, make_task: MakeTask
) -> AsyncIterator[Worker]:
    await make_task()
    (grant,) = await leases.admit(database, worker="w", limit=1, lease_s=600, per_owner=9)
    witness = Witness(database_url)
    witness.start()
    witness.begins(grant)
    worker = Worker(database, witness, grant)
    yield worker
    witness.close()
    for channel in worker.channels:
        await give_up(channel)
    for server in worker.servers:
        await asyncio.to_thread(server.join, SOON_S)
        server.connection.close()


@pytest.mark.parametrize("end", [ends, resets])
async def test_a_lease_whose_sessions_end_is_still(worker: Worker, end: Serve) -> None:
    _one, _ = await worker.open("one", end)
    _other, _ = await worker.open("other", ends)
    await worker.dies()
    assert await worker.still_epoch() == worker.grant.lease_epoch


async def test_a_lease_without_sessions_is_still(worker: Worker) -> None:
    await worker.dies()
    assert await worker.still_epoch() == worker.grant.lease_epoch


async def test_a_session_that_does_not_end_is_no_proof(worker: Worker) -> None:
    await worker.open("one", ends)
    await worker.open("other", hangs)
    await worker.dies()
    assert set(worker.told) == {"one", "other"}
    assert await worker.still_epoch() is None


def test_a_session_that_does_not_end_holds_up_no_other_lease() -> None:
    """What is known after a while is noted, while the rest is waited for."""
    with leases_of(ends, hangs) as known:
        seen = see_the_end(known)
        assert next(seen) == [(0, 1)]
        assert next(seen) == []
        assert list(seen) == []


@pytest.mark.parametrize("reset_is_end", [True, False])
def test_a_reset_shows_an_end_only_where_nobody_is_between(reset_is_end: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = socket.create_connection(listening.getsockname())
        there, _ = listening.accept()
    there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    there.close()
    lease = Lease()
    lease.held[1] = Held(here.detach(), writes=True, reset_is_end=reset_is_end)
    still = [key for keys in see_the_end({(1, 1): lease}) for key in keys]
    assert still == ([(1, 1)] if reset_is_end else [])
    lease.release(1, confirmed=False)


@contextmanager
def leases_of(*servers: Serve) -> Iterator[dict[Key, Lease]]:
    """Of each task one, with one session that writes."""
    told: Told = []
    known: dict[Key, Lease] = {}
    running: list[Server] = []
    for task_no, serve in enumerate(servers):
        here, there = socket.socketpair()
        lease = known[task_no, 1] = Lease()
        lease.held[1] = Held(here.detach(), writes=True, reset_is_end=True)
        running.append(Server(there, str(task_no), told, serve))
        running[-1].start()
    yield known
    for lease in known.values():
        lease.release(1, confirmed=True)
    for server in running:
        server.join(SOON_S)
        server.connection.close()


async def test_sources_end_first_and_need_not(worker: Worker) -> None:
    """What reads only cannot spoil anything; a destination whose sender is gone ends for sure."""
    _there, _ = await worker.open("destination", ends)
    _here, source = await worker.open("source", hangs, writes=False)
    _slow, _ = await worker.open("source too", ends, writes=False)
    await worker.dies()
    assert source.heard_end.is_set()
    assert worker.told[-1] == "destination"
    assert await worker.still_epoch() == worker.grant.lease_epoch


def test_a_destination_is_told_to_end_when_sources_have_ended() -> None:
    """A clock that stands still gives them all the time they want."""
    order: list[str] = []

    def ends_late(server: Server) -> None:
        time.sleep(4 * QUIET_S)
        order.append("the source has ended")
        server.connection.close()

    def ends_now(server: Server) -> None:
        order.append("the destination is told")
        server.connection.close()

    with leases_of(ends_now, ends_late) as known:
        known[1, 1].held[1].writes = False
        assert list(see_the_end(known, clock=lambda: 0.0)) == [[(0, 1), (1, 1)], []]
    assert order == ["the source has ended", "the destination is told"]


async def test_what_a_destination_still_says_is_thrown_away(worker: Worker) -> None:
    there, server = await worker.open("destination", ends)
    there.pause()
    server.connection.sendall(b"226 Transfer Complete.\r\n" * 1000)
    await worker.dies()
    assert await worker.still_epoch() == worker.grant.lease_epoch


async def test_a_session_that_was_left_without_a_confirmed_end_is_no_proof(worker: Worker) -> None:
    """Its row may still be in flight: that it is contested was not committed."""
    one, server = await worker.open("one", ends)
    one.fail(GridFTPError(Kind.TIMEOUT, "no answer", "here"))
    assert await asyncio.to_thread(server.heard_end.wait, SOON_S)
    await worker.dies()
    assert await worker.still_epoch() is None


async def test_nor_is_one_of_which_a_broken_connection_was_seen(worker: Worker) -> None:
    """An error is told once. The worker has it, and was killed before it could do anything."""
    one, server = await worker.open("one", resets)
    assert one._transport is not None
    one.pause()
    server.connection.shutdown(socket.SHUT_RD)  # it believes that we have ended
    with one._transport.get_extra_info("socket").dup() as connection:
        connection.settimeout(SOON_S)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        connection.settimeout(0)
    await worker.dies()
    assert await worker.still_epoch() is None


async def test_sessions_that_were_closed_in_order_do_not_count(worker: Worker) -> None:
    one, _ = await worker.open("one", ends)
    reading, _ = await worker.open("reading", hangs, writes=False)
    assert await one.end(SOON_S)
    reading.fail(GridFTPError(Kind.TIMEOUT, "no answer", "here"))
    await worker.dies()
    assert await worker.still_epoch() == worker.grant.lease_epoch


async def test_a_session_that_could_not_be_handed_over_is_no_proof(worker: Worker) -> None:
    one, _ = await worker.open("one", ends, held=False)

    def share(_on_closing: object) -> int:
        raise OSError("too many")

    one.share = share  # type: ignore[method-assign]
    worker.witness.hold(worker.grant, one, writes=True)
    await worker.dies()
    assert await worker.still_epoch() is None


@pytest.mark.parametrize("writes", [True, False])
async def test_a_witness_without_descriptors_left_knows_what_it_misses(
    worker: Worker, writes: bool
) -> None:
    pid, link = worker.witness.pid, worker.witness._link
    assert pid is not None
    assert link is not None
    await worker.open("held", ends)
    await until_held(pid, 1)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(one.name) for one in descriptors(pid)}
    free = next(number for number in count() if number not in used)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, before[1]))
    await worker.open("missed", ends, writes=writes)
    await until_taken(link)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    await worker.dies()
    assert await worker.still_epoch() == (None if writes else worker.grant.lease_epoch)


async def until_taken(link: socket.socket) -> None:
    """All that was said."""
    async with asyncio.timeout(SOON_S):
        while any(fcntl.ioctl(link, termios.TIOCOUTQ, b"\0" * 4)):
            await asyncio.sleep(0.01)


async def test_what_was_taken_over_meanwhile_is_the_successors(worker: Worker) -> None:
    await leases.expire_worker(worker.database, "w")
    (again,) = await leases.admit(worker.database, worker="x", limit=1, lease_s=600, per_owner=9)
    assert again.lease_epoch > worker.grant.lease_epoch
    await worker.dies()
    assert await worker.still_epoch() is None


async def test_a_lease_that_ended_is_forgotten_with_its_sessions(worker: Worker) -> None:
    one, server = await worker.open("one", ends)
    worker.witness.ends(worker.grant)
    one._on_closing = None  # nobody tells the witness
    await give_up(one)
    assert await asyncio.to_thread(server.heard_end.wait, SOON_S)
    await worker.dies()
    assert await worker.still_epoch() is None


async def test_a_lost_witness_is_replaced_later_and_knows_nothing_of_before(
    database: Database, database_url: str, make_task: MakeTask
) -> None:
    await make_task()
    (grant,) = await leases.admit(database, worker="w", limit=1, lease_s=600, per_owner=9)
    now = 1000.0
    witness = Witness(database_url, lambda: now)
    witness.start()
    witness.begins(grant)
    first = witness.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert witness._process is not None
    await asyncio.to_thread(witness._process.wait, SOON_S)
    other: Any = SimpleNamespace(task_no=grant.task_no + 1, lease_epoch=1)
    witness.begins(other)
    assert witness.pid is None, "not at once"
    now += AGAIN_AFTER_S
    witness.begins(other)
    assert witness.pid not in (None, first)
    worker = Worker(database, witness, grant)
    channel, _ = await worker.open("one", ends)
    await worker.dies()
    assert await worker.still_epoch() is None
    await give_up(channel)


async def test_a_witness_that_does_not_listen_is_lost(worker: Worker) -> None:
    """It is killed, or it would take the end of the link for our death."""
    assert worker.witness.pid is not None
    one, server = await worker.open("one", ends)
    os.kill(worker.witness.pid, signal.SIGSTOP)
    for _ in range(100_000):
        worker.witness.begins(worker.grant)
        if worker.witness.pid is None:
            break
    assert worker.witness._process is not None
    code = await asyncio.to_thread(worker.witness._process.wait, SOON_S)
    assert code == -signal.SIGKILL
    assert await one.end(SOON_S)
    assert await worker.still_epoch() is None
    assert server.heard_end.is_set()


async def test_the_witness_is_alone(worker: Worker) -> None:
    """Signals to the worker's group, or to all, leave it; it has nothing open that is another's."""
    pid = worker.witness.pid
    assert pid is not None
    assert os.getsid(pid) == pid
    _one, _ = await worker.open("one", ends)  # it has come so far that signals are ignored
    await until_held(pid, 1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    links = {str(one.readlink()) for one in descriptors(pid)}
    assert {link for link in links if not link.startswith("socket:")} == {"/dev/null"}
    assert str(worker.witness._database_url) not in Path(f"/proc/{pid}/cmdline").read_text()
    await worker.dies()
    assert await worker.still_epoch() == worker.grant.lease_epoch


def descriptors(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/fd").iterdir())


async def until_held(pid: int, count: int) -> None:
    async with asyncio.timeout(SOON_S):
        while True:
            links = []
            for one in descriptors(pid):
                with suppress(FileNotFoundError):
                    links.append(str(one.readlink()))
            if sum(link.startswith("socket:") for link in links) == 1 + count:
                return
            await asyncio.sleep(0.01)


def give_up(channel: ControlChannel) -> Awaitable[object]:
    channel.fail(GridFTPError(Kind.CONNECTION_LOST, "we gave the session up", "here"))
    return asyncio.shield(channel.lost)


def end(channel: ControlChannel) -> Awaitable[object]:
    return channel.end(SOON_S)


@asynccontextmanager
async def a_witness() -> AsyncIterator[tuple[Witness, Any]]:
    """Of a lease."""
    grant: Any = SimpleNamespace(task_no=1, lease_epoch=1)
    witness = Witness("postgresql://nowhere")
    witness.start()
    try:
        witness.begins(grant)
        yield witness, grant
    finally:
        witness.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("closes", [give_up, end])
def test_the_server_hears_at_once_what_the_worker_closes(
    closes: Callable[[ControlChannel], Awaitable[object]],
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Also if the witness, which has the socket too, does nothing about it."""

    async def run() -> None:
        async with a_witness() as (witness, grant):
            channel, server = await connected("one", [], ends)
            witness.hold(grant, channel, writes=True)
            assert witness.pid is not None
            await until_held(witness.pid, 1)
            os.kill(witness.pid, signal.SIGSTOP)
            await closes(channel)
            assert await asyncio.to_thread(server.heard_end.wait, SOON_S)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


async def test_many_sessions_come_and_go_without_a_trace() -> None:
    async with a_witness() as (witness, grant):
        for _ in range(50):
            channel, _ = await connected("one", [], ends)
            witness.hold(grant, channel, writes=True)
            await give_up(channel)
        channel, _ = await connected("last", [], ends)
        witness.hold(grant, channel, writes=True)
        assert witness.pid is not None
        assert witness._link is not None
        await until_taken(witness._link)
        await until_held(witness.pid, 1)
        await give_up(channel)
