"""Area `sessions`: what thousands of sessions cost the process that holds them.

No contest: no peer keeps sessions. One process of ours holds them all, as a service's does, with
the service's event loop, at a real server whose own processes are not counted. The figures are of
control sessions; data goes between servers and costs us nothing but commands.
"""

import asyncio
import gc
import json
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench.measure import BenchError
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.lane import Lane
from towpath.gridftp.client.pieces import Piece
from towpath.gridftp.client.pool import KEEPALIVE_S, Login, SessionPool
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.security.dcsc import DataCredential

AREA = "sessions"

OWNED = 4
"""Idle sessions of one user; each user has a login, all have the same certificate."""

LOGINS_AT_ONCE = 16
WARM_UP_SESSIONS = 20
"""Opened before memory is looked at: modules, the credential's context, all that comes once."""

SERVER_SESSION_BYTES = 5 * 1024**2
"""What the server's process for a session may take of this machine; seen were 3 MiB."""

ENTRIES = 20
"""In the directory that is listed."""

LANE_FILES = 20
"""Sent ahead on each lane, of 1 KiB."""


@dataclass(frozen=True)
class Scale:
    """How much, and for how long."""

    idle: int
    active: int
    keepalive_s: float
    """So often each idle session says NOOP here: what takes `pool.KEEPALIVE_S` in earnest."""
    for_s: float
    """How long each measurement lasts."""


FULL = Scale(idle=2000, active=200, keepalive_s=4, for_s=20)
QUICK = Scale(idle=40, active=6, keepalive_s=0.5, for_s=2)


@dataclass(frozen=True)
class Measured:
    """What was found. Bytes are resident memory of this process, CPU its user and system time."""

    idle_sessions: int
    idle_bytes_per_session: int
    idle_cpu_ms_per_session_minute: float
    """With the keep-alive that the pool has by default."""
    active_sessions: int
    active_bytes_per_session: int
    """Of one at work: what it had when it was idle included."""
    commands_per_s: int
    cpu_us_per_command: float
    """A status or a listing of a small directory, by turns."""
    lane_files_per_s: int
    cpu_us_per_lane_file: float
    """Sent ahead on half as many lanes, with verified nothing."""
    login_cpu_ms: float


