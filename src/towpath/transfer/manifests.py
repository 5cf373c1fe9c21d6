"""A transfer's manifest: what it brought where, and by which digests that is known.

What it can say is what the history has. Files that were there already, directories and links are
in no history, and so in no manifest; its head has their numbers.
"""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from towpath.grants.keys import SigningKey
from towpath.manifest.lines import VERSION, Sealing, line
from towpath.transfer import names, times
from towpath.transfer.store.segments import Finished
from towpath.transfer.store.tasks import NewItem, Task

MEDIA_TYPE: Final = "application/x-ndjson"

_RIGHTLY_CALLED: Final = {"encrypt_data", "verify_checksum", "sync_level", "preserve_timestamp"}
"""Options that matter to who reads a manifest."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines, ready to go out."""

    lines: bytes
    files: int
    size_bytes: int


def head(
    task: Task,
    items: Sequence[NewItem],
    *,
    files: int,
    size_bytes: int,
    issuer: str,
    key: SigningKey,
    now: datetime,
) -> bytes:
    """The first line."""
    return line(
        {
            "towpath_manifest": VERSION,
            "issuer": issuer,
            "key_id": key.key_id,
            "created_at": times.show(now),
            "complete": task.finished,
            "task_id": str(task.id),
            "status": task.status,
            "label": task.label,
            "owner_id": str(task.owner_id),
            "username": task.username,
            "request_time": times.show(task.request_time),
            "started_at": times.show(task.started_at),
            "completion_time": times.show(task.completion_time),
            "source_endpoint_id": str(task.source_endpoint_id),
            "source_endpoint_display_name": task.source_display_name,
            "destination_endpoint_id": str(task.destination_endpoint_id),
            "destination_endpoint_display_name": task.destination_display_name,
            "source_base": base([item.source_path for item in items], items),
            "destination_base": base([item.destination_path or "/" for item in items], items),
            "options": {
                name: value for name, value in task.options.items() if name in _RIGHTLY_CALLED
            },
            "files": files,
            "bytes": size_bytes,
            "not_listed": {
                "files_there_already": task.files_skipped,
                "left_out": task.skipped_errors,
                "directories": task.directories,
                "links": task.symlinks,
            },
        }
    )


def base(paths: Sequence[str], items: Sequence[NewItem]) -> str:
    """The directory that all of it is below: what is to be compared with one of one's own."""
    roots = [
        posixpath.dirname(path.rstrip("/")) if item.recursive is False else path.rstrip("/")
        for path, item in zip(paths, items, strict=True)
    ]
    common = roots[0].split("/") if roots else []
    for root in roots[1:]:
        parts = root.split("/")
        same = 0
        while same < min(len(common), len(parts)) and common[same] == parts[same]:
            same += 1
        common = common[:same]
    return "/".join(common) or "/"


def sealing(task: Task, *, issuer: str, now: datetime) -> Sealing:
    """What signs it."""
    return Sealing(
        {
            "issuer": issuer,
            "task_id": str(task.id),
            "complete": task.finished,
            "iat": int(now.timestamp()),
        }
    )


def chunk(files: Sequence[Finished], roots: Mapping[int, NewItem]) -> Chunk:
    """Files as lines; some 50 ms for 10,000, so call it in a thread."""
    return Chunk(
        b"".join(line(_entry(file, roots[file.item_no])) for file in files),
        len(files),
        sum(file.size for file in files),
    )


def _entry(file: Finished, item: NewItem) -> dict[str, Any]:
    algorithm, digest, range_bytes = file.algorithm, file.digest, None
    if digest is None and file.ranges is not None:
        range_bytes, algorithm, digest = file.ranges
    entry = {
        "source_path": below(item.source_path, file.path),
        "destination_path": below(item.destination_path or "", file.path),
        "size": file.size,
        "algorithm": algorithm,
        "digest": None if digest is None else digest.lower(),
        "attempts": file.attempts,
        "finished_at": None
        if file.unix_s is None
        else times.show(datetime.fromtimestamp(file.unix_s, UTC)),
    }
    return entry if range_bytes is None else {**entry, "range_bytes": range_bytes}


def below(root: str, path: str) -> str:
    """A path below an item's, in the API's spelling; '' is the item itself."""
    return f"{root.rstrip('/')}/{names.to_text(path)}" if path else root
