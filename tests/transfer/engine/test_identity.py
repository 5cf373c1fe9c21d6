"""Worker names: dead is only said of who is seen to be dead."""

import os
import subprocess
import sys
from dataclasses import replace

from towpath.transfer.engine.identity import WorkerName


def name_of_child(end: str) -> WorkerName:
    """A child's own name, told by itself; `end` is what it does then."""
    code = (
        "from towpath.transfer.engine.identity import WorkerName;"
        f"print(WorkerName.own(), flush=True); {end}"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        name = WorkerName.parse(child.stdout.readline().strip())
        assert name is not None
        if "input" in end:
            assert not name.is_dead()
            child.kill()
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            assert name.is_dead(), "a zombie"
    return name


def test_a_running_process_is_not_dead_and_a_killed_one_is() -> None:
    assert name_of_child("input()").is_dead()


def test_nobody_else_is_taken_for_it() -> None:
    own = WorkerName.own()
    assert not own.is_dead()
    assert replace(own, start="1").is_dead(), "the pid was reused"
    assert not replace(own, space="elsewhere", pid=2**22 + 1).is_dead(), "not seen from here"
    assert WorkerName.parse(str(own)) == own
    assert WorkerName.parse("host-17-abc") is None
