"""Checksums computed on the way: right, or not known."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.dialogue import Dialogue, dialogue
from towpath.dsi.digests import new_digest
from towpath.dsi.memory import MemoryStorage
from towpath.dsi.posix import PosixStorage
from towpath.gridftp.server.recent_digests import RecentDigests, Stamp
from towpath.gridftp.wire.blocks import EOD, EOF, BlockHeader
from towpath.gridftp.wire.ranges import ByteRange

PART = 300_000
Blocks = list[tuple[int, bytes]]


def digest(content: bytes) -> str:
    """By BLAKE3."""
    made = new_digest("BLAKE3")
    made.update(content)
    return made.hexdigest()


def sha(content: bytes) -> str:
    """By SHA-256, which is not what is computed on the way here."""
    made = new_digest("SHA256")
    made.update(content)
    return made.hexdigest()


@pytest.fixture
def known(talk: Dialogue) -> Callable[[], int]:
    """How many the server remembers."""
    assert talk.ask("OPTS STOR Digest=BLAKE3;").code == 200
    return lambda: len(talk.host.recent)


def in_blocks(talk: Dialogue, line: str, *streams: Blocks) -> int:
    """Give data in MODE E, block after block, one stream after the other; the reply's code."""
    assert talk.ask("MODE E").code == 200
    address = talk.passive()
    talk.send(line)
    links = [socket.create_connection(address, timeout=30) for _ in streams]
    for number, (link, blocks) in enumerate(zip(links, streams, strict=True)):
        for offset, content in blocks:
            link.sendall(BlockHeader(0, len(content), offset).encode() + content)
        end = BlockHeader(EOD, 0, 0)
        if number == 0:
            end = BlockHeader(EOD | EOF, 0, len(streams))
        link.sendall(end.encode())
    try:
        return talk.answer().code
    finally:
        for link in links:
            link.close()


def test_a_file_is_not_read_again(talk: Dialogue, known: Callable[[], int], tmp_path: Path) -> None:
    content = os.urandom(3 * PART)
    assert talk.give("STOR f", content).code == 226
    assert known() == 1
    (key,) = talk.host.recent._digests
    talk.host.recent._digests[key] = "remembered"  # what else is told was read
    for asked in ("0 -1", f"0 {3 * PART}", f"0 {4 * PART}"):
        assert talk.text(f"CKSM BLAKE3 {asked} f") == "213 remembered"
    assert talk.text("CKSM SHA256 0 -1 f") == f"213 {sha(content)}"
    assert talk.text(f"CKSM BLAKE3 1 {PART} f") == f"213 {digest(content[1 : PART + 1])}"
    assert talk.text(f"CKSM BLAKE3 {4 * PART} 1 f") == f"213 {digest(b'')}"


def flip(path: Path) -> None:
    """One byte, in place, as a bad disk or another program would."""
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))


def cut(path: Path) -> None:
    """Its last byte goes."""
    os.truncate(path, path.stat().st_size - 1)


def replaced(path: Path) -> None:
    """Another file of the same size and time has its name."""
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    stamp = path.stat()
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    other.rename(path)


def grown(path: Path) -> None:
    """Something follows."""
    with path.open("ab") as file:
        file.write(b"x")


@pytest.mark.parametrize("change", [flip, cut, replaced, grown])
@pytest.mark.parametrize("modified", ["", "SITE STORATTR modify=20200102030405;"])
def test_a_changed_file_is_read(
    talk: Dialogue,
    known: Callable[[], int],
    tmp_path: Path,
    change: Callable[[Path], None],
    modified: str,
) -> None:
    for _ in range(20):  # many of them within one tick of the kernel's clock
        if modified:
            assert talk.ask(modified).code == 250
        assert talk.give("STOR f", os.urandom(PART)).code == 226
        change(tmp_path / "f")
        now = (tmp_path / "f").read_bytes()
        assert talk.text("CKSM BLAKE3 0 -1 f") == f"213 {digest(now)}"
    assert known() == 20


def test_ranges_as_they_come_each_asked_behind_its_own(
    talk: Dialogue, known: Callable[[], int], tmp_path: Path
) -> None:
    content = os.urandom(4 * PART + 17)
    for first in range(0, len(content), PART):
        part = content[first : first + PART]
        assert in_blocks(talk, f"ESTO A {first} f", [(0, part)]) == 226
        assert talk.text(f"CKSM BLAKE3 {first} {len(part)} f") == f"213 {digest(part)}"
    assert known() == 5
    assert (tmp_path / "f").read_bytes() == content
    assert talk.text("CKSM BLAKE3 0 -1 f") == f"213 {digest(content)}"
    again = os.urandom(PART)
    assert in_blocks(talk, "ESTO A 100 f", [(0, again)]) == 226
    assert talk.text(f"CKSM BLAKE3 0 {PART} f") == f"213 {digest(content[:100] + again[:-100])}"
    assert talk.text(f"CKSM BLAKE3 100 {PART} f") == f"213 {digest(again)}"


