"""What a user finds at the sample endpoints, and what he does not."""

import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from towpath.gridftp.client.data.setup import DataOptions
from towpath.gridftp.client.data.transfers import Copy, download, upload
from towpath.gridftp.client.session import Server, Session
from towpath.gridftp.errors import GridFTPError, Kind
from towpath.gridftp.security.authority import Authority
from towpath.gridftp.security.trust import TrustRoots
from towpath.samples.layout import HOST, ORGANIZATION, SAMPLES, Place, account_of, home_of
from towpath.samples.server import serving

DAY = timedelta(days=1)
ALICE, BOB = str(UUID(int=1)), str(UUID(int=2))


@pytest.fixture
def authority() -> Authority:
    return Authority.create(ORGANIZATION, datetime.now(UTC), DAY)


@pytest.fixture
async def ports(authority: Authority, tmp_path: Path) -> AsyncIterator[list[int]]:
    """Of both servers, while they serve."""
    place = Place(tmp_path / "samples")
    place.prepare()
    listeners = [socket.create_server((HOST, 0)) for _ in SAMPLES]
    found = [one.getsockname()[1] for one in listeners]
    failures: list[BaseException] = []
    trees = [place.tree(one) for one in SAMPLES]
    async with serving(trees, listeners, authority, failed=failures.append):
        yield found
    assert failures == []


async def login(authority: Authority, port: int, name: str) -> Session:
    return await Session.open(
        Server(HOST, port),
        credential=authority.issue(name, datetime.now(UTC), DAY),
        trust=TrustRoots.from_files(authority.trust_files),
    )


async def names(session: Session, path: str) -> set[str]:
    return {entry.name async for batch in session.list(path) for entry in batch}


async def test_a_user_reads_the_examples_and_has_a_home(
    authority: Authority, ports: list[int], tmp_path: Path
) -> None:
    for port in ports:
        session = await login(authority, port, ALICE)
        assert session.home == home_of(ALICE)
        assert {"file1.txt", "file2.txt", "file3.txt"} <= await names(session, "/share/godata")
        here = tmp_path / f"mine-{port}"
        options = DataOptions(checksum="SHA256")
        (down,) = await download(session, [Copy(here, "/share/godata/file1.txt", 32)], options)
        assert down.status == "done", down
        (up,) = await upload(session, [Copy(here, f"{session.home}/mine", 0)], options)
        assert up.status == "done", up
        assert await names(session, home_of(ALICE)) == {"mine"}
        await session.close()


async def test_the_examples_cannot_be_changed(authority: Authority, ports: list[int]) -> None:
    session = await login(authority, ports[0], ALICE)
    for refused in (
        session.delete_file("/share/godata/file1.txt"),
        session.rename("/share/godata/file1.txt", f"{home_of(ALICE)}/mine"),
        session.set_mode("/share/godata/file1.txt", 0o777),
    ):
        with pytest.raises(GridFTPError) as caught:
            await refused
        assert caught.value.kind is Kind.PATH_NOT_ALLOWED
    await session.close()


async def test_nobody_sees_the_home_of_another(authority: Authority, ports: list[int]) -> None:
    alice, bob = [await login(authority, ports[0], name) for name in (ALICE, BOB)]
    assert await names(alice, "/home") == {ALICE}
    for path in (home_of(BOB), f"{home_of(ALICE)}/../{BOB}"):
        with pytest.raises(GridFTPError) as caught:
            await names(alice, path)
        assert caught.value.kind in (Kind.PATH_NOT_ALLOWED, Kind.NOT_FOUND), path
    await alice.close()
    await bob.close()


async def test_only_who_was_given_a_credential_gets_in(
    authority: Authority, ports: list[int]
) -> None:
    with pytest.raises(GridFTPError) as caught:
        await login(authority, ports[0], "no identity")
    assert caught.value.kind is Kind.MAPPING
    stranger = Authority.create(ORGANIZATION, datetime.now(UTC), DAY)
    with pytest.raises(GridFTPError):
        await Session.open(
            Server(HOST, ports[0]),
            credential=stranger.issue(ALICE, datetime.now(UTC), DAY),
            trust=TrustRoots.from_files(authority.trust_files),
        )


@pytest.mark.parametrize(
    "subject",
    [
        f"/O=Elsewhere/CN={ALICE}",
        f"/O={ORGANIZATION}/CN=x/CN={ALICE}",
        f"/O={ORGANIZATION}/CN=..",
        f"/O={ORGANIZATION}/CN={ALICE}/../{BOB}",
        f"/O={ORGANIZATION}",
    ],
)
def test_names_that_are_no_account(subject: str) -> None:
    assert account_of(subject) is None


def test_an_account_is_an_identity() -> None:
    assert account_of(f"/O={ORGANIZATION}/CN={ALICE}") == ALICE