def measure(console: Console, *, quick: bool) -> str:
    """Take the figures; show a table, return them as a line of JSON. Raises `BenchError`."""
    scale = QUICK if quick else FULL
    _make_room(scale)
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as directory:
        work = Path(directory)
        domain = Domain.create(work / "domain", "Bench")
        with (
            GctServer.start(domain, work / "server") as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            found = runner.run(_Bench(scale, domain, server, work, console).run())
    console.print(_table(found, scale))
    return json.dumps(vars(found))


def _make_room(scale: Scale) -> None:
    needed = (scale.idle + scale.active) * SERVER_SESSION_BYTES
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    if available * 1024 < needed:
        raise BenchError(f"the server's sessions need {needed >> 30} GiB of free memory")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = 2 * (scale.idle + scale.active) + 1000
    if soft < files:
        if hard != resource.RLIM_INFINITY and hard < files:
            raise BenchError(f"{files} open files are needed, {hard} allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


class _Bench:
    def __init__(
        self, scale: Scale, domain: Domain, server: GctServer, work: Path, console: Console
    ) -> None:
        self._scale = scale
        self._server = server
        self._work = work
        self._console = console
        self._where = Server("localhost", server.port)
        self._credential, self._trust = domain.credential, domain.trust
        self._directory = work / "listed"
        self._directory.mkdir()
        for number in range(ENTRIES):
            (self._directory / f"file-{number}").write_bytes(b"x" * 1024)

    async def run(self) -> Measured:
        scale = self._scale
        pool = SessionPool(
            per_login=OWNED,
            per_server=scale.idle + scale.active + WARM_UP_SESSIONS,
            in_all=scale.idle + scale.active + WARM_UP_SESSIONS,
            idle_s=24 * 3600,
            keepalive_s=scale.keepalive_s,
        )
        try:
            await self._park(pool, [self._login("warm", 0)] * OWNED * (WARM_UP_SESSIONS // OWNED))
            idle_logins = [self._login("idle", number // OWNED) for number in range(scale.idle)]
            before, began = _resident(), time.process_time()
            self._console.print(f"logging in {scale.idle} times ...")
            await self._park(pool, idle_logins)
            login_cpu_s = (time.process_time() - began) / scale.idle
            idle_bytes = (_resident() - before) / scale.idle
            idle_cpu_s = await self._idle(pool, idle_logins)

            sessions = [
                await pool.start(self._login("active", number)) for number in range(scale.active)
            ]
            await asyncio.gather(*(session.ready() for session in sessions))
            await self._look(sessions[0])
            before = _resident()
            commands, commands_cpu_s = await self._busy(
                [partial(self._look, session) for session in sessions]
            )
            active_bytes = idle_bytes + max(0, _resident() - before) / scale.active
            files, files_cpu_s = await self._move(sessions)
            for session in sessions:
                await session.give_up()
        finally:
            await pool.close()
        return Measured(
            idle_sessions=scale.idle,
            idle_bytes_per_session=round(idle_bytes),
            idle_cpu_ms_per_session_minute=round(idle_cpu_s * 1000, 4),
            active_sessions=scale.active,
            active_bytes_per_session=round(active_bytes),
            commands_per_s=round(commands / scale.for_s),
            cpu_us_per_command=round(commands_cpu_s / commands * 1e6, 1),
            lane_files_per_s=round(files / scale.for_s),
            cpu_us_per_lane_file=round(files_cpu_s / files * 1e6, 1),
            login_cpu_ms=round(login_cpu_s * 1000, 2),
        )

    def _login(self, kind: str, number: int) -> Login:
        return Login(self._where, self._credential, self._trust, owner=f"{kind}-{number}")

    async def _park(self, pool: SessionPool, logins: Sequence[Login]) -> None:
        at_once = asyncio.Semaphore(LOGINS_AT_ONCE)

        async def park(login: Login) -> None:
            async with at_once:
                session = await pool.start(login)
                await session.ready()
            pool.give_back(login, session, sound=True)

        await asyncio.gather(*map(park, logins))

    async def _idle(self, pool: SessionPool, logins: Sequence[Login]) -> float:
        """CPU seconds per session and minute, if each says NOOP as often as it does in earnest."""
        scale = self._scale
        self._console.print(
            f"idle for {scale.for_s:g} s, a NOOP every {scale.keepalive_s:g} s"
            f" instead of {KEEPALIVE_S:g} s ..."
        )
        await asyncio.sleep(scale.keepalive_s)  # until it has its rhythm
        began, cpu_began = time.monotonic(), time.process_time()
        await asyncio.sleep(scale.for_s)
        cpu_s, wall_s = time.process_time() - cpu_began, time.monotonic() - began
        now = asyncio.get_running_loop().time()
        parked = [pool.take_parked(login) for login in logins]
        for login, session in zip(logins, parked, strict=True):
            if session is None or now - session.channel.heard_at > 2 * scale.keepalive_s:
                raise BenchError("an idle session was lost, or nothing was heard of it")
            pool.give_back(login, session, sound=True)
        slower = scale.keepalive_s / KEEPALIVE_S
        return cpu_s / len(logins) / wall_s * 60 * slower

    async def _busy(self, actions: Sequence[Callable[[], Awaitable[int]]]) -> tuple[int, float]:
        """Each action over and over, all at the same time: how much was done, and the CPU time."""
        self._console.print(f"{len(actions)} at work for {self._scale.for_s:g} s ...")
        done = 0
        loop = asyncio.get_running_loop()
        until = loop.time() + self._scale.for_s
        began = time.process_time()

        async def work(action: Callable[[], Awaitable[int]]) -> None:
            nonlocal done
            while loop.time() < until:
                count = await action()  # in a line of its own: others add meanwhile
                done += count

        await asyncio.gather(*map(work, actions))
        return done, time.process_time() - began

    async def _look(self, session: Session) -> int:
        directory = str(self._directory)
        if not (await session.stat(directory)).is_directory:
            raise BenchError("the directory is none")
        found = [entry async for batch in session.list(directory) for entry in batch]
        if len(found) != ENTRIES:
            raise BenchError(f"{len(found)} entries instead of {ENTRIES}")
        return 2

    async def _move(self, sessions: Sequence[Session]) -> tuple[int, float]:
        credential = DataCredential.create(datetime.now(UTC))
        half = len(sessions) // 2
        lanes = [
            await Lane.open(source, destination, data_credential=credential)
            for source, destination in zip(sessions[:half], sessions[half:], strict=False)
        ]

        async def send(lane: Lane, to: Path) -> int:
            lane.send(
                [
                    Piece(str(self._directory / f"file-{number}"), str(to / f"{number}"), 1024)
                    for number in range(LANE_FILES)
                ]
            )
            done = 0
            while lane.due:
                for outcome in await lane.outcomes():
                    if outcome.status != "done":
                        raise BenchError(f"a file did not arrive: {outcome.error}")
                    done += 1
            return done

        places = [self._work / f"lane-{number}" for number in range(len(lanes))]
        for place in places:
            place.mkdir()
        return await self._busy(
            [partial(send, lane, to) for lane, to in zip(lanes, places, strict=True)]
        )


def _resident() -> int:
    gc.collect()
    fields = Path("/proc/self/smaps_rollup").read_text().split()
    return int(fields[fields.index("Rss:") + 1]) * 1024


def _table(found: Measured, scale: Scale) -> Table:
    shown = Table(
        caption=f"NOOP every {scale.keepalive_s:g} s here, CPU time told for one every"
        f" {KEEPALIVE_S:g} s; the server's processes are not counted"
    )
    for heading in ("sessions", "KiB each", "CPU", "rate"):
        shown.add_column(heading, justify="right")
    shown.add_row(
        f"{found.idle_sessions} idle",
        f"{found.idle_bytes_per_session / 1024:.1f}",
        f"{found.idle_cpu_ms_per_session_minute:.3f} ms a minute each",
        f"{found.login_cpu_ms:.1f} ms CPU a login",
    )
    shown.add_row(
        f"{found.active_sessions} with commands",
        f"{found.active_bytes_per_session / 1024:.1f}",
        f"{found.cpu_us_per_command:.0f} us a command",
        f"{found.commands_per_s} commands/s",
    )
    shown.add_row(
        f"{found.active_sessions} in lanes",
        "",
        f"{found.cpu_us_per_lane_file:.0f} us a file",
        f"{found.lane_files_per_s} files/s",
    )
    return shown
