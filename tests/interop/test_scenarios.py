"""What can happen to a scientist's copy, from its beginning to its end.

Each story asserts where it ends, and that `globus task event-list` explains it: what failed, where,
whether it is tried again, what can be done.
"""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugins.globus import Globus
from plugins.outcomes import details_of, succeeded
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.gct import GctServer
from towpath.demo.trees import digests, make_tree, uniform

pytestmark = SITE_GROUP
MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Line:
    """A line of the client's event list."""

    code: str
    is_error: bool
    details: str

    @property
    def fields(self) -> dict[str, Any]:
        """Of details that are an object."""
        found: dict[str, Any] = json.loads(self.details)
        return found


@dataclass(frozen=True)
class Teller:
    """Asks the unmodified client."""

    globus: Globus

    def lines(self, task_id: str) -> list[Line]:
        """The event list as the client prints it, oldest first."""
        text = self.globus.text("task", "event-list", task_id, "--limit", "1000")
        _, rule, *rows = text.splitlines()
        assert set(rule) <= set("-+")
        found = []
        for row in rows[::-1]:
            _, code, is_error, details = (cell.strip() for cell in row.split("|", 3))
            found.append(Line(code, is_error == "True", details))
        return found

    def story(self, task_id: str) -> list[str]:
        """The codes in order, a repetition told once. Every fault among them is explained."""
        told: list[str] = []
        for line in self.lines(task_id):
            if line.is_error:
                assert_explains(line)
            if told[-1:] != [line.code]:
                told.append(line.code)
        print("\n".join(f"{line.code}: {line.details}" for line in self.lines(task_id)))
        return told


def assert_explains(line: Line) -> None:
    """What failed, where, what follows, what to do."""
    said = line.fields
    assert said["error"].strip(), line
    assert said["endpoint"].startswith("localhost:"), line
    assert said["role"] in ("source", "destination"), line
    assert said["next"].endswith("."), line
    assert said["advice"].endswith("."), line


@pytest.fixture
def teller(site: Site, tmp_path: Path) -> Teller:
    return Teller(Globus.of(site.deployment, tmp_path / "home"))


def test_a_half_changed_tree_is_brought_up_to_date(
    site: Site, teller: Teller, tmp_path: Path
) -> None:
    """By content: sizes and times of the two trees tell nothing."""
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, uniform(4, 25, 2000), seed=1)
    succeeded(site.deployment, site.copy(source, destination, preserve_timestamp=True))
    stale = sorted(path for path in destination.rglob("f*"))[::2]
    for path in stale:
        when = path.stat().st_mtime
        path.write_bytes(path.read_bytes()[::-1])
        os.utime(path, (when, when))
    task_id = site.copy(source, destination, sync_level=3)
    task = succeeded(site.deployment, task_id)
    assert digests(destination) == digests(source)
    assert (task["files_transferred"], task["files_skipped"]) == (50, 50)
    assert teller.story(task_id) == ["STARTED", "SUCCEEDED"]


ODD_NAMES = [
    b" begins with a blank",
    b"ends with a blank ",
    b"-rf",
    b"--",
    b"...",
    b"*?[a-z]",
    b'it\'s "quoted"',
    b"50%25 %s %",
    b"back\\slash\\",
    b"semi;colon=equals&more|pipe",
    b"$HOME `true` ~",
    b"tab\tand \x07 bell",
    "Größe 中文 \N{LOBSTER}".encode(),
    "e\u0301 and \u00e9".encode(),
    b"latin-1 caf\xe9 \xff",
    b"x" * 255,
    "ü".encode() * 127,
]


