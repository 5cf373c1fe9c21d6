"""The destination cannot be reached for a while: packets vanish, and nobody says so.

No task fails for that, what is written about it is bounded, and when the link is back it goes on by
itself.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.demo.link import Link
from towpath.demo.trees import digests, make_tree, uniform

KIBIBYTE = 1024
FILES_LEFT = 10_000
AWAY_S = 600

LANES_AND_MORE = 20
"""Each lane tells of the connection that it lost and of the one that it does not get, and the task
that it waits; then nothing is said any more."""

PLAN_BYTES = 2 * FILES_LEFT * 250
"""The source is there, and is listed to its end."""

# What takes minutes by default takes seconds here; the order of events stays the same.
QUICK = {
    "TOWPATH_GRIDFTP__CONNECT_S": "1",
    "TOWPATH_GRIDFTP__STALL_S": "2",
    "TOWPATH_ENGINE__SETTLE_S": "0.5",
    "TOWPATH_ENGINE__RETRY_FIRST_S": "0.2",
    "TOWPATH_ENGINE__RETRY_MAX_S": "1",
    "TOWPATH_ENGINE__POLL_S": "0.5",
}


@dataclass(frozen=True)
class Written:
    """What the deployment has written so far, but for the log lines of requests: those are ours."""

    log_bytes: int
    log_lines: int
    database_bytes: int
    events: int

    @classmethod
    def by(cls, deployment: Deployment, task_id: str) -> "Written":
        up_log = deployment.data_dir.with_name(f"{deployment.data_dir.name}.up.log")
        logs = [*(deployment.data_dir / "log").iterdir(), up_log]
        lines = [line for log in logs for line in log.read_bytes().splitlines(keepends=True)]
        lines = [line for line in lines if b'"event": "request"' not in line]
        url = json.loads((deployment.data_dir / "run" / "state.json").read_text())["database_url"]
        with psycopg.connect(url, options="-c search_path=transfer") as connection:
            (size, events) = connection.execute(
                "SELECT pg_database_size(current_database()), (SELECT count(*) FROM event e"
                " JOIN task t USING (task_no) WHERE t.id = %s)",
                (task_id,),
            ).fetchone()
        return cls(sum(map(len, lines)), len(lines), size, events)

    def since(self, before: "Written") -> "Written":
        return Written(
            self.log_bytes - before.log_bytes,
            self.log_lines - before.log_lines,
            self.database_bytes - before.database_bytes,
            self.events - before.events,
        )


@dataclass(frozen=True)
class Disconnected:
    """A deployment that is cut off from a task's destination."""

    link: Link
    deployment: Deployment
    task_id: str
    source: Path
    destination: Path

    def written(self) -> Written:
        return Written.by(self.deployment, self.task_id)

    def moved(self) -> int:
        moved: int = self.deployment.task(self.task_id)["files_transferred"]
        return moved

    def waits(self) -> bool:
        """Whether it has given its place back until the destination answers."""
        details = self.deployment.task(self.task_id)["nice_status_details"]
        return details is not None and "tried_next" in details

    def finish(self) -> None:
        """The link is up again: the rest comes, and all is there."""
        task = self.deployment.wait(self.task_id, 300)
        assert task["status"] == "SUCCEEDED", self.deployment.events(self.task_id)
        assert digests(self.destination) == digests(self.source)


@contextmanager
def disconnected(
    root: Path, settings: Mapping[str, str], files_left: int
) -> Iterator[Disconnected]:
    """A task with so many files left, or more, whose destination's link has just gone down."""
    source, destination = root / "src", root / "dst"
    files = make_tree(source, uniform(100, files_left // 50, KIBIBYTE), seed=1) // KIBIBYTE
    domain = Domain.create(root / "domain", "Far")
    with ExitStack() as stack:
        link = stack.enter_context(Link.open())
        hosts = (link.near.address, link.far.address)
        domain.issue("host", "localhost", hosts=hosts)
        near, far = (
            stack.enter_context(GctServer.start(domain, root / host.name, host=host))
            for host in (link.near, link.far)
        )
        own = {"TOWPATH_DIAL__ALLOW_NETWORKS": json.dumps([str(link.network)])}
        deployment = stack.enter_context(Deployment.start(root / "deployment", own | settings))
        ends = [
            deployment.add_endpoint(name, server.url(""), domain.trust_dir, domain.proxy_file)
            for name, server in (("near", near), ("far", far))
        ]
        task_id = deployment.transfer(*ends, [(str(source), str(destination), True)])
        cut_off = Disconnected(link, deployment, task_id, source, destination)
        until(lambda: cut_off.moved() >= 100, 60)
        link.down()
        assert files - cut_off.moved() >= files_left
        yield cut_off
        assert deployment.stop() == 0


def until(done: Callable[[], bool], timeout_s: float) -> float:
    """Wait for it; how long it took."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < timeout_s, "it does not happen"
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.long
def test_a_few_seconds(tmp_path: Path) -> None:
    with disconnected(tmp_path, QUICK, 1000) as cut_off:
        before = cut_off.written()
        until(cut_off.waits, 60)
        waiting, calls = cut_off.written(), cut_off.link.calls
        until(lambda: cut_off.link.calls >= calls + 2, 60)  # asked again, and again
        bounded(before, waiting, cut_off.written())
        moved = cut_off.moved()
        cut_off.link.up()
        until(lambda: cut_off.moved() > moved, 30)
        cut_off.finish()


@pytest.mark.long
def test_ten_minutes(tmp_path: Path) -> None:
    """With the settings that a deployment has by default."""
    with disconnected(tmp_path, {}, FILES_LEFT) as cut_off:
        back_at = time.monotonic() + AWAY_S
        before = cut_off.written()
        until(cut_off.waits, AWAY_S / 2)
        waiting = cut_off.written()
        time.sleep(back_at - time.monotonic())
        bounded(before, waiting, cut_off.written())
        calls, moved = cut_off.link.calls, cut_off.moved()
        cut_off.link.up()
        resumed_s = until(lambda: cut_off.moved() > moved, 60)
        print(f"{calls} calls, went on after {resumed_s:.1f} s")
        cut_off.finish()
    assert calls < 300
    assert resumed_s < 30


def bounded(before: Written, waiting: Written, last: Written) -> None:
    """What was written until the task waited, and from then on."""
    first, then = waiting.since(before), last.since(waiting)
    print(f"until it waited {first}, from then on {then}")
    assert first.events <= LANES_AND_MORE
    assert first.log_lines <= LANES_AND_MORE
    assert first.database_bytes < PLAN_BYTES
    assert then.events == 0
    assert then.log_lines <= 1
    assert then.database_bytes < 500_000
