"""An upstream OpenID provider that lies as the test says; it answers in place of the network."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from joserfc import jwk, jwt

from towpath.nexus.federation.providers import Upstream
from towpath.platform.outbound import Answer, UnreachableError

ISSUER = "https://login.uni.example"


class FakeUpstream:
    """What ``Outbound`` is to the relying party, with a provider behind it.

    ``claims`` are laid over those of an honest id_token (None takes one away); ``signed_by`` is the
    key that signs instead of the published one.
    """

    def __init__(self, issuer: str = ISSUER, metadata: Mapping[str, Any] | None = None) -> None:
        self.issuer = issuer
        self.key = self.new_key("first")
        self.published = [self.key]
        self.signed_by: jwk.Key | None = None
        self.header: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self.userinfo: dict[str, Any] | None = None
        self.token: str | None = None
        self.refuses: str | None = None
        self.down = False
        self.asked: list[str] = []
        self.forms: list[Mapping[str, str]] = []
        self.nonce = ""
        self.metadata = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/keys",
            "userinfo_endpoint": f"{issuer}/userinfo",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "none", "HS256"],
            "authorization_response_iss_parameter_supported": True,
            **(metadata or {}),
        }

    @staticmethod
    def new_key(name: str) -> jwk.Key:
        """An EC key: made in a moment, unlike RSA's."""
        return jwk.ECKey.generate_key("P-256", {"kid": name, "use": "sig"})

    def registered(self, **changes: Any) -> Upstream:
        """Itself as the operator registers it."""
        values: dict[str, Any] = {
            "id": UUID(int=7),
            "name": "Uni",
            "issuer": self.issuer,
            "client_id": "towpath",
            "client_secret": "shared secret",
            "domains": ("uni.example", "students.uni.example"),
            **changes,
        }
        return Upstream(**values)

    def sent(self, url: str) -> None:
        """The browser comes with our request."""
        self.nonce = parse_qs(urlsplit(url).query)["nonce"][0]

    def honest_claims(self) -> dict[str, Any]:
        """Of an id_token with which nothing is wrong."""
        now = int(time.time())
        return {
            "iss": self.issuer,
            "sub": "person-1",
            "aud": "towpath",
            "nonce": self.nonce,
            "iat": now,
            "exp": now + 300,
            "preferred_username": "ada@uni.example",
            "name": "Ada",
            "email": "ada@mail.example",
            "email_verified": True,
        }

    def id_token(self) -> str:
        """Made by the published key, or whatever else the test wants."""
        if self.token is not None:
            return self.token
        claims = {**self.honest_claims(), **self.claims}
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "ES256", "kid": "first", **self.header}
        header = {name: value for name, value in header.items() if value is not None}
        return jwt.encode(
            header, claims, self.signed_by or self.key, algorithms=[str(header["alg"])]
        )

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002
        form: Mapping[str, str] | None = None,
        authority: str | None = None,  # noqa: ARG002
    ) -> Answer:
        """As :meth:`towpath.platform.outbound.Outbound.request`."""
        self.asked.append(f"{method} {urlsplit(url).path}")
        if self.down:
            raise UnreachableError("login.uni.example cannot be reached")
        path = url.removeprefix(self.issuer)
        if path == "/.well-known/openid-configuration":
            return _json(self.metadata)
        if path == "/keys":
            return _json({"keys": [key.as_dict(private=False) for key in self.published]})
        if path == "/token":
            assert form is not None
            self.forms.append(form)
            if self.refuses is not None:
                return _json({"error": self.refuses}, 400)
            return _json(
                {"access_token": "at", "token_type": "Bearer", "id_token": self.id_token()}
            )
        if path == "/userinfo" and self.userinfo is not None:
            return _json(self.userinfo)
        return Answer(404, str(uuid4()).encode())


def _json(document: Mapping[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(document).encode())