CONTENT = os.urandom(4 * PART)
PARTS = [(first, CONTENT[first : first + PART]) for first in range(0, 4 * PART, PART)]


@pytest.mark.parametrize(
    ("streams", "remembered"),
    [
        ([PARTS], 1),
        ([PARTS[::-1]], 1),
        ([[PARTS[2], PARTS[0]], [PARTS[3], PARTS[1]]], 1),
        ([PARTS[::2], PARTS[1::2], []], 1),
        ([[(0, b"\0" * PART), *PARTS]], 0),
        ([[*PARTS[1:], (PART, b"\0" * PART), PARTS[1], PARTS[0]]], 0),
        ([[]], 1),
        ([PARTS[1:]], 0),
        ([[PARTS[0], PARTS[2], PARTS[3]]], 0),
    ],
    ids=[
        "in order",
        "backwards",
        "mixed",
        "streams",
        "twice",
        "twice early",
        "empty",
        "late",
        "gap",
    ],
)
def test_blocks_in_any_order(
    talk: Dialogue,
    known: Callable[[], int],
    tmp_path: Path,
    streams: list[Blocks],
    remembered: int,
) -> None:
    assert in_blocks(talk, "STOR f", *streams) == 226
    now = (tmp_path / "f").read_bytes()
    assert talk.text("CKSM BLAKE3 0 -1 f") == f"213 {digest(now)}"
    assert known() == remembered


def test_a_file_that_is_continued(talk: Dialogue, tmp_path: Path, known: Callable[[], int]) -> None:
    assert talk.give("STOR f", CONTENT[:PART]).code == 226
    assert talk.ask(f"REST {PART}").code == 350
    assert talk.give("STOR f", CONTENT[PART:]).code == 226
    assert talk.text("CKSM BLAKE3 0 -1 f") == f"213 {digest(CONTENT)}"
    assert talk.text(f"CKSM BLAKE3 {PART} -1 f") == f"213 {digest(CONTENT[PART:])}"
    assert talk.give("APPE f", b"more").code == 226
    assert talk.text(f"CKSM BLAKE3 {4 * PART} 4 f") == f"213 {digest(b'more')}"
    assert known() == 3
    assert talk.ask("MODE E", f"REST 0-{PART}").code == 350
    assert in_blocks(talk, "STOR f", PARTS[1:]) == 226
    assert talk.text("CKSM BLAKE3 0 -1 f") == f"213 {digest(CONTENT + b'more')}"


