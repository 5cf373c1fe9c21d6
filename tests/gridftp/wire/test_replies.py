import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.replies import (
    LINE_LIMIT_BYTES,
    REPLY_LIMIT_BYTES,
    SKIP_LIMIT_LINES,
    LineSplitter,
    Reply,
    ReplyReader,
)

plain_bytes = st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b""))
codes = st.integers(100, 699)


@st.composite
def wire_replies(draw: st.DrawFn) -> tuple[bytes, Reply]:
    code = draw(codes)
    head = str(code).encode()
    first = draw(plain_bytes)
    if draw(st.booleans()):
        return head + b" " + first + b"\r\n", Reply(code, (first,))
    inner = draw(st.lists(plain_bytes, max_size=4))
    last = draw(plain_bytes)
    style = draw(st.sampled_from([b" ", head + b"-"]))
    wire = head + b"-" + first + b"\r\n"
    wire += b"".join(style + line + b"\r\n" for line in inner)
    return wire + head + b" " + last + b"\r\n", Reply(code, (first, *inner, last))


@given(st.lists(wire_replies(), max_size=6), st.data())
def test_any_portions_give_the_same_replies(
    replies: list[tuple[bytes, Reply]], data: st.DataObject
) -> None:
    stream = b"".join(wire for wire, _ in replies)
    reader = ReplyReader()
    found = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found == [reply for _, reply in replies]
    assert not reader.inside
    assert reader.skipped == 0


@given(st.binary(max_size=300))
def test_garbage_never_breaks_the_reader(data: bytes) -> None:
    whole, by_byte = ReplyReader(), ReplyReader()
    expected = whole.feed(data)
    assert [r for i in range(len(data)) for r in by_byte.feed(data[i : i + 1])] == expected


def test_a_reply_broken_in_two_lines_is_resynchronised() -> None:
    reader = ReplyReader()
    replies = reader.feed(b"501 'TYPE X\r\n' unrecognized type.\r\n200 Type set to I.\r\n")
    assert [r.code for r in replies] == [501, 200]
    assert reader.skipped == 1


def test_error_block_of_gct() -> None:
    reader = ReplyReader()
    (reply,) = reader.feed(
        b"550-GlobusError: v=1 c=PATH_NOT_FOUND\r\n550-GridFTP-Errno: 2\r\n550 End.\r\n"
    )
    assert reply.lines == ("GlobusError: v=1 c=PATH_NOT_FOUND", "GridFTP-Errno: 2", "End.")


def test_bytes_that_are_not_utf8_survive() -> None:
    (reply,) = ReplyReader().feed(b"250 caf\xe9\r\n")
    assert reply.text.encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_inner_lines_can_be_taken_as_they_come() -> None:
    taken: list[tuple[int, bytes]] = []

    def take(code: int, line: bytes) -> bool:
        taken.append((code, line))
        return code < 300

    reader = ReplyReader(take)
    (reply,) = reader.feed(b"250-Contents\r\n a; x\r\n a; y\r\n250 End.\r\n")
    assert taken == [(250, b"a; x"), (250, b"a; y")]
    assert reply.lines == ("Contents", "End.")
    (reply,) = reader.feed(b"550-no\r\n550-why\r\n550 End.\r\n")
    assert reply.lines == ("no", "why", "End.")


def test_endless_line_endless_reply_and_endless_nonsense_are_refused() -> None:
    splitter = LineSplitter()
    splitter.feed(b"x" * LINE_LIMIT_BYTES)
    with pytest.raises(GridFTPError) as caught:
        splitter.feed(b"x")
    assert caught.value.kind is Kind.PROTOCOL

    reader = ReplyReader()
    line = b" " + b"x" * (LINE_LIMIT_BYTES - 3) + b"\r\n"
    reader.feed(b"250-\r\n" + line * (REPLY_LIMIT_BYTES // LINE_LIMIT_BYTES - 1))
    with pytest.raises(GridFTPError) as caught:
        reader.feed(line * 2)
    assert caught.value.kind is Kind.PROTOCOL

    reader = ReplyReader()
    with pytest.raises(GridFTPError) as caught:
        reader.feed(b"nonsense\n" * (SKIP_LIMIT_LINES + 1))
    assert caught.value.kind is Kind.PROTOCOL
