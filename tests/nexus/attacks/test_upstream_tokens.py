"""Attacks by or through an upstream's answer: what must never count as a login.

References: OpenID Connect Core 1.0, 3.1.3.7 (the numbers are its steps); RFC 9700; RFC 9207; RFC
8725 (JWT best current practices).
"""

import base64
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwk, jwt

from plugins.upstream import ISSUER, FakeUpstream
from towpath.nexus.federation import id_token
from towpath.nexus.federation.attempts import derive
from towpath.nexus.federation.errors import (
    FederationError,
    NotFreshError,
    ProofRejectedError,
    UpstreamDownError,
    UpstreamRefusedError,
)
from towpath.nexus.federation.relying_party import Proof, RelyingParty, Wish, proof_of

KEY = FakeUpstream.new_key("first")
REDIRECT = "https://towpath.example/v2/web/upstream/7"


async def logged_in(
    upstream: FakeUpstream,
    *,
    browser: str = "browser",
    state: str = "state",
    answer: dict[str, str] | None = None,
    fresh: bool = False,
    **registered: Any,
) -> Proof:
    """The whole exchange; ``answer`` is laid over an honest redirect."""
    party = RelyingParty(upstream)  # type: ignore[arg-type]
    known = upstream.registered(**registered)
    derived = derive(browser, state)
    url = await party.authorization_url(
        known, redirect_uri=REDIRECT, state=state, derived=derived, wish=Wish(fresh=fresh)
    )
    upstream.sent(url)
    redirected = {"code": "c", "state": state, "iss": upstream.issuer, **(answer or {})}
    return await party.redeem(
        known,
        {name: value for name, value in redirected.items() if value},
        redirect_uri=REDIRECT,
        derived=derived,
        fresh_since=datetime.now(UTC) if fresh else None,
    )


async def test_honest() -> None:
    proof = await logged_in(FakeUpstream())
    assert (proof.subject, proof.username) == ("person-1", "ada@uni.example")
    assert (proof.name, proof.email) == ("Ada", "ada@mail.example")


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"iss": "https://other.example"}, "another issuer"),  # step 2
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"aud": "somebody-else"}, "another client"),  # 3
        ({"aud": []}, "another client"),
        ({"aud": None}, "another client"),
        ({"aud": ["towpath", "other"]}, "several clients"),  # 3, 4
        ({"aud": ["towpath", "other"], "azp": "other"}, "made for another client"),  # 5
        ({"azp": "other"}, "made for another client"),
        ({"exp": int(time.time()) - 3600}, "expired"),  # 9
        ({"exp": None}, "does not say"),
        ({"exp": True}, "no time"),
        ({"exp": "tomorrow"}, "no time"),
        ({"iat": None}, "does not say"),
        ({"iat": int(time.time()) + 3600}, "in the future"),  # 10
        ({"nbf": int(time.time()) + 3600}, "in the future"),
        ({"nonce": None}, "another nonce"),  # 11
        ({"nonce": "of another login"}, "another nonce"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"sub": 7}, "no subject"),
        ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "another access token"),  # 3.1.3.8
    ],
)
async def test_claims(claims: dict[str, Any], said: str) -> None:
    upstream = FakeUpstream()
    upstream.claims = claims
    with pytest.raises(ProofRejectedError, match=said):
        await logged_in(upstream)


async def test_clock_leeway() -> None:
    """A minute between the clocks is no attack."""
    upstream = FakeUpstream()
    now = int(time.time())
    upstream.claims = {"iat": now + 30, "exp": now - 30}
    await logged_in(upstream)


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "RS257"])
async def test_unsigned_or_signed_with_a_shared_key(algorithm: str) -> None:
    """RFC 8725, 2.1: alg none, and a public key taken as a shared one. Step 7."""
    upstream = FakeUpstream()
    upstream.nonce = derive("browser", "state").nonce
    upstream.token = forged({"alg": algorithm, "kid": "first"}, upstream.honest_claims())
    with pytest.raises(ProofRejectedError, match="signed with"):
        await logged_in(upstream)


async def test_signed_with_the_client_secret() -> None:
    """Who knows a client's secret must not be able to log in as everybody."""
    upstream = FakeUpstream()
    upstream.signed_by = jwk.OctKey.import_key("shared secret" * 4)
    upstream.header = {"alg": "HS256"}
    with pytest.raises(ProofRejectedError, match="signed with"):
        await logged_in(upstream)


@pytest.mark.parametrize("name", ["first", "unheard-of", None])
async def test_signed_by_another_key(name: str | None) -> None:
    """Step 6; with the right name, a foreign one, and none."""
    upstream = FakeUpstream()
    upstream.signed_by = FakeUpstream.new_key("first")
    upstream.header = {"kid": name}
    with pytest.raises(ProofRejectedError):
        await logged_in(upstream)


