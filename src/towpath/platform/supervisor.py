"""Child processes that are kept running: started again when they end, gone when we are."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence

import structlog

from towpath.platform import child

FIRST_BACKOFF_S = 0.5
LAST_BACKOFF_S = 30.0
STABLE_AFTER_S = 60.0
"""Who ran this long begins again with the first backoff."""
STOP_TIMEOUT_S = 20.0
"""A worker hands its tasks back within this time, or loses them to its lease's end."""

_log = structlog.stdlib.get_logger("towpath.supervisor")


class Supervisor:
    """Keeps ``count`` processes of ``command`` running.

    They get SIGTERM when we stop and SIGKILL when we die, whatever we die of.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        count: int,
        stop_timeout_s: float = STOP_TIMEOUT_S,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """`pass_fds`: descriptors that each of them has, too, under the same numbers."""
        self._command = list(command)
        self._pass_fds = tuple(pass_fds)
        self._count = count
        self._stop_timeout_s = stop_timeout_s
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> list[int]:
        """Of the processes that run now."""
        return [one.pid for one in self._processes.values() if one.returncode is None]

    async def start(self) -> None:
        """Start them all. Raises OSError."""
        for number in range(self._count):
            self._processes[number] = await self._spawn()
            self._tasks.append(asyncio.create_task(self._keep(number)))

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL for those that take too long."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        running = [one for one in self._processes.values() if one.returncode is None]
        self._signal(running, signal.SIGTERM)
        ends = [asyncio.create_task(one.wait()) for one in running]
        if not ends:
            return
        _, late = await asyncio.wait(ends, timeout=self._stop_timeout_s)
        if late:
            _log.warning("supervisor.killed", count=len(late))
            self._signal(running, signal.SIGKILL)
            await asyncio.wait(late)

    @staticmethod
    def _signal(processes: list[asyncio.subprocess.Process], number: signal.Signals) -> None:
        for one in processes:
            with contextlib.suppress(ProcessLookupError):
                one.send_signal(number)

    async def _spawn(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            child.__file__,
            str(os.getpid()),
            str(int(signal.SIGKILL)),
            str(os.getuid()),
            str(os.getgid()),
            "--",
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=self._pass_fds,
            start_new_session=True,  # a Ctrl-C is for us: we stop them in order
        )

    async def _keep(self, number: int) -> None:
        backoff = FIRST_BACKOFF_S
        while True:
            process = self._processes[number]
            began = time.monotonic()
            code = await process.wait()
            if time.monotonic() - began > STABLE_AFTER_S:
                backoff = FIRST_BACKOFF_S
            _log.warning("supervisor.ended", pid=process.pid, code=code, again_in_s=backoff)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, LAST_BACKOFF_S)
            self._processes[number] = await self._spawn()
