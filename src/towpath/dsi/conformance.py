"""What every storage must do: a suite of tests that a new storage joins.

A storage's own test module says how an empty one is made, and pytest does the rest::

    from towpath.dsi.conformance import StorageConformance

    class TestMine(StorageConformance):
        @pytest.fixture
        def storage(self) -> Storage:
            return MyStorage(...)

What a storage says it cannot do (`Capabilities`) it must refuse with ENOTSUP. The module needs no
pytest itself.
"""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from towpath.dsi.digests import ALGORITHMS, digest_of
from towpath.dsi.rules import Rules
from towpath.dsi.storage import EntryType, Facts, PathNotAllowedError, Reader, Storage

HARD_NAMES: Final = (
    b" leading",
    b"trailing ",
    b"with space",
    b"semi;colon; =",
    b"quo\"te's",
    b"back\\slash",
    b"star*[a-z]?",
    b"-rf",
    b"%00%2f",
    b"tab\there",
    b"new\nline",
    b"\xff\xfe not UTF-8",
    "Größe 測試".encode(),
    b"...",
    b"n" * 255,
)


class StorageConformance:
    """The tests. Each gets `storage`, an empty storage that may be changed."""

    # Contents

    def test_what_is_written_is_read(self, storage: Storage) -> None:
        write(storage, b"/a", b"some bytes")
        assert read(storage, b"/a") == b"some bytes"
        status = storage.status(b"/a")
        assert status.type is EntryType.FILE
        assert status.size == 10
        assert "r" in status.perm

    def test_an_empty_file_is_a_file(self, storage: Storage) -> None:
        write(storage, b"/empty", b"")
        assert storage.status(b"/empty").size == 0
        assert read(storage, b"/empty") == b""

    def test_a_new_content_replaces_a_longer_one(self, storage: Storage) -> None:
        write(storage, b"/a", b"long content")
        write(storage, b"/a", b"short")
        assert read(storage, b"/a") == b"short"

    def test_without_truncation_the_rest_stays(self, storage: Storage) -> None:
        if not storage.capabilities.random_writes:
            return
        write(storage, b"/a", b"0123456789")
        write(storage, b"/a", b"xx", at=4, truncate=False)
        assert read(storage, b"/a") == b"0123xx6789"

    def test_a_hole_reads_as_zeros(self, storage: Storage) -> None:
        if not storage.capabilities.random_writes:
            return
        write(storage, b"/a", b"end", at=5)
        assert read(storage, b"/a") == b"\0\0\0\0\0end"

    def test_pieces_arrive_in_any_order_from_many_threads(self, storage: Storage) -> None:
        if not storage.capabilities.random_writes:
            return
        whole = random.Random(1).randbytes(1 << 20)  # noqa: S311 - a test's content
        pieces = [(at, whole[at : at + 4096]) for at in range(0, len(whole), 4096)]
        random.Random(2).shuffle(pieces)  # noqa: S311
        writer = storage.open_writer(b"/a", truncate=True)

        def work(mine: list[tuple[int, bytes]]) -> None:
            for at, piece in mine:
                writer.write(piece, at)

        threads = [threading.Thread(target=work, args=(pieces[n::4],)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        writer.finish(modified=None, durable=False)
        assert read(storage, b"/a") == whole

    def test_given_up_means_that_what_was_written_stays(self, storage: Storage) -> None:
        if not storage.capabilities.random_writes:
            return
        writer = storage.open_writer(b"/a", truncate=True)
        writer.write(b"part", 0)
        writer.close()
        writer.close()
        assert read(storage, b"/a") == b"part"

    def test_a_finished_file_has_its_time(self, storage: Storage) -> None:
        if not storage.capabilities.modified:
            return
        writer = storage.open_writer(b"/a", truncate=True)
        writer.write(b"x", 0)
        writer.finish(modified=1_000_000_000, durable=True)
        assert storage.status(b"/a").modified == 1_000_000_000
        storage.set_modified(b"/a", 1_234_567_890)
        assert storage.status(b"/a").modified == 1_234_567_890

    def test_what_was_written_reads_back(self, storage: Storage) -> None:
        writer = storage.open_writer(b"/a", truncate=True, readable=True)
        writer.write(b"abc", 0)
        buffer = bytearray(10)
        assert writer.read_into(buffer, 1) == 2
        assert buffer[:2] == b"bc"
        writer.finish(modified=None, durable=False)

    def test_reading_at_and_after_the_end(self, storage: Storage) -> None:
        write(storage, b"/a", b"abc")
        reader = storage.open_reader(b"/a")
        assert reader.size == 3
        assert reader.read_into(bytearray(5), 2) == 1
        assert reader.read_into(bytearray(5), 3) == 0
        assert reader.read_into(bytearray(5), 1 << 40) == 0
        reader.close()
        reader.close()

    def test_checksums_are_of_what_is_stored(self, storage: Storage) -> None:
        write(storage, b"/a", b"abc")
        reader = storage.open_reader(b"/a")
        assert digest_of(reader, "MD5") == "900150983cd24fb0d6963f7d28e17f72"
        assert digest_of(reader, "ADLER32", 1, 1) == "00630063"
        assert len({digest_of(reader, name) for name in ALGORITHMS}) == len(ALGORITHMS)
        reader.close()

    def test_cutting_a_file(self, storage: Storage) -> None:
        write(storage, b"/a", b"0123456789")
        if not storage.capabilities.truncate:
            with refused(errno.ENOTSUP):
                storage.truncate(b"/a", 3)
            return
        storage.truncate(b"/a", 3)
        assert read(storage, b"/a") == b"012"
        with refused(errno.EINVAL):
            storage.truncate(b"/a", 4)

    # Directories

    def test_the_root_is_a_directory(self, storage: Storage) -> None:
        assert storage.status(b"/").type is EntryType.DIRECTORY
        assert list(storage.entries(b"/")) == []

    def test_a_listing_tells_what_status_tells(self, storage: Storage) -> None:
        storage.make_directory(b"/d")
        storage.make_directory(b"/d/sub")
        write(storage, b"/d/file", b"content")
        entries = dict(storage.entries(b"/d"))
        assert entries == {
            b"sub": storage.status(b"/d/sub"),
            b"file": storage.status(b"/d/file"),
        }
        types = {name: entry.type for name, entry in storage.entries(b"/d", facts=Facts.TYPE)}
        assert types == {b"sub": EntryType.DIRECTORY, b"file": EntryType.FILE}
        assert storage.status(b"/d", facts=Facts.TYPE).type is EntryType.DIRECTORY

    def test_two_files_are_told_apart(self, storage: Storage) -> None:
        write(storage, b"/a", b"")
        write(storage, b"/b", b"")
        assert storage.status(b"/a").unique != storage.status(b"/b").unique
        assert storage.status(b"/a").unique == storage.status(b"/a").unique

    def test_every_name_that_a_file_may_have(self, storage: Storage) -> None:
        for name in HARD_NAMES:
            write(storage, b"/" + name, name)
        assert {name for name, _ in storage.entries(b"/")} == set(HARD_NAMES)
        for name in HARD_NAMES:
            assert read(storage, b"/" + name) == name
            storage.remove_file(b"/" + name)
        assert list(storage.entries(b"/")) == []

    def test_names_that_none_may_have(self, storage: Storage) -> None:
        for act in (storage.open_reader, storage.make_directory, storage.status):
            with refused(errno.EINVAL, errno.ENOENT):
                act(b"/nul\0/etc/passwd")
        with refused(errno.EINVAL):
            storage.open_writer(b"/nul\0", truncate=True)
        assert list(storage.entries(b"/")) == []

    def test_what_is_not_there(self, storage: Storage) -> None:
        write(storage, b"/file", b"")
        for path, wrong in ((b"/no", errno.ENOENT), (b"/file/no", errno.ENOTDIR)):
            for act in (
                storage.status,
                storage.entries,
                storage.open_reader,
                storage.remove_file,
                storage.remove_directory,
                storage.remove_tree,
            ):
                with refused(wrong):
                    act(path)
        with refused(errno.ENOENT):
            storage.open_writer(b"/no/file", truncate=True)
        with refused(errno.ENOENT):
            storage.make_directory(b"/no/dir")
        with refused(errno.ENOENT):
            storage.rename(b"/no", b"/other")

    def test_a_directory_is_no_file_and_a_file_no_directory(self, storage: Storage) -> None:
        storage.make_directory(b"/d")
        write(storage, b"/f", b"")
        with refused(errno.EISDIR):
            storage.open_reader(b"/d")
        with refused(errno.EISDIR):
            storage.open_writer(b"/d", truncate=True)
        with refused(errno.EISDIR):
            storage.remove_file(b"/d")
        for act in (storage.entries, storage.remove_directory, storage.remove_tree):
            with refused(errno.ENOTDIR):
                act(b"/f")

    def test_making_and_removing_directories(self, storage: Storage) -> None:
        storage.make_directory(b"/d")
        with refused(errno.EEXIST):
            storage.make_directory(b"/d")
        write(storage, b"/d/f", b"")
        with refused(errno.ENOTEMPTY, errno.EEXIST):
            storage.remove_directory(b"/d")
        storage.remove_file(b"/d/f")
        storage.remove_directory(b"/d")
        with refused(errno.ENOENT):
            storage.status(b"/d")

    def test_removing_a_tree(self, storage: Storage) -> None:
        for path in (b"/t", b"/t/a", b"/t/a/b", b"/t/c"):
            storage.make_directory(path)
            for number in range(3):
                write(storage, path + b"/%d" % number, b"x")
        storage.remove_tree(b"/t")
        assert list(storage.entries(b"/")) == []

    def test_the_root_stays(self, storage: Storage) -> None:
        for act in (storage.remove_directory, storage.remove_tree):
            with refused(errno.EBUSY):
                act(b"/")
        with refused(errno.EBUSY):
            storage.rename(b"/", b"/x")

    def test_renaming(self, storage: Storage) -> None:
        if not storage.capabilities.rename:
            return
        write(storage, b"/a", b"new")
        write(storage, b"/b", b"old")
        storage.rename(b"/a", b"/b")
        assert [name for name, _ in storage.entries(b"/")] == [b"b"]
        assert read(storage, b"/b") == b"new"
        storage.make_directory(b"/d")
        storage.rename(b"/b", b"/d/c")
        assert read(storage, b"/d/c") == b"new"
        storage.rename(b"/d", b"/e")
        assert read(storage, b"/e/c") == b"new"
        with refused(errno.EINVAL):
            storage.rename(b"/e", b"/e/inside")

    def test_removing_a_tree_can_be_called_off(self, storage: Storage) -> None:
        for path in (b"/d", b"/d/e", b"/d/f"):
            storage.make_directory(path)
            write(storage, path + b"/a", b"")
        asked = iter((False, False, True))
        with refused(errno.ECANCELED):
            storage.remove_tree(b"/d", aborted=lambda: next(asked))
        assert storage.status(b"/d").type is EntryType.DIRECTORY
        storage.remove_tree(b"/d")
        with refused(errno.ENOENT):
            storage.status(b"/d")

    # Attributes

    def test_modes(self, storage: Storage) -> None:
        write(storage, b"/a", b"")
        if not storage.capabilities.modes:
            with refused(errno.ENOTSUP):
                storage.set_mode(b"/a", 0o600)
            return
        storage.set_mode(b"/a", 0o640)
        assert storage.status(b"/a").mode == 0o640

    def test_groups(self, storage: Storage) -> None:
        write(storage, b"/a", b"")
        with refused(errno.EINVAL if storage.capabilities.groups else errno.ENOTSUP):
            storage.set_group(b"/a", "no such group, I hope")
        if storage.capabilities.groups:
            storage.set_group(b"/a", storage.status(b"/a").group)

    def test_numbers_beyond_all_measure(self, storage: Storage) -> None:
        write(storage, b"/a", b"abc")
        for beyond in ((1 << 63) - 1, 1 << 63, 1 << 64, 1 << 100):
            writer = storage.open_writer(b"/a", truncate=False)
            with refused(errno.EFBIG, errno.EINVAL):
                writer.write(b"x", beyond)
            writer.close()
            with refused(errno.EINVAL, errno.ENOTSUP):
                storage.set_modified(b"/a", beyond)
            with refused(errno.EINVAL, errno.ENOTSUP):
                storage.truncate(b"/a", beyond)
            with refused(errno.EINVAL, errno.ENOTSUP):
                storage.set_group(b"/a", str(beyond))
            reader = storage.open_reader(b"/a")
            assert reader.read_into(bytearray(1), beyond) == 0
            reader.close()
        assert read(storage, b"/a") == b"abc"

    def test_links(self, storage: Storage) -> None:
        if not storage.capabilities.links:
            with refused(errno.ENOTSUP):
                storage.make_link(b"a", b"/link")
            return
        storage.make_directory(b"/d")
        write(storage, b"/d/a", b"content")
        storage.make_link(b"d/a", b"/link")
        storage.make_link(b"../d", b"/d/circle")
        storage.make_link(b"/d/a", b"/d/absolute")
        storage.make_link(b"nowhere", b"/dangling")
        status = storage.status(b"/link")
        assert (status.type, status.size) == (EntryType.FILE, 7)
        assert status.link_target == b"/d/a"
        assert read(storage, b"/link") == b"content"
        assert read(storage, b"/d/circle/circle/a") == b"content"
        assert read(storage, b"/d/absolute") == b"content"
        assert dict(storage.entries(b"/d"))[b"circle"].link_target == b"/d"
        assert {name for name, _ in storage.entries(b"/")} == {b"d", b"link"}
        with refused(errno.ENOENT):
            storage.status(b"/dangling")
        storage.remove_file(b"/dangling")
        storage.remove_file(b"/link")
        storage.remove_tree(b"/d")
        assert list(storage.entries(b"/")) == []

    # Rules

    def test_what_may_not_be_read_cannot_be_moved_to_where_it_may(self, storage: Storage) -> None:
        for path in (b"/in", b"/in/d", b"/in/hidden", b"/out", b"/box"):
            storage.make_directory(path)
        for path in (b"/in/f", b"/in/d/f", b"/in/hidden/f", b"/out/f"):
            write(storage, path, b"x")
        ruled = storage.restricted(Rules.parse("W/in,W/box,RW/out,R/box/shown"))
        for old in (b"/in/f", b"/in/d"):
            with forbidden():
                ruled.rename(old, b"/out/moved")
        with forbidden():
            ruled.rename(b"/in", b"/box/shown")
        ruled.rename(b"/in/f", b"/in/g")
        ruled.rename(b"/in/g", b"/box/g")
        ruled.rename(b"/out/f", b"/in/f")
        assert read(storage, b"/box/g") == read(storage, b"/in/f") == b"x"

    def test_what_may_not_be_read_is_not_told_by_a_checksum(self, storage: Storage) -> None:
        storage.make_directory(b"/in")
        write(storage, b"/in/f", b"x")
        ruled = storage.restricted(Rules.parse("W/in"))
        with forbidden():
            ruled.open_writer(b"/in/f", truncate=False, readable=True)
        ruled.open_writer(b"/in/f", truncate=False).close()
        assert read(storage, b"/in/f") == b"x"
        ruled.open_writer(b"/in/f", truncate=True, readable=True).close()
        assert read(storage, b"/in/f") == b""

    def test_rules_hold(self, storage: Storage) -> None:
        for path in (b"/read", b"/write", b"/write/no", b"/other", b"/way", b"/way/in"):
            storage.make_directory(path)
            write(storage, path + b"/f", b"x")
        ruled = storage.restricted(Rules.parse("R/read,RW/write,N/write/no,RW/way/in"))
        assert read(ruled, b"/read/f") == b"x"
        write(ruled, b"/write/new", b"y")
        assert {name for name, _ in ruled.entries(b"/")} == {b"read", b"write", b"way"}
        assert {name for name, _ in ruled.entries(b"/way")} == {b"in"}
        assert {name for name, _ in ruled.entries(b"/write")} == {b"f", b"new"}
        assert ruled.status(b"/read/f").perm == "r"
        assert "w" in ruled.status(b"/write/f").perm
        for path in (b"/other", b"/other/f", b"/write/no/f", b"/way/f", b"/writes"):
            with forbidden():
                ruled.status(path)
        for path in (b"/other/f", b"/write/no/f", b"/way/f"):
            with forbidden():
                ruled.open_reader(path)
        for path in (b"/read/f", b"/read/new", b"/other/f", b"/new", b"/write/no/new"):
            with forbidden():
                ruled.open_writer(path, truncate=True)
            with forbidden():
                ruled.remove_file(path)
            with forbidden():
                ruled.make_directory(path)
            with forbidden():
                ruled.set_modified(path, 1)
            with forbidden():
                ruled.rename(b"/write/f", path)
        with forbidden():
            ruled.remove_tree(b"/write")
        with forbidden():
            ruled.rename(b"/write", b"/way/in/x")
        assert read(storage, b"/read/f") == b"x"
        narrower = ruled.restricted(Rules.parse("RW/read,R/write"))
        assert read(narrower, b"/write/f") == b"x"
        with forbidden():
            narrower.open_writer(b"/read/f", truncate=True)
        with forbidden():
            narrower.open_writer(b"/write/f", truncate=True)


def write(
    storage: Storage, path: bytes, content: bytes, *, at: int = 0, truncate: bool = True
) -> None:
    """Write a file, or a piece of one."""
    writer = storage.open_writer(path, truncate=truncate)
    writer.write(content, at)
    writer.finish(modified=None, durable=False)


def read(storage: Storage, path: bytes) -> bytes:
    """The whole content, by whichever way the reader offers."""
    reader = storage.open_reader(path)
    try:
        return _read(reader)
    finally:
        reader.close()


def _read(reader: Reader) -> bytes:
    content = bytearray()
    buffer = bytearray(100_000)
    while count := reader.read_into(buffer, len(content)):
        content += buffer[:count]
    return bytes(content)


@contextmanager
def refused(*numbers: int) -> Iterator[None]:
    """What is done inside must raise an OSError with one of these errno."""
    try:
        yield
    except OSError as error:
        assert error.errno in numbers, error  # noqa: PT017 - there is no pytest here
        return
    raise AssertionError("it was not refused")


@contextmanager
def forbidden() -> Iterator[None]:
    """What is done inside must be forbidden by a rule."""
    try:
        yield
    except PathNotAllowedError:
        return
    raise AssertionError("it was not forbidden")
