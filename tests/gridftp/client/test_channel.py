"""The control channel by itself: however its bytes are cut, and whatever they are."""

import asyncio
import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.acceptor import Acceptor
from towpath.demo.authority import Domain
from towpath.gridftp.client.channel import (
    GATHER_FROM_COMMANDS,
    GATHER_S,
    ControlChannel,
    Receiver,
)
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.gsi import Initiator
from towpath.gridftp.wire.replies import Reply

words = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), max_size=20).map(str.encode)
codes = st.integers(200, 599).filter(lambda code: code != 421)


class _Transport:
    """A transport that only remembers."""

    def __init__(self) -> None:
        self.written = b""
        self.aborted = False
        self.paused = False

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def get_extra_info(self, _name: str) -> object:
        return None

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class _Recorder(Receiver):
    """All that it is told."""

    def __init__(self) -> None:
        self.told: list[Reply | GridFTPError] = []

    def intermediate(self, reply: Reply) -> None:
        self.told.append(reply)

    def reply(self, reply: Reply) -> None:
        self.told.append(reply)

    def lost(self, error: GridFTPError) -> None:
        self.told.append(error)


@st.composite
def replies(draw: st.DrawFn, numbers: st.SearchStrategy[int]) -> tuple[list[bytes], Reply]:
    """A reply, as its lines on the wire and as it should be read."""
    code = draw(numbers)
    head = str(code).encode()
    first, last = draw(words), draw(words)
    if draw(st.booleans()):
        return [head + b" " + first], Reply(code, (first,))
    inner = draw(st.lists(words, max_size=3))
    mark = draw(st.sampled_from([b" ", head + b"-"]))
    lines = [head + b"-" + first, *(mark + line for line in inner), head + b" " + last]
    return lines, Reply(code, (first, *inner, last))


answers = st.tuples(st.lists(replies(st.integers(100, 199)), max_size=3), replies(codes)).map(
    lambda pair: [*pair[0], pair[1]]
)
"""What comes for one command."""


def channel_with(count: int, security: Initiator | None = None) -> tuple[ControlChannel, _Recorder]:
    """A channel on which so many commands were sent."""
    channel = ControlChannel("double:1", clear_text=security is None)
    channel.connection_made(cast("asyncio.Transport", _Transport()))
    if security is not None:
        channel.protect_commands(security)
        channel.protect_replies()
    recorder = _Recorder()
    channel.send([b"NOOP"] * count, recorder)
    return channel, recorder


def feed(channel: ControlChannel, stream: bytes, cuts: Sequence[int]) -> None:
    """In portions that end at the cuts."""
    ends = sorted({cut % (len(stream) + 1) for cut in cuts})
    for first, after in zip([0, *ends], [*ends, len(stream)], strict=True):
        channel.data_received(stream[first:after])


@given(st.lists(answers, max_size=5), st.lists(st.integers(0, 10_000), max_size=20))
def test_replies_in_any_portions(said: list, cuts: list[int]) -> None:
    stream = b"".join(line + b"\r\n" for answer in said for lines, _ in answer for line in lines)
    expected = [reply for answer in said for _, reply in answer]

    async def run() -> None:
        for portions in (cuts, range(len(stream))):
            channel, recorder = channel_with(len(said))
            feed(channel, stream, list(portions))
            assert recorder.told == expected
            assert channel.error is None

    asyncio.run(run())


def logged_in(domain: Domain) -> tuple[Initiator, Acceptor]:
    """Both sides of a login that is done."""
    acceptor = Acceptor(domain.trust, domain.host)
    initiator = Initiator(
        domain.credential, domain.trust, "localhost", None, now=lambda: datetime.now(UTC)
    )
    waiting = initiator.step(None)
    while waiting:
        answer = acceptor.answer(waiting.pop(0))
        if answer:
            waiting += initiator.step(answer)
    assert initiator.complete
    assert acceptor.read() == b"0"
    return initiator, acceptor


