"""The sample endpoints in the database, from one start of the service to the next."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from towpath.platform.database import Database
from towpath.samples.layout import HOST, SAMPLES, Place
from towpath.samples.registration import (
    AUTHORITY_LIFETIME,
    RENEW_BEFORE,
    Prepared,
    SamplesError,
    prepare,
    withdraw,
)
from towpath.transfer.rights import Who
from towpath.transfer.store import endpoints
from towpath.transfer.store.endpoints import Endpoint, Scope

OWNER = (uuid4(), "service@example.org")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "samples")


async def start(database: Database, place: Place) -> Prepared:
    return await prepare(database, place, OWNER, datetime.now(UTC))


async def found(database: Database, viewer: UUID) -> list[Endpoint]:
    async with database.connection() as conn:
        who = Who(viewer, None, frozenset({viewer}), frozenset())
        now = datetime.now(UTC)
        return await endpoints.search(conn, who, now, scope=Scope.ALL, limit=10, offset=0)


async def test_everybody_sees_them(database: Database, place: Place) -> None:
    prepared = await start(database, place)
    told = await found(database, uuid4())
    assert [(one.id, one.display_name) for one in told] == [(s.id, s.name) for s in SAMPLES]
    assert {one.port for one in told} == {
        one.getsockname()[1] for one in prepared.listeners.values()
    }
    assert {one.host for one in told} == {HOST}
    prepared.close()


async def test_they_keep_port_and_authority(database: Database, place: Place) -> None:
    """Tasks that run know a server by its port, and users have credentials of the authority."""
    first = await start(database, place)
    first.close()
    ports = [one.port for one in await found(database, uuid4())]
    second = await start(database, place)
    assert [one.port for one in await found(database, uuid4())] == ports
    assert second.authority.to_pem() == first.authority.to_pem()
    second.close()


async def test_a_port_that_somebody_took_is_replaced(database: Database, place: Place) -> None:
    first = await start(database, place)
    ports = [one.port for one in await found(database, uuid4())]
    second = await start(database, place)  # the first still listens
    assert not set(ports) & {one.port for one in await found(database, uuid4())}
    first.close()
    second.close()


async def test_they_go_and_come_with_the_setting(database: Database, place: Place) -> None:
    await withdraw(database)  # there were none
    (await start(database, place)).close()
    await withdraw(database)
    assert await found(database, uuid4()) == []
    (await start(database, place)).close()
    assert len(await found(database, uuid4())) == len(SAMPLES)


async def test_the_key_is_private_and_examples_are_made_once(
    database: Database, place: Place
) -> None:
    (await start(database, place)).close()
    assert place.authority_file.stat().st_mode & 0o077 == 0
    example = place.tree(SAMPLES[0]) / "share/godata/file1.txt"
    example.write_text("changed by the operator")
    (await start(database, place)).close()
    assert example.read_text() == "changed by the operator"


async def test_a_spoiled_authority_is_explained(database: Database, place: Place) -> None:
    (await start(database, place)).close()
    place.authority_file.write_bytes(b"nothing of the kind")
    with pytest.raises(SamplesError, match=r"authority\.pem cannot be used.*remove it"):
        await start(database, place)


async def test_an_old_authority_is_replaced(database: Database, place: Place) -> None:
    now = datetime.now(UTC)
    then = now - AUTHORITY_LIFETIME + RENEW_BEFORE
    first = await prepare(database, place, OWNER, then)
    first.close()
    second = await prepare(database, place, OWNER, now)
    second.close()
    assert second.authority.to_pem() != first.authority.to_pem()
    assert second.authority.not_after - now > RENEW_BEFORE
