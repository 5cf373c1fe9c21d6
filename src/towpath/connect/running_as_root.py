"""Puts an agent up for all accounts of a machine: see `gridftp.server.launcher`.

Root's process starts two kinds of others and reads nothing from the network: the front, as an
unprivileged user, has the tunnel, the keys, and decides by grants; each account's process has that
account's sessions. (Before it gives up root's rights the front asks the service once, since only
root can write down what it says.) Root's process asks the choices on its own disk whether anybody
may have an account, so that who takes over the front gets no account that the owner has not let in.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

import structlog

from towpath.connect import local_control
from towpath.connect import proxy as proxies
from towpath.connect.admitting import in_collections, may_open
from towpath.connect.agent import Agent, Loaded, Setting, with_limits
from towpath.connect.choices import Choices
from towpath.connect.directory import AgentDirectory
from towpath.connect.errors import FINAL, ConnectError, Trouble
from towpath.connect.hosting import collections
from towpath.connect.paths import to_socket
from towpath.connect.running import log_command, run_loop, stop_on_signals
from towpath.connect.service import Service as Api
from towpath.connect.shared_pace import SharedPace
from towpath.connect.unix_names import short
from towpath.dsi.digests import ALGORITHMS, new_digest
from towpath.gridftp.server.acceptor import fit_descriptors
from towpath.gridftp.server.control import OpenSession
from towpath.gridftp.server.frames import Opening
from towpath.gridftp.server.launcher import Launcher
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.server.reports import ReportReceiver, ReportSender, report_pair

_log: Final = structlog.stdlib.get_logger("towpath.connect")

DESCRIPTORS: Final = 12
"""Of a session in the front: its channel's socket pair, what the broker has, data connections that
are on their way to the account's process."""
PATHS_BACKLOG: Final = 256
"""Sessions that ask at the same time."""
LAST_BYTES: Final = 4096
"""Of what the front says last; a pipe takes so much at one go."""
FIRST_S: Final = 10.0
"""How long a start waits for the service; without it an agent starts with what it knows."""


def run_for_all(directory: AgentDirectory, user: str) -> int:
    """Until SIGTERM, SIGINT or `stop`; gives the exit status. Raises `ConnectError`, `OSError`,
    `KeyError` when `user` does not exist."""
    _import_the_rest()
    choices = _Choices(directory)
    limits = with_limits(Limits(), choices.current())
    pace = SharedPace()
    outlet, inlet = report_pair()
    control = local_control.listen(directory.control_socket)
    paths = _listen(directory)
    to_broker = to_socket(os.open(directory.paths_socket, os.O_PATH | os.O_CLOEXEC))
    told, tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    front = _Front(directory, limits, pace, tell, control=control, paths=paths, outlet=outlet)
    try:
        status = Launcher(
            acceptor=front,
            user=user,
            make_host=lambda _account: collections(
                to_broker, limits=limits, pace=lambda _opening: pace, report=ReportSender(inlet)
            ),
            may_open=lambda account: may_open(account, choices.current()),
            limits=limits,
            listening=[control, paths, outlet],
        ).run()
        return _outcome(told, status)
    finally:
        for path in (directory.control_socket, directory.paths_socket):
            path.unlink(missing_ok=True)


def _outcome(told: int, status: int) -> int:
    """The exit status, if the front ended by itself: 0 when it was told to. Raises the
    `ConnectError` that ended it."""
    try:
        last = json.loads(os.read(told, LAST_BYTES))
    except (BlockingIOError, ValueError):
        return status
    if last is None:
        return 0
    raise ConnectError(Trouble(last[0]), str(last[1]))


def _import_the_rest() -> None:
    """What is imported when it is used first: perhaps only root can read where we are installed."""
    "".encode("idna")
    for algorithm in ALGORITHMS:
        new_digest(algorithm)


def _listen(directory: AgentDirectory) -> socket.socket:
    """Only processes that were given its descriptor find it: the directory is closed to others."""
    path = directory.paths_socket
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with short(path) as name:
        listening.bind(name)
    path.chmod(0o666)
    listening.listen(PATHS_BACKLOG)
    return listening


class _Choices:
    """As they are on the disk, for root's process."""

    def __init__(self, directory: AgentDirectory) -> None:
        self._directory = directory
        self._seen: tuple[int, int] | None = None
        self._known = Choices()

    def current(self) -> Choices:
        """Raises `OSError`; `ValueError` when the file makes no sense."""
        found = self._directory.choices_file.stat()
        seen = found[stat.ST_INO], found.st_mtime_ns
        if seen != self._seen:
            try:
                self._known = self._directory.choices()
            except ConnectError as error:
                raise ValueError(error.message) from error
            self._seen = seen
        return self._known


class _Front:
    """See `launcher.AcceptorProgram`."""

    def __init__(
        self,
        directory: AgentDirectory,
        limits: Limits,
        pace: SharedPace,
        tell: int,
        *,
        control: socket.socket,
        paths: socket.socket,
        outlet: socket.socket,
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._pace = pace
        self._tell = tell
        self._final: ConnectError | None = None
        self._control = control
        self._paths = paths
        self._outlet = outlet
        self._users: set[int] = set()

    def prepare(self) -> None:
        """As root: read what only root may, and write down what the service says now."""
        loaded = Loaded.of(self._directory)
        url = loaded.identity.url
        way = loaded.identity.proxy or proxies.from_environment(url.split("://")[1].split(":")[0])
        self._loaded = replace(loaded, identity=replace(loaded.identity, proxy=way))
        asyncio.run(self._ask(way))

    async def _ask(self, proxy: str | None) -> None:
        loaded = self._loaded
        with suppress(TimeoutError, OSError):
            async with (
                asyncio.timeout(FIRST_S),
                Api(
                    loaded.identity.url,
                    authority=loaded.authority,
                    token=loaded.token,
                    proxy=proxy,
                ) as api,
            ):
                try:
                    configuration = await api.configuration()
                except ConnectError as error:
                    if error.trouble in FINAL:
                        self._final = error
                        return
                    _log.warning("the service was not asked", why=error.message)
                    return
                self._directory.keep_configuration(configuration)
                self._loaded = replace(loaded, configuration=configuration)

    def run(self, open_session: OpenSession) -> None:
        """As the unprivileged user."""
        self._limits = fit_descriptors(self._limits, per_session=DESCRIPTORS)
        last: tuple[str, str] | None = None
        try:
            if self._final is not None:
                raise self._final
            run_loop(self._run(open_session))
        except ConnectError as error:
            last = error.trouble.value, error.message
        os.write(self._tell, json.dumps(last).encode())

    async def _run(self, open_session: OpenSession) -> None:
        agent = Agent(
            self._loaded,
            Setting(
                limits=self._limits,
                pace=self._pace,
                control=self._control,
                paths=self._paths,
                may_ask=self._users.__contains__,
            ),
        )
        receiver = ReportReceiver(self._outlet, log_command)
        asyncio.get_running_loop().add_reader(self._outlet, receiver.take_waiting)
        stop_on_signals(agent.stop)
        place_of = in_collections(agent.find_collection, only=None)
        await agent.run(self._remembering(open_session), place_of)

    def _remembering(self, open_session: OpenSession) -> Callable[[Opening, socket.socket], None]:
        def opened(opening: Opening, connection: socket.socket) -> None:
            with suppress(KeyError):
                self._users.add(pwd.getpwnam(opening.account).pw_uid)
            open_session(opening, connection)

        return opened
