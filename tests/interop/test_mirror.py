"""`delete_destination_extra` between two real servers: what goes, and above all what stays."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

from plugins.outcomes import details_of
from plugins.rig import Rig
from plugins.site import SESSIONS_END_S, SITE_GROUP, Site, until
from towpath.demo.gct import GctServer
from towpath.demo.trees import digests, make_tree, uniform

ODD = (" a", "b ", "ü", "\udce9", "*", "[x]", "-f", "..x")


def write(root: Path, *paths: str, text: str = "x") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def names(root: Path) -> set[str]:
    """All that is below, links not followed."""
    found = set()
    for directory, subdirectories, files in os.walk(root):
        found |= {os.path.relpath(f"{directory}/{one}", root) for one in [*subdirectories, *files]}
    return found


def mirrored(
    site: Site, *items: tuple[Path, Path, bool | None], endpoints: Any = None, **options: Any
) -> tuple[str, dict[str, Any]]:
    given = [(str(here), str(there), recursive) for here, there, recursive in items]
    task_id = site.deployment.transfer(
        *(endpoints or site.endpoints), given, delete_destination_extra=True, **options
    )
    task = site.deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", site.deployment.events(task_id)
    return task_id, task


@pytest.fixture
def ends(tmp_path: Path) -> tuple[Path, Path]:
    """A tree, and one that has half of it and more besides."""
    source, destination = tmp_path / "src", tmp_path / "dst"
    write(source, "f", "d/f", "d/e/f", *(f"odd/{name}/{name}" for name in ODD))
    write(destination, "f", "d/f", "d/extra", "extra/x/y/f", *(f"odd/{n}/{n}" for n in ODD[::2]))
    write(destination, *(f"odd/extra{name}/{name}" for name in ODD), *(f"odd/{n}+" for n in ODD))
    (source / "empty").mkdir()
    (destination / "extra empty").mkdir()
    return source, destination


@SITE_GROUP
@pytest.mark.parametrize("level", [None, 1])
def test_the_destination_becomes_the_source(
    site: Site, ends: tuple[Path, Path], level: int | None
) -> None:
    source, destination = ends
    extra = len(names(destination) - names(source))
    task_id, task = mirrored(site, (source, destination, True), sync_level=level)
    assert names(destination) == names(source)
    assert digests(destination) == digests(source)
    assert task["delete_destination_extra"] is True
    [told] = details_of(site.deployment, task_id, "DELETED_DESTINATION_EXTRA")
    assert told["files"] + told["directories"] == extra
    assert told["files"] == 2 + 2 * len(ODD)
    assert task["faults"] == 0
    again, _ = mirrored(site, (source, destination, True), sync_level=level)
    assert details_of(site.deployment, again, "DELETED_DESTINATION_EXTRA") == []
    site.assert_well()


@SITE_GROUP
def test_without_it_everything_stays(site: Site, ends: tuple[Path, Path]) -> None:
    source, destination = ends
    before = names(destination)
    task = site.deployment.wait(site.copy(source, destination), 60)
    assert task["status"] == "SUCCEEDED"
    assert names(destination) == before | names(source)


@SITE_GROUP
@pytest.mark.parametrize("level", [None, 0])
def test_what_is_of_another_type_goes_before_the_copy(
    site: Site, tmp_path: Path, level: int | None
) -> None:
    source, destination, elsewhere = (tmp_path / name for name in ("src", "dst", "elsewhere"))
    write(elsewhere, "f", "d/f")
    write(source, "file", "file2", "file3", "directory/f", "directory2/f", "directory3/f")
    write(destination, "file/deep/er", "directory")
    for name, target in (
        ("file2", "f"),
        ("file3", "d"),
        ("directory2", "d"),
        ("directory3", "f"),
    ):
        (destination / name).symlink_to(elsewhere / target)
    mirrored(site, (source, destination, True), sync_level=level)
    assert names(destination) == names(source)
    assert not any(path.is_symlink() for path in destination.rglob("*"))
    assert digests(destination) == digests(source)
    assert digests(elsewhere).keys() == {"f", "d/f"}


@SITE_GROUP
def test_links_are_not_followed_and_names_of_ignored_links_stay(site: Site, tmp_path: Path) -> None:
    source, destination, elsewhere = (tmp_path / name for name in ("src", "dst", "elsewhere"))
    write(elsewhere, "f", "d/f")
    write(source, "f")
    (source / "ignored").symlink_to(elsewhere)
    write(destination, "ignored/stays", "extra/f")
    (destination / "link").symlink_to(elsewhere)
    (destination / "link to file").symlink_to(elsewhere / "f")
    (destination / "extra" / "link").symlink_to(elsewhere)
    (destination / "extra" / "dangling").symlink_to("nowhere")
    mirrored(site, (source, destination, True))
    assert names(destination) == {"f", "ignored", "ignored/stays"}
    assert names(elsewhere) == {"f", "d", "d/f"}


@SITE_GROUP
def test_links_that_are_kept_or_copied(site: Site, tmp_path: Path) -> None:
    source, elsewhere = tmp_path / "src", tmp_path / "elsewhere"
    write(elsewhere, "d/f")
    write(source, "f")
    (source / "to file").symlink_to(source / "f")
    (source / "to directory").symlink_to(elsewhere / "d")
    for mode in ("keep", "copy"):
        destination = tmp_path / mode
        write(destination, "to file/in the way")
        if mode == "keep":
            write(destination, "to directory")
        else:
            (destination / "to directory").symlink_to(elsewhere / "d")
        (destination / "extra").symlink_to(elsewhere)
        mirrored(site, (source, destination, True), recursive_symlinks=mode)
    kept, copied = tmp_path / "keep", tmp_path / "copy"
    assert names(kept) == names(source)
    assert (kept / "to file").readlink() == kept / "f"
    assert (kept / "to directory").readlink() == elsewhere / "d"
    assert digests(copied).keys() == {"f", "to file", "to directory/f"}
    assert not (copied / "to directory").is_symlink()
    assert names(elsewhere) == {"d", "d/f"}


@SITE_GROUP
def test_names_that_the_source_does_not_list_keep_extras_of_their_directory(
    site: Site, tmp_path: Path
) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    write(source, "d/f", "e/f")
    (source / "d" / "dangling").symlink_to("nowhere")
    write(destination, "d/dangling", "d/extra", "e/extra")
    task_id, _ = mirrored(site, (source, destination, True))
    assert names(destination) == {"d", "d/f", "d/dangling", "d/extra", "e", "e/f"}
    [told] = details_of(site.deployment, task_id, "DELETE_DESTINATION_EXTRA_SKIPPED")
    assert told["directories"] == 1


@SITE_GROUP
def test_what_a_rule_excludes_stays(site: Site, tmp_path: Path) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    write(source, "f", "f.log", "cache/f")
    write(destination, "f.log", "old.log", "cache/old", "old", "extra/a/f", "extra/b/f.log")
    write(destination, "extra/cache/f", "gone/a/f", "g")
    (destination / "dir.log").mkdir()
    rules = [
        {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "*.log", "type": "file"},
        {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "cache", "type": "dir"},
    ]
    mirrored(site, (source, destination, True), filter_rules=rules)
    kept = {"f", "f.log", "old.log", "cache", "cache/old"}
    kept |= {"extra", "extra/b", "extra/b/f.log", "extra/cache", "extra/cache/f"}
    assert names(destination) == kept


@SITE_GROUP
def test_items_do_not_delete_what_is_anothers(site: Site, tmp_path: Path) -> None:
    a, b, c, x = (tmp_path / name for name in "abcx")
    write(a, "f", "b/from a", "in/f")
    write(b, "f", "sub/f")
    write(c, "f", "only c")
    (tmp_path / "single").write_text("single")
    write(x, "extra", "b/extra", "b/from a", "deep/er/extra", "in/extra", "d/extra")
    items = [
        (a, x, True),
        (b, x / "b", True),
        (b, x / "deep" / "er", True),
        (c, x, True),
        (tmp_path / "single", x / "in" / "single", False),
        (tmp_path / "single", x / "d" / "single", None),
    ]
    mirrored(site, *items)
    assert names(x) == {
        *("f", "only c"),
        *("b", "b/f", "b/sub", "b/sub/f", "b/from a"),
        *("deep", "deep/er", "deep/er/f", "deep/er/sub", "deep/er/sub/f"),
        *("in", "in/f", "in/single"),
        # on the way to another item's destination
        *("d", "d/extra", "d/single"),
    }


@SITE_GROUP
def test_items_that_meet_behind_links_do_not_delete_what_is_anothers(
    site: Site, tmp_path: Path
) -> None:
    a, b, c, x, link, below = (tmp_path / name for name in ("a", "b", "c", "x", "link", "below"))
    write(a, "f")
    write(b, "from b", "d/f")
    write(c, "from c")
    write(x, "extra", "sub/old", "in/extra")
    link.symlink_to(x)
    below.symlink_to(x / "in")
    mirrored(site, (a, x, True), (b, link / "sub", True), (c, link, True), (b, below, True))
    assert names(x) == {
        *("f", "from c"),
        *("sub", "sub/from b", "sub/d", "sub/d/f"),
        *("in", "in/from b", "in/d", "in/d/f"),
    }


@SITE_GROUP
def test_a_file_item_deletes_nothing(site: Site, tmp_path: Path) -> None:
    write(tmp_path, "src", "dst/f", "dst/beside")
    for recursive in (False, None):
        mirrored(site, (tmp_path / "src", tmp_path / "dst" / "f", recursive))
    assert names(tmp_path / "dst") == {"f", "beside"}


@SITE_GROUP
def test_within_one_server_no_source_is_extra(site: Site, tmp_path: Path) -> None:
    """Neither by its own name, nor when links lead to it, or to the destination."""
    (tmp_path / "to source").symlink_to(tmp_path / "x" / "src")
    (tmp_path / "to destination").symlink_to(tmp_path / "x")
    here = site.endpoints[0]
    for source, destination in (
        (tmp_path / "x" / "src", tmp_path / "x"),
        (tmp_path / "to source", tmp_path / "x"),
        (tmp_path / "to source", tmp_path / "to destination"),
        (tmp_path / "to destination" / "src", tmp_path / "x"),
    ):
        write(tmp_path, "x/src/d/f", "x/extra")
        mirrored(site, (source, destination, True), endpoints=(here, here))
        assert names(tmp_path / "x") == {"src", "src/d", "src/d/f", "d", "d/f"}


@SITE_GROUP
@pytest.mark.parametrize("one_server", [True, False])
def test_what_was_moved_away_and_left_as_a_link_stays(
    site: Site, tmp_path: Path, one_server: bool
) -> None:
    """Two servers may have the same files."""
    source, archive = tmp_path / "src", tmp_path / "archive"
    write(source, "new")
    write(archive, "run/log", "data", "deep/data", "file/in the way", "tree")
    (tmp_path / "to archive").symlink_to(archive)
    for name, target in (("run", "run"), ("data", "data"), ("deep", "deep/data")):
        (source / name).symlink_to(archive / target)
    (source / "file").symlink_to(source / "new")
    (source / "tree").symlink_to(source / "new")
    kept = ("run", "run/log", "data", "deep", "deep/data")
    endpoints = (site.endpoints[0],) * 2 if one_server else None
    for destination in (archive, tmp_path / "to archive"):
        task_id, _ = mirrored(
            site,
            (source, destination, True),
            endpoints=endpoints,
            recursive_symlinks="keep",
        )
        report = site.deployment.get(f"task/{task_id}/fidelity")["DATA"]
        assert {one["kind"]: one["count"] for one in report}["links_not_made"] == 3
        assert names(archive) == {*kept, "new", "file", "tree"}
        assert not any((archive / name).is_symlink() for name in kept)
        assert (archive / "file").readlink().name == "new"


@SITE_GROUP
@pytest.mark.parametrize("mode", ["ignore", "keep", "copy"])
def test_within_one_server_what_links_of_the_source_lead_to_stays(
    site: Site, tmp_path: Path, mode: str
) -> None:
    source, destination = tmp_path / "src", tmp_path / "dst"
    write(source, "a", "b", "c/f")
    write(destination, "releases/v2/f", "all/f", "all/extra", "extra/f", "x/data", "b/data", "c")
    for name, target in (
        ("cur", "releases/v2"),
        ("a-all", "all"),
        ("x", "x/data"),
        ("a-b", "b/data"),
        ("a-c", "c"),
        ("whole", ""),
    ):
        (source / name).symlink_to(destination / target)
    here = site.endpoints[0]
    before = digests(destination)
    task_id, _ = mirrored(
        site, (source, destination, True), endpoints=(here, here), recursive_symlinks=mode
    )
    assert {path: digests(destination).get(path) for path in before} == before | {
        "extra/f": None,
    }
    assert (source / "cur" / "f").read_text() == "x"
    report = site.deployment.get(f"task/{task_id}/fidelity")["DATA"]
    counts = {one["kind"]: one["count"] for one in report}
    assert counts["shared_with_source"] == 2
    [told] = details_of(site.deployment, task_id, "DELETE_DESTINATION_EXTRA_SKIPPED")
    assert told["directories"] == 1


@SITE_GROUP
def test_nothing_goes_if_the_source_could_not_be_read(
    site: Site, open_tmp_path: Path, unprivileged_server: GctServer
) -> None:
    source, destination = open_tmp_path / "src", open_tmp_path / "dst"
    write(source, "f", "d/f", "closed/f")
    write(destination, "extra", "d/extra", "other/extra", "closed/there")
    (source / "closed").chmod(0)
    here = site.register(unprivileged_server.url(""), site.rig.domains[0])
    endpoints = (here, site.endpoints[1])
    before = names(destination)
    items = [(source, destination, True), (source / "none", destination / "other", True)]
    for some in (items[:1], items[1:]):
        task_id, _ = mirrored(site, *some, endpoints=endpoints, skip_source_errors=True)
        [told] = details_of(site.deployment, task_id, "DELETE_DESTINATION_EXTRA_SKIPPED")
        assert "skipped errors" in told["advice"]
        assert names(destination) >= before
    (source / "closed").chmod(0o755)
    mirrored(site, *items[:1], endpoints=endpoints, skip_source_errors=True)
    assert names(destination) == names(source)


@SITE_GROUP
def test_a_missing_root_fails_and_deletes_nothing(site: Site, tmp_path: Path) -> None:
    write(tmp_path, "dst/extra")
    item = (str(tmp_path / "none"), str(tmp_path / "dst"), True)
    task_id = site.deployment.transfer(*site.endpoints, [item], delete_destination_extra=True)
    task = site.deployment.wait(task_id, 30)
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "FILE_NOT_FOUND")
    assert names(tmp_path / "dst") == {"extra"}


@SITE_GROUP
def test_an_extra_that_cannot_go_is_told_and_tried_again(
    site: Site, open_tmp_path: Path, unprivileged_server: GctServer
) -> None:
    source, destination = open_tmp_path / "src", open_tmp_path / "dst"
    write(source, "f")
    write(destination, "closed/f", "extra", "tree/f")
    for path in (destination, destination / "tree"):
        path.chmod(0o777)
    (destination / "closed").chmod(0o755 if os.getuid() == 0 else 0o555)
    there = site.register(unprivileged_server.url(""), site.rig.domains[0])
    item = (str(source), str(destination), True)
    task_id = site.deployment.transfer(
        site.endpoints[0], there, [item], delete_destination_extra=True
    )
    until(lambda: site.deployment.task(task_id)["faults"], 30, "it is told")
    assert names(destination) == {"f", "closed", "closed/f"}
    [told] = details_of(site.deployment, task_id, "PERMISSION_DENIED")[:1]
    assert told["path"] == f"{destination}/closed/f"
    (destination / "closed").chmod(0o777)
    task = site.deployment.wait(task_id, 30)
    assert task["status"] == "SUCCEEDED"
    assert names(destination) == {"f"}
    [told] = details_of(site.deployment, task_id, "DELETED_DESTINATION_EXTRA")
    assert (told["files"], told["directories"]) == (3, 2)


@pytest.mark.long
def test_large_directories_and_a_worker_killed_while_it_deletes(rig: Rig) -> None:
    """Directories with more entries than are kept; what is gone is not counted twice."""
    source, destination = rig.root / "src", rig.root / "dst"
    make_tree(source, uniform(2, 400, 1), seed=1)
    make_tree(destination, uniform(22, 800, 1), seed=1)
    (source / "d0001" / "f0399").unlink()
    (destination / "d0000" / "f0000").unlink()
    write(destination, "d0000/f0000/in the way")
    (source / "d0001" / "l").symlink_to(rig.root)
    write(destination, "d0001/l")
    deployment = rig.up({"TOWPATH_ENGINE__SYNC_DIRECTORY": "300", "TOWPATH_ENGINE__WORKERS": "1"})
    task_id = rig.copy_tree(deployment, delete_destination_extra=True, sync_level=0)
    extras = [destination / f"d{number:04}" for number in range(2, 22)]
    url = json.loads((rig.data_dir / "run" / "state.json").read_text())["database_url"]
    [worker] = deployment.worker_pids()
    until(lambda: not all(one.exists() for one in extras), 60, "it deletes", every_s=0.001)
    sessions = set(rig.destination.session_pids())
    os.kill(worker, signal.SIGKILL)
    with psycopg.connect(url, autocommit=True, options="-c search_path=transfer") as database:
        left = database.execute("SELECT count(*) FROM extra").fetchone()
        counted = database.execute("SELECT extra_files FROM task").fetchone()
    assert left is not None
    assert left[0] > 0, "killed too late: more extras"
    assert counted is not None
    ended = time.monotonic() + SESSIONS_END_S  # now and then one hangs when it is cut, for good
    while sessions & set(rig.destination.session_pids()) and time.monotonic() < ended:
        time.sleep(0.05)
    rest = sum(len(files) for one in extras for _, _, files in os.walk(one))
    task = deployment.wait(task_id, 60)
    assert task["status"] == "SUCCEEDED", deployment.events(task_id)
    assert digests(destination).keys() - {"d0001/l"} == digests(source).keys()
    [told] = details_of(deployment, task_id, "DELETED_DESTINATION_EXTRA")
    assert max(1, counted[0] + rest) <= told["files"] <= 20 * 800 + 801 + 1
    assert told["directories"] <= 21
    with psycopg.connect(url, autocommit=True, options="-c search_path=transfer") as database:
        assert database.execute("SELECT count(*) FROM extra").fetchone() == (0,)
