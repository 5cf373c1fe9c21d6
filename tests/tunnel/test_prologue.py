"""The first line on a connection that is to be joined, in any pieces, and from anybody."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.tunnel.prologue import (
    LINE_LIMIT,
    OK,
    TEXT_LIMIT,
    AnswerReader,
    Joined,
    NotJoined,
    PassShown,
    ProbeSaid,
    PrologueError,
    PrologueReader,
    Refusal,
    Said,
    TicketSaid,
    prologue,
    refusal,
)

_URL_SAFE = "abcXYZ019-_"
_word = st.text(_URL_SAFE, min_size=1, max_size=200)
said = st.one_of(
    st.builds(lambda a, b, c: PassShown(f"{a}.{b}.{c}"), _word, _word, _word),
    st.builds(TicketSaid, st.text(_URL_SAFE, min_size=43, max_size=43)),
    st.builds(ProbeSaid, st.text(_URL_SAFE, min_size=16, max_size=64)),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@given(said, st.binary(max_size=50), st.lists(st.integers(0, 10_000), max_size=10))
def test_what_is_said_is_read_in_any_pieces(what: Said, behind: bytes, cuts: list[int]) -> None:
    line = prologue(what)
    reader = PrologueReader()
    *early, last = [piece for piece in pieces(line, cuts) if piece]
    assert [reader.feed(piece) for piece in early] == [None] * len(early)
    assert reader.feed(last + behind) == what
    assert reader.rest == behind


@given(st.sampled_from(Refusal), st.text(max_size=3000), st.lists(st.integers(0, 5000), max_size=9))
def test_a_refusal_is_one_bounded_line(reason: Refusal, text: str, cuts: list[int]) -> None:
    line = refusal(reason, text)
    assert len(line) <= LINE_LIMIT
    assert line.count(b"\n") == 1
    answers = [AnswerReader()]
    *_, answer = [answers[0].feed(piece) for piece in pieces(line, cuts) if piece]
    assert isinstance(answer, NotJoined)
    assert answer.reason is reason
    assert len(answer.text) <= TEXT_LIMIT


def test_ok_may_have_bytes_right_behind_it() -> None:
    reader = AnswerReader()
    assert reader.feed(OK + b"220 ready") == Joined()
    assert reader.rest == b"220 ready"


def test_a_reason_of_a_newer_relay_is_a_failure() -> None:
    assert AnswerReader().feed(b"TPJ1 no tea-time later\n") == NotJoined(Refusal.FAILED, "later")


@given(st.lists(st.binary(max_size=200), max_size=30))
def test_garbage_is_refused_and_nothing_piles_up(garbage: list[bytes]) -> None:
    for reader in (PrologueReader(), AnswerReader()):
        with contextlib.suppress(PrologueError):
            for piece in garbage:
                assert reader.feed(piece) is None
                assert len(reader._begun) < LINE_LIMIT


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"T\n",
        b"TPJ1\n",
        b"TPJ1 \n",
        b"TPJ2 ticket " + b"a" * 43 + b"\n",
        b"TPJ1 ticket \n",
        b"TPJ1 ticket " + b"a" * 43 + b"\r\n",
        b"TPJ1 ticket " + b"a" * 43 + b" \n",
        b"TPJ1 pass a.b\n",
        b"TPJ1 pass a.b.c.d\n",
        b"TPJ1 pass a.b.\xff\n",
        b"TPJ1 probe short\n",
        b"TPJ1 open sesame\n",
        b"GET / HTTP/1.1\r\n",
        b"TPJ1 pass " + b"a" * LINE_LIMIT,
    ],
)
def test_what_is_no_prologue_is_refused(line: bytes) -> None:
    with pytest.raises(PrologueError):
        PrologueReader().feed(line)


@pytest.mark.parametrize(
    "what",
    [TicketSaid("short"), PassShown("a.b.c\nTPJ1 ok"), PassShown(f"{'a' * LINE_LIMIT}.b.c")],
)
def test_what_could_not_be_read_is_not_said(what: Said) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - it is this one
        prologue(what)


def test_passes_and_tickets_are_not_shown_by_repr() -> None:
    assert "secret" not in repr(PassShown("secret.a.b")) + repr(TicketSaid("secret" * 8))
