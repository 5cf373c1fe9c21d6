"""Both ends of a data channel, what they show each other, and files for it."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plugins.data_ends import SIZES, channel
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.server.channel import DataChannel, Markers


@pytest.fixture(scope="module")
def credential() -> DataCredential:
    """What both ends show."""
    return DataCredential.create(datetime.now(UTC))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of all sizes that make a difference."""
    directory = tmp_path_factory.mktemp("files")
    for name, size in SIZES.items():
        (directory / name).write_bytes(os.urandom(size))
    return {name: directory / name for name in SIZES}


@pytest.fixture
def ends() -> Iterator[tuple[DataChannel, DataChannel]]:
    """Sender and receiver in MODE E, quiet."""
    sender, receiver = channel(), channel()
    receiver.markers = Markers(0, 0)
    yield sender, receiver
    sender.close()
    receiver.close()
