"""What changes between a plan and its apply, at real servers: an apply does nothing that was not
said, and tells what it has left alone."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.test_plan import Planner, tree, write
from plugins.site import SITE_GROUP, Site

MIRROR = {"delete_destination_extra": True, "sync_level": 1}


@pytest.fixture
def planner(site: Site, tmp_path: Path) -> Iterator[Planner]:
    planner = Planner(site, tmp_path / "src", tmp_path / "dst")
    yield planner
    planner.leave()


def left_alone(planner: Planner, task_id: str) -> dict[str, str]:
    """What the transfer says of entries, by path below the destination."""
    skipped = planner.site.deployment.get(f"task/{task_id}/skipped_errors")["DATA"]
    assert {one["error_code"] for one in skipped} <= {"PLAN_CHANGED"}
    root = f"{planner.destination}/"
    told = [(one["destination_path"].removeprefix(root), one["error_details"]) for one in skipped]
    assert len(set(told)) == len(told), "each once"
    return dict(told)


@SITE_GROUP
def test_what_came_to_the_source_is_no_extra_any_more(planner: Planner) -> None:
    source, destination = planner.source, planner.destination
    write(source, "f", "d/f")
    write(destination, "f", "d/f", "extra", "d/extra", "tree/f", "tree/g", "gone/f", "link-to")
    (destination / "link").symlink_to(destination / "f")
    plan_id = planner.plan(**MIRROR)
    write(source, "extra", "tree/f", text="by now")
    (source / "link").mkdir()
    task_id = planner.apply(plan_id)
    assert set(tree(destination)) == {"f", "d", "d/f", "extra", "tree", "tree/f", "link"}
    told = left_alone(planner, task_id)
    assert set(told) == {"extra", "tree", "tree/f", "link"}
    assert told["extra"] == "delete was planned: it is at the source by now"


@SITE_GROUP
def test_without_the_source_nothing_is_extra(planner: Planner) -> None:
    write(planner.source, "f")
    write(planner.destination, "f", "extra", "d/extra")
    plan_id = planner.plan(**MIRROR)
    planner.source.rename(planner.source.with_name("away"))
    before = tree(planner.destination, times=True)
    task_id = planner.apply(plan_id)
    assert tree(planner.destination, times=True) == before
    assert set(left_alone(planner, task_id)) == {"extra", "d/extra", "d"}


@SITE_GROUP
def test_what_is_in_the_way_stays_if_nothing_comes_into_its_place(planner: Planner) -> None:
    source, destination = planner.source, planner.destination
    write(source, "changed", "gone", "directory-now", "as-it-was", "tree/f")
    for name in ("changed", "gone", "directory-now", "as-it-was"):
        write(destination, f"{name}/f", f"{name}/d/g")
    write(destination, "tree")
    plan_id = planner.plan(**MIRROR)
    told = {
        one["destination_path"]: (one["source_path"], one["source"])
        for one in planner.entries(plan_id)
        if one["reason"] == "in_the_way"
    }
    of_root, of_file = (told[str(destination / path)] for path in ("gone", "gone/f"))
    assert (of_root[0], of_root[1]["type"]) == (str(source / "gone"), "file")
    assert of_file == (None, None)
    before = tree(destination)
    write(source, "changed", text="another length")
    (source / "gone").unlink()
    (source / "directory-now").unlink()
    write(source, "directory-now/f")
    shutil.rmtree(source / "tree")
    task_id = planner.apply(plan_id)
    expected = {path: one for path, one in before.items() if not path.startswith("as-it-was")}
    assert tree(destination) == expected | {"as-it-was": ("file", b"x")}
    stays = {
        f"{name}{rest}"
        for name in ("changed", "gone", "directory-now")
        for rest in ("", "/f", "/d", "/d/g")
    }
    assert set(left_alone(planner, task_id)) == {*stays, "tree", "tree/f"}


@SITE_GROUP
def test_what_is_reached_through_a_new_link_is_left_alone(planner: Planner, tmp_path: Path) -> None:
    """What was moved away and left as a link looks the same."""
    source, destination, away = planner.source, planner.destination, tmp_path / "away"
    write(source, "d/f", "d/new", "d/e/new", "made/f", "new/f", text="longer")
    write(destination, "d/f", "d/extra", "tree/f", "tree/d/g", "made")
    plan_id = planner.plan(**MIRROR)
    away.mkdir()
    for name in ("d", "tree"):
        (destination / name).rename(away / name)
        (destination / name).symlink_to(away / name)
    (away / "new").mkdir()
    (destination / "new").symlink_to(away / "new")
    before = tree(away, times=True)
    task_id = planner.apply(plan_id)
    assert tree(away, times=True) == before
    assert set(left_alone(planner, task_id)) == {
        *("d/f", "d/new", "d/e", "d/e/new", "d/extra", "new", "new/f"),
        *("tree", "tree/f", "tree/d", "tree/d/g"),
    }
    assert tree(destination / "made") == {"f": ("file", b"longer")}


@SITE_GROUP
@pytest.mark.long
def test_links_that_were_there_are_told_and_followed(planner: Planner, tmp_path: Path) -> None:
    source, destination, away = planner.source, planner.destination, tmp_path / "away"
    write(source, "d/e/f", "other/f", text="new")
    (away / "d").mkdir(parents=True)
    (away / "other").mkdir()
    destination.mkdir()
    for name in ("d", "other"):
        (destination / name).symlink_to(away / name)
    plan_id = planner.plan()
    told = planner.by_path(plan_id)
    assert (told["d"], told["d/e"]) == (("skip", "through_link"), ("make_directory", "new"))
    (destination / "other").unlink()
    (destination / "other").symlink_to(away)
    assert set(left_alone(planner, planner.apply(plan_id))) == {"other/f"}
    assert tree(away) == {
        "d": ("directory",),
        "d/e": ("directory",),
        "d/e/f": ("file", b"new"),
        "other": ("directory",),
    }


@SITE_GROUP
@pytest.mark.long
def test_directories_above_the_destination_that_are_links_by_now(
    site: Site, tmp_path: Path
) -> None:
    planner = Planner(site, tmp_path / "src", tmp_path / "a" / "b" / "dst")
    write(planner.source, "f", "d/f")
    plan_id = planner.plan()
    (tmp_path / "away").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "away")
    planner.apply(plan_id)
    assert tree(tmp_path / "away") == {}
    planner.leave()


@SITE_GROUP
def test_within_one_server_a_source_is_not_emptied(site: Site, tmp_path: Path) -> None:
    """A destination that has become another name of its source looks as it did."""
    here, _ = site.endpoints
    planner = Planner(site, tmp_path / "src", tmp_path / "dst")
    write(planner.source, "f", "g", text="all there is")
    write(planner.destination, "f", "g", text="all there is")
    for path in (planner.source, planner.destination):
        for name in ("f", "g"):
            os.utime(path / name, (1_000_000_000,) * 2)
    plan_id = planner.plan(destination_endpoint=here)
    (planner.destination / "f").unlink()
    (planner.destination / "f").hardlink_to(planner.source / "f")
    assert set(left_alone(planner, planner.apply(plan_id))) == {"f"}
    assert (planner.source / "f").read_text() == "all there is"
    planner.leave()


@SITE_GROUP
@pytest.mark.long
def test_paths_that_the_destination_cannot_hold(site: Site, tmp_path: Path) -> None:
    far = tmp_path / "dst"
    while len(str(far)) < 3_850:
        far = far / ("d" * 200)
    planner = Planner(site, tmp_path / "src", far)
    name = "n" * 250
    write(planner.source, "short", f"{name}", f"{name}-d/f")
    plan_id = planner.plan()
    told = planner.by_path(plan_id)
    assert told[name] == told[f"{name}-d"] == ("fault", "INVALID_PATH_NAME")
    assert told["short"] == ("copy", "new")
    assert f"{name}-d/f" not in told
    [fault] = planner.show(plan_id)["expected_faults"]
    assert (fault["code"], fault["entries"]) == ("INVALID_PATH_NAME", 2)
    planner.leave()
