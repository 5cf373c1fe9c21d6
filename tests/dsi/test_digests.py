"""Checksums of files that are there, and of files that are being written."""

from __future__ import annotations

import hashlib
import random
import threading
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.dsi import digests
from towpath.dsi.digests import (
    ALGORITHMS,
    AbortedError,
    DigestingWriter,
    RunningDigest,
    digest_of,
    new_digest,
)
from towpath.dsi.memory import MemoryStorage
from towpath.dsi.storage import Reader

CONTENT = random.Random(7).randbytes(3_000_000)


@pytest.fixture
def reader() -> Reader:
    storage = MemoryStorage()
    storage.open_writer(b"/f", truncate=True).write(CONTENT, 0)
    return storage.open_reader(b"/f")


def test_known_values() -> None:
    """Of "abc": RFC 1321, FIPS 180-4, the test vectors of BLAKE3 and xxHash."""
    expected = {
        "MD5": "900150983cd24fb0d6963f7d28e17f72",
        "ADLER32": "024d0127",
        "SHA1": "a9993e364706816aba3e25717850c26c9cd0d89d",
        "SHA256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "BLAKE3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        "XXH64": "44bc2cf5ad770999",
        "XXH3": "78af5f94892f3950",
        "XXH128": "06b05ab6733a618578af5f94892f3950",
    }
    for name, value in expected.items():
        digest = new_digest(name.lower())
        digest.update(b"abc")
        assert digest.hexdigest() == value, name


def test_ranges(reader: Reader) -> None:
    assert digest_of(reader, "SHA256") == hashlib.sha256(CONTENT).hexdigest()
    assert digest_of(reader, "MD5", 10, 100) == hashlib.md5(CONTENT[10:110]).hexdigest()
    assert digest_of(reader, "ADLER32", 5) == f"{zlib.adler32(CONTENT[5:]):08x}"
    assert digest_of(reader, "SHA1", 2_999_990, 100) == hashlib.sha1(CONTENT[-10:]).hexdigest()
    nothing = hashlib.sha512(b"").hexdigest()
    assert digest_of(reader, "SHA512", 5_000_000) == nothing
    assert digest_of(reader, "SHA512", 0, 0) == nothing


def test_an_unknown_name_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"CRC9.*SHA256"):
        new_digest("CRC9")


def test_a_computation_is_called_off_between_buffers(reader: Reader) -> None:
    asked = iter([False, True])
    with pytest.raises(AbortedError):
        digest_of(reader, "MD5", aborted=lambda: next(asked))


def test_bytes_in_order_are_never_read_back() -> None:
    storage = MemoryStorage()
    writer = DigestingWriter(storage.open_writer(b"/f", truncate=True), "SHA256")
    for at in range(0, len(CONTENT), 100_000):
        writer.write(CONTENT[at : at + 100_000], at)
    assert writer.digest.result(len(CONTENT)) == hashlib.sha256(CONTENT).hexdigest()
    assert writer.digest.bytes_read_back == 0


@given(
    cuts=st.sets(st.integers(1, 999), max_size=30),
    seed=st.integers(0, 1000),
    again=st.booleans(),
)
def test_pieces_in_any_order_and_twice(cuts: set[int], seed: int, again: bool) -> None:
    bounds = [0, *sorted(cuts), 1000]
    pieces = list(pairwise(bounds))
    chance = random.Random(seed)
    chance.shuffle(pieces)
    storage = MemoryStorage()
    writer = DigestingWriter(storage.open_writer(b"/f", truncate=True), "SHA1")
    if again:  # a piece comes with other bytes first, and overlaps others
        start = chance.randrange(900)
        writer.write(bytes(100), start)
    for start, end in pieces:
        writer.write(CONTENT[start:end], start)
    assert writer.digest.result(1000) == hashlib.sha1(CONTENT[:1000]).hexdigest()


def test_many_threads() -> None:
    storage = MemoryStorage()
    writer = DigestingWriter(storage.open_writer(b"/f", truncate=True), "SHA256")
    pieces = iter(range(0, len(CONTENT), 10_000))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                at = next(pieces, None)
            if at is None:
                return
            writer.write(CONTENT[at : at + 10_000], at)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.digest.result(len(CONTENT)) == hashlib.sha256(CONTENT).hexdigest()


def test_what_was_there_before_is_read() -> None:
    """A file that is resumed: its beginning was written by an earlier transfer."""
    storage = MemoryStorage()
    storage.open_writer(b"/f", truncate=True).write(CONTENT[:1000], 0)
    writer = DigestingWriter(storage.open_writer(b"/f", truncate=False), "MD5")
    writer.write(CONTENT[600:2000], 600)
    assert writer.digest.result(2000) == hashlib.md5(CONTENT[:2000]).hexdigest()


def test_memory_is_bounded_when_every_piece_comes_too_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(digests, "MAX_WAITING_RANGES", 10)
    storage = MemoryStorage()
    writer = DigestingWriter(storage.open_writer(b"/f", truncate=True), "MD5")
    for start in range(999, -1, -2):
        writer.write(CONTENT[start : start + 1], start)
    for start in range(998, -1, -2):
        writer.write(CONTENT[start : start + 1], start)
    assert writer.digest.result(1000) == hashlib.md5(CONTENT[:1000]).hexdigest()
    assert len(writer.digest._waiting) <= 10


def test_a_writer_that_does_not_read_back_fails_at_the_end_only() -> None:
    class Blind:
        def read_into(self, *_: object) -> int:
            raise OSError(95, "not opened to be read")

    digest = RunningDigest("MD5", Blind())
    digest.update(b"cd", 2)
    digest.update(b"ab", 0)
    with pytest.raises(OSError, match="not opened"):
        digest.result(4)


def test_all_algorithms_take_views() -> None:
    for name in ALGORITHMS:
        digest = new_digest(name)
        digest.update(memoryview(bytearray(b"abc"))[1:])
        again = new_digest(name)
        again.update(b"bc")
        assert digest.hexdigest() == again.hexdigest(), name
