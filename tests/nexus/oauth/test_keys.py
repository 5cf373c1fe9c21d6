"""The succession of keys."""

from datetime import UTC, datetime, timedelta

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet, RSAKey

from plugins.nexus import Nexus
from towpath.nexus.oauth.keys import (
    ID_TOKEN_LIFETIME_S,
    PUBLISHED_AHEAD_S,
    add,
    generate,
    succession,
)
from towpath.nexus.store.keys import SigningKey
from towpath.platform.secrets import Sealer

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def key(name: str, hours: float) -> SigningKey:
    at = NOON + timedelta(hours=hours)
    return SigningKey(name, {}, b"", NOON, at)


@pytest.mark.parametrize(
    ("hours", "signer", "published", "over"),
    [
        (0, "a", ["a", "b"], []),
        (0.99, "a", ["a", "b"], []),
        (1, "b", ["b", "a"], []),
        (1.99, "b", ["b", "a"], []),
        (2, "b", ["b"], ["a"]),
    ],
)
def test_a_key_is_published_before_it_signs_and_after(
    hours: float, signer: str, published: list[str], over: list[str]
) -> None:
    assert ID_TOKEN_LIFETIME_S == PUBLISHED_AHEAD_S == 3600
    found = succession([key("a", 0), key("b", 1)], NOON + timedelta(hours=hours))
    assert found is not None
    assert found.signer.kid == signer, "the first one: the CLI reads no other"
    assert [one.kid for one in found.published] == published
    assert [one.kid for one in found.over] == over


def test_before_the_first_key_there_is_none() -> None:
    assert succession([], NOON) is None
    assert succession([key("a", 1)], NOON) is None


async def test_tokens_stay_good_while_keys_change(
    nexus: Nexus, nexus_sealer: Sealer, signing_key: RSAKey
) -> None:
    async def published() -> KeySet:
        return KeySet.import_key_set((await nexus.http.get("/jwk.json")).json())

    async with nexus.database.connection() as connection:
        before = await nexus.keys.sign(connection, {"n": 1})
        async with connection.transaction():
            await add(connection, nexus_sealer, generate(), ahead_s=PUBLISHED_AHEAD_S)
        known = await published()
        assert len(known.keys) == 2
        await connection.execute(
            "UPDATE signing_key SET signs_from = signs_from - interval '61 minutes'"
        )
        after = await nexus.keys.sign(connection, {"n": 2})
        assert known.keys[0].kid == (await published()).keys[1].kid
        for token in (before, after):
            jwt.decode(token, known, algorithms=["RS512"])
        with pytest.raises(BadSignatureError):
            jwt.decode(after, signing_key, algorithms=["RS512"])
        cursor = await connection.execute("SELECT private_key FROM signing_key")
        for row in await cursor.fetchall():
            assert b"PRIVATE KEY" not in row["private_key"], "sealed"
