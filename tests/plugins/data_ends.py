"""What a data channel stands between in tests: open files, and threads that run one end."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from towpath.gridftp.data.mode_e import INLINE_BYTES
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.server.channel import SELF, DataChannel, Mode
from towpath.gridftp.server.dialling import AnyHost, DataPolicy
from towpath.gridftp.server.limits import Limits
from towpath.gridftp.wire.ranges import ByteRange

HOST = "127.0.0.1"

_made: list[DataChannel] = []


@pytest.fixture(autouse=True)
def _channels_closed() -> Iterator[None]:
    """For modules that import it."""
    yield
    while _made:
        _made.pop().close()


class FileReader:
    """A file that is sent (`dsi.Reader`); with `plain` not from a descriptor."""

    def __init__(self, path: Path, *, plain: bool = False) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._file).st_size
        self._plain = plain

    def fileno(self) -> int | None:
        return None if self._plain else self._file

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        return os.preadv(self._file, [view], offset)

    def close(self) -> None:
        os.close(self._file)

    @property
    def all(self) -> list[ByteRange]:
        return [ByteRange(0, self.size)]


class MemoryWriter:
    """Bytes that are received (`dsi.Writer`), and every range that was written."""

    def __init__(self, size: int = 0, *, fail: OSError | None = None) -> None:
        self.content = bytearray(size)
        self.writes: list[ByteRange] = []
        self._fail = fail
        self._lock = threading.Lock()

    def fileno(self) -> int | None:
        return None

    def write(self, view: bytes | bytearray | memoryview, offset: int) -> None:
        if self._fail is not None:
            raise self._fail
        end = offset + len(view)
        with self._lock:
            self.writes.append(ByteRange(offset, end))
            if end > len(self.content):
                assert end < 1 << 28, "a test has no file of this size"
                self.content += bytes(end - len(self.content))
            self.content[offset:end] = view

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        raise NotImplementedError

    def finish(self, *, modified: int | None, durable: bool) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Running:
    """Something that runs in a thread."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._function()
        except BaseException as error:  # noqa: BLE001 - raised by `join`
            self._error = error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float = 30) -> None:
        """Wait for its end; raise what it raised."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "it hangs"
        if self._error is not None:
            raise self._error


def channel(
    mode: Mode = Mode.EXTENDED,
    *,
    policy: DataPolicy | None = None,
    connect_s: float = 30,
    stall_s: float = 30,
    connections: int = 128,
    **options: Any,
) -> DataChannel:
    """A channel of a session from this machine. `options` are those of `DataChannel`."""
    made = DataChannel(
        local_host=HOST,
        policy=policy or AnyHost(HOST),
        limits=Limits(data_connect_s=connect_s, data_stall_s=stall_s, data_connections=connections),
        **options,
    )
    made.set_mode(mode)
    _made.append(made)
    return made


def give(credential: DataCredential, *channels: DataChannel) -> None:
    """The same credential to both, as DCSC does, and DCAU A."""
    for one in channels:
        one.set_credential(credential.credential.to_pem() + credential.credential.chain_pem)
        one.set_authentication(SELF)


SIZES = {
    "small": 1000,
    "empty": 0,
    "edge": INLINE_BYTES,
    "beyond": INLINE_BYTES + 1,
    "large": 9_000_001,
    "last": 7,
}


def move(
    sender: DataChannel,
    receiver: DataChannel,
    path: Path,
    *,
    ranges: list[ByteRange] | None = None,
    at: int | None = None,
    receive_at: int = 0,
    plain: bool = False,
    told: list[bytes] | None = None,
) -> MemoryWriter:
    """One file, from end to end."""
    reader, writer = FileReader(path, plain=plain), MemoryWriter()
    sending = Running(lambda: sender.send(reader, ranges or reader.all, at=at))
    told = told if told is not None else []
    try:
        receiver.receive(writer, at=receive_at, tell=told.append)
    finally:
        sending.join()
        reader.close()
    return writer


def nobody_told(reply: bytes) -> None:
    """For a receiver without markers."""
    raise AssertionError(f"nothing was to be told: {reply!r}")


def raises(kind: Kind, call: object) -> GridFTPError:
    """The failure of a call, which must be of this kind."""
    with pytest.raises(GridFTPError) as caught:
        call()  # type: ignore[operator]
    assert caught.value.kind is kind, caught.value
    return caught.value
