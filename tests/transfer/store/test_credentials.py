"""Sealed credentials in the database."""

from datetime import UTC, datetime
from uuid import uuid4

from towpath.platform.database import Database
from towpath.transfer.store import credentials, endpoints
from towpath.transfer.store.endpoints import Endpoint


async def test_put_replace_and_forget(database: Database) -> None:
    owner, other = uuid4(), uuid4()
    made = Endpoint(
        id=uuid4(),
        owner_id=owner,
        owner_string="someone",
        display_name="data",
        host="h",
        port=1,
        subject=None,
        data_hosts=(),
        public=True,
        details={},
    )
    until = datetime(2030, 1, 1, tzinfo=UTC)
    async with database.transaction() as conn:
        await endpoints.insert(conn, made, {})
        for who, sealed in ((owner, b"\0one"), (other, b"theirs"), (owner, b"two")):
            await credentials.put(
                conn,
                endpoint_id=made.id,
                owner_id=who,
                sealed=sealed,
                subject="/CN=x",
                not_after=until,
            )
        kept = await credentials.get(conn, made.id, owner)
        assert kept is not None
        assert (kept.sealed, kept.not_after) == (b"two", until)
        assert "two" not in repr(kept)
        await credentials.delete_all(conn, made.id)
        assert await credentials.get(conn, made.id, owner) is None
        assert await credentials.get(conn, made.id, other) is None


def test_a_credential_is_bound_to_its_row() -> None:
    one, two = uuid4(), uuid4()
    assert credentials.seal_context(one, two) != credentials.seal_context(two, one)
