"""Processor time of the server's data channels: each end a process, on this machine.

    python -m bench.data_channel [--size GiB] [--files N] [--dir DIRECTORY] [--rounds N]

Prints seconds of user and system time per GiB (large files) or microseconds per file (small ones),
of the sender and of the receiver; the median of the rounds. Files lie in memory: disks are not
what is measured.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from towpath.gridftp.data.protection import Protection
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.server.channel import SELF, DataChannel, Markers, Mode
from towpath.gridftp.server.dialling import AnyHost
from towpath.gridftp.wire.ranges import ByteRange

GIB = 1 << 30
HOST = "127.0.0.1"


class Source:
    """A file to send."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._file).st_size

    def fileno(self) -> int:
        return self._file

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        return os.preadv(self._file, [view], offset)

    def close(self) -> None:
        os.close(self._file)


class Target:
    """A file to receive."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def fileno(self) -> int:
        return self._file

    def write(self, view: bytes | bytearray | memoryview, offset: int) -> None:
        view = memoryview(view)
        while view:
            count = os.pwrite(self._file, view, offset)
            view, offset = view[count:], offset + count

    def read_into(self, view: bytearray | memoryview, offset: int) -> int:
        raise NotImplementedError

    def finish(self, *, modified: int | None, durable: bool) -> None:  # noqa: ARG002
        os.close(self._file)

    def close(self) -> None:
        os.close(self._file)


def _channel(mode: Mode, protection: Protection | None, pem: bytes, streams: int) -> DataChannel:
    channel = DataChannel(local_host=HOST, policy=AnyHost(HOST))
    channel.set_mode(mode)
    channel.parallelism = streams
    channel.markers = Markers(0, 0)
    if protection is not None:
        channel.set_credential(pem)
        channel.set_authentication(SELF)
        channel.set_protection(protection)
    return channel


def _send(pipe: Connection, path: Path, files: int, settings: tuple[Any, ...]) -> None:
    channel = _channel(*settings)
    channel.active([pipe.recv()])
    began = time.process_time()
    for _ in range(files):
        source = Source(path)
        channel.send(source, [ByteRange(0, source.size)])
        source.close()
    pipe.send(time.process_time() - began)


def _receive(pipe: Connection, path: Path, files: int, settings: tuple[Any, ...]) -> None:
    channel = _channel(*settings)
    (address,) = channel.passive()
    path.unlink(missing_ok=True)
    pipe.send(address)
    began = time.process_time()
    for _ in range(files):
        target = Target(path)
        channel.receive(target, tell=lambda _: None)
        target.finish(modified=None, durable=False)
    pipe.send(time.process_time() - began)


def _run(path: Path, files: int, settings: tuple[Any, ...]) -> tuple[float, float, float]:
    """Seconds: the sender's and the receiver's of the processors, and of the clock."""
    ends: list[tuple[Connection, Any]] = []
    functions: list[Callable[..., None]] = [_send, _receive]
    for function, to in zip(functions, (path, path.with_name("target")), strict=True):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=function, args=(theirs, to, files, settings))
        process.start()
        ends.append((ours, process))
    (sender, _), (receiver, _) = ends
    sender.send(receiver.recv())
    began = time.monotonic()
    used = sender.recv(), receiver.recv()
    wall = time.monotonic() - began
    for _, process in ends:
        process.join()
    return *used, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=1, help="GiB of the large file")
    parser.add_argument("--files", type=int, default=2000, help="small files, of 1 KiB")
    parser.add_argument("--dir", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    credential = DataCredential.create(datetime.now(UTC)).credential
    pem = credential.to_pem() + credential.chain_pem
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        large, small = Path(directory, "large"), Path(directory, "small")
        with large.open("wb") as file:
            for _ in range(int(options.size * 16)):
                file.write(os.urandom(GIB // 16))
        small.write_bytes(os.urandom(1024))
        size = large.stat().st_size / GIB
        for name, path, files, unit, mode, protection, streams in [
            ("large, clear, 1 stream", large, 1, size, Mode.EXTENDED, None, 1),
            ("large, clear, 4 streams", large, 1, size, Mode.EXTENDED, None, 4),
            ("large, clear, MODE S", large, 1, size, Mode.STREAM, None, 1),
            ("large, private, 1 stream", large, 1, size, Mode.EXTENDED, Protection.PRIVATE, 1),
            ("large, private, 4 streams", large, 1, size, Mode.EXTENDED, Protection.PRIVATE, 4),
            ("large, private, MODE S", large, 1, size, Mode.STREAM, Protection.PRIVATE, 1),
            ("small, clear", small, options.files, None, Mode.EXTENDED, None, 1),
            ("small, private", small, options.files, None, Mode.EXTENDED, Protection.PRIVATE, 1),
        ]:
            if options.only not in name:
                continue
            settings = (mode, protection, pem, streams)
            rounds = [_run(path, files, settings) for _ in range(options.rounds)]
            sent, received, wall = (
                statistics.median(column) for column in zip(*rounds, strict=True)
            )
            scale, what = (1 / unit, "s/GiB") if unit else (1e6 / files, "us/file")
            print(
                f"{name:28} sender {sent * scale:8.3f}  receiver {received * scale:8.3f} {what}"
                f"  (by the clock {wall * scale:.3f})"
            )


if __name__ == "__main__":
    main()
