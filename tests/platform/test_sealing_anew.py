"""A new key for what is sealed: taken over by who runs, and rows sealed anew, bit by bit."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from towpath.platform import secrets
from towpath.platform.database import Database
from towpath.platform.resealing import SealedColumn, keys_in_use, reseal
from towpath.platform.secrets import NoKeyError, Sealer, SealError, add_key, forget_keys

ROWS = 25


def context(number: int) -> bytes:
    return b"row %d" % number


COLUMN = SealedColumn("kept", "sealed", ("number",), context)


@pytest.fixture
async def kept(database: Database) -> Database:
    async with database.transaction() as conn:
        await conn.execute("CREATE TABLE kept (number integer PRIMARY KEY, sealed bytea)")
        await conn.execute("INSERT INTO kept VALUES (1000, NULL)")
    return database


async def fill(database: Database, sealer: Sealer, first: int = 0) -> None:
    async with database.transaction() as conn:
        for number in range(first, first + ROWS):
            sealed = sealer.seal(b"secret %d" % number, context(number))
            await conn.execute("INSERT INTO kept VALUES (%s, %s)", (number, sealed))


async def opened(database: Database, sealer: Sealer) -> list[bytes]:
    async with database.connection() as conn:
        found = await conn.execute("SELECT number, sealed FROM kept WHERE sealed IS NOT NULL")
        rows = await found.fetchall()
    return sorted(sealer.unseal(row["sealed"], context(row["number"])) for row in rows)


def test_a_process_that_runs_takes_the_new_key(tmp_path: Path) -> None:
    file = tmp_path / "seal.key"
    running, other = Sealer(file), Sealer(file)
    before = running.seal(b"x", b"")
    (old,) = running.key_ids
    new = add_key(file)
    by_new = Sealer(file).seal(b"y", b"")
    assert by_new.startswith(Sealer(file).key_prefix)
    assert running.unseal(by_new, b"") == b"y", "it looks again for a key that it does not know"
    assert other.seal(b"z", b"").startswith(Sealer(file).key_prefix), "and before it seals"
    assert other.unseal(before, b"") == b"x"
    assert list(other.key_ids) == [new, old]
    forget_keys(file, [old, new])
    assert list(Sealer(file).key_ids) == [new], "never that which seals"
    with pytest.raises(SealError):
        Sealer(file).unseal(before, b"")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_key_that_comes_while_the_file_is_read_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "seal.key"
    Sealer(file)
    read = secrets._read_or_make

    def slowly(key_file: Path) -> bytes:
        text = read(key_file)
        monkeypatch.setattr(secrets, "_read_or_make", read)
        add_key(key_file)
        return text

    monkeypatch.setattr(secrets, "_read_or_make", slowly)
    running, other = Sealer(file), Sealer(file)
    assert running.unseal(other.seal(b"x", b""), b"") == b"x"


def test_while_the_file_is_away_known_keys_will_do(tmp_path: Path) -> None:
    sealer = Sealer(tmp_path / "seal.key")
    (tmp_path / "seal.key").rename(tmp_path / "elsewhere")
    assert sealer.unseal(sealer.seal(b"x", b""), b"") == b"x"
    assert not (tmp_path / "seal.key").exists(), "no other key is made in its place"


def test_a_key_that_is_missing_is_told_of_once_until_it_is_there(tmp_path: Path) -> None:
    file, other = tmp_path / "seal.key", tmp_path / "other.key"
    sealer = Sealer(file)
    sealed = Sealer(other).seal(b"x", b"")
    (key_id,) = Sealer(other).key_ids
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(NoKeyError, match=key_id):
                sealer.unseal(sealed, b"")
        with pytest.raises(NoKeyError):
            sealer.unseal(b"\x01madeup!!" + bytes(20), b"", from_outside=True)
    assert [(one["event"], one["log_level"]) for one in logs] == [("secrets.key_missing", "error")]
    assert logs[0]["key"] == key_id
    with capture_logs() as logs:
        file.write_bytes(file.read_bytes() + other.read_bytes())
        assert sealer.unseal(sealed, b"") == b"x"
    assert [(one["event"], one["key"]) for one in logs] == [("secrets.key_is_back", key_id)]


def test_a_file_that_is_half_copied_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "seal.key"
    sealer = Sealer(file)
    whole = file.read_bytes()
    sealed = sealer.seal(b"x", b"")
    file.write_bytes(whole[:20])
    with capture_logs() as logs:
        for _ in range(2):
            assert sealer.unseal(sealer.seal(b"y", b""), b"") == b"y"
    assert [one["event"] for one in logs] == ["secrets.key_file_unusable"]
    with pytest.raises(SealError):
        Sealer(file)
    file.write_bytes(whole)
    assert sealer.unseal(sealed, b"") == b"x"


async def test_all_rows_get_the_new_key_in_parts(kept: Database, tmp_path: Path) -> None:
    file = tmp_path / "seal.key"
    sealer = Sealer(file)
    await fill(kept, sealer)
    texts = await opened(kept, sealer)
    (old,) = sealer.key_ids
    new = add_key(file)
    await fill(kept, Sealer(file), first=100)  # some have it already
    done = await reseal(kept, Sealer(file), COLUMN, rows=7)
    assert (done.values, done.unreadable) == (ROWS, 0)
    async with kept.connection() as conn:
        assert await keys_in_use(conn, COLUMN) == {new: 2 * ROWS}
    forget_keys(file, [old])
    left = await opened(kept, Sealer(file))
    assert (len(left), set(texts) - set(left)) == (2 * ROWS, set())
    again = await reseal(kept, Sealer(file), COLUMN)
    assert again.values == 0


async def test_killed_in_the_middle_nothing_is_lost(
    kept: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "seal.key"
    await fill(kept, Sealer(file))
    texts = await opened(kept, Sealer(file))
    add_key(file)
    sealer, sealed = Sealer(file), 0
    original = sealer.seal

    def breaks(text: bytes, bound_to: bytes) -> bytes:
        nonlocal sealed
        sealed += 1
        if sealed == 12:
            raise KeyboardInterrupt
        return original(text, bound_to)

    monkeypatch.setattr(sealer, "seal", breaks)
    with pytest.raises(KeyboardInterrupt):
        await reseal(kept, sealer, COLUMN, rows=5)
    assert await opened(kept, Sealer(file)) == texts
    done = await reseal(kept, Sealer(file), COLUMN, rows=5)
    assert done.values == ROWS - 10, "what was committed stays"
    assert await opened(kept, Sealer(file)) == texts


async def test_what_no_key_opens_is_counted_and_stays(kept: Database, tmp_path: Path) -> None:
    lost = Sealer(tmp_path / "lost.key")
    await fill(kept, lost)
    file = tmp_path / "seal.key"
    await fill(kept, Sealer(file), first=100)
    add_key(file)
    done = await reseal(kept, Sealer(file), COLUMN, rows=7)
    assert (done.values, done.unreadable) == (ROWS, ROWS)
    async with kept.connection() as conn:
        assert len(await keys_in_use(conn, COLUMN)) == 2