@pytest.fixture(scope="module")
def domain(domain_a: Domain) -> Domain:
    """Whose servers these are."""
    return domain_a


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    said=st.lists(answers, max_size=4),
    cuts=st.lists(st.integers(0, 10_000), max_size=20),
    each_line=st.booleans(),
)
def test_wrapped_replies_in_any_portions(
    domain: Domain, said: list, cuts: list[int], each_line: bool
) -> None:
    """Wrapped line by line, as GCT does, or a whole reply in one."""
    expected = [reply for answer in said for _, reply in answer]
    initiator, acceptor = logged_in(domain)

    def wrapped(text: bytes, mark: bytes) -> bytes:
        return b"632" + mark + base64.b64encode(acceptor.write(text)) + b"\r\n"

    stream = b""
    for lines, _ in (reply for answer in said for reply in answer):
        if each_line:
            marks = [b"-"] * (len(lines) - 1) + [b" "]
            stream += b"".join(map(wrapped, [line + b"\r\n" for line in lines], marks))
        else:
            stream += wrapped(b"".join(line + b"\r\n" for line in lines), b" ")

    async def run() -> None:
        channel, recorder = channel_with(len(said), initiator)
        feed(channel, stream, cuts)
        assert recorder.told == expected
        assert channel.error is None

    asyncio.run(run())


async def test_a_peer_that_hung_up_at_once_has_no_address() -> None:
    channel, _ = channel_with(1)
    with pytest.raises(GridFTPError) as caught:
        channel.peer_ip()
    assert caught.value.kind is Kind.CONNECTION_LOST


async def test_while_many_replies_are_to_come_they_gather() -> None:
    channel, recorder = channel_with(GATHER_FROM_COMMANDS + 1)
    transport = cast("_Transport", channel._transport)
    channel.data_received(b"200 one\r\n")
    assert not transport.paused, "nobody asked for that"
    channel, recorder = channel_with(GATHER_FROM_COMMANDS + 1)
    channel.gathers = True
    transport = cast("_Transport", channel._transport)
    channel.data_received(b"200 one\r\n")
    assert transport.paused
    await asyncio.sleep(2 * GATHER_S)
    assert not transport.paused
    channel.data_received(b"200 two\r\n")
    assert not transport.paused, "the last ones are read as they come"
    assert len(recorder.told) == 2


async def test_a_channel_that_ends_while_replies_gather() -> None:
    channel, recorder = channel_with(GATHER_FROM_COMMANDS + 1)
    channel.gathers = True
    channel.data_received(b"200 one\r\n")
    channel.fail(GridFTPError(Kind.CONNECTION_LOST, "enough", "here"))
    await asyncio.sleep(2 * GATHER_S)
    assert cast("_Transport", channel._transport).paused, "nothing is read any more"
    assert len(recorder.told) == GATHER_FROM_COMMANDS + 1


garbage = st.lists(
    st.binary(max_size=40)
    | st.sampled_from(
        [b"200 ok\r\n", b"150 x\r\n", b"250-\r\n", b"250 x\r\n", b"421 no\r\n", b"\r\n", b" x\r\n"]
    )
    | st.sampled_from([b"632 ", b"632-AAAA\r\n", b"633 !\r\n", b"631 \r\n", b"632 FwMDAAE=\r\n"]),
    max_size=12,
)


def assert_sound(channel: ControlChannel, recorder: _Recorder, count: int) -> None:
    """Nothing was raised; every command is answered, still waits, or was told of the end."""
    finals = [
        one for one in recorder.told if isinstance(one, GridFTPError) or not one.is_intermediate
    ]
    if channel.error is None:
        assert len(finals) + channel.unanswered == count
    else:
        assert channel.error.where == "double:1"
        assert len(finals) == count
        assert cast("_Transport", channel._transport).aborted


@given(garbage)
def test_garbage(portions: list[bytes]) -> None:
    async def run() -> None:
        channel, recorder = channel_with(5)
        for portion in portions:
            channel.data_received(portion)
        assert_sound(channel, recorder, 5)

    asyncio.run(run())


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(portions=garbage)
def test_garbage_after_the_login(domain: Domain, portions: list[bytes]) -> None:
    initiator, _ = logged_in(domain)

    async def run() -> None:
        channel, recorder = channel_with(5, initiator)
        for portion in portions:
            channel.data_received(portion)
        assert_sound(channel, recorder, 5)

    asyncio.run(run())