@pytest.mark.parametrize("where", ["jwk", "jku", "x5u"])
async def test_brings_its_own_key(where: str) -> None:
    """RFC 8725, 3.10: a key in the header is nobody's."""
    upstream = FakeUpstream()
    upstream.signed_by = own = FakeUpstream.new_key("first")
    upstream.header = {
        where: own.as_dict(private=False) if where == "jwk" else "https://evil.example/keys"
    }
    with pytest.raises(ProofRejectedError):
        await logged_in(upstream)
    assert set(upstream.asked) == {
        "GET /.well-known/openid-configuration",
        "POST /token",
        "GET /keys",
    }


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "....", "ę.ę.ę", "x" * 40_000])
async def test_no_token_at_all(token: str) -> None:
    upstream = FakeUpstream()
    upstream.token = token
    with pytest.raises(ProofRejectedError):
        await logged_in(upstream)


async def test_key_for_encryption_signs_nothing() -> None:
    upstream = FakeUpstream()
    upstream.key = jwk.ECKey.generate_key("P-256", {"kid": "first", "use": "enc"})
    upstream.published = [upstream.key]
    upstream.signed_by = jwk.ECKey.import_key({**upstream.key.as_dict(private=True), "use": "sig"})
    with pytest.raises(ProofRejectedError):
        await logged_in(upstream)


async def test_answer_of_another_issuer() -> None:
    """Mix-up: RFC 9700, 4.4; RFC 9207, 2.4. The code is not sent anywhere."""
    upstream = FakeUpstream()
    with pytest.raises(ProofRejectedError, match="another issuer"):
        await logged_in(upstream, answer={"iss": "https://evil.example"})
    assert not upstream.forms


async def test_answer_that_does_not_say_whose_it_is() -> None:
    """RFC 9207, 2.4: an upstream that always says it was not asked."""
    upstream = FakeUpstream()
    with pytest.raises(ProofRejectedError, match="does not say"):
        await logged_in(upstream, answer={"iss": ""})
    assert not upstream.forms


async def test_metadata_of_another_issuer() -> None:
    """OpenID Connect Discovery 1.0, 4.3 and 7.2: an impostor names the real one's endpoints."""
    with pytest.raises(UpstreamDownError, match="another issuer"):
        await logged_in(FakeUpstream(metadata={"issuer": "https://real.example"}))


@pytest.mark.parametrize(
    "metadata",
    [
        {"token_endpoint": "http://login.uni.example/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"id_token_signing_alg_values_supported": ["none", "HS256"]},
        {"response_types_supported": ["id_token"]},
    ],
)
async def test_metadata_that_weaken(metadata: dict[str, Any]) -> None:
    upstream = FakeUpstream()
    upstream.metadata |= metadata
    with pytest.raises(UpstreamDownError):
        await logged_in(upstream)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("root@towpath.example", "no say"),
        ("ada@UNI.example.evil.example", "no say"),
        ("ada@uni.example@evil.example", "no name"),
        ("victim@evil.example@uni.example", "no name"),
        ("a b@uni.example", "no name"),
        ("@uni.example", "no name"),
        ('"<script>"@uni.example', "no name"),
        ("ada@xuni.example", "no say"),
        ("ada@sub.uni.example", "no say"),
    ],
)
async def test_speaks_for_a_domain_that_is_not_its_own(name: str, said: str) -> None:
    upstream = FakeUpstream()
    upstream.claims = {"preferred_username": name}
    with pytest.raises(ProofRejectedError, match=said):
        await logged_in(upstream)


async def test_user_document_of_somebody_else() -> None:
    """OpenID Connect Core, 5.3.2: token substitution."""
    upstream = FakeUpstream()
    upstream.claims = {"preferred_username": None}
    upstream.userinfo = {"sub": "person-2", "preferred_username": "eve@uni.example"}
    with pytest.raises(ProofRejectedError, match="somebody else"):
        await logged_in(upstream)
    upstream.userinfo["sub"] = "person-1"
    assert (await logged_in(upstream)).username == "eve@uni.example"


async def test_user_document_cannot_change_what_was_signed() -> None:
    upstream = FakeUpstream()
    upstream.claims = {"name": None}
    upstream.userinfo = {
        "sub": "person-1",
        "preferred_username": "root@uni.example",
        "amr": ["mfa"],
        "auth_time": 1,
    }
    assert (await logged_in(upstream)).username == "ada@uni.example"


