"""The sources of all tasks, and everything that they have been: faults change them under way."""

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from campaign.tasks import TREE, DeletePlan, Plan


@dataclass
class History:
    """What one task's source has been, by path below its root; and where it is copied to."""

    plan: Plan
    root: Path
    destination: Path
    digests: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """SHA-256 of every content that a file ever had."""
    times: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Modification times that it ever had, whole seconds."""
    gone: set[str] = field(default_factory=set)
    """Paths that were missing, or could not be read, for a while."""

    def path_of(self, item_no: int, below: str) -> str | None:
        """The path of a file that the plan has as `below` its item; None: of a delete."""
        if isinstance(self.plan, DeletePlan):
            return None
        if item_no == 0:
            return f"{TREE}/{below}"
        return self.plan.singles[item_no - 1].path

    def note(self, path: str, file: Path | None = None) -> None:
        """Remember what a file is now; or will be, when `file` takes its place."""
        file = file or self.root / path
        with file.open("rb") as content:
            self.digests[path].add(hashlib.file_digest(content, "sha256").hexdigest())
        self.times[path].add(int(file.stat().st_mtime))

    def note_content(self, path: str, content: bytes) -> None:
        """Remember what it will be in a moment."""
        self.digests[path].add(hashlib.sha256(content).hexdigest())

    def note_all(self) -> None:
        """Remember what all files are now."""
        for directory, _, names in os.walk(self.root):
            for name in names:
                path = Path(directory, name)
                if not path.is_symlink():
                    self.note(str(path.relative_to(self.root)))


@dataclass
class Sources:
    """By the task's id."""

    of_task: dict[str, History] = field(default_factory=dict)