def test_a_tree_with_every_odd_name(site: Site, teller: Teller, tmp_path: Path) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    for number, name in enumerate(ODD_NAMES):
        directory = os.path.join(os.fsencode(source), name)  # noqa: PTH118 - bytes
        os.makedirs(directory)  # noqa: PTH103
        for place in (directory, os.fsencode(source)):
            name_there = name if place == directory else name[:250] + b" file"
            with open(os.path.join(place, name_there), "wb") as file:  # noqa: PTH118, PTH123
                file.write(name * number)
    task_id = site.copy(source, destination)
    task = succeeded(site.deployment, task_id)
    assert (task["files"], task["directories"]) == (2 * len(ODD_NAMES), len(ODD_NAMES) + 1)
    assert digests(destination) == digests(source)
    assert teller.story(task_id) == ["STARTED", "SUCCEEDED"]
    told = teller.globus.text("task", "show", "--successful-transfers", task_id)
    assert "50%25 %s %" in told
    assert "\N{LOBSTER}" in told
    again = succeeded(site.deployment, site.copy(source, destination, sync_level=3))
    assert (again["files_transferred"], again["files_skipped"]) == (0, 2 * len(ODD_NAMES))
    gone = teller.globus.json("delete", "-r", f"{site.endpoints[1]}:{destination}")["task_id"]
    assert succeeded(site.deployment, gone)["files"] == 2 * len(ODD_NAMES)
    assert not destination.exists()


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Somebody goes on writing to the file."""
    over = threading.Event()

    def write() -> None:
        with path.open("ab", buffering=0) as file:
            while not over.wait(0.001):
                file.write(b"one more line\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def test_a_file_grows_while_it_is_copied(site: Site, teller: Teller, tmp_path: Path) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, uniform(1, 20, 1000), seed=1)
    log = source / "growing.log"
    log.write_bytes(b"x" * 32 * MEBIBYTE)
    with growing(log):
        task_id = site.copy(source, destination)
        [told, *_] = until(
            lambda: details_of(site.deployment, task_id, "FILE_SIZE_CHANGED"), 20, "it is noticed"
        )
        assert site.deployment.task(task_id)["status"] == "ACTIVE"
    assert told["path"] == str(log)
    assert told["size_now"] > told["listed_size"] >= 32 * MEBIBYTE
    assert "snapshot" in told["advice"]
    assert "tried again" in told["next"]
    succeeded(site.deployment, task_id)
    assert digests(destination) == digests(source)
    assert teller.story(task_id) == ["STARTED", "FILE_SIZE_CHANGED", "SUCCEEDED"]


@pytest.fixture
def small_storage(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for four mebibytes."""
    place = tmp_path / "small"
    place.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root may mount")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def stuck(site: Site, task_id: str, code: str) -> dict[str, Any] | None:
    """The task, if the last thing that happened was this fault."""
    task = site.deployment.task(task_id)
    return task if task["nice_status"] == code else None


def test_a_full_destination_that_is_freed(
    site: Site, teller: Teller, tmp_path: Path, small_storage: Path
) -> None:
    source = tmp_path / "src"
    make_tree(source, uniform(1, 12, 250_000), seed=2)
    in_the_way = small_storage / "old"
    in_the_way.write_bytes(b"x" * 2 * MEBIBYTE)
    task_id = site.copy(source, small_storage / "dst")
    [told, *_] = until(
        lambda: details_of(site.deployment, task_id, "NO_SPACE_LEFT"), 20, "it is told"
    )
    assert told["role"] == "destination"
    assert told["path"].startswith(str(small_storage))
    assert "Free space" in told["advice"]
    assert "tried again" in told["next"]
    task = until(lambda: stuck(site, task_id, "NO_SPACE_LEFT"), 20, "it shows")
    assert task["is_ok"] is False
    assert (task["subtasks_retrying"], task["subtasks_pending"] > 0) == (0, True)
    assert task["nice_status_details"]
    in_the_way.unlink()
    succeeded(site.deployment, task_id)
    assert digests(small_storage / "dst") == digests(source)
    assert teller.story(task_id) == ["STARTED", "NO_SPACE_LEFT", "SUCCEEDED"]


def begun(site: Site, source: Path, destination: Path, **options: object) -> tuple[str, set[str]]:
    """A task that copies 4,000 files, some of which are gone as soon as it has begun, and these."""
    make_tree(source, uniform(20, 200, 3000), seed=3)
    vanishing = sorted(digests(source))[5::270]
    task_id = site.copy(source, destination, **options)
    until(lambda: site.deployment.task(task_id)["files_transferred"] > 0, 20, "it has begun", 0.01)
    for path in vanishing:
        (source / path).unlink()
    return task_id, set(vanishing)


def test_files_vanish_and_the_task_fails(site: Site, teller: Teller, tmp_path: Path) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    task_id, vanished = begun(site, source, destination)
    task = site.deployment.wait(task_id, 60)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "FILE_NOT_FOUND")
    assert teller.story(task_id) == ["STARTED", "FILE_NOT_FOUND"]
    last = teller.lines(task_id)[-1].fields
    assert str(Path(last["path"]).relative_to(source)) in vanished
    assert last["role"] == "source"
    assert "failed" in last["next"]
    assert "skip_source_errors" in last["advice"]


