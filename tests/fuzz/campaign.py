"""One campaign: a target, many inputs, and what came out."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

One = Callable[[random.Random], None]
"""Makes one input from the dice and tries it. Raises `EscapeError`, `HangError`; all else is a
crash."""

Target = Callable[[Path], AbstractContextManager[One]]
"""Sets up what is tried, in an empty directory of its own."""

WARM_SHARE = 0.4
"""Of a campaign: caches, pools and buffers are full then."""

SETTLE_S = 10.0
"""How long descriptors and threads may take to go, on a machine that is busy with other work."""

FINDINGS = 20
"""Told in full of one target."""


class EscapeError(AssertionError):
    """Something outside of where it may be was created, changed, read or told."""


class HangError(AssertionError):
    """It did not end."""


@dataclass
class Outcome:
    """What a campaign has shown."""

    target: str
    inputs: int = 0
    crashes: int = 0
    hangs: int = 0
    escapes: int = 0
    left_over: int = 0
    """Threads and descriptors that were still there after their input."""
    growth_bytes: int = 0
    """Of memory, from when all was warm."""
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found; growth is judged by who knows how much there may be."""
        return not (self.crashes or self.hangs or self.escapes or self.left_over)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def run(
    name: str,
    target: Target,
    workdir: Path,
    *,
    seed: str,
    seconds: float | None = None,
    inputs: int | None = None,
) -> Outcome:
    """Until the time is over, or so many inputs were tried."""
    outcome = Outcome(name)
    began = time.monotonic()
    warm: int | None = None
    with target(workdir) as one, watched() as mishaps:
        left = _left()
        while True:
            passed = time.monotonic() - began
            if (seconds is not None and passed >= seconds) or outcome.inputs == inputs:
                break
            if warm is None and (
                passed >= WARM_SHARE * seconds
                if seconds is not None
                else outcome.inputs >= WARM_SHARE * (inputs or 0)
            ):
                warm = memory_bytes()
            this = f"{seed}:{name}:{outcome.inputs}"
            outcome.inputs += 1
            try:
                one(random.Random(this))
                if mishaps:
                    raise RuntimeError("; ".join(mishaps))
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                _note(outcome, this, error)
            mishaps.clear()
            if not _settled(left):
                outcome.left_over += 1
                outcome.findings.append(f"{this}: {left} before, {_left()} after")
                left = _left()
        outcome.growth_bytes = memory_bytes() - (warm or memory_bytes())
    outcome.seconds = round(time.monotonic() - began, 1)
    del outcome.findings[FINDINGS:]
    return outcome


def _note(outcome: Outcome, this: str, error: Exception) -> None:
    match error:
        case EscapeError():
            outcome.escapes += 1
        case HangError():
            outcome.hangs += 1
        case _:
            outcome.crashes += 1
    said = "".join(traceback.format_exception(error, limit=-6))
    outcome.findings.append(f"{this}: {said}")


@contextmanager
def watched() -> Iterator[list[str]]:
    """What went wrong where nobody could raise it: in threads, loops, finalizers, and in logs."""
    mishaps: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            mishaps.append(logging.Formatter().format(record))

    handler = Handler(logging.ERROR)
    before = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda hook: mishaps.append(f"{hook.thread}: {hook.exc_value!r}")
    sys.unraisablehook = lambda hook: mishaps.append(f"{hook.object}: {hook.exc_value!r}")
    logging.getLogger().addHandler(handler)
    try:
        yield mishaps
    finally:
        logging.getLogger().removeHandler(handler)
        threading.excepthook, sys.unraisablehook = before


_POOLS = ("session", "keys", "ThreadPoolExecutor")
"""Names of threads that stay for the next who needs one; their number has a bound."""


def _left() -> tuple[int, int]:
    """Descriptors, and threads that belong to no pool."""
    threads = [t for t in threading.enumerate() if not t.name.startswith(_POOLS)]
    return len(os.listdir("/proc/self/fd")), len(threads)  # noqa: PTH208


def _settled(left: tuple[int, int]) -> bool:
    until = time.monotonic() + SETTLE_S
    while any(now > before for now, before in zip(_left(), left, strict=True)):
        if time.monotonic() > until:
            return False
        gc.collect()
        time.sleep(0.002)
    return True


def memory_bytes() -> int:
    """Resident, after what is free was given back."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def stacks() -> str:
    """Where the threads of sessions are, but those that wait for one."""
    found: list[str] = []
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        said = "".join(traceback.format_stack(frame)[-4:])
        if ident != threading.get_ident() and "in _worker" not in said.splitlines()[-2]:
            found.append(f"{names.get(ident)}:\n{said}")
    return "\n".join(found)
