"""`resent_covered` of a deployment's tasks, as the fault campaign defines it: bytes that a source
sent again although they were known to have arrived, as whole files or by restart points.
"""

import asyncio
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

from campaign.audit import Audit
from campaign.ledger import Kept, kept, read
from campaign.serverlogs import sent, sent_again


@dataclass
class Source:
    """Whose log says what was sent."""

    root: Path
    """Where a task's only item was at the source."""
    log: Path
    """GCT's, or the access log of our server."""
    is_ours: bool


@dataclass
class Watch:
    """Reads what is committed, in a thread, while tasks run. A context."""

    data_dir: Path
    _audit: Audit = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __enter__(self) -> Self:
        state = json.loads((self.data_dir / "run" / "state.json").read_text())
        self._audit = Audit(state["database_url"])
        self._loop.run_until_complete(self._audit.install())
        self._looking = self._loop.create_task(self._audit.run())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._looking)
        except asyncio.CancelledError:
            self._loop.run_until_complete(self._audit.close())

    def __exit__(self, *_exception: object) -> None:
        self._loop.call_soon_threadsafe(self._looking.cancel)
        self._thread.join()
        self._loop.close()

    def restart_points(self) -> int:
        """How many ranges and files are known to have arrived so far."""
        return self._audit.outcomes

    def resent_covered(self, source: Source) -> list[tuple[str, int]]:
        """What was sent again, in words, and in bytes."""
        asyncio.run_coroutine_threadsafe(self._audit.look(), self._loop).result()
        log = asyncio.run_coroutine_threadsafe(self._audit.whole_log(), self._loop).result()

        def path_of(_task_no: int, _item_no: int, below: str) -> str:
            return str(source.root / below)

        found = read(log, {}).resent_covered
        known = kept(log, self._audit, path_of)
        assert known, "the audit saw something arrive"
        if source.is_ours:
            return found + _ours_again(source.log.read_text().splitlines(), known)
        logged = source.log.read_text(errors="surrogateescape")
        assert any(one.path in known for one in sent(logged)), "the log says what was sent"
        return found + sent_again([source.log], known)


def _ours_again(lines: Iterable[str], known: dict[str, list[Kept]]) -> list[tuple[str, int]]:
    """By the access log of our server, which has what each command has sent, and when."""
    found = []
    every = [json.loads(line) for line in lines]
    sent_by_us = [
        one
        for one in every
        if one["event"] == "transfer"
        and one["command"] in ("RETR", "ERET")
        and one["path"] in known
    ]
    assert sent_by_us, "the log says what was sent"
    for one in sent_by_us:
        ended_s = datetime.fromisoformat(one["timestamp"]).timestamp()
        began_s, first = ended_s - one["seconds"], one["first"]
        for part in known[one["path"]]:
            if part.from_s < began_s < part.until_s:
                again = min(first + one["bytes"], part.after) - max(first, part.first)
                if again > 0:
                    found.append((f"{one['path']}, bytes of {part}, at {began_s}", again))
    return found
