"""Files and listings between here and real servers, over every kind of data channel."""

import asyncio
import hashlib
import os
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from blake3 import blake3

from towpath.demo.authority import Domain
from towpath.demo.gct import GctServer
from towpath.demo.trees import TreeFile, digests, expected_digests, make_tree, uniform
from towpath.gridftp.client.data.security import DataSecurity
from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import MAX_FILES, Copy, digest_of, download, upload
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.data.protection import Protection
from towpath.gridftp.errors import Kind
from towpath.gridftp.security.dcsc import DataCredential

SEED = 7


async def open_session(domain: Domain, server: GctServer) -> Session:
    return await Session.open(
        Server("localhost", server.port), credential=domain.credential, trust=domain.trust
    )


@pytest.fixture
async def session(domain_a: Domain, server_a: GctServer) -> AsyncIterator[Session]:
    opened = await open_session(domain_a, server_a)
    yield opened
    await opened.close()


@pytest.fixture(scope="module", params=["N", "A-C-ec", "A-C-rsa", "A-P-ec", "A-P-rsa"])
def security(request: pytest.FixtureRequest) -> DataSecurity:
    if request.param == "N":
        return DataSecurity()
    _dcau, protection, key_type = request.param.split("-")
    credential = DataCredential.create(datetime.now(UTC), key_type=key_type)
    return DataSecurity(credential, Protection(protection))


def copies_of(files: list[TreeFile], local: Path, remote: Path, time: int | None) -> list[Copy]:
    return [Copy(local / path, str(remote / path), size, time) for path, size in files]


@pytest.mark.parametrize("direction", [upload, download])
async def test_many_small_files(
    session: Session, security: DataSecurity, tmp_path: Path, direction: object
) -> None:
    files = [
        *uniform(3, 10, 1000),
        TreeFile("d0000/empty", 0),
        TreeFile("d0000/middle", 300_000),
        TreeFile("d0001/large", 9 * 1024 * 1024 + 7),
        TreeFile("d0002/last", 65536),
    ]
    source, target = tmp_path / "source", tmp_path / "target"
    make_tree(source, files, SEED)
    for directory in ("d0000", "d0001", "d0002"):
        (target / directory).mkdir(parents=True)
    moved: list[int] = []
    options = DataOptions(security=security, checksum="SHA256", on_progress=moved.append)
    if direction is upload:
        outcomes = await upload(session, copies_of(files, source, target, 1_000_000_000), options)
    else:
        outcomes = await download(session, copies_of(files, target, source, 1_000_000_000), options)
    assert [outcome.status for outcome in outcomes] == ["done"] * len(files)
    assert digests(target) == expected_digests(files, SEED)
    assert {path.stat().st_mtime for path in target.rglob("*") if path.is_file()} == {1e9}
    assert sum(moved) == sum(file.size for file in files)
    assert [outcome.digest for outcome in outcomes] == list(expected_digests(files, SEED).values())
    assert (await session.command("NOOP")).ok


@pytest.mark.parametrize("size", [0, 1, 64 * 1024 * 1024 + 3])
async def test_one_file_by_four_streams(
    session: Session, security: DataSecurity, tmp_path: Path, size: int
) -> None:
    make_tree(tmp_path / "a", [TreeFile("f", size)], SEED)
    for directory in ("b", "c"):
        (tmp_path / directory).mkdir()
    options = DataOptions(security=security, streams=4)
    (up,) = await upload(session, [Copy(tmp_path / "a/f", str(tmp_path / "b/f"), size)], options)
    (down,) = await download(
        session, [Copy(tmp_path / "c/f", str(tmp_path / "b/f"), size)], options
    )
    assert (up.status, down.status) == ("done", "done")
    assert digests(tmp_path / "c") == expected_digests([TreeFile("f", size)], SEED)


async def test_two_authorities_need_no_common_trust(
    domain_b: Domain, server_b: GctServer, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"hello")
    session = await open_session(domain_b, server_b)
    options = DataOptions(DataSecurity(DataCredential.create(datetime.now(UTC))))
    (outcome,) = await upload(session, [Copy(tmp_path / "f", str(tmp_path / "g"), 5)], options)
    assert outcome.status == "done"
    assert (tmp_path / "g").read_bytes() == b"hello"
    assert await session.close()


@pytest.mark.parametrize("direction", [upload, download])
async def test_one_failure_makes_void_what_follows(
    session: Session, security: DataSecurity, tmp_path: Path, direction: object
) -> None:
    files = list(uniform(1, 6, 100))
    source, target = tmp_path / "source", tmp_path / "target"
    make_tree(source, files, SEED)
    (target / "d0000").mkdir(parents=True)
    options = DataOptions(security=security)
    if direction is upload:
        copies = copies_of(files, source, target, None)
        copies[2] = Copy(copies[2].local, str(target / "missing" / "f"), 100)
        outcomes = await upload(session, copies, options)
    else:
        copies = copies_of(files, target, source, None)
        copies[2] = Copy(copies[2].local, str(source / "missing"), 100)
        outcomes = await download(session, copies, options)
    assert [outcome.status for outcome in outcomes] == ["done"] * 2 + ["failed"] + ["void"] * 3
    error = outcomes[2].error
    assert error is not None
    assert error.kind is Kind.NOT_FOUND
    assert session.closed
    good = [file.path for file in files[:2]]
    expected = expected_digests(files, SEED)
    if direction is download:
        assert digests(target) == {path: expected[path] for path in good}
    else:
        found = digests(target)
        assert {path: found[path] for path in good} == {path: expected[path] for path in good}


