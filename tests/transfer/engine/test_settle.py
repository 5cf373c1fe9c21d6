"""When a path is taken to stand still."""

from types import SimpleNamespace
from typing import Any

import pytest

from towpath.transfer.engine import settle
from towpath.transfer.engine.settle import Settlement
from towpath.transfer.store.plan import File

SETTLE_S = 10.0


@pytest.mark.parametrize("look_s", [0.0, 4.0, 30.0])
async def test_a_slow_look_is_not_taken_for_stillness(
    monkeypatch: pytest.MonkeyPatch, look_s: float
) -> None:
    """What was seen the same twice was seen so at least `settle_s` apart, however long a look
    takes."""
    now = 0.0
    looks: list[tuple[float, float]] = []
    sizes = iter([1, 2, 3])
    context: Any = SimpleNamespace(
        settings=SimpleNamespace(settle_s=SETTLE_S),
        clock=lambda: now,
        source_path=lambda _item, path: path,
        destination_path=lambda _item, path: path,
    )
    recorder: Any = None
    settlement = Settlement(context, recorder)

    async def observe(*_: object) -> object:
        nonlocal now
        asked_at = now
        now += look_s
        looks.append((asked_at, now))
        return next(sizes, 3)

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(settlement, "_observe", observe)
    monkeypatch.setattr(settle.asyncio, "sleep", sleep)
    destination: Any = None
    await settlement._stand_still(destination, [File(1, 0, "f", 3, None)])
    first_of_the_last, last = looks[2], looks[-1]
    assert last[0] - first_of_the_last[1] >= SETTLE_S
