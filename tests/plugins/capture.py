"""`python capture.py DEVICE FILE`: writes what passes a device, all layers, until SIGTERM; then
says how many packets it got, and how many it lost. `captured` runs it on a host."""

import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ETH_P_ALL = 3
PACKET_STATISTICS = 6
SOL_PACKET = 263
SO_RCVBUFFORCE = 33
BUFFER_BYTES = 256 * 1024 * 1024
"""Of the kernel: nothing is lost while this process waits for its turn."""
PACKET_BYTES = 128 * 1024
"""More than any: between namespaces they are put together up to 64 KiB."""


@dataclass
class Captured:
    """What was seen, to be read when the capture is over."""

    content: bytes = b""
    packets: int = 0
    lost: int = 0


@contextmanager
def captured(enter: tuple[str, ...], device: str, file: Path) -> Iterator[Captured]:
    """What passes while this is open."""
    found = Captured()
    with subprocess.Popen(
        [*enter, sys.executable, __file__, device, str(file)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "it captures"
            yield found
            process.terminate()
            found.packets, found.lost = map(int, process.stdout.read().split())
        finally:
            process.kill()
    found.content = file.read_bytes()


def main(device: str, file: str) -> None:
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as packets,
        Path(file).open("wb") as output,
    ):
        packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        packets.bind((device, 0))
        block = memoryview(bytearray(PACKET_BYTES))
        over: list[int] = []
        signal.signal(signal.SIGTERM, lambda *_: over.append(1))
        packets.settimeout(0.2)
        print(flush=True)
        while True:
            try:
                output.write(block[: packets.recv_into(block)])
            except TimeoutError:
                if over:  # and all that had come was taken
                    break
        told = packets.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        print(*struct.unpack("II", told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
