"""Live progress of real transfers, watched as a browser does."""

import os
import signal
import ssl
import time

import httpx

from plugins.rig import Rig
from plugins.site import until
from plugins.watching import Message, Watch
from towpath.demo.deployment import Deployment
from towpath.demo.trees import TreeFile, make_tree, uniform
from towpath.platform.serving import GRACE_S

MEBIBYTE = 1024 * 1024
LARGE = 128 * MEBIBYTE
TREE = [TreeFile("large/file", LARGE), *uniform(4, 25, 1000)]
SIZE = sum(file.size for file in TREE)


def large_one_moves(message: Message) -> bool:
    """Whether part of the large file is there, and more is sent."""
    return message.event == "files" and any(
        file["path"] == "large/file" and file["state"] == "sending" and file["bytes"]
        for file in message.data["files"]
    )


def test_a_transfer_is_watched_to_its_end(rig: Rig) -> None:
    make_tree(rig.root / "src", TREE, 1)
    deployment = rig.up()
    there = rig.root / "dst" / "large" / "file"
    with Watch(deployment.client, "task_progress") as everything:
        task_id = rig.copy_tree(deployment, verify_checksum=True)
        with Watch(deployment.client, f"task/{task_id}/progress") as one:
            until(
                lambda: there.exists() and there.stat().st_blocks * 512 > LARGE / 8,
                30,
                "some of the large file is there",
                every_s=0.002,
            )
            stopped = rig.destination.session_pids()
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            flight = one.until(large_one_moves).data
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            told = one.to_the_end()
        everything.until(lambda message: message.event == "end")
        assert [message.event for message in everything.messages[-2:]] == ["task", "end"]
        assert not everything.ended
        assert {message.event for message in everything.messages} == {"task", "end"}
    [large] = [file for file in flight["files"] if file["path"] == "large/file"]
    assert 0 < large["bytes"] < large["size"] == LARGE
    assert large["source_path"] == f"{rig.root}/src/large/file"
    assert large["destination_path"] == f"{rig.root}/dst/large/file"
    assert (told[0].event, told[-1].event) == ("task", "end")
    assert told[-1].data == {"task_id": task_id, "status": "SUCCEEDED"}
    states = [message.data for message in one.of("task")]
    last, shown = states[-1], deployment.task(task_id)
    assert {key: last[key] for key in last.keys() & shown} == {
        key: shown[key] for key in last.keys() & shown
    }
    assert last["bytes_total"] == last["bytes_transferred"] == SIZE
    assert (last["walked"], last["bytes_per_second"]) == (True, 0)
    moved = [state["bytes_transferred"] for state in states]
    assert moved == sorted(moved)
    assert any(0 < size < SIZE for size in moved)
    plot = deployment.get(f"task/{task_id}/throughput")["DATA"]
    assert (plot[0]["bytes"], plot[-1]["bytes"], plot[-1]["files"]) == (0, SIZE, len(TREE))
    assert any(0 < point["bytes"] < SIZE for point in plot)
    assert [point["time"] for point in plot] == sorted(point["time"] for point in plot)
    events = deployment.events(task_id)
    assert [message.data for message in one.of("event")] == events
    assert [message.id for message in one.of("event")] == [str(event["id"]) for event in events]
    stop_while_somebody_watches(rig, deployment)


def stop_while_somebody_watches(rig: Rig, deployment: Deployment) -> None:
    """Streams end as they should, and nobody waits for them."""
    with (
        httpx.Client(
            base_url=deployment.url,
            verify=ssl.create_default_context(cafile=rig.data_dir / "tls" / "ca.pem"),
            headers={"Authorization": deployment.client.headers["Authorization"]},
            timeout=60,
        ) as client,
        Watch(client, "task_progress") as one,
        Watch(client, "task_progress") as other,
    ):
        began = time.monotonic()
        assert deployment.stop() == 0
        assert time.monotonic() - began < GRACE_S
        assert one.to_the_end() == other.to_the_end() == []
    for log in rig.data_dir.glob("log/*"):
        assert "Traceback" not in log.read_text()
