"""Trees at random, planned, changed at random at both ends, and applied: whatever an apply does was
said, of what is as it was then; and what it did not do is told."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from interop.test_plan import Planner, tree
from interop.test_plan_delete import Deletes
from plugins.site import SITE_GROUP, Site

ROUNDS = 60
NAMES = [f"{above}{name}" for above in ("", "d/", "e/", "d/e/") for name in ("a", "b", "d", "e")]


@dataclass
class Trees:
    """A source, a destination, and a place where things are moved to."""

    root: Path
    random: Random
    _times: Iterator[int] = field(default_factory=lambda: count(1_000_000_000, 10))

    def __post_init__(self) -> None:
        for path in (self.source, self.destination, self.away):
            path.mkdir(parents=True)

    @property
    def source(self) -> Path:
        return self.root / "src"

    @property
    def destination(self) -> Path:
        return self.root / "dst"

    @property
    def away(self) -> Path:
        return self.root / "away"

    def put(self, path: Path) -> None:
        """A file, or a directory; where something else is on the way nothing."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if self.random.random() < 0.3:
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(self.random.randbytes(self.random.randint(1, 3)))
                os.utime(path, (next(self._times),) * 2)
        except OSError:
            pass

    def change(self, root: Path) -> None:
        """Something: written, removed, replaced, moved away and left as a link."""
        path = root / self.random.choice(NAMES)
        what = self.random.choice(("put", "put", "remove", "replace", "move"))
        if what != "put" and os.path.lexists(path):
            if what == "move":
                moved = self.away / f"{next(self._times)}"
                path.rename(moved)
                path.symlink_to(moved)
                return
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        if what != "remove":
            self.put(path)


def facts(path: Path) -> tuple[Any, ...] | None:
    """As a server tells them."""
    if not path.exists():
        return None
    if path.is_dir():
        return ("directory", os.path.realpath(path) if path.is_symlink() else None)
    status = path.stat()
    target = os.path.realpath(path) if path.is_symlink() else None
    return ("file", status.st_size, int(status.st_mtime), target, path.read_bytes())


@SITE_GROUP
@pytest.mark.long
def test_an_apply_does_what_was_said_and_nothing_else(site: Site, tmp_path: Path) -> None:
    done = alone = 0
    for seed in range(ROUNDS):
        random = Random(seed)
        trees = Trees(tmp_path / str(seed), random)
        for root in (trees.source, trees.destination):
            for _ in range(random.randint(1, 14)):
                trees.put(root / random.choice(NAMES))
        planner = Planner(site, trees.source, trees.destination)
        mirror = random.random() < 0.8
        plan_id = planner.plan(delete_destination_extra=mirror, sync_level=random.choice((0, 1, 2)))
        entries = [
            one for one in planner.entries(plan_id) if one["action"] not in ("skip", "fault")
        ]
        at_planning = {
            path: facts(Path(path))
            for one in entries
            for path in (one["source_path"], one["destination_path"])
            if path is not None
        }
        for _ in range(random.randint(0, 8)):
            trees.change(random.choice((trees.source, trees.destination)))
        here, there = tree(trees.source, times=True), tree(trees.destination)
        now = {path: facts(Path(path)) for path in at_planning}
        at_source = {
            one["destination_path"]: (
                trees.source / os.path.relpath(one["destination_path"], trees.destination)
            ).exists()
            for one in entries
        }
        away = tree(trees.away, times=True)
        task_id = planner.apply(plan_id)
        planner.leave()
        context = (seed, entries, here, there)
        assert tree(trees.source, times=True) == here, context
        assert tree(trees.away, times=True) == away, context
        told = {
            one["destination_path"]
            for one in site.deployment.get(f"task/{task_id}/skipped_errors")["DATA"]
        }
        after = tree(trees.destination)
        by_path: dict[str, list[dict[str, Any]]] = {}
        for one in entries:
            path = os.path.relpath(one["destination_path"], trees.destination)
            by_path.setdefault(path, []).append(one)
        for path in there.keys() | after.keys():
            if there.get(path) != after.get(path):
                assert path in by_path, ("it was not said", path, context)
        for path, some in by_path.items():
            whole = str(trees.destination / path)
            removal = [one for one in some if one["action"] == "delete"]
            rest = [one for one in some if one["action"] != "delete"]
            as_it_was = now[whole] == at_planning[whole]
            if removal and there.get(path) is not None and there.get(path) != after.get(path):
                assert as_it_was, ("deleted, though it was something else", path, context)
                extra = removal[0]["reason"] == "extra"
                assert not (extra and at_source[whole]), ("it is no extra", path, context)
                if rest:
                    came = rest[0]["source_path"]
                    assert now[came] == at_planning[came], ("nothing came", path, context)
            for one in rest:
                came = one["source_path"]
                if there.get(path) == after.get(path) or came is None:
                    continue
                assert now[came] == at_planning[came], ("it was something else", path, context)
                assert removal or as_it_was, ("it was something else there", path, context)
                if one["action"] in ("copy", "overwrite"):
                    assert after[path][1] == Path(came).read_bytes(), (path, context)
            finished = after.get(path) is None if not rest else _is_done(rest[0], after.get(path))
            assert finished or whole in told, ("it is not told", path, context)
            done, alone = done + finished, alone + (not finished)
        shutil.rmtree(trees.root)
    assert min(done, alone) > ROUNDS, (done, alone)


