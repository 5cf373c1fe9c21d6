"""Grants and passes: bent after they were signed, or before."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fuzz.bending import bent
from fuzz.campaign import EscapeError, HangError, One
from towpath.grants import Grant, GrantRefused, KeySet, Prefix, SigningKey, Verifier, mint
from towpath.grants.base64url import encoded
from towpath.grants.passes import Pass, PassRefused, PassVerifier
from towpath.grants.passes import mint as mint_pass

NOW = 1_800_000_000
CERTIFICATE = "ab" * 32
STATEMENT_S = 2.0
"""Of processor time for one; the longest takes some ms."""
_PIECES = (
    *(b'"rw"', b'"r"', b"[]", b"[[", b"null", b"true", b"1e3"),
    *(b'"\\ud800"', b'"/../x"', b'"exp":'),
)


@contextmanager
def statements(_workdir: Path) -> Iterator[One]:
    """What was bent is refused, in the words of a refusal; what is taken is what was signed."""
    key = SigningKey.new()
    keys = KeySet.of([key])

    def one(dice: random.Random) -> None:
        # anew for each: what is remembered is no leak, and would look like one
        verifier = Verifier(issuer="i", audience="a", keys=lambda: keys, now=lambda: NOW)
        relay = PassVerifier(issuer="i", audience="a", keys=lambda: keys, now=lambda: NOW)
        for _ in range(20):
            began = time.thread_time()
            _one(dice, key, verifier, relay)
            if time.thread_time() - began > STATEMENT_S:
                raise HangError(f"{time.thread_time() - began:.1f} s for one statement")

    yield one


def _one(dice: random.Random, key: SigningKey, verifier: Verifier, relay: PassVerifier) -> None:
    grant = Grant.issue(
        issuer="i",
        audience="a",
        subject="s",
        account=dice.choice((None, "mira")),
        collection="c",
        prefixes=[Prefix("/", write=False), Prefix("/a/b", write=True)],
        certificate_sha256=CERTIFICATE,
        now=NOW,
    )
    permitted = Pass.issue(issuer="i", audience="a", endpoint="e", node="n", now=NOW)
    token = dice.choice((mint(grant, key), mint_pass(permitted, key)))
    other = bent(dice, token.encode(), [b".", b"..", token.encode()]).decode("ascii", "replace")
    if other != token:
        with suppress(GrantRefused):
            raise EscapeError(f"taken although it was bent: {verifier.verify(other, CERTIFICATE)}")
        with suppress(PassRefused):
            raise EscapeError(f"taken although it was bent: {relay.verify(other)}")
    head = token.split(".")[0]
    claims = grant.to_claims() if dice.randrange(4) else relay_claims(permitted)
    body = bent(dice, json.dumps(claims).encode(), _PIECES)
    signed = f"{head}.{encoded(body)}"
    resigned = f"{signed}.{encoded(key.sign(signed.encode()))}"
    with suppress(PassRefused):
        relay.verify(resigned)
    try:
        taken = verifier.verify(resigned, CERTIFICATE)
    except GrantRefused:
        return
    if taken.to_claims() != json.loads(body):
        raise EscapeError(f"{taken} was made of {body!r}")
    for path, _write in taken.prefixes:
        if path != "/" and (not path.startswith("/") or {"", ".", ".."} & set(path[1:].split("/"))):
            raise EscapeError(f"a prefix that leads elsewhere: {path!r}")


def relay_claims(permitted: Pass) -> dict[str, object]:
    """Of a pass, as `mint` has them."""
    return {
        "iss": permitted.issuer,
        "aud": permitted.audience,
        "endpoint": permitted.endpoint,
        "node": permitted.node,
        "jti": permitted.pass_id,
        "iat": permitted.issued,
        "exp": permitted.expires,
    }
