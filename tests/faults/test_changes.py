"""A source that is written, replaced or removed while it is copied: told, and copied as it is."""

import itertools
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from plugins.outcomes import faults_of, transferred
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.trees import TreeFile, digests, make_tree, uniform
from towpath.transfer.store.plan import LARGE_FILE_BYTES, State, decode

pytestmark = SITE_GROUP

MEBIBYTE = 1024 * 1024
TOLD_S = 10.0
"""For something to be told; a file that fails is tried again after 1-2 s, then after 2-4 s."""


@contextmanager
def stopped(site: Site) -> Iterator[list[str]]:
    """The worker stands still soon after it began; the files that are listed and not sent."""
    url = json.loads((site.rig.data_dir / "run" / "state.json").read_text())["database_url"]
    [worker] = site.workers
    with psycopg.connect(url, autocommit=True, options="-c search_path=transfer") as database:

        def pending() -> list[str]:
            rows = database.execute("SELECT path FROM file WHERE state = %s", (State.PENDING,))
            return [decode(path) for (path,) in rows.fetchall()]

        until(lambda: len(pending()) > 300, 20, "files are listed", every_s=0.005)
        os.kill(worker, signal.SIGSTOP)
        try:
            found = pending()
            assert len(found) >= 100, "the worker was too fast"
            yield found
        finally:
            os.kill(worker, signal.SIGCONT)


