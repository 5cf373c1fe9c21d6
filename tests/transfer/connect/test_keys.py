"""The deployment's own keys: made once, sealed, replaced in time."""

import asyncio
from pathlib import Path

import pytest

from towpath.grants import KeySet, SigningKey
from towpath.platform.database import Database
from towpath.platform.secrets import Sealer
from towpath.transfer.connect.keys import SERVICE_SUBJECT, ConnectKeys, rotate, rotate_manifests
from towpath.transfer.store.rows import fetch, fetch_one


@pytest.fixture
def sealer(tmp_path: Path) -> Sealer:
    return Sealer(tmp_path / "seal.key")


def keys_of(database: Database, sealer: Sealer) -> ConnectKeys:
    """Those of one process."""
    return ConnectKeys(database, sealer, "https://towpath.test", monotonic=lambda: 0.0)


async def move_clock(database: Database, days: float) -> None:
    """As if so many days had passed."""
    async with database.connection() as conn:
        await conn.execute(
            "UPDATE connect_key SET begins_at = begins_at - make_interval(hours => %s::int),"
            " ends_at = ends_at - make_interval(hours => %s::int)",
            (round(days * 24), round(days * 24)),
        )


def names(keys: KeySet) -> set[str]:
    return set(keys.keys)


async def test_all_processes_have_the_same(database: Database, sealer: Sealer) -> None:
    some = [keys_of(database, sealer) for _ in range(4)]
    signers = {(await one).signer.key_id for one in [keys.keys() for keys in some]}
    authorities = await asyncio.gather(*(keys.authority() for keys in some))
    assert len(signers) == len({one.certificate_pem for one in authorities}) == 1
    credential = await some[0].service_credential()
    assert credential.subject == SERVICE_SUBJECT
    assert credential is await some[0].service_credential()
    assert credential != await some[1].service_credential(), "each process has its own"
    async with database.connection() as conn:
        rows = await fetch(conn, "SELECT k::text FROM connect_key k")
    assert not any("PRIVATE" in row[0] for row in rows)


async def test_a_new_key_is_published_before_it_signs(database: Database, sealer: Sealer) -> None:
    keys = keys_of(database, sealer)
    old = (await keys.keys()).signer.key_id
    assert not await keys.rotate_if_due()
    await move_clock(database, 90.5)
    assert await keys.rotate_if_due()
    assert not await keys.rotate_if_due()
    now = await keys.keys()
    assert now.signer.key_id == old
    assert len(names(now.published)) == 2
    (new,) = names(now.published) - {old}
    await move_clock(database, 2.1 / 24)
    keys.forget()
    later = await keys.keys()
    assert later.signer.key_id == new
    await move_clock(database, 1 / 24)
    keys.forget()
    assert names((await keys.keys()).published) == {new}


async def test_a_stolen_key_ends_at_once(database: Database, sealer: Sealer) -> None:
    keys = keys_of(database, sealer)
    old = (await keys.keys()).signer.key_id
    async with database.transaction() as conn:
        await rotate(conn, sealer, at_once=True)
    keys.forget()
    now = await keys.keys()
    assert now.signer.key_id != old
    assert names(now.published) == {now.signer.key_id}
    async with database.connection() as conn:
        assert await fetch_one(conn, "SELECT FROM connect_key WHERE id = %s", (old,)) is None
    assert SigningKey.new().key_id not in names(now.published)


async def test_keys_of_manifests_stay_published_unless_they_are_withdrawn(
    database: Database, sealer: Sealer
) -> None:
    keys = keys_of(database, sealer)
    first = (await keys.manifest_keys()).signer.key_id
    grants = names((await keys.keys()).published)
    async with database.transaction() as conn:
        second = await rotate_manifests(conn, sealer, withdraw=False)
    keys.forget()
    now = await keys.manifest_keys()
    assert now.signer.key_id == second
    assert names(now.published) == {first, second}
    async with database.transaction() as conn:
        third = await rotate_manifests(conn, sealer, withdraw=True)
    keys.forget()
    assert names((await keys.manifest_keys()).published) == {third}
    assert names((await keys.keys()).published) == grants
