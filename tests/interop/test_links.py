"""`recursive_symlinks` and the fidelity report, between real servers."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from plugins.rig import Rig
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.transfer.fidelity import EXAMPLES_MAX


def make_linked_tree(root: Path) -> Path:
    """A tree with every kind of link; what is beside it is returned."""
    source, outside = root / "src", root / "outside"
    for directory in (source / "sub" / "deep", source / "other", outside / "box"):
        directory.mkdir(parents=True)
    (source / "file").write_text("file")
    (source / "sub" / "deep" / "leaf").write_text("leaf")
    (outside / "box" / "thing").write_text("thing")
    (outside / "alone").write_text("alone")
    links = {
        "to-file": "file",
        "to-dir": "sub",
        "sub/up": "..",
        "sub/deep/there": "../../other",
        "other/back": "../sub/deep",
        "chain": "to-file",
        "by-way": "to-dir/deep/leaf",
        "dangling": "nowhere",
        "loop": "loop",
        "out-file": str(outside / "alone"),
        "out-dir": str(outside / "box"),
        "odd ü; =%20": "file",
        "null": "/dev/null",
    }
    for name, target in links.items():
        (source / name).symlink_to(target)
    return outside


LISTED = 11
UNLISTED = 2
"""Of these links: servers do not list those that lead nowhere."""


def report(deployment: Deployment, task_id: str) -> dict[str, dict[str, Any]]:
    document = deployment.get(f"task/{task_id}/fidelity")
    assert document["DATA_TYPE"] == "fidelity_report"
    return {finding["kind"]: finding for finding in document["DATA"]}


def counts(deployment: Deployment, task_id: str) -> dict[str, int]:
    """What was found, by kind."""
    found = report(deployment, task_id)
    return {kind: finding["count"] for kind, finding in found.items() if finding["count"]}


def examples(deployment: Deployment, task_id: str, kind: str, root: Path) -> dict[str, str]:
    """Path below `root` -> details."""
    return {
        os.path.relpath(example["source_path"], root): example["details"]
        for example in report(deployment, task_id)[kind]["examples"]
    }


def succeeded(deployment: Deployment, task_id: str) -> dict[str, Any]:
    task = deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    assert task["faults"] == 0, deployment.events(task_id)
    return task


def links_below(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): str(path.readlink())
        for path in root.rglob("*")
        if path.is_symlink()
    }


def files_below(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


@SITE_GROUP
def test_ignored_links_are_counted_and_told(site: Site, tmp_path: Path) -> None:
    make_linked_tree(tmp_path)
    source, destination = tmp_path / "src", tmp_path / "dst"
    task_id = site.copy(source, destination)
    task = succeeded(site.deployment, task_id)
    assert (task["symlinks"], task["files"], task["recursive_symlinks"]) == (LISTED, 2, "ignore")
    assert links_below(destination) == {}
    assert counts(site.deployment, task_id) == {"links_ignored": LISTED, "unlisted_names": UNLISTED}
    told = examples(site.deployment, task_id, "links_ignored", source)
    assert told["sub/up"] == f"to {source}"
    assert examples(site.deployment, task_id, "unlisted_names", source) == {".": "2 names"}
    [event] = [e for e in site.deployment.events(task_id) if e["code"] == "FIDELITY"]
    line, _ = json.loads(event["details"])["not_carried_over"]
    assert line["count"] == LISTED
    assert line["what"].startswith("symbolic links that were left out")
    assert not event["is_error"]
    site.assert_well()


@SITE_GROUP
def test_kept_links_are_made_again(site: Site, tmp_path: Path) -> None:
    outside = make_linked_tree(tmp_path)
    source, destination = tmp_path / "src", tmp_path / "dst"
    task_id = site.copy(source, destination, recursive_symlinks="keep")
    task = succeeded(site.deployment, task_id)
    assert (task["symlinks"], task["files_transferred"]) == (LISTED, 2)
    expected = {
        "to-file": f"{destination}/file",
        "to-dir": f"{destination}/sub",
        "sub/up": f"{destination}",
        "sub/deep/there": f"{destination}/other",
        "other/back": f"{destination}/sub/deep",
        "chain": f"{destination}/file",
        "by-way": f"{destination}/sub/deep/leaf",
        "out-file": f"{outside}/alone",
        "out-dir": f"{outside}/box",
        "odd ü; =%20": f"{destination}/file",
        "null": "/dev/null",
    }
    assert links_below(destination) == expected
    assert counts(site.deployment, task_id) == {"links_outside": 3, "unlisted_names": UNLISTED}

    made_at = {name: (destination / name).lstat().st_ino for name in expected}
    for level in (None, 0, 3):
        again = site.copy(source, destination, recursive_symlinks="keep", sync_level=level)
        succeeded(site.deployment, again)
        assert {name: (destination / name).lstat().st_ino for name in expected} == made_at
    site.assert_well()


@SITE_GROUP
def test_what_is_in_the_place_of_a_kept_link(site: Site, tmp_path: Path) -> None:
    """Another link is replaced; data stays, and is told."""
    source, destination = tmp_path / "src", tmp_path / "dst"
    (source / "sub").mkdir(parents=True)
    (source / "file").write_text("file")
    for name in ("on-file", "on-directory", "on-link", "on-dangling", "to-nothing"):
        (source / name).symlink_to("file")
    (source / "excluded").write_text("excluded")
    (source / "to-excluded").symlink_to("excluded")
    (destination / "on-directory").mkdir(parents=True)
    (destination / "on-directory" / "data").write_text("precious")
    (destination / "on-file").write_text("precious")
    (destination / "old").write_text("old")
    (destination / "on-link").symlink_to("old")
    (destination / "on-dangling").symlink_to("nowhere")
    rules = [
        {"DATA_TYPE": "filter_rule", "method": "exclude", "type": "file", "name": name}
        for name in ("excluded", "to-nothing")
    ]
    task_id = site.copy(source, destination, recursive_symlinks="keep", filter_rules=rules)
    task = succeeded(site.deployment, task_id)
    assert task["symlinks"] == 5
    to_file = f"{destination}/file"
    assert links_below(destination) == {"on-link": to_file, "on-dangling": to_file}
    assert (destination / "on-file").read_text() == "precious"
    assert (destination / "on-directory" / "data").read_text() == "precious"
    assert (destination / "old").read_text() == "old"
    in_its_place = f"to {to_file}: something else is in its place"
    assert examples(site.deployment, task_id, "links_not_made", source) == {
        "on-file": in_its_place,
        "on-directory": in_its_place,
        "to-excluded": f"to {destination}/excluded: what it points to is not there",
    }

    (source / "to-excluded").unlink()
    mirrored = site.copy(
        source,
        tmp_path / "dst",
        recursive_symlinks="keep",
        delete_destination_extra=True,
    )
    succeeded(site.deployment, mirrored)
    names = ("on-file", "on-directory", "on-link", "on-dangling", "to-nothing")
    assert links_below(destination) == dict.fromkeys(names, to_file)

    (destination / "on-link").unlink()
    (destination / "on-link").symlink_to("excluded")
    missing_only = site.copy(source, destination, recursive_symlinks="keep", sync_level=0)
    succeeded(site.deployment, missing_only)
    assert (destination / "on-link").readlink() == Path("excluded")


@SITE_GROUP
@pytest.mark.parametrize("level", [None, 3])
def test_what_was_a_link_is_not_written_through(
    site: Site, tmp_path: Path, level: int | None
) -> None:
    """A file, or a directory, where there was a link before. What leads out of the copy stays."""
    source, destination, outside = tmp_path / "src", tmp_path / "dst", tmp_path / "outside"
    (source / "d").mkdir(parents=True)
    outside.mkdir()
    (source / "file").write_text("old")
    (source / "d" / "leaf").write_text("old")
    for name, target in (("l", "file"), ("k", "d"), ("arranged", str(outside))):
        (source / name).symlink_to(target)
    succeeded(site.deployment, site.copy(source, destination, recursive_symlinks="keep"))
    for name in ("l", "k", "arranged"):
        (source / name).unlink()
    (source / "l").write_text("new")
    (source / "k").mkdir()
    (source / "k" / "leaf").write_text("new")
    (source / "arranged").mkdir()
    (source / "arranged" / "far").write_text("new")
    task_id = site.copy(source, destination, recursive_symlinks="keep", sync_level=level)
    succeeded(site.deployment, task_id)
    assert files_below(destination) == {
        "file": "old",
        "d/leaf": "old",
        "l": "new",
        "k/leaf": "new",
    }
    assert links_below(destination) == {"arranged": str(outside)}
    assert files_below(outside) == {"far": "new"}


@SITE_GROUP
@pytest.mark.parametrize("mode", ["ignore", "copy"])
@pytest.mark.parametrize("one_server", [True, False])
def test_what_an_earlier_task_kept_as_a_link_is_not_written_through(
    site: Site, tmp_path: Path, mode: str, one_server: bool
) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    write = {"a": "a", "b": "other", "d/leaf": "d", "e/leaf": "other"}
    for name, text in write.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    destination.mkdir()
    (destination / "b").write_text("old")
    (destination / "e").mkdir()
    (destination / "a").symlink_to(destination / "b")
    (destination / "d").symlink_to(destination / "e")
    endpoints = (site.endpoints[0],) * 2 if one_server else site.endpoints
    level = {} if one_server else {"sync_level": 1}
    item = (str(source), str(destination), True)
    task_id = site.deployment.transfer(*endpoints, [item], recursive_symlinks=mode, **level)
    succeeded(site.deployment, task_id)
    assert links_below(destination) == {}
    assert files_below(destination) == write


@SITE_GROUP
def test_copied_links_become_what_they_point_to(site: Site, tmp_path: Path) -> None:
    make_linked_tree(tmp_path)
    source, destination = tmp_path / "src", tmp_path / "dst"
    task_id = site.copy(source, destination, recursive_symlinks="copy", sync_level=3)
    task = succeeded(site.deployment, task_id)
    assert links_below(destination) == {}
    expected = {
        **dict.fromkeys(("file", "to-file", "chain", "odd ü; =%20"), "file"),
        **dict.fromkeys(("sub/deep/leaf", "to-dir/deep/leaf", "by-way", "other/back/leaf"), "leaf"),
        "out-file": "alone",
        "out-dir/thing": "thing",
    }
    assert files_below(destination) == expected
    assert task["files_transferred"] == task["files"] == len(expected)
    assert sorted(str(p.relative_to(destination)) for p in destination.rglob("there")) == [
        "sub/deep/there",
        "to-dir/deep/there",
    ]
    inside = "a directory that it is in"
    assert examples(site.deployment, task_id, "links_not_followed", source) == {
        "sub/up": f"to {source}: {inside}",
        "to-dir/up": f"to {source}: {inside}",
        "other/back/there": f"to {source}/other: {inside}",
        "sub/deep/there/back": f"to {source}/sub/deep: {inside}",
        "to-dir/deep/there/back": f"to {source}/sub/deep: {inside}",
    }
    assert examples(site.deployment, task_id, "special_files", source) == {"null": "to /dev/null"}
    site.assert_well()


@SITE_GROUP
def test_chains_of_links_to_directories_end(site: Site, tmp_path: Path) -> None:
    """Without a loop: each directory has two links to the next."""
    source, destination = tmp_path / "src", tmp_path / "dst"
    outside = tmp_path / "outside"
    for number in range(11):
        (outside / str(number)).mkdir(parents=True)
        (outside / str(number) / "file").write_text(str(number))
        (outside / str(number) / "next").symlink_to(outside / str(number + 1))
    source.mkdir()
    (source / "first").symlink_to(outside / "0")
    task_id = site.copy(source, destination, recursive_symlinks="copy")
    succeeded(site.deployment, task_id)
    deepest = Path("first", *["next"] * 7)
    assert files_below(destination)[f"{deepest}/file"] == "7"
    assert len(files_below(destination)) == 8
    told = examples(site.deployment, task_id, "links_not_followed", source)
    assert told == {f"{deepest}/next": f"to {outside}/8: behind 8 other links"}


@SITE_GROUP
def test_the_tree_may_be_behind_a_link(site: Site, tmp_path: Path) -> None:
    """Then targets are told as they really are, and not as the item is written."""
    make_linked_tree(tmp_path / "really")
    (tmp_path / "home").symlink_to("really")
    source, destination = tmp_path / "home" / "src", tmp_path / "dst"
    kept = site.copy(source, destination, recursive_symlinks="keep")
    succeeded(site.deployment, kept)
    assert links_below(destination)["by-way"] == f"{destination}/sub/deep/leaf"
    assert links_below(destination)["sub/up"] == str(destination)
    copied = site.copy(source, tmp_path / "copied", recursive_symlinks="copy")
    succeeded(site.deployment, copied)
    assert len(files_below(tmp_path / "copied")) == 10


@SITE_GROUP
def test_within_one_server_nothing_overwrites_itself(site: Site, tmp_path: Path) -> None:
    """What was moved away and left as a link, as people do."""
    source, archive = tmp_path / "src", tmp_path / "archive"
    (archive / "run").mkdir(parents=True)
    source.mkdir()
    (archive / "data").write_text("precious")
    (archive / "run" / "log").write_text("precious")
    (archive / "elsewhere").mkdir()
    (archive / "elsewhere" / "x").write_text("precious")
    (source / "data").symlink_to(archive / "data")
    (source / "run").symlink_to(archive / "run")
    (source / "all").symlink_to(archive)
    (source / "linked").symlink_to(archive / "elsewhere")
    (archive / "linked").symlink_to(archive / "elsewhere")
    (source / "new").write_text("new")
    here = site.endpoints[0]
    task_id = site.deployment.transfer(
        here, here, [(str(source), str(archive), True)], recursive_symlinks="copy"
    )
    succeeded(site.deployment, task_id)
    assert files_below(archive) == {
        "data": "precious",
        "run/log": "precious",
        "elsewhere/x": "precious",
        "new": "new",
    }
    told = examples(site.deployment, task_id, "links_not_followed", source)
    assert set(told) == {"data", "run", "all", "linked"}


@SITE_GROUP
def test_within_one_server_what_both_ends_share_stays(site: Site, tmp_path: Path) -> None:
    """Names at the destination that lead to the source: written, they would empty it."""
    source, destination = tmp_path / "src", tmp_path / "dst"
    for directory in ("linked", "d"):
        (source / directory).mkdir(parents=True)
        (source / directory / "leaf").write_text("precious")
    (destination / "d").mkdir(parents=True)
    for name in ("soft", "hard", "alone", "new"):
        (source / name).write_text("precious")
    (destination / "soft").symlink_to(source / "soft")
    (destination / "hard").hardlink_to(source / "hard")
    (destination / "linked").symlink_to(source / "linked")
    (destination / "d" / "leaf").symlink_to("../../src/d/leaf")
    here = site.endpoints[0]
    task_id = site.deployment.transfer(here, here, [(str(source), str(destination), True)])
    task = succeeded(site.deployment, task_id)
    assert set(files_below(source).values()) == {"precious"}
    assert (destination / "new").read_text() == "precious"
    told = examples(site.deployment, task_id, "shared_with_source", source)
    assert told.keys() == {"soft", "hard", "linked", "d/leaf"}
    assert task["files_transferred"] == 2

    (tmp_path / "other").symlink_to(source / "alone")
    (tmp_path / "tree").symlink_to(source)
    for item in ((source / "alone", tmp_path / "other", False), (source, tmp_path / "tree", True)):
        one = (str(item[0]), str(item[1]), item[2])
        refused = site.deployment.wait(site.deployment.transfer(here, here, [one]), 30)
        assert (refused["status"], refused["fatal_error"]["code"]) == (
            "FAILED",
            "INVALID_PATH_NAME",
        )
    assert set(files_below(source).values()) == {"precious"}


@SITE_GROUP
def test_a_server_that_makes_no_links(site: Site, tmp_path: Path, domain_b: Domain) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    source.mkdir()
    (source / "file").write_text("file")
    for number in range(300):
        (source / f"link{number}").symlink_to("file")
    forbidden = ("-disable-command-list", "SITE SYMLINKFROM,SITE SYMLINKTO")
    with GctServer.start(domain_b, tmp_path / "server", args=forbidden) as server:
        there = site.register(server.url(""), domain_b)
        item = (str(source), str(destination), True)
        task_id = site.deployment.transfer(
            site.endpoints[0], there, [item], recursive_symlinks="keep"
        )
        succeeded(site.deployment, task_id)
    assert files_below(destination) == {"file": "file"}
    assert counts(site.deployment, task_id) == {"links_not_made": 300}
    told = examples(site.deployment, task_id, "links_not_made", source)
    assert set(told.values()) == {f"to {destination}/file: the server cannot make links"}
    assert len(told) == EXAMPLES_MAX
    [event] = [e for e in site.deployment.events(task_id) if e["code"] == "FIDELITY"]
    [line] = json.loads(event["details"])["not_carried_over"]
    assert line["count"] == 300
    assert line["such_as"].endswith("the server cannot make links)")


@pytest.mark.long
def test_a_worker_that_dies_while_links_are_made(rig: Rig) -> None:
    source, destination = rig.root / "src", rig.root / "dst"
    source.mkdir()
    (source / "file").write_text("file")
    for directory in range(8):
        (source / f"d{directory}").mkdir()
        for number in range(500):
            (source / f"d{directory}" / f"link{number}").symlink_to("../file")
    deployment = rig.up({"TOWPATH_ENGINE__WORKERS": "1"})
    task_id = rig.copy_tree(deployment, recursive_symlinks="keep")
    [worker] = deployment.worker_pids()
    until(lambda: next(destination.glob("d*/link*"), None), 30, "a link is made", every_s=0.001)
    os.kill(worker, signal.SIGKILL)
    assert 0 < len(links_below(destination)) < 4000, "it was killed in the middle"
    task = deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    assert (task["symlinks"], task["directories"]) == (4000, 9)
    made = links_below(destination)
    assert (len(made), set(made.values())) == (4000, {f"{destination}/file"})
    assert counts(deployment, task_id) == {}


def make_odd_tree(source: Path) -> None:
    """What does not travel well."""
    (source / "d").mkdir(parents=True)
    (source / "plain").write_text("plain")
    (source / "program").write_text("#!")
    (source / "program").chmod(0o755)
    (source / "private").write_text("secret")
    (source / "private").chmod(0o600)
    (source / "shared").mkdir()
    (source / "shared").chmod(0o2775)
    (source / "closed").mkdir()
    (source / "closed").chmod(0o700)
    (source / "d" / "one").write_text("one")
    (source / "d" / "two").hardlink_to(source / "d" / "one")
    (source / "ReadMe").write_text("a")
    (source / "README").write_text("b")
    (source / "caf\u00e9").write_text("c")
    (source / "cafe\u0301").write_text("d")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(source)
        listener.bind("socket")
    (source / os.fsdecode(b"latin-\xe9")).write_text("e")
    (source / "a; b=%20 \"c\" 'd'").write_text("f")


@SITE_GROUP
def test_a_tree_of_odd_things(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    source, destination = tmp_path / "src", tmp_path / "dst"
    make_odd_tree(source)
    task_id = site.copy(source, destination)
    task = succeeded(site.deployment, task_id)
    assert files_below(destination) == files_below(source)
    assert task["files"] == len(files_below(source))
    assert counts(site.deployment, task_id) == {
        "special_files": 2,
        "modes": 2,
        "private": 2,
        "hard_links": 1,
        "name_collisions": 2,
    }
    found = report(site.deployment, task_id)
    assert examples(site.deployment, task_id, "modes", source) == {
        "program": "mode 0755",
        "shared": "mode 2775",
    }
    assert examples(site.deployment, task_id, "private", source).keys() == {"private", "closed"}
    assert examples(site.deployment, task_id, "special_files", source).keys() == {"pipe", "socket"}
    assert found["hard_links"]["known"] == "at_least"
    sparse = found["sparse_files"]
    assert (sparse["known"], sparse["count"]) == ("not_known", None)
    assert all(
        finding["known"] == "exact"
        for kind, finding in found.items()
        if kind not in {"sparse_files", "hard_links"}
    )
    # It is true: what arrives has the destination's own permissions.
    assert (destination / "program").stat().st_mode & 0o7777 == (
        (destination / "plain").stat().st_mode & 0o7777
    )
    assert (destination / "private").stat().st_mode & 0o077
    assert (destination / "d" / "two").stat().st_nlink == 1


@SITE_GROUP
def test_a_name_that_cannot_be_carried_is_in_the_report(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "src"
    (source / "d").mkdir(parents=True)
    (source / "d" / "two\nlines").write_text("")
    task_id = site.copy(source, tmp_path / "dst")
    task = site.deployment.wait(task_id, 30)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "INVALID_PATH_NAME")
    assert counts(site.deployment, task_id) == {"impossible_names": 1}
    told = examples(site.deployment, task_id, "impossible_names", source)
    assert told == {"d": "the listing holds a name with a line break"}
    assert not site.deployment.get(f"task/{task_id}/fidelity")["complete"]
