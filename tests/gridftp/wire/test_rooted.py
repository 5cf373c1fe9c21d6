"""A directory as if it were all of a server: what is sent leads nowhere else, and nothing else is
told."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.listings import Entry, EntryType
from towpath.gridftp.wire.ranges import ByteRange, RangeSet
from towpath.gridftp.wire.replies import Reply
from towpath.gridftp.wire.rooted import Root

SHARE = Root("/home/alice/my share")
PATH = "/a b/c,1 2.txt"
OTHER = {
    "offset": 5,
    "byte_range": ByteRange(5, 9),
    "algorithm": "MD5",
    "unix_s": 1_600_000_000,
    "mode": 0o644,
    "group": "staff",
    "size_bytes": 7,
}
BUILDERS = {
    name: builder
    for name, builder in inspect.getmembers(commands, inspect.isfunction)
    if not name.startswith("_") and builder.__module__ == commands.__name__
}
WITH_PATH = {
    name: builder
    for name, builder in BUILDERS.items()
    if {"path", "target"} & set(inspect.signature(builder).parameters)
}
OF_SESSION = [
    *(commands.storattr_modified(5), commands.storattr_expected(5, "ab"), commands.task_id("x")),
    *(commands.scks("MD5", "ab"), commands.client_info("a", "1"), commands.parallelism(4)),
    *(commands.rest(RangeSet([ByteRange(0, 5)])), commands.digest_sent("MD5")),
    *(commands.digest_received(""), "TYPE I", "MODE E", "FEAT", "PWD", "NOOP", "DCAU A"),
    *("DCSC P LS0t", "PBSZ 1048576", "PROT C", "PASV", "TREV PERF 1", "TREV RESTART 0"),
    *("USER :grant:", "PASS a.b.c", "PORT 127,0,0,1,5,5", commands.restrict("RW/home/alice")),
]


def _built(builder: Callable[..., str], path: str) -> str:
    given: dict[str, Any] = {**OTHER, "path": path, "target": path}
    wanted = inspect.signature(builder).parameters
    return builder(**{name: given[name] for name in wanted})


@pytest.mark.parametrize("name", WITH_PATH)
def test_every_command_has_its_path_below_the_root(name: str) -> None:
    line = _built(WITH_PATH[name], PATH)
    assert line.endswith(f" {PATH}")
    assert SHARE.command(line) == line.removesuffix(PATH) + SHARE.path + PATH
    assert SHARE.command(_built(WITH_PATH[name], "/")).endswith(f" {SHARE.path}")
    assert Root("").command(line) == line
    assert Root("").command(_built(WITH_PATH[name], "/")).endswith(" /")


def test_no_command_is_forgotten_here() -> None:
    apart = {"check_line", "encode_line", "only_reads", "restrict", "restriction", "port"}
    without = {
        *("storattr_modified", "storattr_expected", "scks", "task_id", "client_info", "rest"),
        *("parallelism", "digest_sent", "digest_received"),
    }
    assert set(BUILDERS) == set(WITH_PATH) | apart | without


@pytest.mark.parametrize("line", OF_SESSION)
def test_what_has_no_path_stays_as_it_is(line: str) -> None:
    assert SHARE.command(line) == line


@pytest.mark.parametrize("line", ["STAT /x", "APPE /x", "SITE CHROOT /", "XMKD /x", "SITE", ""])
def test_a_command_that_nobody_knows_is_not_sent(line: str) -> None:
    with pytest.raises(ValueError, match="not known"):
        SHARE.command(line)


@pytest.mark.parametrize("path", ["..", "a", "/a/../../b", "/..", "~", "~/x", "./x", "a/../b"])
def test_no_path_leads_above_the_root(path: str) -> None:
    with pytest.raises(GridFTPError) as caught:
        SHARE.command(commands.mlst(path))
    assert caught.value.kind is Kind.INVALID_NAME


@given(st.text(st.sampled_from("/.~ a")).filter(lambda text: text.strip()))
def test_whatever_is_asked_for_stays_below(text: str) -> None:
    try:
        line = SHARE.command(commands.retr(text))
    except GridFTPError:
        return
    path = line.removeprefix("RETR ")
    assert path == SHARE.path or path.startswith(SHARE.path + "/")
    assert ".." not in path.split("/")


def _link(target: str) -> Entry:
    return Entry("x", EntryType.FILE, link_target=target)


def test_links_that_lead_out_are_not_told_of() -> None:
    plain = Entry("x", EntryType.FILE, 5)
    assert SHARE.entry(plain) is plain
    inside = SHARE.entry(_link(f"{SHARE.path}/d/f"))
    assert inside is not None
    assert inside.link_target == "/d/f"
    top = SHARE.entry(_link(SHARE.path))
    assert top is not None
    assert top.link_target == "/"
    for outside in ("/home/alice", "/etc/passwd", "/home/alice/my share2/f", "", "relative"):
        assert SHARE.entry(_link(outside)) is None
    some = Root(SHARE.path, ("/open/", "/a b/"))
    for target, told in (("", False), ("/open", True), ("/opener", False), ("/a b/c", True)):
        assert (some.entry(_link(SHARE.path + target)) is not None) == told
    everything = Root("").entry(_link("/etc"))
    assert everything is not None
    assert everything.link_target == "/etc"


def test_what_a_server_says_does_not_tell_where_it_is() -> None:
    said = Reply.of(550, f"{SHARE.path}/d/f: no such file", f"in {SHARE.path}", "/home/alice/x")
    assert SHARE.words(said) == Reply.of(550, "/d/f: no such file", "in /", "/home/alice/x")
    other = Reply.of(550, "no")
    assert SHARE.words(other) is other
    assert Root("").words(said) is said
