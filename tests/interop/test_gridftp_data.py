"""Data channels between real servers: every protection, address form, restart and failure."""

import asyncio
import hashlib
import random
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from plugins.lanes import finish
from plugins.pairs import Pair, Told, data_commands, fetch, tell
from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.gridftp.client.lane import Piece
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.errors import GridFTPError, Kind, cause_of
from towpath.gridftp.refusals import classify
from towpath.gridftp.security.dcsc import DataCredential
from towpath.gridftp.wire import commands
from towpath.gridftp.wire.addresses import HostPort, parse_passive
from towpath.gridftp.wire.blocks import EOD, EOF, BlockHeader
from towpath.gridftp.wire.markers import parse_performance, parse_restart
from towpath.gridftp.wire.ranges import ByteRange, RangeSet

A = random.Random(1).randbytes(100_000)
B = random.Random(2).randbytes(70_000)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """`a` and `b` with bytes, `empty`, and a directory `d`."""
    (tmp_path / "a").write_bytes(A)
    (tmp_path / "b").write_bytes(B)
    (tmp_path / "empty").touch()
    (tmp_path / "d").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def credentials() -> dict[str, DataCredential]:
    """One of each type of key."""
    now = datetime.now(UTC)
    return {kind: DataCredential.create(now, key_type=kind) for kind in ("ec", "rsa")}


def kind_of(session: Session, told: Told) -> Kind:
    """What the final reply means."""
    assert told.final is not None
    return classify(told.final, where=str(session.server)).kind


async def transfer(pair: Pair, files: Path) -> None:
    """One file gets there, whole."""
    here, there = await pair.move(f"RETR {files}/a", f"STOR {files}/out")
    assert (here.code, there.code) == (226, 226), (here, there)
    assert (files / "out").read_bytes() == A


# -- who connects, and how addresses are told


@pytest.mark.parametrize(
    ("passive", "active"), [("PASV", "PORT"), ("PASV", "SPOR"), ("SPAS", "PORT"), ("SPAS", "SPOR")]
)
async def test_addresses(pair: Pair, files: Path, passive: str, active: str) -> None:
    await pair.set_both("DCAU N")
    await pair.connect(passive, active)
    await transfer(pair, files)


@pytest.mark.parametrize("passive", ["EPSV", "EPSV 1"])
async def test_extended_addresses(pair: Pair, files: Path, passive: str) -> None:
    await pair.set_both("DCAU N")
    reply = await pair.destination.command(passive)
    port = reply.text.split("|")[3]
    await pair.source.command(f"EPRT |1|127.0.0.1|{port}|")
    await transfer(pair, files)


async def test_in_mode_e_the_sender_connects(pair: Pair, files: Path) -> None:
    await pair.set_both("DCAU N")
    (address,) = parse_passive(await pair.source.command("PASV"))
    await pair.destination.command(commands.port(address))
    here, there = await pair.move(f"RETR {files}/a", f"STOR {files}/out")
    assert kind_of(pair.source, here) is Kind.CHANNEL_GONE
    assert kind_of(pair.destination, there) is Kind.CHANNEL_GONE


@pytest.mark.parametrize("listener", ["source", "destination"])
async def test_mode_s_either_end_listens_and_nothing_is_kept(
    pair: Pair, files: Path, listener: str
) -> None:
    """Our own ends of data channels speak MODE E only; between servers MODE S works."""
    await pair.set_both("DCAU N", "MODE S")
    listening, other = pair.source, pair.destination
    if listener == "destination":
        listening, other = other, listening
    (address,) = parse_passive(await listening.command("PASV"))
    await other.command(commands.port(address))
    await transfer(pair, files)
    here, there = await pair.move(f"RETR {files}/a", f"STOR {files}/out")
    assert kind_of(pair.source, here) is Kind.CHANNEL_GONE
    assert kind_of(pair.destination, there) is Kind.CHANNEL_GONE


