"""Children are started again when they die, and end when they are told to."""

import asyncio
import os
import signal
import sys

from towpath.platform.supervisor import Supervisor

RESTART_LIMIT_S = 30.0
SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()",
]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_child_is_replaced_and_stop_leaves_none() -> None:
    supervisor = Supervisor(SLEEPER, count=2)
    await supervisor.start()
    first, kept = supervisor.pids
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(RESTART_LIMIT_S):
        while len(supervisor.pids) < 2 or first in supervisor.pids:
            await asyncio.sleep(0.05)
    assert kept in supervisor.pids
    pids = supervisor.pids
    await supervisor.stop()
    assert supervisor.pids == []
    assert not any(alive(pid) for pid in pids)


async def test_a_child_that_ignores_sigterm_is_killed() -> None:
    supervisor = Supervisor(STUBBORN, count=1, stop_timeout_s=0.5)
    await supervisor.start()
    pids = supervisor.pids
    await supervisor.stop()
    assert not any(alive(pid) for pid in pids)