@contextmanager
def written(step: Callable[[], object]) -> Iterator[None]:
    """`step` is done again and again meanwhile, by a thread."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.005):
            step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def assert_whole(site: Site, task_id: str, source: Path, destination: Path) -> dict[str, Any]:
    """It has succeeded, and all that is said of it is true of the source as it is now."""
    task = site.deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", site.deployment.events(task_id)
    assert digests(destination) == digests(source)
    real = {str(path): path.stat().st_size for path in source.rglob("*") if path.is_file()}
    arrived = transferred(site.deployment, task_id)
    assert {one["source_path"]: one["size"] for one in arrived} == real
    assert task["bytes_transferred"] == sum(real.values())
    assert task["files_transferred"] == len(real)
    site.assert_well()
    return task


@pytest.mark.parametrize("verify", [True, pytest.param(False, marks=pytest.mark.long)])
def test_files_that_change_between_listing_and_copy(
    site: Site, tmp_path: Path, verify: bool
) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, uniform(3, 400, 2000), seed=1)
    task_id = site.copy(source, destination, verify_checksum=verify, preserve_timestamp=True)
    with stopped(site) as files:
        task = site.deployment.task(task_id)
        assert (task["nice_status"], task["is_ok"]) == ("OK", True)
        grown, shrunk, replaced, touched = (source / path for path in files[-4:])
        grown.write_bytes(grown.read_bytes() + b"more")
        shrunk.write_bytes(b"less")
        other = tmp_path / "other"
        other.write_bytes(bytes(2000))
        other.rename(replaced)
        os.utime(touched, (1, 1))
        os.utime(grown, (1_700_000_000, 1_700_000_000))
    assert_whole(site, task_id, source, destination)
    faults = faults_of(site.deployment, task_id)
    assert {code for code, _ in faults} == {"FILE_SIZE_CHANGED"}
    by_path = {details["path"]: details for _, details in faults}
    assert by_path.keys() == {str(grown), str(shrunk)}
    details = by_path[str(grown)]
    assert (details["listed_size"], details["size_now"]) == (2000, 2004)
    assert details["time_now"] == "2023-11-14 22:13:20+00:00"
    assert details["listed_time"]
    assert "snapshot" in details["advice"]
    assert details["role"] == "source"
    assert (destination / grown.relative_to(source)).stat().st_mtime == 1_700_000_000


@pytest.mark.parametrize("skip", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_file_that_vanishes_between_listing_and_copy(
    site: Site, tmp_path: Path, skip: bool
) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, uniform(3, 400, 2000), seed=2)
    task_id = site.copy(source, destination, skip_source_errors=skip)
    with stopped(site) as files:
        gone = source / files[-50]
        gone.unlink()
    if skip:
        assert_whole(site, task_id, source, destination)
        page = site.deployment.get(f"task/{task_id}/skipped_errors")
        assert [(one["source_path"], one["error_code"]) for one in page["DATA"]] == [
            (str(gone), "FILE_NOT_FOUND")
        ]
    else:
        task = site.deployment.wait(task_id, 60)
        assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "FILE_NOT_FOUND")
        assert str(gone) in [
            details.get("path") for _, details in faults_of(site.deployment, task_id)
        ]
        arrived, expected = digests(destination), digests(source)
        assert all(expected[path] == digest for path, digest in arrived.items())
        site.assert_well()


@pytest.mark.parametrize(
    ("verify", "tries"), [(True, 1), pytest.param(False, 3, marks=pytest.mark.long)]
)
def test_a_file_that_grows_leaves_its_neighbours_alone(
    site: Site, tmp_path: Path, verify: bool, tries: int
) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, [*uniform(1, 400, 2000), TreeFile("d0000/grows", 1000)], seed=3)
    grows = source / "d0000" / "grows"

    def grow() -> None:
        with grows.open("ab") as file:
            file.write(os.urandom(1000))

    with written(grow):
        task_id = site.copy(source, destination, verify_checksum=verify)
        until(
            lambda: site.deployment.task(task_id)["files_transferred"] == 400,
            TOLD_S,
            "the neighbours do not wait for the file that grows",
        )
        until(
            lambda: len(faults_of(site.deployment, task_id)) >= tries, TOLD_S, "it is tried again"
        )
        assert site.deployment.task(task_id)["nice_status"] in ("OK", "FILE_SIZE_CHANGED")
    task = assert_whole(site, task_id, source, destination)
    faults = faults_of(site.deployment, task_id)
    assert {(code, details["path"]) for code, details in faults} == {
        ("FILE_SIZE_CHANGED", str(grows))
    }
    assert tries <= len(faults) == task["faults"] <= tries + 1, "it is tried now and then"
    now = [details["size_now"] for _, details in faults]
    assert now == sorted(now)
    assert task["bytes_resent"] == sum(now)


def test_contents_that_change_while_they_are_copied(site: Site, tmp_path: Path) -> None:
    """The size stays: only digests tell, and the time tells why they differ."""
    source, destination = tmp_path / "src", tmp_path / "dst"
    size = 8 * MEBIBYTE
    changing = [f"changes{n}" for n in range(4)]
    make_tree(source, [*(TreeFile(n, size) for n in changing), TreeFile("stays", 10)], seed=4)
    make_tree(tmp_path, [TreeFile(f"version{n}", size) for n in range(10)], seed=5)
    steps = itertools.count(1)

    def change() -> None:
        step = next(steps)  # also the file's time: servers tell whole seconds
        version, new = tmp_path / f"version{step % 10}", tmp_path / "new"
        os.utime(version, (step, step))
        for name in changing:
            new.hardlink_to(version)
            new.replace(source / name)

    with written(change):
        task_id = site.copy(source, destination)
        until(lambda: faults_of(site.deployment, task_id), TOLD_S, "it is told")
    assert site.deployment.wait(task_id, 60)["status"] == "SUCCEEDED"
    arrived = digests(destination)
    # What had arrived before the last change is right, too: as the source was when it was read.
    versions = {d for name, d in digests(tmp_path).items() if name.startswith("version")}
    assert {arrived.pop(name) for name in changing} <= versions
    assert arrived == {"stays": digests(source)["stays"]}
    checked = {one["source_path"]: one["checksum"] for one in transferred(site.deployment, task_id)}
    assert checked == {str(source / n): d for n, d in digests(destination).items()}
    for code, details in faults_of(site.deployment, task_id):
        assert code == "VERIFY_CHECKSUM"
        assert details["listed_time"] < details["time_now"]
        assert details["listed_size"] == details["size_now"] == size
        assert "snapshot" in details["advice"]


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(8 * LARGE_FILE_BYTES + 1, marks=pytest.mark.long),
        pytest.param(LARGE_FILE_BYTES + 1, marks=pytest.mark.long),
        1000,
    ],
    ids=["grows", "shrinks", "becomes small"],
)
def test_a_large_file_that_changes_while_it_is_copied(site: Site, tmp_path: Path, end: int) -> None:
    """It is whole in the end, and counted once."""
    source, destination = tmp_path / "src", tmp_path / "dst"
    source.mkdir()
    with (source / "large").open("wb") as file:
        file.write(os.urandom(MEBIBYTE))
        file.truncate(8 * LARGE_FILE_BYTES)
    task_id = site.copy(source, destination)
    until(lambda: site.deployment.task(task_id)["bytes_transferred"], 20, "it is under way", 0.02)
    os.truncate(source / "large", end)
    assert_whole(site, task_id, source, destination)
    [(code, details)] = faults_of(site.deployment, task_id)
    assert code == "FILE_SIZE_CHANGED"
    assert (details["listed_size"], details["size_now"]) == (8 * LARGE_FILE_BYTES, end)