@pytest.mark.parametrize("streams", [1, 4])
async def test_blocks_a_server_sends(open_a, files: Path, streams: int) -> None:
    """n connections to one address; each ends with one EOD, one of them with the EOF and n."""
    data, ends, told = await fetch(await open_a(), f"RETR {files}/a", streams)
    assert told.codes == [150, 226]
    assert data == A
    assert sorted(ends) == [BlockHeader(EOD, 0, 0)] * (streams - 1) + [
        BlockHeader(EOD | EOF, 0, streams)
    ]


# -- authentication and protection


@pytest.mark.parametrize("key", ["ec", "rsa"])
@pytest.mark.parametrize("protection", ["C", "S", "P"])
async def test_self_signed_credential(
    pair: Pair, files: Path, credentials, protection: str, key: str
) -> None:
    """DCAU A between servers that trust different authorities."""
    await pair.set_both(*data_commands(credentials[key], protection))
    await pair.set_both(commands.parallelism(4))
    await pair.connect()
    await transfer(pair, files)


@pytest.mark.parametrize("protection", ["C", "P"])
async def test_the_peer_must_be_the_subject(
    pair: Pair, files: Path, credentials, protection: str
) -> None:
    name = credentials["ec"].credential.subject
    settings = data_commands(credentials["ec"], protection)
    settings[1] = f"DCAU S {name}"
    await pair.set_both(*settings)
    await pair.connect()
    await transfer(pair, files)
    await pair.set_both(f"DCAU S {name}x")
    await pair.connect()
    here, there = await pair.move(f"RETR {files}/a", f"STOR {files}/out")
    errors = [
        classify(told.final, where="")
        for told in (here, there)
        if told.final is not None and told.code != 226
    ]
    cause = cause_of(*errors) if len(errors) == 2 else errors[0]
    assert cause is not None
    assert (cause.kind, cause.permanent) == (Kind.DATA_AUTH, True)


async def test_without_authentication(pair: Pair, files: Path) -> None:
    await pair.set_both("DCAU N", "PBSZ 1048576", "PROT P")  # PROT is then ignored
    await pair.connect()
    await transfer(pair, files)


async def test_two_authorities_do_not_trust_each_other_without_dcsc(
    pair: Pair, files: Path
) -> None:
    await pair.connect()
    here, there = await pair.move(f"RETR {files}/a", f"STOR {files}/out")
    for session, told in ((pair.source, here), (pair.destination, there)):
        assert kind_of(session, told) is Kind.DATA_AUTH


async def test_a_users_credential_at_one_end(
    open_a, open_b, files: Path, domain_a: Domain, domain_b: Domain
) -> None:
    """The other recipe: the source is given the destination's user, with the authority."""
    pair = Pair(await open_a(), await open_b(delegate=True))
    (authority,) = domain_b.trust.authorities
    pem = domain_b.credential.to_pem() + ssl.DER_cert_to_PEM_cert(authority).encode()
    await pair.source.command(f"DCSC P {b64encode(pem).decode()}")
    await pair.set_both("DCAU A", "PBSZ 1048576", "PROT C")
    await pair.connect()
    await transfer(pair, files)


async def test_back_to_the_login_credential(pair: Pair, files: Path, credentials) -> None:
    await pair.set_both(*data_commands(credentials["ec"]))
    await pair.destination.command("DCSC D")
    await pair.destination.command("DCAU A")
    await pair.connect()
    _, there = await pair.move(f"RETR {files}/a", f"STOR {files}/out")
    assert kind_of(pair.destination, there) is Kind.DATA_AUTH


@pytest.mark.parametrize("settings", [["DCAU N"], None], ids=["DCAU N", "PROT C"])
async def test_a_server_that_wants_encryption(
    domain_a: Domain, tmp_path: Path, settings: list[str] | None
) -> None:
    with GctServer.start(domain_a, tmp_path / "server", args=("-encrypt-data",)) as server:
        session = await Session.open(
            Server("localhost", server.port), credential=domain_a.credential, trust=domain_a.trust
        )
        replies = await session.answers(session.submit(settings or data_commands()))
        errors = [classify(reply, where="") for reply in replies if not reply.ok]
        errors += [classify((await tell(session, "PASV")).final, where="")]
        assert Kind.ENCRYPTION_REQUIRED in {error.kind for error in errors}, errors
        await session.close()