@pytest.mark.parametrize(("ago_s", "passes"), [(None, False), (3600, False), (0, True)])
async def test_old_login_where_a_fresh_one_is_needed(ago_s: int | None, passes: bool) -> None:
    """Step 13: without auth_time nothing is fresh."""
    upstream = FakeUpstream()
    upstream.claims = {"auth_time": None if ago_s is None else int(time.time()) - ago_s}
    if passes:
        await logged_in(upstream, fresh=True)
    else:
        with pytest.raises(NotFreshError):
            await logged_in(upstream, fresh=True)


async def test_code_of_another_login() -> None:
    """Code injection (RFC 9700, 4.5): the verifier is another browser's, so the upstream refuses;
    and where it does not, the nonce is."""
    upstream = FakeUpstream()
    upstream.refuses = "invalid_grant"
    with pytest.raises(ProofRejectedError, match="redeem"):
        await logged_in(upstream)
    upstream.refuses = None
    upstream.claims = {"nonce": derive("the attacker's browser", "state").nonce}
    with pytest.raises(ProofRejectedError, match="nonce"):
        await logged_in(upstream)


async def test_each_login_has_its_own_values() -> None:
    values = [derive("one", "a"), derive("one", "b"), derive("two", "a")]
    assert len({one.nonce for one in values} | {one.verifier for one in values}) == 6
    assert "verifier" not in repr(values[0])


async def test_error_from_upstream() -> None:
    with pytest.raises(UpstreamRefusedError):
        await logged_in(FakeUpstream(), answer={"code": "", "error": "access_denied"})


async def test_upstream_is_down() -> None:
    upstream = FakeUpstream()
    upstream.down = True
    with pytest.raises(UpstreamDownError):
        await logged_in(upstream)


async def test_new_key_is_fetched_once() -> None:
    """A rolled key works at once; forged tokens do not make us ask for each."""
    upstream = FakeUpstream()
    now = [0.0]
    party = RelyingParty(upstream, monotonic=lambda: now[0])  # type: ignore[arg-type]
    derived = derive("browser", "state")
    known = upstream.registered()

    async def again() -> Proof:
        url = await party.authorization_url(
            known, redirect_uri=REDIRECT, state="state", derived=derived, wish=Wish()
        )
        upstream.sent(url)
        answer = {"code": "c", "iss": ISSUER}
        return await party.redeem(
            known, answer, redirect_uri=REDIRECT, derived=derived, fresh_since=None
        )

    await again()
    await again()
    assert upstream.asked.count("GET /keys") == 1
    now[0] = 60.0
    upstream.key = FakeUpstream.new_key("second")
    upstream.published.append(upstream.key)
    upstream.header = {"kid": "second"}
    await again()
    assert upstream.asked.count("GET /keys") == 2
    upstream.header = {"kid": "forged"}
    for _ in range(5):
        with pytest.raises(FederationError):
            await again()
    assert upstream.asked.count("GET /keys") == 2
    upstream.down = True  # what is known still checks tokens; the exchange itself fails
    now[0] = 7200.0
    with pytest.raises(UpstreamDownError):
        await again()


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_CLAIMS = st.sampled_from(
    (
        *("iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "auth_time", "acr", "amr"),
        *("at_hash", "preferred_username", "name", "email", "email_verified", "organization"),
    )
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(_CLAIMS, _JSON, max_size=6))
def test_whatever_an_upstream_signs(strange: dict[str, Any]) -> None:
    """It is refused, or it is a proof that a database can keep; nothing else comes out."""
    fake = FakeUpstream()
    fake.nonce = "n"
    claims = fake.honest_claims() | strange
    token = jwt.encode({"alg": "ES256", "kid": "first"}, claims, KEY, algorithms=["ES256"])
    expected = id_token.Expected(ISSUER, "towpath", "n", ["ES256"])
    keys = [KEY.as_dict(private=False)]
    try:
        checked = id_token.check(token, keys, expected, access_token="at", now=datetime.now(UTC))
        proof = proof_of(fake.registered(), checked)
    except ProofRejectedError:
        return
    texts = (proof.subject, proof.username, proof.name, proof.email, proof.organization, proof.acr)
    for text in (*texts, *proof.amr):
        assert text is None or (text.isprintable() and 0 < len(text) <= 600)


@pytest.mark.parametrize("header", [b"no JSON", b"[]", b"[" * 20_000], ids=["text", "list", "deep"])
def test_a_header_that_cannot_be_read(header: bytes) -> None:
    """RFC 8725, 3.1: also one that is nested deeper than a reader goes."""
    token = base64.urlsafe_b64encode(header).decode().rstrip("=") + ".e30.AA"
    expected = id_token.Expected(ISSUER, "towpath", "nonce", ["RS256"])
    with pytest.raises(ProofRejectedError):
        id_token.check(token, [], expected, access_token=None, now=datetime.now(UTC))
