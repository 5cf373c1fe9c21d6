"""Messages between agent and relay: round trips, any pieces, and nonsense."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.tunnel.messages import (
    CANDIDATES_LIMIT,
    LINE_LIMIT,
    ConfigurationChanged,
    Dial,
    Drain,
    Expect,
    Failed,
    Hello,
    Incoming,
    Lines,
    Listen,
    Listening,
    Message,
    MessageError,
    Probe,
    Probed,
    Ticket,
    TunnelError,
    UnknownEvent,
    UnknownRequest,
    Unlisten,
    Unlistened,
    Welcome,
    candidate,
    candidate_address,
    decode_report,
    decode_request,
    encode,
)

TICKET = "T" * 43
ids = st.integers(0, 2**53 - 1)
ports = st.integers(1, 65535)
ips = st.ip_addresses().map(str)
words = st.text("abcXYZ019-_", min_size=1, max_size=64)
nonces = st.text("abcXYZ019-_", min_size=16, max_size=64)
tickets = st.text("abcXYZ019-_", min_size=43, max_size=43)
some = st.lists(st.builds(candidate, ips, ports), max_size=CANDIDATES_LIMIT).map(tuple)
requests = st.one_of(
    st.builds(Hello, ids, words, st.integers(0, 9)),
    st.builds(Listen, ids, some),
    st.builds(Unlisten, words),
    st.builds(Dial, ids, ips, ports),
    st.builds(Probe, ids, ports, nonces),
)
reports = st.one_of(
    st.builds(Welcome, ids, st.integers(0, 9), words, ips),
    st.builds(Listening, ids, words, ips, ports),
    st.builds(Ticket, ids, tickets, some),
    st.builds(Probed, ids, st.booleans(), ips),
    st.builds(Failed, ids, st.sampled_from(TunnelError), st.text(max_size=200)),
    st.builds(Incoming, words, tickets),
    st.builds(Expect, words, tickets),
    st.builds(Unlistened, words),
    st.just(ConfigurationChanged()),
    st.just(Drain()),
)


@given(st.lists(st.one_of(requests, reports), max_size=5), st.integers(1, 300))
def test_messages_come_back_in_any_pieces(messages: list[Message], size: int) -> None:
    data = b"".join(map(encode, messages))
    lines = Lines()
    found: list[Message] = []
    for at in range(0, len(data), size):
        found += [
            decode_request(line) if b'"do"' in line else decode_report(line)
            for line in lines.feed(data[at : at + size])
        ]
    assert found == messages


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_garbage_is_an_error_of_its_kind(garbage: list[bytes]) -> None:
    lines = Lines()
    for piece in garbage:
        for line in lines.feed(piece):
            for decode in (decode_request, decode_report):
                with pytest.raises(MessageError):
                    decode(line)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
names = st.sampled_from(
    ["id", "do", "event", "error", "host", "port", "ticket", "listener", "candidates", "open"]
)
values = json_values | st.sampled_from(["hello", "listen", "dial", "incoming", "expect", TICKET])


@given(st.dictionaries(names, values))
def test_json_of_any_shape_is_a_message_or_an_error(document: dict[str, object]) -> None:
    for decode in (decode_request, decode_report):
        with contextlib.suppress(MessageError):
            decode(json.dumps(document).encode())


def test_a_line_without_an_end_is_not_kept() -> None:
    lines = Lines()
    for _ in range(63):
        assert lines.feed(b"a" * 1024) == []
    with pytest.raises(MessageError, match=str(LINE_LIMIT)):
        lines.feed(b"a" * 1024)


@pytest.mark.parametrize(
    "line",
    [
        b'{"id":1,"do":"dial","host":"a b","port":1}',
        b'{"id":1,"do":"dial","host":"h","port":0}',
        b'{"id":1,"do":"dial","host":"h","port":true}',
        b'{"id":1,"do":"dial","host":"h","port":65536}',
        b'{"id":1,"do":"listen","candidates":["h:1"]}',
        b'{"id":1,"do":"listen","candidates":' + json.dumps(["127.0.0.1:1"] * 17).encode() + b"}",
        b'{"id":1,"do":"probe","port":1,"nonce":"a\\nb-----------------"}',
        b'{"id":-1,"do":"nothing"}',
    ],
)
def test_fields_are_checked(line: bytes) -> None:
    with pytest.raises(MessageError):
        decode_request(line)


def test_newer_sides_are_understood_as_far_as_possible() -> None:
    assert decode_request(b'{"id":4,"do":"sing","key":1}') == UnknownRequest(4, "sing")
    assert decode_report(b'{"event":"sunset"}') == UnknownEvent("sunset")
    assert decode_report(b'{"event":"drain","in_s":5}') == Drain()
    newer = b'{"id":1,"error":{"code":"tea-time","message":"later"}}'
    assert decode_report(newer) == Failed(1, TunnelError.UNAVAILABLE, "later")


def test_what_the_other_side_would_not_read_is_not_said() -> None:
    with pytest.raises(ValueError, match="port"):
        encode(Dial(1, "192.0.2.1", 0))


def test_candidates_are_addresses() -> None:
    assert candidate_address(candidate("2001:db8::1", 5)) == ("2001:db8::1", 5)
    assert candidate_address("192.0.2.1:65535") == ("192.0.2.1", 65535)
    for text in ("", "192.0.2.1", "example.org:1", "192.0.2.1:+1", "192.0.2.1:1_0"):
        with pytest.raises(ValueError, match="port"):
            candidate_address(text)
    assert TICKET not in repr(Ticket(1, TICKET)) + repr(Incoming("l", TICKET))