@pytest.mark.long
def test_files_vanish_and_are_left_out(site: Site, teller: Teller, tmp_path: Path) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    task_id, vanished = begun(site, source, destination, skip_source_errors=True)
    task = succeeded(site.deployment, task_id)
    page = site.deployment.get(f"task/{task_id}/skipped_errors")["DATA"]
    left_out = {str(Path(one["source_path"]).relative_to(source)) for one in page}
    assert left_out <= vanished
    assert 0 < len(left_out) == task["subtasks_skipped_errors"]
    arrived = digests(destination)
    assert {path: arrived.get(path) for path in digests(source)} == digests(source)
    assert not left_out & arrived.keys()
    assert teller.story(task_id) == ["STARTED", "SKIPPED_ERRORS", "SUCCEEDED"]
    told = teller.lines(task_id)[1].fields
    assert told["skipped"] == len(left_out)
    assert "skipped errors" in told["advice"]


def test_a_directory_without_permission(
    site: Site, teller: Teller, open_tmp_path: Path, unprivileged_server: GctServer
) -> None:
    source, destination = open_tmp_path / "src", open_tmp_path / "dst"
    make_tree(source, uniform(3, 10, 1000), seed=4)
    expected = digests(source)
    (source / "d0001").chmod(0o711)
    here = site.register(unprivileged_server.url(""), site.rig.domains[0])
    item = (str(source), str(destination), True)
    task_id = site.deployment.transfer(here, site.endpoints[1], [item])
    [told, *_] = until(
        lambda: details_of(site.deployment, task_id, "PERMISSION_DENIED"), 20, "it is told"
    )
    until(lambda: len(digests(destination)) == 20, 20, "the others arrive")
    assert (told["path"], told["role"]) == (str(source / "d0001"), "source")
    assert told["endpoint"] == f"localhost:{unprivileged_server.port}"
    assert "Ask the owner" in told["advice"]
    assert "skip_source_errors" in told["advice"]
    assert "the others go on" in told["next"]
    (source / "d0001").chmod(0o755)
    succeeded(site.deployment, task_id)
    assert digests(destination) == expected
    assert teller.story(task_id) == ["STARTED", "PERMISSION_DENIED", "SUCCEEDED"]


def test_a_destination_without_permission(
    site: Site, teller: Teller, open_tmp_path: Path, unprivileged_server: GctServer
) -> None:
    source, destination = open_tmp_path / "src", open_tmp_path / "dst"
    make_tree(source, uniform(1, 3, 1000), seed=5)
    destination.mkdir(mode=0o755)  # the server's account is another one
    there = site.register(unprivileged_server.url(""), site.rig.domains[0])
    item = (str(source), str(destination), True)
    task_id = site.deployment.transfer(site.endpoints[0], there, [item])
    [told, *_] = until(
        lambda: details_of(site.deployment, task_id, "PERMISSION_DENIED"), 20, "it is told"
    )
    assert told["role"] == "destination"
    assert told["path"].startswith(str(destination))
    assert "skip_source_errors" not in told["advice"], "it would not help here"
    destination.chmod(0o777)
    succeeded(site.deployment, task_id)
    assert digests(destination) == digests(source)
    assert teller.story(task_id) == ["STARTED", "PERMISSION_DENIED", "SUCCEEDED"]


