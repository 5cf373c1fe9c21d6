"""Keys made ahead."""

import itertools
import threading
import time
from typing import Any

from towpath.gridftp.server.keys_ahead import KeysAhead
from towpath.gridftp.server.limits import KEYS_AHEAD


class Maker:
    """Makes numbers in place of keys, and says where."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.in_thread_of_taker = 0

    def __call__(self) -> Any:
        if not threading.current_thread().name.startswith("keys"):
            self.in_thread_of_taker += 1
        return next(self.numbers)


def test_only_the_first_is_waited_for() -> None:
    make = Maker()
    keys = KeysAhead(make)
    found = []
    for _ in range(20):
        found.append(keys.take())
        until = time.monotonic() + 20
        while len(keys._ready) < KEYS_AHEAD:
            assert time.monotonic() < until
            time.sleep(0.001)
    assert make.in_thread_of_taker == 1
    assert len(set(found)) == len(found)


def test_nothing_is_made_for_nobody() -> None:
    make = Maker()
    KeysAhead(make)
    assert next(make.numbers) == 0


def test_many_at_once_get_a_key_each() -> None:
    keys = KeysAhead(Maker())
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(keys.take())) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 50