# -- the kept data channel

KEEPS = [
    "TYPE I",
    "MODE E",
    "OPTS RETR Parallelism=1,1,1;",
    "PBSZ 1048576",
    "SBUF 100000",
    "ALLO 5",
    "REST 0-0",
    "NOOP",
    "CKSM MD5 0 -1 {}/a",
    "MLST {}/a",
    "DCSC D",
]
DESTROYS = [
    "PASV",
    "SPAS",
    "EPSV",
    "PORT 127,0,0,1,0,9",
    "SPOR 127,0,0,1,0,9",
    "EPRT |1|127.0.0.1|9|",
    "DCAU N",
    "DCAU A",
    "PROT C",
]


@pytest.mark.parametrize("line", KEEPS, ids=[line.format("") for line in KEEPS])
async def test_keeps_the_data_channel(pair: Pair, files: Path, line: str) -> None:
    await pair.set_both("DCAU N", "TREV PERF 0", "TREV RESTART 0")
    await pair.connect()
    await transfer(pair, files)
    await pair.set_both(line.format(files))
    here, there = await pair.move(f"RETR {files}/b", f"STOR {files}/out")
    assert (here.codes, there.codes) == ([125, 226], [125, 226])
    assert here.on_the_way[0].text == "Beginning transfer; reusing existing data connection."
    assert (files / "out").read_bytes() == B


@pytest.mark.parametrize("end", ["source", "destination"])
@pytest.mark.parametrize("line", DESTROYS)
async def test_destroys_the_data_channel(pair: Pair, files: Path, line: str, end: str) -> None:
    await pair.set_both("DCAU N")
    await pair.connect()
    await transfer(pair, files)
    session = getattr(pair, end)
    await session.command(line)
    command = f"RETR {files}/b" if end == "source" else f"STOR {files}/later"
    waits = end == "destination" and line in ("PASV", "SPAS", "EPSV")
    told = await tell(session, command, 0.3 if waits else 5)
    assert 125 not in told.codes
    if waits:  # on a new port, for a sender
        assert told.final is None
        await session.give_up()
    else:
        assert kind_of(session, told) in (Kind.CHANNEL_GONE, Kind.DATA_REFUSED)


async def test_the_other_direction_needs_new_addresses(pair: Pair, files: Path) -> None:
    await pair.set_both("DCAU N")
    await pair.connect()
    await transfer(pair, files)
    there, here = await Pair(pair.destination, pair.source).move(
        f"RETR {files}/b", f"STOR {files}/later", 5
    )
    assert 226 not in (here.code, there.code)


# -- markers and restart


async def test_markers(pair: Pair, tmp_path: Path) -> None:
    """From the receiver every second: progress, and the ranges received since the last marker."""
    size = 128 << 20
    with (tmp_path / "from").open("wb") as file:
        file.truncate(size)
    await pair.set_both(*data_commands(protection="P"), "TREV PERF 1", "TREV RESTART 1")
    await pair.source.command("OPTS RETR markers=1;")
    await pair.connect()
    here, there = await pair.move(f"RETR {tmp_path}/from", f"STOR {tmp_path}/to", 60)
    assert (here.code, there.code) == (226, 226)
    progress = [m for reply in there.on_the_way if (m := parse_performance(reply))]
    assert progress[0].stripe_bytes == 0
    assert progress[-1].stripe_bytes == size
    assert [m.stripe_bytes for m in progress] == sorted(m.stripe_bytes for m in progress)
    assert {(m.stripe, m.stripes) for m in progress} == {(0, 1)}
    received = RangeSet()
    restart = [m for reply in there.on_the_way if (m := parse_restart(reply))]
    for marker in restart:
        for item in marker:
            assert not any(received.contains(ByteRange(at, at + 1)) for at in item[:1])
            received.add(item)
    assert received == RangeSet([ByteRange(0, size)])
    assert any(reply.code == 112 for reply in here.on_the_way)  # `markers=1`: from the sender too


