"""One limit for several processes."""

import os
import threading
import time

from towpath.connect.shared_pace import SharedPace


def test_two_processes_share_one_limit() -> None:
    pace = SharedPace()
    pace.bytes_per_s = 1_000_000
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        for _ in range(10):
            pace.take(10_000)
        os._exit(0)
    for _ in range(10):
        pace.take(10_000)
    assert os.waitpid(pid, 0)[1] == 0
    took = time.monotonic() - began
    assert pace.moved_bytes == 200_000
    assert 0.15 < took < 2.0, "each by itself would take half of it"
    pace.close()


def test_a_limit_that_goes_is_gone_at_once() -> None:
    waits: list[float] = []
    now = [0.0]
    pace = SharedPace(clock=lambda: now[0], wait=waits.append)
    pace.take(1000)
    assert waits == []
    pace.bytes_per_s = 1000
    pace.take(5000)
    assert waits == [5.0]
    pace.bytes_per_s = None
    pace.take(5000)
    pace.bytes_per_s = 1000
    pace.take(1000)
    assert waits == [5.0, 1.0], "what was owed by the old limit is not asked for"
    assert pace.moved_bytes == 12_000
    pace.close()


def test_who_dies_with_the_lock_keeps_nobody() -> None:
    pace = SharedPace()
    pace.bytes_per_s = 1e9
    pid = os.fork()
    if pid == 0:
        with pace._locked():
            os._exit(1)
    os.waitpid(pid, 0)
    thread = threading.Thread(target=pace.take, args=(1000,), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    pace.close()