def test_a_file_that_did_not_come_whole(
    talk: Dialogue, tmp_path: Path, known: Callable[[], int]
) -> None:
    assert talk.ask("MODE E").code == 200
    address = talk.passive()
    talk.send("STOR f")
    with socket.create_connection(address) as link:
        link.sendall(BlockHeader(0, PART, 0).encode() + CONTENT[: PART // 2])
    assert talk.answer().code == 426
    assert known() == 0
    now = (tmp_path / "f").read_bytes()
    assert talk.text("CKSM BLAKE3 0 -1 f") == f"213 {digest(now)}"


def test_two_sessions_that_write_to_one_file(
    talk: Dialogue, known: Callable[[], int], tmp_path: Path
) -> None:
    other = Dialogue(talk.host)
    try:
        address = other.passive()
        other.send("STOR f")
        with socket.create_connection(address) as slow:
            slow.sendall(b"x")
            assert other.next().code == 150
            assert talk.give("STOR f", CONTENT).code == 226
            slow.sendall(bytes(PART))
        assert other.answer().code == 226
        assert known() == 0
        now = (tmp_path / "f").read_bytes()
        assert talk.text("CKSM BLAKE3 0 -1 f") == f"213 {digest(now)}"
        assert talk.give("STOR f", CONTENT).code == 226  # now it has the file for itself
        assert known() == 1
        assert other.text("CKSM BLAKE3 0 -1 f") == f"213 {digest(CONTENT)}"
    finally:
        other.close()


def aged(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch, age_s: float = 60.0) -> None:
    """A file that has not been changed for a while, as the server's clock has it."""
    path.write_bytes(content)
    from towpath.gridftp.server.commands import transfers

    later = path.stat().st_ctime_ns + int(age_s * 1e9)
    monkeypatch.setattr(transfers.time, "time_ns", lambda: later)


@pytest.mark.parametrize("size", [0, 1000, 4 * PART])
def test_what_was_sent(
    talk: Dialogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    aged(tmp_path / "f", CONTENT[:size], monkeypatch)
    assert talk.ask("OPTS RETR Digest=BLAKE3;").code == 200
    assert talk.fetch("RETR f") == CONTENT[:size]
    assert talk.answer().code == 226
    (key,) = talk.host.recent._digests
    assert talk.host.recent._digests[key] == digest(CONTENT[:size])
    talk.host.recent._digests[key] = "remembered"
    assert talk.text("CKSM BLAKE3 0 -1 f") == "213 remembered"
    if size:
        flip(tmp_path / "f")
        now = (tmp_path / "f").read_bytes()
        assert talk.text("CKSM BLAKE3 0 -1 f") == f"213 {digest(now)}"


def test_a_range_that_was_sent(
    talk: Dialogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(tmp_path / "f", CONTENT, monkeypatch)
    assert talk.ask("OPTS RETR Digest=BLAKE3;").code == 200
    assert talk.fetch(f"ERET P {PART} {2 * PART} f") == CONTENT[PART : 3 * PART]
    assert talk.answer().code == 226
    assert list(talk.host.recent._digests.values()) == [digest(CONTENT[PART : 3 * PART])]
    expected = digest(CONTENT[PART : 3 * PART])
    assert talk.text(f"CKSM BLAKE3 {PART} {2 * PART} f") == f"213 {expected}"


def test_a_file_changed_just_now_or_meanwhile_is_read(
    talk: Dialogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    aged(path, CONTENT, monkeypatch, age_s=1.9)
    assert talk.ask("OPTS RETR Digest=BLAKE3;").code == 200
    assert talk.fetch("RETR f") == CONTENT
    assert talk.answer().code == 226
    assert len(talk.host.recent) == 0  # its times may be those of a change that is still to come
    aged(path, bytes(32_000_000), monkeypatch)
    address = talk.passive()
    talk.send("RETR f")
    with socket.create_connection(address) as link:
        link.recv(1)
        flip(path)  # more is to be sent than the sockets hold
        while link.recv(1 << 16):
            pass
    assert talk.answer().code == 226
    assert len(talk.host.recent) == 0


def test_nothing_is_computed_that_nobody_has_asked_for(talk: Dialogue, tmp_path: Path) -> None:
    assert talk.give("STOR f", CONTENT).code == 226
    assert len(talk.host.recent) == 0
    assert talk.ask("OPTS STOR Digest=MD5;", "OPTS STOR Digest=;").code == 200
    assert talk.give("STOR f", CONTENT).code == 226
    assert len(talk.host.recent) == 0
    for refused in ("OPTS STOR Digest=CRC9;", "OPTS RETR Digest=CRC9;", "OPTS STOR Other=1;"):
        assert talk.ask(refused).code == 500
    assert "DIGEST RETR;STOR;" in [line.strip() for line in talk.ask("FEAT").lines]


def test_a_file_that_its_account_may_not_read(talk: Dialogue, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "f").chmod(0o200)
    assert talk.ask("OPTS STOR Digest=BLAKE3;").code == 200
    assert talk.give("STOR f", CONTENT).code == 226


def test_a_storage_that_is_no_file_system() -> None:
    with dialogue(MemoryStorage()) as talk:
        assert talk.ask("OPTS STOR Digest=BLAKE3;", "OPTS RETR Digest=BLAKE3;").code == 200
        assert talk.give("STOR f", CONTENT).code == 226
        assert talk.fetch("RETR f") == CONTENT
        assert talk.answer().code == 226
        assert talk.text("CKSM BLAKE3 0 -1 f") == f"213 {digest(CONTENT)}"
        assert len(talk.host.recent) == 0


def test_the_oldest_is_forgotten(tmp_path: Path) -> None:
    recent = RecentDigests(most=3)
    with (tmp_path / "f").open("wb") as file:
        file.write(bytes(10))
        file.flush()
        stamp = Stamp.of(file.fileno())
        for first in range(3):
            recent.note(stamp, "MD5", ByteRange(first, 10), str(first))
        assert recent.find(file.fileno(), "MD5", 0, None) == "0"
        recent.note(stamp, "MD5", ByteRange(3, 10), "3")
        assert [recent.find(file.fileno(), "MD5", n, None) for n in range(4)] == [
            "0",
            None,
            "2",
            "3",
        ]
    assert len(recent) == 3


def test_receptions_of_many_threads_end_as_they_began(tmp_path: Path) -> None:
    recent, storage = RecentDigests(), PosixStorage(tmp_path)

    def write(name: bytes) -> None:
        for _ in range(50):
            with recent.receiving(lambda: storage.open_writer(name, truncate=True)) as reception:
                writer = reception.digesting("BLAKE3", 0)
                writer.write(b"x", 0)
                writer.finish(modified=None, durable=False)
                reception.finished(modified=None)

    threads = [threading.Thread(target=write, args=(b"/%d" % (n % 2),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recent._receiving == {}
    assert recent._opening == 0