async def test_markers_can_be_switched_off(pair: Pair, files: Path) -> None:
    await pair.set_both("DCAU N", "TREV PERF 0", "TREV RESTART 0")
    await pair.connect()
    here, there = await pair.move(f"RETR {files}/a", f"STOR {files}/out")
    assert (here.codes, there.codes) == ([150, 226], [150, 226])


async def test_an_empty_file_has_no_restart_marker(pair: Pair, files: Path) -> None:
    await pair.set_both("DCAU N", "TREV RESTART 1")
    await pair.connect()
    _, there = await pair.move(f"RETR {files}/empty", f"STOR {files}/out")
    assert there.code == 226
    assert 111 not in there.codes
    assert (files / "out").read_bytes() == b""


@pytest.mark.parametrize("told", ["both", "source", "destination", "neither"])
async def test_restart_list(pair: Pair, files: Path, told: str) -> None:
    """Only with the list at both ends the rest is sent and what is there is kept."""
    present = RangeSet([ByteRange(0, 10_000), ByteRange(20_000, 30_000)])
    old = b"k" * 40_000
    (files / "out").write_bytes(old)
    await pair.set_both("DCAU N", "TREV RESTART 1")
    await pair.connect()
    for name in ("source", "destination"):
        if told in (name, "both"):
            reply = await getattr(pair, name).command(commands.rest(present))
            assert reply.code == 350
    here, there = await pair.move(f"RETR {files}/a", f"STOR {files}/out")
    assert (here.code, there.code) == (226, 226)
    received = RangeSet(
        item for reply in there.on_the_way for item in parse_restart(reply) or RangeSet()
    )
    expected = bytearray(A)
    if told in ("both", "source"):
        assert list(received) == present.complement(len(A))
        for item in present:
            there_now = old if told == "both" else bytes(len(A))
            expected[item.first : item.after] = there_now[item.first : item.after]
    else:
        assert received == RangeSet([ByteRange(0, len(A))])
    assert (files / "out").read_bytes() == bytes(expected)
    await transfer(pair, files)  # the list was for one transfer


async def test_a_single_offset_restarts_a_stream(pair: Pair, files: Path) -> None:
    (files / "out").write_bytes(A[:30_000])
    await pair.set_both("DCAU N", "MODE S")
    await pair.connect()
    await pair.set_both("REST 30000")
    here, there = await pair.move(f"RETR {files}/a", f"STOR {files}/out")
    assert (here.code, there.code) == (226, 226)
    assert (files / "out").read_bytes() == A


RANGES = {
    "inside": (ByteRange(1000, 6000), 70_000),
    "beyond the end": (ByteRange(99_000, 120_000), 0),
    "behind the end": (ByteRange(200_000, 200_010), 0),
    "empty": (ByteRange(10, 10), 500),
}


@pytest.mark.parametrize("case", RANGES)
async def test_partial(pair: Pair, files: Path, case: str) -> None:
    """ERET reads a range, cut at the end without a word; ESTO writes at an offset, nothing else."""
    byte_range, offset = RANGES[case]
    old = b"k" * 200_000
    (files / "out").write_bytes(old)
    await pair.set_both("DCAU N", "TREV RESTART 1")
    await pair.connect()
    here, there = await pair.move(
        commands.eret(f"{files}/a", byte_range), commands.esto(f"{files}/out", offset)
    )
    assert (here.code, there.code) == (226, 226)
    sent = A[byte_range.first : byte_range.after]
    assert (files / "out").read_bytes() == old[:offset] + sent + old[offset + len(sent) :]
    told = [m for reply in there.on_the_way if (m := parse_restart(reply))]
    # in the data, not in the file
    assert told == ([RangeSet([ByteRange(0, len(sent))])] if sent else [])