def _is_done(one: dict[str, Any], there: tuple[Any, ...] | None) -> bool:
    """Whether what is at the destination is what was to come."""
    if one["action"] == "make_directory":
        return there is not None and there[0] == "directory"
    came = Path(one["source_path"])
    return (
        there is not None
        and there[0] == "file"
        and came.is_file()
        and there[1] == came.read_bytes()
    )


@SITE_GROUP
@pytest.mark.long
def test_a_delete_removes_what_was_said_and_nothing_else(site: Site, tmp_path: Path) -> None:
    done = alone = 0
    for seed in range(ROUNDS):
        random = Random(seed)
        trees = Trees(tmp_path / str(seed), random)
        root = trees.destination
        for _ in range(random.randint(4, 20)):
            trees.put(root / random.choice(NAMES))
        for name in random.sample(NAMES, random.randint(0, 3)):
            above = (root / name).parent
            if not os.path.lexists(root / name) and above.is_dir() and above.resolve() == above:
                (root / name).symlink_to(trees.source)
        deletes = Deletes(site, root)
        items = [random.choice([*NAMES, "*", "d/?"]) for _ in range(random.randint(1, 5))]
        before = tree(root, times=True)
        plan_id = deletes.plan(*items, recursive=True, ignore_missing=True, interpret_globs=True)
        assert tree(root, times=True) == before, seed
        said = deletes.deleted(plan_id)
        faults = {path for path, action, _ in deletes.told(plan_id) if action == "fault"}
        asked = {path for path in before if any(fnmatchcase(path, item) for item in items)}
        in_trees = {
            path
            for path in before
            for above in Path(path).parents
            if str(above) in asked and before[str(above)][0] == "directory"
        }
        assert said == asked | in_trees, seed
        at_planning = {path: facts(root / path) for path in said}
        for _ in range(random.randint(0, 6)):
            trees.change(root)
        there = tree(root)
        away, source = tree(trees.away, times=True), tree(trees.source, times=True)
        now = {path: facts(root / path) for path in said}
        task_id = deletes.apply(plan_id)
        deletes.leave()
        assert tree(trees.away, times=True) == away, seed
        assert tree(trees.source, times=True) == source, seed
        after, told = tree(root), deletes.left_alone(task_id).keys() - faults
        gone = there.keys() - after.keys()
        assert gone <= said, seed
        assert all(now[path] == at_planning[path] for path in gone), seed
        assert {path: there[path] for path in after} == after, seed
        assert (said & after.keys()) <= told <= said, seed
        done, alone = done + len(gone), alone + len(told)
        shutil.rmtree(trees.root)
    assert min(done, 2 * alone) > ROUNDS, (done, alone)
