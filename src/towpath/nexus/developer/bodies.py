"""What the routes take, and its bounds. Unknown fields are ignored, as in the Globus API."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from towpath.nexus.oauth import redirects

ADMINS_LIMIT = 100
DOMAINS_LIMIT = 100
DEPENDENCIES_LIMIT = 100


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("must be text without control characters")
    return text.strip()


def _link(text: str) -> str:
    if not text.isascii() or not text.isprintable() or not text.startswith("https://"):
        raise ValueError("must be an https address")
    return text


Name = Annotated[str, Field(min_length=1, max_length=120), AfterValidator(_printable)]
Description = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_printable)]
Link = Annotated[str, Field(max_length=redirects.URI_LIMIT), AfterValidator(_link)]
Domain = Annotated[
    str, Field(max_length=255, pattern=r"^(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")
]
Domains = Annotated[list[Domain], Field(max_length=DOMAINS_LIMIT)]
ClientType = Literal[
    "client_identity",
    "confidential_client",
    "public_installed_client",
    "public_webapp_client",
    "resource_server",
    "hybrid_confidential_client_resource_server",
    "globus_connect_server",
]


class Body(BaseModel):
    """A document from outside."""

    model_config = ConfigDict(extra="ignore")

    def given(self) -> dict[str, Any]:
        """The fields that the caller has named."""
        return self.model_dump(exclude_unset=True)


class Links(Body):
    """Shown on the consent page."""

    terms_and_conditions: Link | None = None
    privacy_policy: Link | None = None


class ClientFields(Body):
    """Of a client, new or changed."""

    name: Name | None = None
    visibility: Literal["public", "private"] = "private"
    redirect_uris: list[str] = Field(default=[], max_length=redirects.COUNT_LIMIT)
    links: Links = Links()
    required_idp: UUID | None = None
    preselect_idp: UUID | None = None
    prompt_for_named_grant: bool = True
    userinfo_from_effective_identity: bool = True
    # only when it is made
    template_id: UUID | None = None
    project: UUID | None = None
    public_client: bool | None = None
    client_type: ClientType | None = None


class ClientBody(Body):
    """``{"client": {...}}``."""

    client: ClientFields


class CredentialFields(Body):
    """Of a secret; the secret itself is made here."""

    name: Name


class CredentialBody(Body):
    """``{"credential": {...}}``."""

    credential: CredentialFields


class DependentScope(Body):
    """What a scope needs elsewhere."""

    scope: UUID
    optional: bool = False
    requires_refresh_token: bool = False


class ScopeFields(Body):
    """Of a scope, new or changed."""

    name: Name | None = None
    description: Description | None = None
    scope_suffix: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_]{1,80}$")
    advertised: bool = False
    allows_refresh_token: bool = True
    required_domains: Domains = []
    dependent_scopes: list[DependentScope] = Field(default=[], max_length=DEPENDENCIES_LIMIT)


class ScopeBody(Body):
    """``{"scope": {...}}``."""

    scope: ScopeFields


class ProjectFields(Body):
    """Of a project, new or changed."""

    display_name: Name | None = None
    contact_email: str | None = Field(
        default=None, max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$"
    )
    admin_ids: list[UUID] | None = Field(default=None, max_length=ADMINS_LIMIT)
    admin_group_ids: list[UUID] | None = Field(default=None, max_length=ADMINS_LIMIT)


class ProjectBody(Body):
    """``{"project": {...}}``."""

    project: ProjectFields


class PolicyFields(Body):
    """Of a policy, new or changed."""

    project_id: UUID | None = None
    display_name: Name | None = None
    description: Description | None = None
    high_assurance: bool = False
    authentication_assurance_timeout: int | None = Field(default=None, ge=1, le=31_536_000)
    required_mfa: bool = False
    domain_constraints_include: Domains | None = None
    domain_constraints_exclude: Domains | None = None


class PolicyBody(Body):
    """``{"policy": {...}}``."""

    policy: PolicyFields