async def test_partial_in_the_other_spelling(pair: Pair, files: Path) -> None:
    await pair.set_both("DCAU N")
    await pair.connect()
    here, there = await pair.move(f'ERET P="0 10" {files}/a', f"STOR {files}/out")
    assert (here.code, there.code) == (226, 226)
    assert (files / "out").read_bytes() == A[:10]


async def test_a_shorter_file_replaces_a_longer_one(pair: Pair, files: Path) -> None:
    (files / "out").write_bytes(B * 3)
    await pair.set_both("DCAU N")
    await pair.connect()
    await transfer(pair, files)


# -- attributes and digests of the next file


async def set_and_move(pair: Pair, files: Path, line: str):
    await pair.set_both("DCAU N", commands.parallelism(4))
    await pair.connect()
    await pair.destination.command(line)
    return await pair.move(f"RETR {files}/a", f"STOR {files}/out")


async def test_time_of_the_next_file_only(pair: Pair, files: Path) -> None:
    here, there = await set_and_move(pair, files, commands.storattr_modified(1577934245))
    assert (here.code, there.code) == (226, 226)
    assert (files / "out").stat().st_mtime == 1577934245
    await transfer(pair, files)
    assert (files / "out").stat().st_mtime != 1577934245


async def test_time_is_lost_with_a_transfer_that_fails(pair: Pair, files: Path) -> None:
    await pair.set_both("DCAU N")
    await pair.connect()
    await pair.destination.command(commands.storattr_modified(1577934245))
    _, there = await pair.move(f"RETR {files}/a", f"STOR {files}/none/out")
    assert there.code == 500
    await pair.connect()
    await transfer(pair, files)
    assert (files / "out").stat().st_mtime != 1577934245


DIGESTS: dict[str, Callable[[bytes], str]] = {
    "SITE STORATTR": lambda data: commands.storattr_expected(
        1577934245, hashlib.md5(data).hexdigest()
    ),
    "SCKS MD5": lambda data: commands.scks("MD5", hashlib.md5(data).hexdigest()),
    "SCKS SHA256": lambda data: commands.scks("SHA256", hashlib.sha256(data).hexdigest()),
}


@pytest.mark.parametrize("form", DIGESTS)
async def test_expected_digest(pair: Pair, files: Path, form: str) -> None:
    here, there = await set_and_move(pair, files, DIGESTS[form](A))
    assert (here.code, there.code) == (226, 226)
    await transfer(pair, files)  # it was for one file


@pytest.mark.parametrize("form", DIGESTS)
async def test_wrong_digest(pair: Pair, files: Path, form: str) -> None:
    """The file stays; the data channel is lost, and the next file must not go over it."""
    here, there = await set_and_move(pair, files, DIGESTS[form](B))
    assert here.code == 226
    error = classify(there.final, where="")
    assert (error.kind, error.permanent) == (Kind.CHECKSUM_MISMATCH, False)
    assert (files / "out").read_bytes() == A
    _, there = await pair.move(f"RETR {files}/b", f"STOR {files}/later")
    assert kind_of(pair.destination, there) is Kind.CHANNEL_GONE


# -- failures, as both ends tell them; `None`: this end says nothing for as long as it is asked

