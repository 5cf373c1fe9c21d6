"""Endpoints in the database: who sees which."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from towpath.platform.database import Database
from towpath.transfer.rights import Who
from towpath.transfer.store import endpoints
from towpath.transfer.store.endpoints import Endpoint, Scope

OWNER, OTHER = uuid4(), uuid4()
VIEWER = Who(OWNER, None, frozenset({OWNER}), frozenset())
NOW = datetime.now(UTC)


def endpoint(name: str, owner: UUID = OWNER, *, public: bool = True) -> Endpoint:
    return Endpoint(
        id=uuid4(),
        owner_id=owner,
        owner_string="someone@example.org",
        display_name=name,
        host="gridftp.example.org",
        port=2811,
        subject="/CN=x",
        data_hosts=("192.0.2.1",),
        public=public,
        details={"organization": "100% Site"},
    )


async def test_round_trip_update_and_delete(database: Database) -> None:
    made = endpoint("one")
    async with database.transaction() as conn:
        await endpoints.insert(conn, made, {"aaaaaaaa.0": "text"})
        assert await endpoints.get(conn, made.id) == made
        changed = replace(made, display_name="two", port=1, details={})
        await endpoints.update(conn, changed, None)
        assert await endpoints.get(conn, made.id, lock=True) == changed
        assert await endpoints.get_trust_roots(conn, made.id) == {"aaaaaaaa.0": "text"}
        await endpoints.update(conn, changed, {})
        assert await endpoints.get_trust_roots(conn, made.id) == {}
        await endpoints.mark_deleted(conn, made.id)
        deleted = await endpoints.get(conn, made.id)
        assert deleted is not None
        assert deleted.deleted_at is not None
        assert await endpoints.get(conn, uuid4()) is None


async def test_search_shows_public_and_own_ones(database: Database) -> None:
    async with database.transaction() as conn:
        for made in (
            endpoint("Beta"),
            endpoint("alpha", OTHER),
            endpoint("hidden", OTHER, public=False),
            endpoint("mine", public=False),
        ):
            await endpoints.insert(conn, made, {})
        gone = endpoint("gone")
        await endpoints.insert(conn, gone, {})
        await endpoints.mark_deleted(conn, gone.id)

        async def found(scope: Scope = Scope.ALL, *words: str, **more: int) -> list[str]:
            page = await endpoints.search(
                conn,
                VIEWER,
                NOW,
                scope=scope,
                words=words,
                limit=more.get("limit", 10),
                offset=more.get("offset", 0),
            )
            return [one.display_name for one in page]

        assert await found() == ["alpha", "Beta", "mine"]
        assert await found(limit=1, offset=1) == ["Beta"]
        assert await found(Scope.MINE) == ["Beta", "mine"]
        assert await found(Scope.ALL, "EXAMPLE", "bet") == ["Beta"]
        assert await found(Scope.ALL, "100%", "site") == ["alpha", "Beta", "mine"]
        assert await found(Scope.ALL, "100_") == []
        assert await found(Scope.RECENTLY_USED) == []
        assert await found(Scope.IN_USE) == []
        others = await endpoints.search(
            conn, VIEWER, NOW, scope=Scope.ALL, owner_id=OTHER, limit=10, offset=0
        )
        assert [one.display_name for one in others] == ["alpha"]
