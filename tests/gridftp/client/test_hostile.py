"""Hostile servers: no operation waits longer than its limit, keeps more than its bound, or crashes.

What a file, a name or a number may look like is tested in `wire`; this is about whole servers.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path

import pytest

from plugins.hostile import Line, Memory, Reaction, forever, hostile
from plugins.lanes import finish
from towpath.demo.authority import Domain
from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import Copy, download
from towpath.gridftp.client.lane import Lane, Piece
from towpath.gridftp.client.session import Server, Session, Timeouts
from towpath.gridftp.client.tree_listing import list_tree
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.wire.blocks import CLOSE, EOD, EOF, BlockHeader

LIMIT_S = 0.2
"""Where the end of a limit is what is waited for."""

SLOW_S = 0.6
"""Where something must come before the limit, though not long before."""

PATIENT_S = 5.0
"""Where something else must come first, on a machine busy with other work."""

OVER_S = 3.0
"""Longest wait for what ends at once, or after a few times `LIMIT_S`."""

MEMORY_BYTES = 48 << 20
"""What anything may take, of however much a server sends: a reply, four batches, their lines."""

FLOOD = 64 * 1024


def many(line: bytes) -> bytes:
    """The line often enough to be worth a write."""
    return line * (FLOOD // len(line) + 1)


def endless(line: bytes) -> Reaction:
    return forever(many(line))


def nothing(_line: Line) -> None:
    """No answer."""


def slowly(text: bytes) -> Reaction:
    return lambda line: line.slowly(text, 0.05)


def half_closed(line: Line) -> None:
    line.connection.shutdown(socket.SHUT_WR)


def unread(line: Line) -> Iterator[bytes]:
    time.sleep(OVER_S)
    yield from ()


def reset(line: Line) -> None:
    line.reset()


def closed(line: Line) -> None:
    line.connection.shutdown(socket.SHUT_RDWR)


def entries(size: int) -> bytes:
    return b" Type=file;Size=1; " + b"n" * size + b"\r\n"


@pytest.fixture(params=[pytest.param("clear text", marks=pytest.mark.long), "GSI"])
def domain(request: pytest.FixtureRequest, domain_a: Domain) -> Domain | None:
    """How the session is made: whom the server belongs to, or None for one without security."""
    return domain_a if request.param == "GSI" else None


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    """No task, and no exception that nobody saw."""
    loop = asyncio.get_running_loop()
    seen: list[dict] = []
    loop.set_exception_handler(lambda _loop, context: seen.append(context))
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()
    assert seen == []


def limit_for(kinds: set[Kind]) -> float:
    return LIMIT_S if kinds & {Kind.TIMEOUT, Kind.STALLED} else PATIENT_S


async def log_in(
    port: int, domain: Domain | None, *, login_s: float = PATIENT_S, other_s: float = PATIENT_S
) -> Session:
    return await Session.open(
        Server("localhost", port),
        credential=domain.credential if domain else None,
        trust=domain.trust if domain else None,
        timeouts=Timeouts(
            connect_s=PATIENT_S,
            login_s=login_s,
            reply_s=other_s,
            checksum_s=other_s,
            stall_s=other_s,
            close_s=LIMIT_S,
        ),
    )


async def fails(operation: Awaitable[object], within_s: float = OVER_S) -> GridFTPError:
    """The error, which must come soon, and cost little memory."""
    memory = Memory()
    began = time.monotonic()
    with pytest.raises(GridFTPError) as caught:
        await operation
    assert time.monotonic() - began < within_s
    assert memory.grown_bytes < MEMORY_BYTES
    error = caught.value
    assert error.where.startswith("localhost:")
    assert len(str(error)) < 2500
    return error


# -- before and in the login

BANNERS: dict[str, tuple[Reaction | bytes, set[Kind]]] = {
    "a byte now and then": (slowly(b"220 " + b"w" * 1000), {Kind.TIMEOUT}),
    "endless line": (forever(b"x" * FLOOD), {Kind.PROTOCOL}),
    "endless greeting": (forever(b"220-hello\r\n", many(b"220-you\r\n")), {Kind.PROTOCOL}),
    "wait": (endless(b"120 soon\r\n"), {Kind.TIMEOUT}),
    "nonsense": (endless(b"\xff\xfe nonsense \0\r\n"), {Kind.PROTOCOL}),
    "code 999": (b"999 hello\r\n", {Kind.PROTOCOL}),
    "code 99": (b"99 hello\r\n", {Kind.PROTOCOL}),
    "code 200": (b"200 hello\r\n", {Kind.PROTOCOL}),
    "code 350": (b"350 hello\r\n", {Kind.PROTOCOL}),
    "two greetings": (b"220 a\r\n220 b\r\n220 c\r\n", {Kind.PROTOCOL, Kind.LOGIN}),
    "refused": (b"500 go away\r\n", {Kind.CONNECT}),
    "full": (b"421 too many\r\n", {Kind.CONNECTION_LOST}),
    "half-close": (half_closed, {Kind.CONNECTION_LOST}),
    "reset": (reset, {Kind.CONNECTION_LOST, Kind.CONNECT}),
    "silence": (nothing, {Kind.TIMEOUT}),
}


@pytest.mark.parametrize("case", BANNERS)
async def test_greeting(domain: Domain | None, case: str) -> None:
    reaction, kinds = BANNERS[case]
    reactions = {"BANNER": reaction}
    if case == "silence":  # all the way: an answer without a greeting is out of order
        verbs = ("AUTH", "ADAT", "USER", "PASS", "TYPE", "MODE", "FEAT", "PWD")
        reactions |= dict.fromkeys(verbs, nothing)
    with hostile(reactions, domain) as peer:
        error = await fails(log_in(peer.port, domain, login_s=limit_for(kinds)))
    assert error.kind in kinds, error


LOGINS: dict[str, tuple[str, Reaction | bytes, set[Kind]]] = {
    "FEAT of a gigabyte": (
        "FEAT",
        forever(b"211-Extensions\r\n", many(b" FEATURE x\r\n")),
        {Kind.PROTOCOL},
    ),
    "FEAT of empty lines": ("FEAT", forever(b"211-\r\n", many(b"\r\n")), {Kind.PROTOCOL}),
    "FEAT of one line": ("FEAT", forever(b"211-\r\n", b" " + b"x" * FLOOD), {Kind.PROTOCOL}),
    "1xx without end": ("TYPE", endless(b"150 x\r\n"), {Kind.TIMEOUT}),
    "long 1xx without end": ("TYPE", endless(b"150-x\r\n y\r\n150 z\r\n"), {Kind.TIMEOUT}),
    "slow": ("MODE", slowly(b"200 " + b"x" * 1000 + b"\r\n"), {Kind.TIMEOUT}),
    "silence": ("PWD", nothing, {Kind.TIMEOUT}),
    "PASS refused": ("PASS", b"530 no.\r\n", {Kind.LOGIN}),
    "unread": ("USER", unread, {Kind.TIMEOUT}),
    "half-close": ("USER", half_closed, {Kind.CONNECTION_LOST}),
    "reset": ("PASS", reset, {Kind.CONNECTION_LOST}),
    "two answers": ("USER", b"331 x\r\n331 y\r\n331 z\r\n", {Kind.PROTOCOL, Kind.LOGIN}),
}


@pytest.mark.parametrize("case", LOGINS)
async def test_login(domain: Domain | None, case: str) -> None:
    verb, reaction, kinds = LOGINS[case]
    with hostile({verb: reaction}, domain) as peer:
        error = await fails(log_in(peer.port, domain, login_s=limit_for(kinds)))
    assert error.kind in kinds, error


# A TLS record that announces 16 KiB, begun; then more of it, without end.
RECORD = b"\x16\x03\x03\x40\x00"
TOKENS: dict[str, tuple[Reaction | bytes, set[Kind]]] = {
    "empty": (b"335 ADAT=\r\n", {Kind.PROTOCOL}),
    "a part of a record": (b"335 ADAT=FgMDQAA=\r\n", {Kind.AUTHENTICATION, Kind.TIMEOUT}),
    "no base64": (b"335 ADAT=%%%%\r\n", {Kind.PROTOCOL}),
    "bad base64": (b"335 ADAT=A\r\n", {Kind.PROTOCOL}),
    "huge": (b"335 ADAT=" + b"A" * 900_000 + b"\r\n", {Kind.AUTHENTICATION}),
    "endless": (forever(b"335 ADAT=", b"A" * FLOOD), {Kind.PROTOCOL}),
    "endless 335": (forever(many(b"335 ADAT=\r\n")), {Kind.PROTOCOL}),
    "done at once": (b"235 ADAT=\r\n", {Kind.PROTOCOL}),
    "code 200": (b"200 fine\r\n", {Kind.PROTOCOL}),
    "refused in a gigabyte": (forever(b"535-no\r\n", many(b"535-no\r\n")), {Kind.PROTOCOL}),
    "no words": (b"335\r\n", {Kind.PROTOCOL}),
}


@pytest.mark.parametrize("case", TOKENS)
async def test_tokens(domain_a: Domain, case: str) -> None:
    reaction, kinds = TOKENS[case]
    with hostile({"ADAT": reaction}, domain_a) as peer:
        error = await fails(log_in(peer.port, domain_a, login_s=limit_for(kinds)))
        assert not [command for command in peer.commands if command.startswith("USER")]
    assert error.kind in kinds, error


# -- after it

COMMANDS: dict[str, tuple[Reaction | bytes, set[Kind]]] = {
    "slow": (slowly(b"250-" + b"x" * 1000), {Kind.TIMEOUT}),
    "silence": (nothing, {Kind.TIMEOUT}),
    "endless line": (forever(b"250 ", b"x" * FLOOD), {Kind.PROTOCOL}),
    "endless reply": (forever(b"250-\r\n", many(b" x\r\n")), {Kind.PROTOCOL}),
    "endless reply of other codes": (forever(b"250-\r\n", many(b"226 x\r\n")), {Kind.PROTOCOL}),
    "1xx without end": (endless(b"150 x\r\n"), {Kind.TIMEOUT}),
    "nonsense": (endless(b"\x80\x81\r\n"), {Kind.PROTOCOL}),
    "no facts": (b"250 End.\r\n", {Kind.PROTOCOL}),
    "wrong facts": (b"250-\r\n Size=-1; x\r\n250 End.\r\n", {Kind.PROTOCOL}),
    "code 226": (b"226 done\r\n", {Kind.PROTOCOL}),
    "code 350": (b"350 more\r\n", {Kind.PROTOCOL}),
    "code 999": (b"999 what\r\n", {Kind.TIMEOUT, Kind.PROTOCOL}),
    "421": (b"421 Idle\r\n", {Kind.CONNECTION_LOST}),
    "half-close": (half_closed, {Kind.CONNECTION_LOST}),
    "close": (closed, {Kind.CONNECTION_LOST}),
    "reset": (reset, {Kind.CONNECTION_LOST}),
    "half a reply": (b"250-half\r\n", {Kind.TIMEOUT}),
    "NULs": (forever(b"\0" * FLOOD), {Kind.PROTOCOL}),
}


@pytest.mark.parametrize("case", COMMANDS)
async def test_one_command(domain: Domain | None, case: str) -> None:
    reaction, kinds = COMMANDS[case]
    with hostile({"MLST": reaction}, domain) as peer:
        session = await log_in(peer.port, domain, other_s=limit_for(kinds))
        error = await fails(session.stat("/x"))
        assert error.kind in kinds, error
        await session.close()


@pytest.mark.parametrize("said", [b"226 done\r\n", b"150 begin\r\n", b"200-a\r\n200 b\r\n"])
async def test_answers_nobody_asked_for(domain: Domain | None, said: bytes) -> None:
    with hostile({"NOOP": b"200 OK\r\n" + said}, domain) as peer:
        session = await log_in(peer.port, domain)
        (answered,) = session.submit(["NOOP"])
        async with asyncio.timeout(OVER_S):
            await session.channel.lost
        assert answered.result().code == 200
        assert session.channel.error is not None
        assert session.channel.error.kind is Kind.PROTOCOL
        assert (await fails(session.stat("/x"))).kind is Kind.PROTOCOL


@pytest.mark.parametrize("wrapped", [b"632 !", b"632 AAAAAAAA\r\n", b"632 \r\n" * 3, b"226 hi\r\n"])
async def test_what_is_not_wrapped_as_it_should_be(domain_a: Domain, wrapped: bytes) -> None:
    def react(line: Line) -> None:
        line.connection.sendall(wrapped + b"\r\n" * (b"\n" not in wrapped))

    with hostile({"MLST": react}, domain_a) as peer:
        session = await log_in(peer.port, domain_a, other_s=LIMIT_S)
        error = await fails(session.stat("/x"))
        assert error.kind in (Kind.PROTOCOL, Kind.TIMEOUT)
        assert error.scope.value == "session"
        await session.close()


async def test_a_server_that_reads_nothing(domain: Domain | None) -> None:
    with hostile({"MLST": unread}, domain) as peer:
        session = await log_in(peer.port, domain, other_s=LIMIT_S)
        many_commands = session.submit(["MLST /" + "x" * 4000] * 2000)
        error = await fails(session.answers(many_commands))
        assert error.kind is Kind.TIMEOUT
        began = time.monotonic()
        await session.close()
        assert time.monotonic() - began < OVER_S


async def test_a_server_that_never_hangs_up(domain: Domain | None) -> None:
    def linger(line: Line) -> None:
        time.sleep(OVER_S)

    with hostile({"NOOP": linger}, domain) as peer:
        session = await log_in(peer.port, domain)
        session.submit(["NOOP"])
        await asyncio.sleep(0.1)
        began = time.monotonic()
        assert await session.close() is False
        assert time.monotonic() - began < OVER_S


# -- listings

LISTINGS: dict[str, tuple[Reaction | bytes, set[Kind]]] = {
    "silence": (nothing, {Kind.TIMEOUT}),
    "parts without entries": (endless(b"150-x\r\n150 End.\r\n"), {Kind.TIMEOUT}),
    "1xx without end": (endless(b"150 x\r\n"), {Kind.TIMEOUT}),
    "a long line": (forever(b"250-\r\n", entries(70_000)), {Kind.PROTOCOL}),
    "endless line": (forever(b"250-\r\n", b" Type=file; " + b"n" * FLOOD), {Kind.PROTOCOL}),
    "no facts": (forever(b"250-\r\n", many(b" nothing\r\n")), {Kind.INVALID_NAME}),
    "empty lines": (forever(b"250-\r\n", many(b" \r\n")), {Kind.INVALID_NAME}),
    "traversal": (b"250-\r\n Type=file; ../x\r\n250 End\r\n", {Kind.PROTOCOL}),
    "refused without end": (forever(b"550-\r\n", many(b"550-no\r\n")), {Kind.PROTOCOL}),
    "half-close": (half_closed, {Kind.CONNECTION_LOST}),
    "half a listing": (b"250-\r\n" + entries(3), {Kind.TIMEOUT}),
}


async def listed(session: Session) -> int:
    return sum([len(batch) async for batch in session.list("/")])


@pytest.mark.parametrize("case", LISTINGS)
async def test_listing(domain: Domain | None, case: str) -> None:
    reaction, kinds = LISTINGS[case]
    with hostile({"MLSC": reaction}, domain) as peer:
        session = await log_in(peer.port, domain, other_s=limit_for(kinds))
        error = await fails(listed(session))
        assert error.kind in kinds, error
        await session.close()


@pytest.mark.parametrize("size", [10, 60_000])
async def test_a_listing_that_never_ends_waits_for_its_reader(
    domain: Domain | None, size: int
) -> None:
    memory = Memory()
    with hostile({"MLSC": forever(b"250-\r\n", many(entries(size)))}, domain) as peer:
        session = await log_in(peer.port, domain)
        batches = session.list("/")
        for _ in range(3):
            assert 0 < len(await anext(batches)) <= 1000
        await asyncio.sleep(LIMIT_S)
        assert memory.grown_bytes < MEMORY_BYTES
        await batches.aclose()
        assert session.closed
        await session.close()


async def test_a_slow_listing_is_no_dead_one(domain: Domain | None) -> None:
    """An entry now and then, slower than a whole batch may take."""

    def react(line: Line) -> None:
        line.say(b"250-\r\n")
        for number in range(4):
            time.sleep(SLOW_S / 2)
            line.say(b" Type=file; f%d\r\n" % number)
        line.say(b"250 End.\r\n")

    with hostile({"MLSC": react}, domain) as peer:
        session = await log_in(peer.port, domain, other_s=SLOW_S)
        assert await listed(session) == 4
        await session.close()


# -- data

SIZE = 100_000


def sending(*pieces: bytes, endlessly: bool = False, streams: int = 1) -> Reaction:
    """Connect to the client and send these bytes."""

    def react(line: Line) -> Iterator[bytes]:
        assert line.data_address is not None
        yield b"150 Beginning transfer.\r\n"
        links: list[socket.socket] = []
        try:
            for _ in range(streams):
                links.append(socket.create_connection(line.data_address))
                for piece in pieces:
                    links[-1].sendall(piece)
            while endlessly:
                links[0].sendall(pieces[-1])
        except OSError:
            pass  # the client has had enough
        yield b"226 Transfer Complete.\r\n"
        time.sleep(4 * LIMIT_S)
        for link in links:
            link.close()

    return react


def block(descriptor: int, length: int, offset: int, data: bytes = b"") -> bytes:
    return BlockHeader(descriptor, length, offset).encode() + data


WHOLE = block(0, SIZE, 0, bytes(SIZE))
DATA: dict[str, tuple[Reaction | bytes, set[Kind]]] = {
    "nothing, and 226": (b"150 x\r\n226 done\r\n", {Kind.STALLED}),
    "no connection": (b"150 x\r\n", {Kind.STALLED}),
    "1xx without end": (endless(b"112 x\r\n"), {Kind.STALLED}),
    "a header of 2^63 bytes": (sending(block(0, 1 << 63, 0, bytes(SIZE))), {Kind.PROTOCOL}),
    "data without end": (
        sending(block(0, 1 << 40, 0), bytes(FLOOD), endlessly=True),
        {Kind.CHECKSUM_MISMATCH},
    ),
    "far behind the end": (sending(block(0, 5, 1 << 60, b"hello")), {Kind.CHECKSUM_MISMATCH}),
    "too little": (
        sending(block(0, 5, 0, b"hello"), block(EOD | EOF, 0, 1)),
        {Kind.CHECKSUM_MISMATCH},
    ),
    "the same twice": (sending(WHOLE, WHOLE, block(EOD | EOF, 0, 1)), {Kind.CHECKSUM_MISMATCH}),
    "the end twice": (sending(WHOLE, block(EOF, 0, 2), block(EOF, 0, 2)), {Kind.PROTOCOL}),
    "an end of no streams": (sending(WHOLE, block(EOF | EOD, 0, 0)), {Kind.PROTOCOL}),
    "an end of many streams": (sending(WHOLE, block(EOF | EOD, 0, 2**63)), {Kind.PROTOCOL}),
    "an end with data": (sending(block(EOF | EOD, 7, 1)), {Kind.PROTOCOL}),
    "closed before the end": (sending(WHOLE, block(CLOSE, 0, 0)), {Kind.DATA_BROKEN}),
    "half a header": (sending(b"\0" * 5), {Kind.STALLED}),
    "headers without end": (sending(many(block(0, 0, 0)), endlessly=True), {Kind.PROTOCOL}),
    "more streams than asked": (sending(WHOLE, streams=3), {Kind.PROTOCOL}),
}


@pytest.mark.parametrize("case", DATA)
async def test_download(tmp_path: Path, case: str) -> None:
    """An error and no file, no more bytes on our disk than were asked for."""
    reaction, kinds = DATA[case]
    with hostile({"RETR": reaction}, None) as peer:
        session = await log_in(peer.port, None)
        memory = Memory()
        began = time.monotonic()
        options = DataOptions(stall_s=limit_for(kinds))
        (outcome,) = await download(session, [Copy(tmp_path / "f", "/f", SIZE)], options)
        assert time.monotonic() - began < OVER_S
        assert memory.grown_bytes < MEMORY_BYTES
        assert outcome.status == "failed"
        assert outcome.error is not None
        assert outcome.error.kind in kinds, outcome.error
        assert not any(tmp_path.iterdir())
        await session.close()


# -- between two servers

PASSIVE: dict[str, tuple[Reaction | bytes, set[Kind]]] = {
    "no address": (b"227 Entering Passive Mode\r\n", {Kind.PROTOCOL}),
    "port 0": (b"227 (127,0,0,1,0,0)\r\n", {Kind.PROTOCOL}),
    "a number of 300": (b"227 (127,0,0,300,1,1)\r\n", {Kind.PROTOCOL}),
    "another host": (b"227 (127,0,0,2,1,1)\r\n", {Kind.ADDRESS_REFUSED}),
    "no stripes": (b"229-Entering\r\n229 End\r\n", {Kind.PROTOCOL}),
    "stripes without end": (
        forever(b"229-Entering\r\n", many(b" 127,0,0,1,1,1\r\n")),
        {Kind.PROTOCOL},
    ),
    "silence": (nothing, {Kind.TIMEOUT}),
    "1xx without end": (endless(b"127 (127,0,0,1,1,1)\r\n"), {Kind.TIMEOUT}),
    "reset": (reset, {Kind.CONNECTION_LOST}),
}


@pytest.mark.parametrize("case", PASSIVE)
async def test_a_lane_is_not_opened(case: str) -> None:
    reaction, kinds = PASSIVE[case]
    with hostile({"PASV": reaction}, None) as there, hostile({}, None) as here:
        source = await log_in(here.port, None)
        destination = await log_in(there.port, None, other_s=limit_for(kinds))
        error = await fails(Lane.open(source, destination, data_credential=None))
        assert error.kind in kinds, error
        await source.close()
        await destination.close()
        assert not any(command.startswith("PORT") for command in here.commands)


def markers(*told: bytes) -> Reaction:
    """Performance markers with these numbers of bytes, then the same again and again."""

    def marker(count: bytes) -> bytes:
        return b"112-Perf\r\n Stripe Bytes Transferred: %s\r\n112 End.\r\n" % count

    return forever(b"150 x\r\n", *map(marker, told), many(marker(told[-1])))


DONE = b"150 x\r\n226 done\r\n"
PASV = b"227 Entering Passive Mode (127,0,0,1,9,9)\r\n"
TRANSFERS: dict[str, tuple[Reaction | bytes, set[Kind]]] = {
    "silence": (nothing, {Kind.STALLED}),
    "1xx without end": (endless(b"150 x\r\n"), {Kind.STALLED}),
    "markers of no progress": (markers(b"5"), {Kind.STALLED}),
    "markers that go back": (markers(b"9", b"5", b"1"), {Kind.STALLED}),
    "markers that are none": (markers(b"-1", b"x", b"9" * 5000), {Kind.STALLED}),
    "slow": (slowly(b"150 " + b"x" * 1000), {Kind.STALLED}),
    "code 200": (b"200 fine\r\n", {Kind.PROTOCOL}),
    "code 350": (b"350 go on\r\n", {Kind.PROTOCOL}),
    "code 999": (b"999 what\r\n", {Kind.STALLED}),
    "too many answers": (DONE * 9, {Kind.PROTOCOL}),
    "endless line": (forever(b"150 ", b"x" * FLOOD), {Kind.PROTOCOL}),
    "endless reply": (forever(b"500-\r\n", many(b" x\r\n")), {Kind.PROTOCOL}),
    "half-close": (half_closed, {Kind.CONNECTION_LOST}),
    "reset": (reset, {Kind.CONNECTION_LOST}),
}


@pytest.mark.parametrize("end", ["source", "destination"])
@pytest.mark.parametrize("case", TRANSFERS)
async def test_a_lane_gives_up(case: str, end: str) -> None:
    """One piece fails, or none when both ends said so; what is behind it does not count."""
    reaction, kinds = TRANSFERS[case]
    told: dict[str, Reaction | bytes] = {"RETR": DONE, "STOR": DONE, "PASV": PASV}
    liar = told | {"RETR" if end == "source" else "STOR": reaction}
    here_says, there_says = (liar, told) if end == "source" else (told, liar)
    with hostile(here_says, None) as here, hostile(there_says, None) as there:
        limit_s = limit_for(kinds)
        source = await log_in(here.port, None, other_s=limit_s)
        destination = await log_in(there.port, None, other_s=limit_s)
        memory = Memory()
        began = time.monotonic()
        lane = await Lane.open(source, destination, data_credential=None, markers=True)
        outcomes = await finish(lane, [Piece("/a", "/b", 1), Piece("/c", "/d", 1)])
        assert time.monotonic() - began < OVER_S
        await lane.close()
        assert memory.grown_bytes < MEMORY_BYTES
    if case == "too many answers":
        # what comes after the last answer is seen; before it nobody can tell
        assert {outcome.status for outcome in outcomes} <= {"done", "failed", "void"}
        return
    assert [outcome.status for outcome in outcomes] == ["failed", "void"]
    error = outcomes[0].error
    assert error is not None
    assert error.kind in kinds, error


async def test_replies_that_say_nothing_keep_no_lane_without_markers_alive() -> None:
    there_says = {"STOR": endless(b"150 x\r\n"), "PASV": PASV}
    with hostile({"RETR": DONE}, None) as here, hostile(there_says, None) as there:
        source = await log_in(here.port, None, other_s=LIMIT_S)
        destination = await log_in(there.port, None, other_s=LIMIT_S)
        lane = await Lane.open(source, destination, data_credential=None)
        async with asyncio.timeout(OVER_S):
            (outcome,) = await finish(lane, [Piece("/a", "/b", 1)])
        assert outcome.error is not None
        assert outcome.error.kind is Kind.STALLED
        await lane.close()


# -- trees


@pytest.mark.parametrize("case", LISTINGS)
async def test_a_tree(case: str) -> None:
    """Its root cannot be listed: that is told as an error."""
    reaction, kinds = LISTINGS[case]
    with hostile({"MLSC": reaction}, None) as peer:

        async def open_session() -> Session:
            return await log_in(peer.port, None, other_s=limit_for(kinds))

        async def read() -> None:
            async for _ in list_tree(open_session, "/", sessions=1):
                pass

        # it is tried three times, and what is of no use is read for some time
        error = await fails(read(), within_s=4 * OVER_S)
        assert error.kind in kinds | {Kind.CONNECTION_LOST}, error