def make_library(root: Path) -> Path:
    """A tree whose papers are linked from shelves."""
    source = root / "src"
    for name in ("papers/one.txt", "papers/two.txt", "shelf/note.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (source / "shelf" / "first").symlink_to("../papers/one.txt")
    (source / "shelf" / "all").symlink_to("../papers")
    return source


def test_links_are_passed_over(site: Site, teller: Teller, tmp_path: Path) -> None:
    source, destination = make_library(tmp_path), tmp_path / "dst"
    task_id = site.copy(source, destination)
    assert succeeded(site.deployment, task_id)["symlinks"] == 2
    assert os.listdir(destination / "shelf") == ["note.txt"]  # noqa: PTH208
    assert teller.story(task_id) == ["STARTED", "FIDELITY", "SUCCEEDED"]
    [lost] = teller.lines(task_id)[1].fields["not_carried_over"]
    assert (lost["count"], "left out" in lost["what"]) == (2, True)


def test_links_are_kept(site: Site, teller: Teller, tmp_path: Path) -> None:
    source, destination = make_library(tmp_path), tmp_path / "dst"
    task_id = site.copy(source, destination, recursive_symlinks="keep")
    succeeded(site.deployment, task_id)
    assert (destination / "shelf" / "first").is_symlink()
    assert (destination / "shelf" / "first").read_text() == "papers/one.txt"
    assert (destination / "shelf" / "all").resolve() == destination / "papers"
    assert teller.story(task_id) == ["STARTED", "SUCCEEDED"]


def test_links_become_what_they_point_to(site: Site, teller: Teller, tmp_path: Path) -> None:
    source, destination = make_library(tmp_path), tmp_path / "dst"
    task_id = site.copy(source, destination, recursive_symlinks="copy")
    succeeded(site.deployment, task_id)
    assert not any(path.is_symlink() for path in destination.rglob("*"))
    assert (destination / "shelf" / "first").read_text() == "papers/one.txt"
    assert (destination / "shelf" / "all" / "two.txt").read_text() == "papers/two.txt"
    assert teller.story(task_id) == ["STARTED", "SUCCEEDED"]


def test_a_mirror(site: Site, teller: Teller, tmp_path: Path) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, uniform(2, 5, 1000), seed=6)
    make_tree(destination, uniform(4, 7, 1000), seed=7)
    task_id = site.copy(source, destination, delete_destination_extra=True)
    succeeded(site.deployment, task_id)
    assert digests(destination) == digests(source)
    assert sorted(path.name for path in destination.iterdir()) == ["d0000", "d0001"]
    assert teller.story(task_id) == ["STARTED", "DELETED_DESTINATION_EXTRA", "SUCCEEDED"]
    told = teller.lines(task_id)[1].fields
    assert (told["files"], told["directories"]) == (2 * 2 + 2 * 7, 2)


def test_a_mirror_of_what_cannot_all_be_read(
    site: Site, teller: Teller, open_tmp_path: Path, unprivileged_server: GctServer
) -> None:
    """What cannot be read might be what is there already, so nothing goes."""
    source, destination = open_tmp_path / "src", open_tmp_path / "dst"
    make_tree(source, uniform(2, 5, 1000), seed=8)
    make_tree(destination, uniform(3, 5, 1000), seed=9)
    here = site.register(unprivileged_server.url(""), site.rig.domains[0])
    (source / "d0000").chmod(0o711)
    task_id = site.deployment.transfer(
        here,
        site.endpoints[1],
        [(str(source), str(destination), True)],
        delete_destination_extra=True,
        skip_source_errors=True,
    )
    succeeded(site.deployment, task_id)
    (source / "d0000").chmod(0o755)
    assert len(digests(destination)) == 15, "nothing has gone"
    assert teller.story(task_id) == [
        "STARTED",
        "DELETE_DESTINATION_EXTRA_SKIPPED",
        "SKIPPED_ERRORS",
        "SUCCEEDED",
    ]
    told = teller.lines(task_id)[1].fields
    assert told["skipped"] == 1
    assert "Nothing of it has been deleted" in told["error"]
    assert "submit again" in told["advice"]


def test_one_task_after_the_other(site: Site, teller: Teller, tmp_path: Path) -> None:
    """The second begins when the first, which is held up, has been cancelled."""
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_tree(source, uniform(1, 3, 1000), seed=10)
    (destination / "d0000" / "f0000").mkdir(parents=True)
    first = site.copy(source, destination, label="first")
    [fault, *_] = until(
        lambda: details_of(site.deployment, first, "IS_A_DIRECTORY"), 20, "it is held up"
    )
    assert "remove or rename it" in fault["advice"]
    second = site.copy(source, destination)
    until(lambda: len(site.deployment.events(second)) >= 2, 20, "it waits")
    (destination / "d0000" / "f0000").rmdir()
    site.deployment.post(f"task/{first}/cancel", {})
    assert site.deployment.wait(first, 30)["fatal_error"]["code"] == "CANCELED"
    succeeded(site.deployment, second)
    assert digests(destination) == digests(source)
    assert teller.story(first) == ["STARTED", "IS_A_DIRECTORY", "CANCELED"]
    assert teller.story(second) == ["STARTED", "WAITING_FOR_TASK", "SUCCEEDED"]
    told = teller.lines(second)[1].fields
    assert (told["task"], told["label"]) == (first, "first")
    assert str(destination) in told["path"]