async def test_local_trouble_touches_one_file_only(session: Session, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    up = [
        Copy(tmp_path / name, str(tmp_path / f"up-{name}"), 1)
        for name in ("missing", "pipe", "directory", "a")
    ]
    outcomes = await upload(session, up, DataOptions())
    kinds = [outcome.error and outcome.error.kind for outcome in outcomes]
    assert kinds == [Kind.NOT_FOUND, Kind.UNKNOWN, Kind.IS_A_DIRECTORY, None]
    down = [
        Copy(tmp_path / name, str(tmp_path / "a"), 1)
        for name in ("missing/x", "pipe", "directory", "b")
    ]
    outcomes = await download(session, down, DataOptions())
    kinds = [outcome.error and outcome.error.kind for outcome in outcomes]
    assert kinds == [Kind.NOT_FOUND, Kind.UNKNOWN, Kind.IS_A_DIRECTORY, None]
    assert (tmp_path / "b").read_bytes() == b"a"
    assert not session.closed


@pytest.mark.parametrize("expected", [5, 20])
async def test_a_file_of_another_size_than_listed(
    session: Session, tmp_path: Path, expected: int
) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    (tmp_path / "g").write_bytes(b"old")
    (outcome,) = await download(
        session, [Copy(tmp_path / "g", str(tmp_path / "f"), expected)], DataOptions()
    )
    assert outcome.error is not None
    assert outcome.error.kind is Kind.CHECKSUM_MISMATCH
    assert "changed meanwhile" in outcome.error.message
    assert (tmp_path / "g").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "g"]


async def test_a_checksum_that_differs_is_a_failure(session: Session, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    copies = [
        Copy(tmp_path / "f", "/dev/null", 1),
        Copy(tmp_path / "f", str(tmp_path / "g"), 1),
    ]
    outcomes = await upload(session, copies, DataOptions(checksum="MD5"))
    error = outcomes[0].error
    assert error is not None
    assert error.kind is Kind.CHECKSUM_MISMATCH
    assert outcomes[1].status == "done"


async def test_the_server_dies_in_the_middle(
    domain_a: Domain, tmp_path: Path, security: DataSecurity
) -> None:
    size = 200 * 1024 * 1024
    with (tmp_path / "f").open("wb") as file:
        file.truncate(size)
    with GctServer.start(domain_a, tmp_path / "server") as server:
        session = await open_session(domain_a, server)

        def kill(_count: int) -> None:
            server.kill_sessions()

        options = DataOptions(security=security, on_progress=kill)
        copy = Copy(tmp_path / "g", str(tmp_path / "f"), size)
        (outcome,) = await download(session, [copy], options)
        error = outcome.error
        assert error is not None
        assert error.kind in (Kind.DATA_BROKEN, Kind.CONNECTION_LOST)
        assert not (tmp_path / "g").exists()


async def test_a_stranger_on_the_data_channel(session: Session, tmp_path: Path) -> None:
    """Two credentials that differ: neither side takes the other."""
    (tmp_path / "f").write_bytes(b"x")
    ours, theirs = (DataCredential.create(datetime.now(UTC)) for _ in range(2))

    class Mixed(DataSecurity):
        def commands(self) -> list[str]:
            return DataSecurity(theirs).commands()

    copy = Copy(tmp_path / "g", str(tmp_path / "f"), 1)
    (outcome,) = await download(session, [copy], DataOptions(Mixed(ours)))
    assert outcome.error is not None
    assert outcome.error.kind is Kind.DATA_AUTH
    assert not (tmp_path / "g").exists()


async def test_cancelling_leaves_nothing_behind(session: Session, tmp_path: Path) -> None:
    size = 500 * 1024 * 1024
    with (tmp_path / "f").open("wb") as file:
        file.truncate(size)
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    options = DataOptions(on_progress=lambda _count: loop.call_soon_threadsafe(started.set))
    copy = Copy(tmp_path / "g", str(tmp_path / "f"), size)
    task = asyncio.create_task(download(session, [copy], options))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


async def test_limits(session: Session, tmp_path: Path) -> None:
    copy = Copy(tmp_path / "f", "/x", 0)
    with pytest.raises(ValueError, match="more than"):
        await upload(session, [copy] * (MAX_FILES + 1), DataOptions())
    with pytest.raises(ValueError, match="one file at a time"):
        await upload(session, [copy] * 2, DataOptions(streams=2))


def test_digests(tmp_path: Path) -> None:
    data = os.urandom(3 * 1024 * 1024 + 1)
    (tmp_path / "f").write_bytes(data)
    with (tmp_path / "f").open("rb") as file:
        assert digest_of(file.fileno(), "SHA256") == hashlib.sha256(data).hexdigest()
        assert digest_of(file.fileno(), "ADLER32") == f"{zlib.adler32(data):08x}"
        assert digest_of(file.fileno(), "BLAKE3") == blake3(data).hexdigest()
        with pytest.raises(ValueError, match="unsupported hash"):
            digest_of(file.fileno(), "NOPE")
