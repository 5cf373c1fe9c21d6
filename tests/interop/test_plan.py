"""Plans between two real servers: they write nothing, and what they say is what is done."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from plugins.globus import Globus
from plugins.outcomes import details_of
from plugins.site import SITE_GROUP, Site, until
from towpath.demo.deployment import Deployment, DeploymentError
from towpath.transfer import names

Tree = dict[str, tuple[Any, ...]]
PATHS = ("source_path", "destination_path")


def write(root: Path, *paths: str, text: str = "x", age_s: int = 0) -> None:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if age_s:
            os.utime(file, (time.time() - age_s,) * 2)


def tree(root: Path, *, times: bool = False) -> Tree:
    """All that is below, links not followed: contents, and if wanted when they were written."""
    found: Tree = {}
    for directory, subdirectories, files in os.walk(root):
        for name in [*subdirectories, *files]:
            path = Path(directory, name)
            key = str(path.relative_to(root))
            written = (path.lstat().st_mtime_ns,) if times else ()
            if path.is_symlink():
                found[key] = ("link", str(path.readlink()), *written)
            elif path.is_dir():
                found[key] = ("directory", *written)
            else:
                found[key] = ("file", path.read_bytes(), *written)
    return found


class Plans:
    """Plans that are made, looked at and applied."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.made: list[str] = []

    def leave(self) -> None:
        """Delete all plans."""
        for plan_id in self.made:
            self.deployment.client.delete(f"/v0.10/plan/{plan_id}")

    def make(self, path: str, document: dict[str, Any]) -> str:
        """One that is ready."""
        document = {"submission_id": str(uuid4()), **document}
        plan_id: str = self.deployment.post(path, document)["plan_id"]
        self.made.append(plan_id)
        until(lambda: self.show(plan_id)["status"] != "walking", 60, "the plan is there")
        assert self.show(plan_id)["status"] == "ready", self.show(plan_id)
        return plan_id

    def show(self, plan_id: str) -> dict[str, Any]:
        return self.deployment.get(f"plan/{plan_id}")

    def entries(self, plan_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        marker: int | None = 0
        while marker is not None:
            page = self.deployment.get(f"plan/{plan_id}/entries", marker=marker)
            found += [
                one | {side: names.to_wire(one[side]) for side in PATHS if one[side] is not None}
                for one in page["DATA"]
            ]
            marker = page["next_marker"]
        counted = {
            (one["action"], one["reason"]): one["entries"] for one in self.show(plan_id)["DATA"]
        }
        told = [(one["action"], one["reason"]) for one in found]
        assert counted == {kind: told.count(kind) for kind in set(told)}
        return found

    def apply(self, plan_id: str, **more: Any) -> str:
        document = {"submission_id": str(uuid4()), **more}
        task_id: str = self.deployment.post(f"plan/{plan_id}/apply", document)["task_id"]
        task = self.deployment.wait(task_id, 60)
        assert task["status"] == "SUCCEEDED", self.deployment.events(task_id)
        return task_id


class Planner(Plans):
    """Asks for plans of one transfer."""

    def __init__(self, site: Site, source: Path, destination: Path) -> None:
        super().__init__(site.deployment)
        self.site = site
        self.source = source
        self.destination = destination

    def plan(self, **options: Any) -> str:
        here, there = self.site.endpoints
        document = {
            "DATA_TYPE": "transfer",
            "source_endpoint": here,
            "destination_endpoint": there,
            "DATA": [
                {
                    "DATA_TYPE": "transfer_item",
                    "source_path": str(self.source),
                    "destination_path": str(self.destination),
                }
            ],
            **options,
        }
        return self.make("transfer/plan", document)

    def by_path(self, plan_id: str) -> dict[str, tuple[str, str]]:
        """What would be done below the destination, by path; deletions apart (`-path`)."""
        root = f"{self.destination}/"
        return {
            ("-" if one["action"] == "delete" else "")
            + one["destination_path"].removeprefix(root): (one["action"], one["reason"])
            for one in self.entries(plan_id)
        }

    def predicted(self, plan_id: str) -> Tree:
        """What the destination is when all that the plan says has been done to it as it is now."""
        found = tree(self.destination)
        here = tree(self.source)
        for one in self.entries(plan_id):
            path = os.path.relpath(one["destination_path"], self.destination)
            match one["action"]:
                case "delete":
                    del found[path]
        for one in self.entries(plan_id):
            path = os.path.relpath(one["destination_path"], self.destination)
            match one["action"]:
                case "copy" | "overwrite":
                    origin = Path(one["source_path"])
                    found[path] = ("file", origin.read_bytes())
                case "make_directory" if path != ".":
                    found[path] = ("directory",)
                case "make_link":
                    target = here[os.path.relpath(one["source_path"], self.source)][1]
                    inside = os.path.relpath(target, self.source)
                    found[path] = ("link", str(self.destination / inside))
        return found


@pytest.fixture
def planner(site: Site, tmp_path: Path) -> Iterator[Planner]:
    """A tree, one at the destination that has a part of it and more, and a bit of everything."""
    source, destination = tmp_path / "src", tmp_path / "dst"
    write(source, "new", "d/new", "d/e/f", "odd/ü", "odd/ a", "odd/\udce9", text="new")
    write(source, "same", "d/same", text="same", age_s=1_000)
    write(source, "larger", text="much larger")
    write(source, "newer", text="newer", age_s=100)
    write(source, "other", text="other", age_s=1_000)
    write(source, "left/out", "no.tmp", text="out")
    write(source, "file-now", "tree-now/f", text="now")
    (source / "empty").mkdir()
    (source / "link").symlink_to(source / "same")
    (source / "link-d").symlink_to(source / "d" / "e")
    write(destination, "same", "d/same", text="same", age_s=10)
    write(destination, "larger", text="small", age_s=10)
    write(destination, "newer", text="older", age_s=1_000)
    write(destination, "other", text="OTHER", age_s=10)
    write(destination, "extra", "extra-d/f", "extra-d/e/f", "d/extra", "keep.tmp", "extra-k/k.tmp")
    write(destination, "extra-k/f", "file-now/deep/f", "tree-now")
    (destination / "extra-link").symlink_to(destination / "same")
    planner = Planner(site, source, destination)
    yield planner
    planner.leave()


RULES = [
    {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "*.tmp", "type": "file"},
    {"DATA_TYPE": "filter_rule", "method": "exclude", "name": "left", "type": "dir"},
]


@SITE_GROUP
@pytest.mark.parametrize(
    "options",
    [
        {"delete_destination_extra": True, "sync_level": 2, "filter_rules": RULES},
        {"delete_destination_extra": True, "recursive_symlinks": "copy", "sync_level": 3},
        pytest.param({"recursive_symlinks": "keep"}, marks=pytest.mark.long),
        pytest.param(
            {"delete_destination_extra": True, "recursive_symlinks": "keep", "sync_level": 1},
            marks=pytest.mark.long,
        ),
        pytest.param({"sync_level": 0, "filter_rules": RULES}, marks=pytest.mark.long),
        pytest.param({"delete_destination_extra": True}, marks=pytest.mark.long),
    ],
)
def test_what_is_planned_is_what_is_done(planner: Planner, options: dict[str, Any]) -> None:
    if not options.get("delete_destination_extra"):
        shutil.rmtree(planner.destination / "file-now")
        (planner.destination / "tree-now").unlink()
    before = tree(planner.destination, times=True), tree(planner.source, times=True)
    plan_id = planner.plan(**options)
    assert (tree(planner.destination, times=True), tree(planner.source, times=True)) == before
    predicted = planner.predicted(plan_id)
    task_id = planner.apply(plan_id)
    assert tree(planner.destination) == predicted
    assert planner.site.deployment.get(f"task/{task_id}/skipped_errors")["DATA"] == []
    told = planner.show(plan_id)
    assert (told["status"], told["task_id"]) == ("applied", task_id)
    planner.site.assert_well()


@SITE_GROUP
def test_why(planner: Planner) -> None:
    plan_id = planner.plan(delete_destination_extra=True, sync_level=2, filter_rules=RULES)
    assert planner.by_path(plan_id) == {
        "new": ("copy", "new"),
        "d/new": ("copy", "new"),
        "d/e": ("make_directory", "new"),
        "d/e/f": ("copy", "new"),
        "odd": ("make_directory", "new"),
        "odd/ü": ("copy", "new"),
        "odd/ a": ("copy", "new"),
        "odd/\udce9": ("copy", "new"),
        "same": ("skip", "same"),
        "d/same": ("skip", "same"),
        "larger": ("overwrite", "differs"),
        "newer": ("overwrite", "differs"),
        "other": ("skip", "same"),
        "left": ("skip", "filter"),
        "no.tmp": ("skip", "filter"),
        "file-now": ("copy", "new"),
        "-file-now": ("delete", "in_the_way"),
        "-file-now/deep": ("delete", "in_the_way"),
        "-file-now/deep/f": ("delete", "in_the_way"),
        "tree-now": ("make_directory", "new"),
        "tree-now/f": ("copy", "new"),
        "-tree-now": ("delete", "in_the_way"),
        "empty": ("make_directory", "new"),
        "link": ("skip", "link_ignored"),
        "link-d": ("skip", "link_ignored"),
        "-extra": ("delete", "extra"),
        "-extra-d": ("delete", "extra"),
        "-extra-d/f": ("delete", "extra"),
        "-extra-d/e": ("delete", "extra"),
        "-extra-d/e/f": ("delete", "extra"),
        "-d/extra": ("delete", "extra"),
        "-extra-k/f": ("delete", "extra"),
        "-extra-link": ("delete", "extra"),
    }


@SITE_GROUP
def test_what_changed_in_between_is_left_alone_and_told(planner: Planner) -> None:
    source, destination = planner.source, planner.destination
    plan_id = planner.plan(delete_destination_extra=True, sync_level=1)
    predicted = planner.predicted(plan_id)
    write(source, "new", text="another length")  # the source has changed
    (source / "d/new").unlink()  # it is gone
    write(destination, "d/e", text="in the way by now")  # something is where a directory goes
    write(destination, "larger", text="saved by hand")  # the destination has changed
    write(destination, "extra", text="not so extra any more")
    write(destination, "extra-d/e/just-saved")  # in a directory that goes
    write(destination, "odd/ü", text="somebody else's")  # where something new goes
    write(source, "later")  # what the plan does not know is not its business
    task_id = planner.apply(plan_id)
    found = tree(destination)
    for path in ("d/e", "larger", "extra", "extra-d/e/just-saved", "odd/ü"):
        predicted[path] = ("file", (destination / path).read_bytes())
    for path in ("new", "d/new", "d/e/f"):
        predicted.pop(path, None)
    predicted |= {"extra-d": ("directory",), "extra-d/e": ("directory",)}
    assert found == predicted
    assert found["larger"] == ("file", b"saved by hand")
    skipped = planner.site.deployment.get(f"task/{task_id}/skipped_errors")["DATA"]
    assert {one["error_code"] for one in skipped} == {"PLAN_CHANGED"}
    root = f"{destination}/"
    assert {one["destination_path"].removeprefix(root) for one in skipped} == {
        *("new", "d/new", "d/e", "d/e/f", "larger", "extra", "extra-d/e", "extra-d", "odd/ü"),
    }
    [told] = details_of(planner.site.deployment, task_id, "PLAN_CHANGED")
    assert told["left_out"] == len(skipped)


@SITE_GROUP
def test_expected_faults_and_directories_above(site: Site, tmp_path: Path) -> None:
    planner = Planner(site, tmp_path / "src", tmp_path / "a" / "b" / "dst")
    write(planner.source, "f", "blocked/f", "d/f")
    plan_id = planner.plan()
    made = [one["destination_path"] for one in planner.entries(plan_id)][:3]
    assert made == [str(tmp_path / "a"), str(tmp_path / "a/b"), str(planner.destination)]
    write(planner.destination, "blocked", "f/is a directory")
    told = planner.by_path(planner.plan())
    assert told["blocked"] == ("fault", "NOT_A_DIRECTORY")
    assert told["f"] == ("fault", "IS_A_DIRECTORY")
    assert told["d/f"] == ("copy", "new")
    nowhere = Planner(site, tmp_path / "missing", planner.destination)
    [missing] = nowhere.entries(nowhere.plan())
    assert (missing["action"], missing["reason"]) == ("fault", "FILE_NOT_FOUND")
    planner.leave()
    nowhere.leave()


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "plan-first.md"
RUN = re.compile(r"^<!-- run -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@SITE_GROUP
def test_the_page(site: Site, tmp_path: Path) -> None:
    data, archive = tmp_path / "data", tmp_path / "archive"
    write(data / "run-7", "f", "d/f")
    write(archive / "run-7", "extra")
    write(archive / "run-6", "d/f")
    globus = Globus.of(site.deployment, tmp_path / "home")
    ends = dict(zip(("SOURCE", "DESTINATION"), site.endpoints, strict=True))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    places = {"DATA": str(data), "ARCHIVE": str(archive), "PATH": path, **ends}
    done = subprocess.run(
        ["bash", "-euc", "\n".join(RUN.findall(PAGE.read_text()))],
        env=globus.environment | places,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(archive / "run-7" / "extra") in done.stdout
    assert str(archive / "run-6" / "d" / "f") in done.stdout
    assert (archive / "run-6" / "d" / "f").exists(), "no more than planned"
    assert tree(archive / "run-7") == tree(data / "run-7")


@SITE_GROUP
def test_the_life_of_a_plan(planner: Planner) -> None:
    deployment = planner.site.deployment
    plan_id = planner.plan()
    assert deployment.get("task_list", filter=f"task_id:{plan_id}")["DATA"] == []
    with pytest.raises(DeploymentError, match="404"):
        deployment.get(f"task/{plan_id}")
    submission = str(uuid4())
    task_id = planner.apply(plan_id, submission_id=submission, label="as planned")
    assert planner.apply(plan_id, submission_id=submission) == task_id
    assert deployment.task(task_id)["label"] == "as planned"
    with pytest.raises(DeploymentError, match="409"):
        planner.apply(plan_id)
    deployment.client.delete(f"/v0.10/plan/{plan_id}").raise_for_status()
    with pytest.raises(DeploymentError, match="404"):
        planner.show(plan_id)