NO_SUCH, NO_DIR = Kind.NOT_FOUND, Kind.NOT_A_DIRECTORY
FAILURES: dict[str, tuple[str, str, Kind | int | None, Kind | int | None]] = {
    "source missing": ("{0}/none", "{0}/out", NO_SUCH, None),
    "source is a directory": ("{0}/d", "{0}/out", Kind.IS_A_DIRECTORY, Kind.DATA_BROKEN),
    "source below a file": ("{0}/a/x", "{0}/out", NO_DIR, None),
    "destination is a directory": ("{0}/a", "{0}/d", 226, Kind.IS_A_DIRECTORY),
    "destination's directory missing": ("{0}/a", "{0}/none/out", 226, NO_SUCH),
    "destination below a file": ("{0}/a", "{0}/b/out", 226, NO_DIR),
    "destination's disk full": ("{0}/a", "/dev/full", 226, Kind.NO_SPACE),
    "destination's name too long": ("{0}/a", "{0}/" + 256 * "n", 226, Kind.INVALID_NAME),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_failures(pair: Pair, files: Path, case: str) -> None:
    here, there, source_says, destination_says = FAILURES[case]
    await pair.set_both("DCAU N")
    await pair.connect()
    told = await asyncio.gather(
        tell(pair.source, f"RETR {here.format(files)}"),
        tell(
            pair.destination,
            f"STOR {there.format(files)}",
            0.5 if destination_says is None else 10,
        ),
    )
    for said, expected in zip(told, (source_says, destination_says), strict=True):
        if expected is None:
            assert said.final is None
        elif isinstance(expected, int):
            assert said.code == expected
        else:
            assert said.final is not None
            assert classify(said.final, where="").kind is expected, said.text


async def test_nobody_listens_at_the_address(pair: Pair, files: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await pair.set_both("DCAU N")
        await pair.source.command(commands.port(HostPort(*taken.getsockname())))
        told = await tell(pair.source, f"RETR {files}/a")
    assert kind_of(pair.source, told) is Kind.DATA_REFUSED


@pytest.mark.parametrize("end", ["source", "destination"])
async def test_a_session_that_ends_ends_the_other_ends_transfer(
    pair: Pair, tmp_path: Path, end: str
) -> None:
    with (tmp_path / "from").open("wb") as file:
        file.truncate(2 << 30)
    await pair.set_both(*data_commands(protection="P"))
    await pair.connect()
    moving = asyncio.create_task(pair.move(f"RETR {tmp_path}/from", "STOR /dev/null", 20))
    await asyncio.sleep(0.3)
    survivor = pair.destination if end == "source" else pair.source
    await getattr(pair, end).give_up()
    with pytest.raises(GridFTPError) as caught:
        await moving
    assert caught.value.kind is Kind.CONNECTION_LOST
    # It answers after the transfer has failed; a source in 25 hangs when its destination is gone.
    # The session itself would wait as long as that transfer may take.
    told = await tell(survivor, "NOOP", timeout_s=15)
    if told.final is None:
        assert end == "destination"
        await survivor.give_up()
    else:
        assert told.code == 200


async def test_abort_confirms_what_it_stops_or_hangs(pair: Pair, tmp_path: Path) -> None:
    """Why nothing here sends ABOR: half a file, and the destination says 226, or nothing more."""
    with (tmp_path / "from").open("wb") as file:
        file.truncate(2 << 30)
    await pair.set_both(*data_commands(protection="P"))
    await pair.connect()
    (stored,) = pair.destination.submit([f"STOR {tmp_path}/to"])
    pair.source.submit([f"RETR {tmp_path}/from"])
    async with asyncio.timeout(10):
        while not (tmp_path / "to").exists():
            await asyncio.sleep(0.01)
    (aborted,) = pair.destination.submit(["ABOR"])
    await asyncio.wait([aborted], timeout=2)
    assert (tmp_path / "to").stat().st_size < 2 << 30
    if stored.done():
        assert stored.result().code in (226, 500)
        assert isinstance(aborted.exception(), GridFTPError), "never answered for itself"
    else:
        assert not aborted.done()
    await pair.source.give_up()
    await pair.destination.give_up()


# -- sizes

SIZES = [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1]


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("size", SIZES)
async def test_sizes_between_servers(open_lane, tmp_path, size: int, streams: int) -> None:
    content = random.Random(size).randbytes(size)
    (tmp_path / "from").write_bytes(content)
    lane = await open_lane(streams=streams)
    (outcome,) = await finish(lane, [Piece(f"{tmp_path}/from", f"{tmp_path}/to", size)])
    assert outcome.status == "done"
    assert (tmp_path / "to").read_bytes() == content
