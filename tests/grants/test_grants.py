"""Grants: what is minted is what is verified, and nothing else is."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwk, jws

from towpath.grants import (
    LIFETIME_S,
    SKEW_S,
    Grant,
    GrantRefused,
    KeySet,
    Prefix,
    Reason,
    SigningKey,
    Verifier,
    mint,
)
from towpath.grants.passes import Pass, PassRefused, PassVerifier
from towpath.grants.passes import mint as mint_pass
from towpath.grants.replays import Replays

KEY = SigningKey.new()
KEYS = KeySet.of([KEY])
NOW = 1_800_000_000
ISSUER = "https://move.example.org"
OURS = "ab" * 32


def a_grant(**changes: Any) -> Grant:
    made = Grant.issue(
        issuer=ISSUER,
        audience="endpoint",
        subject="somebody",
        account="mira",
        collection="collection",
        prefixes=[Prefix("/", write=False), Prefix("/out", write=True)],
        certificate_sha256=OURS,
        now=NOW,
    )
    return replace(made, **changes)


class Endpoint:
    """A verifier with a clock of its own."""

    def __init__(self, keys: KeySet = KEYS, **others: Any) -> None:
        self.now: float = NOW
        self.keys = keys
        self.verifier = Verifier(
            issuer=ISSUER,
            audience="endpoint",
            keys=lambda: self.keys,
            now=lambda: self.now,
            **others,
        )

    def verify(self, token: str, certificate: str, current: Grant | None) -> Grant:
        if current is None:
            return self.verifier.verify(token, certificate)
        return self.verifier.verify_renewal(token, certificate, current)

    def refusal(self, token: str, certificate: str = OURS, current: Grant | None = None) -> Reason:
        with pytest.raises(GrantRefused) as refused:
            self.verify(token, certificate, current)
        body = token.split(".")[1] if token.count(".") == 2 else token
        assert len(body) < 20 or body not in str(refused.value)
        return refused.value.reason


def signed(header: dict[str, Any], claims: Any, key: SigningKey = KEY) -> str:
    """By hand, whatever it says."""
    head, body = (
        urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)
    )
    mark = urlsafe_b64encode(key.sign(head + b"." + body)).rstrip(b"=")
    return b".".join((head, body, mark)).decode()


def header(**changes: Any) -> dict[str, Any]:
    return {"alg": "EdDSA", "kid": KEY.key_id, "typ": "towpath-grant+jwt"} | changes


names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, max_size=4).map(lambda parts: "/" + "/".join(parts))
grants = st.builds(
    Grant,
    issuer=st.just(ISSUER),
    audience=st.just("endpoint"),
    subject=st.text(min_size=1, max_size=40),
    account=st.none() | st.text(min_size=1, max_size=20),
    collection=st.text(min_size=1, max_size=40),
    prefixes=st.lists(
        st.builds(Prefix, paths, st.booleans()),
        min_size=1,
        max_size=5,
        unique_by=lambda prefix: prefix.path,
    ).map(tuple),
    grant_id=st.text(min_size=1, max_size=40),
    issued=st.integers(NOW - 300, NOW + SKEW_S),
    expires=st.just(NOW + 250),
    certificate_sha256=st.just(OURS),
)


@settings(deadline=None)
@given(grants)
def test_what_is_minted_is_what_is_verified(grant: Grant) -> None:
    assert Endpoint().verifier.verify(mint(grant, KEY), OURS) == grant


@settings(deadline=None)
@given(st.data())
def test_no_letter_of_a_grant_can_be_exchanged(data: st.DataObject) -> None:
    token = mint(a_grant(), KEY)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(max_codepoint=0x7F) | st.characters())
    bent = token[:at] + other + token[at + 1 :]
    if bent != token:
        assert Endpoint().refusal(bent) in (Reason.ALTERED, Reason.KEY)


@settings(deadline=None)
@given(st.text() | st.text('ey.A{}":=-_'))
def test_garbage_is_refused(token: str) -> None:
    assert Endpoint().refusal(token) is Reason.ALTERED


# RFC 9864 would have it called Ed25519 from now on; other programs know both names for years
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_another_program_reads_and_writes_the_same_statements() -> None:
    registry = jws.JWSRegistry(algorithms=["EdDSA"], strict_check_header=False)
    theirs = jwk.OKPKey.import_key(KEYS.to_jwks()["keys"][0])
    grant = a_grant()
    found = jws.deserialize_compact(mint(grant, KEY), theirs, registry=registry)
    assert found.payload is not None
    assert json.loads(found.payload) == grant.to_claims()
    assert theirs.thumbprint() == KEY.key_id

    key = jwk.OKPKey.generate_key("Ed25519")
    public = {**key.as_dict(private=False), "kid": "theirs"}
    claims = json.dumps(grant.to_claims()).encode()
    token = jws.serialize_compact(header(kid="theirs"), claims, key, registry=registry)
    endpoint = Endpoint(KeySet.from_jwks({"keys": [public]}))
    assert endpoint.verifier.verify(token, OURS) == grant


def test_a_grant_is_for_one_session() -> None:
    endpoint = Endpoint()
    token = mint(a_grant(), KEY)
    endpoint.verifier.verify(token, OURS)
    assert endpoint.refusal(token) is Reason.REPLAYED
    endpoint.now += LIFETIME_S + SKEW_S
    assert endpoint.refusal(token) is Reason.REPLAYED
    endpoint.now += 1
    assert endpoint.refusal(token) is Reason.EXPIRED


def test_who_may_not_show_a_grant_does_not_use_it_up() -> None:
    endpoint = Endpoint()
    token = mint(a_grant(), KEY)
    assert endpoint.refusal(token, "cd" * 32) is Reason.CERTIFICATE
    assert endpoint.refusal(token, current=a_grant(subject="another")) is Reason.SESSION
    endpoint.verifier.verify(token, OURS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issuer": "https://evil.example.org"}, Reason.ISSUER),
        ({"audience": "another"}, Reason.AUDIENCE),
        ({"issued": NOW + SKEW_S + 1, "expires": NOW + 300}, Reason.CLOCK),
        ({"issued": NOW - 600, "expires": NOW - SKEW_S - 1}, Reason.EXPIRED),
        ({"certificate_sha256": "cd" * 32}, Reason.CERTIFICATE),
    ],
)
def test_a_grant_for_others_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    assert Endpoint().refusal(mint(a_grant(**changes), KEY)) is reason


@pytest.mark.parametrize("field", ["subject", "account", "collection"])
def test_a_renewal_is_for_the_same_session(field: str) -> None:
    endpoint = Endpoint()
    current = a_grant()
    other = a_grant(**{field: "another"})
    assert endpoint.refusal(mint(other, KEY), current=current) is Reason.SESSION
    without = a_grant(account=None)
    assert endpoint.refusal(mint(without, KEY), current=current) is Reason.SESSION
    renewed = a_grant(prefixes=(Prefix("/only", write=False),))
    assert endpoint.verifier.verify_renewal(mint(renewed, KEY), OURS, current) == renewed


@pytest.mark.parametrize(
    "head",
    [
        header(alg="none"),
        header(alg="HS256"),
        header(alg="ES256"),
        header(alg=None),
        header(typ="JWT"),
        header(typ="towpath-pass+jwt"),
        header(crit=["exp"]),
        header(jwk=KEYS.to_jwks()["keys"][0]),
        header(kid=["list"]),
        {"alg": "EdDSA", "typ": "towpath-grant+jwt"},
        [],
    ],
)
def test_only_our_algorithm_and_kind_are_believed(head: Any) -> None:
    assert Endpoint().refusal(signed(head, a_grant().to_claims())) is Reason.ALTERED


def test_a_token_without_signature_is_refused() -> None:
    head, body, _ = mint(a_grant(), KEY).split(".")
    none = urlsafe_b64encode(json.dumps(header(alg="none")).encode()).rstrip(b"=").decode()
    for token in (f"{none}.{body}.", f"{head}.{body}.", f"{head}.{body}"):
        assert Endpoint().refusal(token) is Reason.ALTERED


def test_a_key_that_is_not_known_is_refused_until_it_is() -> None:
    other = SigningKey.new()
    endpoint = Endpoint()
    token = mint(a_grant(), other)
    assert endpoint.refusal(token) is Reason.KEY
    # named like ours, signed by the other: the name alone is worth nothing
    assert endpoint.refusal(signed(header(), a_grant().to_claims(), other)) is Reason.ALTERED
    endpoint.keys = KeySet.of([KEY, other])
    endpoint.verifier.verify(token, OURS)
    endpoint.keys = KeySet.of([])
    assert endpoint.refusal(mint(a_grant(), KEY)) is Reason.KEY


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW + LIFETIME_S + 1},
        {"exp": NOW},
        {"exp": float(NOW + 10)},
        {"exp": True},
        {"iat": -(10**400)},
        {"exp": 10**400},
        {"pfx": []},
        {"pfx": "/"},
        {"pfx": [["/"]]},
        {"pfx": [["/", "w"]]},
        {"pfx": [["/", "rwx"]]},
        {"pfx": [["/", "r"], ["/", "rw"]]},
        {"pfx": [["", "r"]]},
        {"pfx": [["a", "r"]]},
        {"pfx": [["/a/", "r"]]},
        {"pfx": [["//a", "r"]]},
        {"pfx": [["/a/../b", "r"]]},
        {"pfx": [["/..", "r"]]},
        {"pfx": [["/./a", "r"]]},
        {"pfx": [["/a\0", "r"]]},
        {"pfx": [["/" + "a" * 5000, "r"]]},
        {"pfx": [[f"/{n}", "r"] for n in range(1001)]},
        {"cnf": OURS},
        {"cnf": {}},
        {"cnf": {"x5t#S256": "AA"}},
        {"sub": ""},
        {"sub": 7},
        {"acct": None},
        {"jti": ""},
        {"jti": "x" * 200},
        {"nbf": NOW},
    ],
)
def test_what_the_service_would_not_sign_is_refused_although_it_is_signed(
    changes: dict[str, Any],
) -> None:
    claims = a_grant().to_claims() | changes
    assert Endpoint().refusal(signed(header(), claims)) is Reason.ALTERED


def test_a_member_that_stands_there_twice_is_refused() -> None:
    body = json.dumps(a_grant().to_claims())[:-1] + ', "aud": "endpoint"}'
    head = urlsafe_b64encode(json.dumps(header()).encode()).rstrip(b"=")
    packed = urlsafe_b64encode(body.encode()).rstrip(b"=")
    mark = urlsafe_b64encode(KEY.sign(head + b"." + packed)).rstrip(b"=")
    token = b".".join((head, packed, mark)).decode()
    assert Endpoint().refusal(token) is Reason.ALTERED


def test_the_id_is_told_for_the_log_and_nothing_else() -> None:
    grant = a_grant()
    head, body, mark = mint(grant, KEY).split(".")
    endpoint = Endpoint()
    with pytest.raises(GrantRefused) as refused:
        endpoint.verifier.verify(f"{head}.{body}.{'A' * len(mark)}", OURS)
    assert refused.value.statement_id == grant.grant_id
    assert str(refused.value) == "altered: its signature is wrong"
    nasty = signed(header(), a_grant().to_claims() | {"jti": "a\r\nb" * 100})
    with pytest.raises(GrantRefused) as refused:
        endpoint.verifier.verify(nasty, OURS)
    found = refused.value.statement_id
    assert found is not None
    assert len(found) <= 64
    assert found.isprintable()


def test_keys_are_kept_and_published() -> None:
    assert SigningKey.from_bytes(KEY.to_bytes()).key_id == KEY.key_id
    published = KEYS.to_jwks()
    assert "d" not in published["keys"][0]
    other = {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "rsa"}
    both = KeySet.from_jwks({"keys": [other, *published["keys"]]})
    assert both.to_jwks() == published
    secret = urlsafe_b64encode(KEY.to_bytes()).decode()
    assert secret.rstrip("=") not in repr(KEY)
    assert len(urlsafe_b64decode(published["keys"][0]["x"] + "=")) == 32


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"keys": {}},
        {"keys": KEYS.to_jwks()["keys"] * 2},
        {"keys": [KEYS.to_jwks()["keys"][0] | {"x": "AA"}]},
        {"keys": [KEYS.to_jwks()["keys"][0] | {"x": None}]},
        {"keys": [KEYS.to_jwks()["keys"][0] | {"kid": ""}]},
        {"keys": [{}] * 9},
    ],
)
def test_what_is_no_key_set_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        KeySet.from_jwks(document)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 50)), max_size=200))
def test_a_memory_is_bounded_and_forgets_only_what_is_over(
    uses: list[tuple[int, int]],
) -> None:
    replays, now = Replays(most=10), 0
    valid: dict[str, int] = {}
    for statement, step in uses:
        now += step % 5
        valid = {name: until for name, until in valid.items() if until >= now}
        name = str(statement)
        first = replays.is_first(name, until=now + step, now=now)
        assert first == (name not in valid and len(valid) < 10)
        if first:
            valid[name] = now + step
        assert len(replays) <= 10


# Passes


def a_pass(**changes: Any) -> Pass:
    made = Pass.issue(issuer=ISSUER, audience="relay", endpoint="endpoint", node="node", now=NOW)
    return replace(made, **changes)


def pass_verifier(now: float = NOW) -> PassVerifier:
    return PassVerifier(issuer=ISSUER, audience="relay", keys=lambda: KEYS, now=lambda: now)


def test_a_pass_is_for_one_use() -> None:
    relay = pass_verifier()
    token = mint_pass(a_pass(), KEY)
    assert relay.verify(token).node == "node"
    with pytest.raises(PassRefused) as refused:
        relay.verify(token)
    assert refused.value.reason is Reason.REPLAYED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issuer": "https://evil.example.org"}, Reason.ISSUER),
        ({"audience": "another"}, Reason.AUDIENCE),
        ({"issued": NOW + 61, "expires": NOW + 100}, Reason.CLOCK),
        ({"issued": NOW - 100, "expires": NOW - 61}, Reason.EXPIRED),
    ],
)
def test_a_pass_for_others_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(PassRefused) as refused:
        pass_verifier().verify(mint_pass(a_pass(**changes), KEY))
    assert refused.value.reason is reason


def test_a_grant_is_no_pass_and_a_pass_is_no_grant() -> None:
    with pytest.raises(PassRefused) as refused:
        pass_verifier().verify(mint(a_grant(audience="relay"), KEY))
    assert refused.value.reason is Reason.ALTERED
    assert Endpoint().refusal(mint_pass(a_pass(audience="endpoint"), KEY)) is Reason.ALTERED


@pytest.mark.parametrize(
    "changes", [{"exp": NOW + 61}, {"exp": "soon"}, {"node": ""}, {"node": 7}, {"more": 1}]
)
def test_a_pass_that_the_service_would_not_sign_is_refused(changes: dict[str, Any]) -> None:
    claims = {
        "iss": ISSUER,
        "aud": "relay",
        "endpoint": "endpoint",
        "node": "node",
        "jti": "x",
        "iat": NOW,
        "exp": NOW + 60,
    }
    head = header(typ="towpath-pass+jwt")
    assert pass_verifier().verify(signed(head, claims)).pass_id == "x"
    with pytest.raises(PassRefused) as refused:
        pass_verifier().verify(signed(head, claims | changes))
    assert refused.value.reason is Reason.ALTERED
