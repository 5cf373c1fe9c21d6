"""The service with what examples are about: a developer with a project, and things in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID
from uuid import uuid4 as new_id

import httpx

from plugins.nexus import DOMAIN, ISSUER, PROVIDER, Nexus, Person
from towpath.nexus.bootstrap import ClientSecret
from towpath.nexus.groups.app import PREFIXES as GROUPS_PREFIXES
from towpath.nexus.groups.app import create_app as create_groups
from towpath.nexus.scopes import GROUPS_ALL, GROUPS_VIEW, MANAGE_PROJECTS
from towpath.platform.http import PathDispatch

VIEW_CONSENTS = "urn:globus:auth:scope:auth.globus.org:view_consents"
POLICY_FIELDS = (
    *("high_assurance", "authentication_assurance_timeout", "required_mfa"),
    *("domain_constraints_include", "domain_constraints_exclude"),
)
LOGIN_SCOPES = f"openid profile email {MANAGE_PROJECTS} {VIEW_CONSENTS}"


@dataclass
class Stage:
    """All on one origin, as in `towpath up`."""

    nexus: Nexus
    http: httpx.AsyncClient
    person: Person
    application: ClientSecret
    """A confidential client with a redirect URI, through which the person is logged in."""
    auth_token: str
    groups_token: str
    project_id: str

    @classmethod
    async def set_up(cls, nexus: Nexus, name: str) -> Self:
        """With somebody of that name logged in, who has nothing yet but a project."""
        app = PathDispatch(
            dict.fromkeys(GROUPS_PREFIXES, create_groups(nexus.database)), default=nexus.app
        )
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ISSUER)
        person = await nexus.person(name)
        application = await nexus.client(redirect_uris=["https://app.example/callback"])
        document = await nexus.log_in_at(application, person, scope=f"{LOGIN_SCOPES} {GROUPS_ALL}")
        (groups,) = document["other_tokens"]
        made = cls(
            *(nexus, http, person, application),
            *(document["access_token"], groups["access_token"]),
            "",
        )
        made.project_id = await made.project()
        return made

    async def own(self, method: str, path: str, body: Any = None) -> Any:
        """What the developer is answered to a request that must work."""
        answer = await self.http.request(
            method, f"/v2/{path}", json=body, headers=bearer(self.token_for(path))
        )
        assert answer.is_success, (path, answer.text)
        return answer.json()

    def token_for(self, path: str) -> str:
        """The developer's, for the service that has the path."""
        groups = path.startswith(("groups", "subscription_info"))
        return self.groups_token if groups else self.auth_token

    async def project(self, name: str = "Guardians of the Galaxy") -> str:
        """A new one; its id."""
        fields = {
            "display_name": name,
            "contact_email": "support@example.org",
            "admin_ids": [str(self.person.identity_id)],
        }
        made = await self.own("POST", "api/projects", {"project": fields})
        return str(made["project"]["id"])

    async def client(self, client_type: str = "public_installed_client", **more: Any) -> str:
        """A new one of the project; its id."""
        fields = {"name": "FOO", "project": self.project_id, "client_type": client_type, **more}
        made = await self.own("POST", "api/clients", {"client": fields})
        return str(made["client"]["id"])

    async def secret(self, client_id: str) -> tuple[str, ClientSecret]:
        """A credential of a client: its id, and what it logs in with."""
        body = {"credential": {"name": "foo"}}
        made = (await self.own("POST", f"api/clients/{client_id}/credentials", body))["credential"]
        return str(made["id"]), ClientSecret(UUID(client_id), made["secret"])

    async def scope(self, client_id: str, needs: str | None = None) -> Mapping[str, Any]:
        """A new scope of a client: its document. `needs` is a scope string."""
        fields: dict[str, Any] = {
            "name": "Client manage scope",
            "description": "Manage configuration of this client",
            "scope_suffix": f"manage_{new_id().hex}",
        }
        if needs is not None:
            (found,) = (await self.own("GET", f"api/scopes?scope_strings={needs}"))["scopes"]
            fields["dependent_scopes"] = [
                {"scope": found["id"], "optional": False, "requires_refresh_token": True}
            ]
        made = await self.own("POST", f"api/clients/{client_id}/scopes", {"scope": fields})
        scope: Mapping[str, Any] = made["scope"]
        return scope

    async def policy(self, example: Mapping[str, Any] | None = None) -> str:
        """A new one, of high assurance, or as in the example; its id."""
        fields = {
            "project_id": self.project_id,
            "display_name": "Policy of Foo",
            "description": "Controls access to Foo",
            "high_assurance": True,
            "authentication_assurance_timeout": 25,
            "required_mfa": False,
            **{name: value for name, value in (example or {}).items() if name in POLICY_FIELDS},
        }
        made = await self.own("POST", "api/policies", {"policy": fields})
        return str(made["policy"]["id"])

    async def group(self) -> str:
        """A new one of the developer's; its id."""
        body = {"name": "Rough Riders", "description": "No stairs allowed."}
        return str((await self.own("POST", "groups", body))["id"])

    async def tokens(self, scope: str) -> dict[str, Any]:
        """The document of a login at the application, for one resource server."""
        return await self.nexus.log_in_at(self.application, self.person, scope=scope)

    async def code(self, scope: str) -> str:
        """An authorization code for the application."""
        _, cookie = await self.nexus.log_in(self.person)
        answer = await self.nexus.answer(cookie, self.application, scope=scope)
        return answer["code"]

    async def resource_server(self) -> tuple[ClientSecret, str]:
        """A service that needs Groups, and the person's token for it."""
        client_id = await self.client("resource_server")
        _, client = await self.secret(client_id)
        scope = await self.scope(client_id, needs=GROUPS_VIEW)
        document = await self.tokens(scope["scope_string"])
        return client, str(document["access_token"])

    @property
    def provider_id(self) -> str:
        """Where people's identities come from."""
        return str(PROVIDER)

    @property
    def domain(self) -> str:
        """Of that provider."""
        return DOMAIN


def bearer(token: str) -> dict[str, str]:
    """The header."""
    return {"Authorization": f"Bearer {token}"}


def basic(client: ClientSecret) -> dict[str, str]:
    """The header."""
    request = httpx.Request("GET", ISSUER)
    auth = httpx.BasicAuth(str(client.client_id), client.client_secret)
    return {"Authorization": next(auth.auth_flow(request)).headers["Authorization"]}
