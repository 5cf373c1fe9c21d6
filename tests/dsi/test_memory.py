"""The storage in memory does what every storage does."""

from __future__ import annotations

import errno

import pytest

from towpath.dsi.conformance import StorageConformance, refused, write
from towpath.dsi.memory import MemoryStorage


class TestMemory(StorageConformance):
    """Joins the suite of all storages."""

    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage()


def test_it_is_full_at_its_capacity_and_what_is_removed_makes_room() -> None:
    storage = MemoryStorage(capacity=10)
    write(storage, b"/a", b"123456")
    with refused(errno.ENOSPC):
        write(storage, b"/b", b"12345")
    storage.remove_file(b"/a")
    write(storage, b"/b", b"1234567890")
