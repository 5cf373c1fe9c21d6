"""Puts an agent up in this process, for the account that runs it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop

from towpath.connect import local_control
from towpath.connect.admitting import PlaceOf, in_collections, in_own_files, own_account, own_home
from towpath.connect.agent import Agent, Loaded, Setting, with_limits
from towpath.connect.choices import Choices
from towpath.connect.directory import PERSONAL, AgentDirectory
from towpath.connect.errors import ConnectError, Trouble
from towpath.connect.hosting import collections, own_files
from towpath.connect.shared_pace import SessionPace, SharedPace
from towpath.connect.sharing import rules_of
from towpath.dsi.rules import Rules
from towpath.gridftp.server.acceptor import fit_descriptors
from towpath.gridftp.server.account_process import Sessions
from towpath.gridftp.server.commands.base import Refused, Transferred
from towpath.gridftp.server.frames import Opening
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.server.session import SessionHost

_log: Final = structlog.stdlib.get_logger("towpath.connect")

PERSONAL_LIMITS: Final = Limits(sessions=200)
"""Of a laptop: more than a service opens at one endpoint."""
DESCRIPTORS: Final = 20
"""Of a session in this process: control and session sockets, a file, a listener, data connections
here and, for a moment, at the broker."""


def hold(directory: AgentDirectory) -> int:
    """The descriptor that keeps other agents of this directory from running, as long as it is
    open. Raises `ConnectError`."""
    descriptor = os.open(directory.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ConnectError(
            Trouble.REFUSED,
            f"an agent runs in {directory.root} already: see 'towpath connect status'",
        ) from None
    return descriptor


class Shared:
    """The rules of what a personal endpoint shares now."""

    def __init__(self, own: Path) -> None:
        """`own`: the agent's directory."""
        self._own = own
        self._home = own_home()
        self.current = Rules.parse("N/")

    def apply(self, choices: Choices) -> None:
        """From now on these."""
        self.current = Rules.of(rules_of(choices.folders, home=self._home, own=self._own))


def run_own(directory: AgentDirectory) -> None:
    """Until SIGTERM, SIGINT or `stop`. Raises `ConnectError`, `OSError`."""
    loaded = Loaded.of(directory)
    base = PERSONAL_LIMITS if loaded.identity.kind == PERSONAL else Limits()
    limits = fit_descriptors(with_limits(base, loaded.choices), per_session=DESCRIPTORS)
    run_loop(serve_own(directory, loaded, limits, lambda agent: stop_on_signals(agent.stop)))


async def serve_own(
    directory: AgentDirectory,
    loaded: Loaded,
    limits: Limits,
    begun: Callable[[Agent], None] = lambda _agent: None,
) -> None:
    """The same in a loop that runs. `begun` is given the agent."""
    shared, pace = Shared(directory.root), SharedPace()
    moving: dict[str, SessionPace] = {}
    agent = Agent(
        loaded,
        Setting(
            limits=limits,
            pace=pace,
            control=local_control.listen(directory.control_socket),
            keep=directory.keep_configuration,
            applied=shared.apply,
            moving=moving,
        ),
    )

    def pace_of(opening: Opening) -> SessionPace:
        return moving.setdefault(opening.session_id, SessionPace(pace))

    connect = agent.broker.connect
    place_of: PlaceOf
    if loaded.identity.kind == PERSONAL:
        place_of = in_own_files(loaded.identity.endpoint_id)
        host = own_files(
            lambda: shared.current, connect, limits=limits, pace=pace_of, report=log_command
        )
    else:
        place_of = in_collections(agent.find_collection, only=own_account().pw_name)
        host = collections(connect, limits=limits, pace=pace_of, report=log_command)
    sessions = Sessions(_Watched(host, moving), account=own_account().pw_name, failed=log_failed)
    begun(agent)
    try:
        await agent.run(sessions.open, place_of)
    finally:
        await sessions.close()
        host.close()
        pace.close()
        directory.control_socket.unlink(missing_ok=True)


class _Watched:
    """Sessions whose pace is known while they run. See `account_process.Host`."""

    def __init__(self, host: SessionHost, moving: dict[str, SessionPace]) -> None:
        self._host = host
        self._moving = moving

    async def run(self, connection: socket.socket, opening: Opening) -> None:
        try:
            await self._host.run(connection, opening)
        finally:
            self._moving.pop(opening.session_id, None)


# -- what agents of both kinds have


def run_loop(work: Coroutine[Any, Any, None]) -> None:
    """Run it in an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def stop_on_signals(stop: Callable[[], None]) -> None:
    """At SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def log_command(report: Transferred | Refused) -> None:
    """A line for each transfer, and for each other command that failed."""
    opening = report.opening
    who = {"session": opening.session_id, "account": opening.account}
    if isinstance(report, Refused):
        _log.info("refused", **who, command=report.command, reply=report.reply)
        return
    _log.info(
        "transfer",
        **who,
        command=report.verb,
        path=report.path.decode("utf-8", "backslashreplace"),
        first=report.first,
        bytes=report.bytes_moved,
        seconds=round(report.seconds, 3),
        outcome=report.outcome,
    )


def log_failed(error: BaseException) -> None:
    """A session ended as none should."""
    _log.error("a session has failed", error=repr(error))
