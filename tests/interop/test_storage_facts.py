"""What our storage tells of files, compared with what GCT's server tells of them."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from plugins.sessions import OpenSession
from towpath.dsi.posix import PosixStorage
from towpath.dsi.rules import Rules
from towpath.dsi.storage import EntryType, Status
from towpath.gridftp.wire.listings import Entry


def _told(status: Status) -> tuple[object, ...]:
    target = status.link_target
    return (
        status.type.value,
        status.size,
        status.modified,
        status.mode,
        None if status.owner.isdecimal() else status.owner,  # GCT is silent where there is no name
        None if status.group.isdecimal() else status.group,
        status.perm,
        status.unique,
        None if target is None else os.fsdecode(target),
    )


def _heard(entry: Entry) -> tuple[object, ...]:
    return (
        entry.type.value,
        entry.size,
        entry.modified,
        entry.mode,
        entry.owner,
        entry.group,
        entry.perm,
        entry.unique,
        entry.link_target,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files and directories of all modes and owners, links of all kinds, and what is no file."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for mode in (
        0o000,
        0o100,
        0o200,
        0o300,
        0o400,
        0o500,
        0o444,
        0o555,
        0o600,
        0o644,
        0o666,
        0o755,
        0o777,
        0o4755,
    ):
        file, directory = tree / f"file-{mode:o}", tree / f"directory-{mode:o}"
        file.write_bytes(b"x" * mode)
        directory.mkdir()
        for path in (file, directory):
            path.chmod(mode)
            os.utime(path, (0, 1_600_000_000 + mode))
            if os.geteuid() == 0 and mode & 1:
                os.chown(path, 12345, 0 if mode & 2 else 54321)
    (tree / "link").symlink_to("file-644")
    (tree / "absolute").symlink_to(tree / "directory-755")
    (tree / "chain").symlink_to("link")
    (tree / "circle").symlink_to("circle")
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listener, suppress(OSError):
        listener.bind(str(tree / "socket"))
    return tree


async def test_facts_are_those_of_gct(open_a: OpenSession, tree: Path) -> None:
    session = await open_a()
    theirs = {
        entry.name: _heard(entry) async for batch in session.list(str(tree)) for entry in batch
    }
    storage = PosixStorage()
    ours = {os.fsdecode(n): _told(s) for n, s in storage.entries(os.fsencode(tree))}
    assert ours == theirs
    assert len(ours) > 25
    for name in ours:
        path = tree / name
        entry = await session.stat(str(path))
        status = storage.status(os.fsencode(path))
        assert _told(status) == _heard(entry)
        if status.type is EntryType.OTHER:
            assert status.perm == entry.perm


async def test_rules_show_what_those_of_gct_show(open_a: OpenSession, tmp_path: Path) -> None:
    """SITE RESTRICT, which has the rules of -rp."""
    for name in ("read/x", "write/y", "write/no/z", "way/in/deep/f", "way/other", "no/f"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "to-read").symlink_to("read")
    (tmp_path / "to-no").symlink_to("no")
    (tmp_path / "write" / "link").symlink_to("../no/f")
    rules = f"R{tmp_path}/read,RW{tmp_path}/write,N{tmp_path}/write/no,RW{tmp_path}/way/in"
    session = await open_a()
    await session.restrict(rules)
    storage = PosixStorage(rules=Rules.parse(rules))
    for directory in ("", "/read", "/write", "/way", "/way/in", "/way/in/deep", "/to-read"):
        path = f"{tmp_path}{directory}"
        theirs = {entry.name async for batch in session.list(path) for entry in batch}
        ours = {os.fsdecode(name) for name, _ in storage.entries(os.fsencode(path))}
        assert ours == theirs, directory
