"""What the routes answer, field by field. Every field is always there, and no other, but for those
that have a default.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from towpath.transfer.api.answers.base import Answer


class Envelope(Answer):
    """What every answer is wrapped in. `marker`: where the next page begins, if there is one."""

    DATA_TYPE: Literal["result#1.0.0"]
    http_response_code: int
    message: str
    has_next_page: bool
    marker: str


class Success(Envelope):
    """Of what has been done."""

    code: Literal["success"]
    detail: Literal["success"]


Nothing = Annotated[list[Any], Field(max_length=0)]


class Done(Success):
    """That something was done."""

    data: Nothing


class Error(Envelope):
    """What a route answers instead, with status 400 and above. `code` is a word for programs."""

    code: str
    detail: None
    data: Nothing
    request_id: str
    resource: str
    required_scopes: list[str] = Field(default=[])
    """Only of ConsentRequired: what the person must allow the application."""


class Info(Answer):
    """How this Manager is talked to."""

    DATA_TYPE: Literal["info#1.0.0"]
    endpoint_id: UUID
    client_id: UUID
    domain_name: str
    api_version: str
    manager_version: str


class Connector(Answer):
    """A kind of storage."""

    DATA_TYPE: Literal["connector#1.1.0"]
    id: UUID
    display_name: str
    is_baa: Literal[False]
    is_ha: Literal[False]


class Infos(Success):
    """The same for any endpoint."""

    data: list[Info | Connector]


class Contact(Answer):
    """Texts for people."""

    description: str | None
    organization: str | None
    department: str | None
    contact_email: str | None
    contact_info: str | None
    info_link: str | None
    keywords: list[str]


class Endpoint(Contact):
    """An endpoint."""

    DATA_TYPE: Literal["endpoint#1.2.0"]
    id: UUID
    display_name: str
    public: bool
    network_use: Literal["normal", "minimal", "aggressive", "custom"]
    max_concurrency: int | None
    max_parallelism: int | None
    preferred_concurrency: int | None
    preferred_parallelism: int | None
    allow_udt: Literal[False]
    gridftp_control_channel_port: int
    gcs_manager_url: str
    subscription_id: None
    earliest_last_access: None


class Endpoints(Success):
    """The endpoint; nothing, if it was not asked for."""

    data: Annotated[list[Endpoint], Field(max_length=1)]


class _Collection(Contact):
    DATA_TYPE: Literal["collection#1.14.0"]
    id: UUID
    display_name: str
    identity_id: UUID
    public: bool
    storage_gateway_id: UUID
    connector_id: UUID
    manager_url: str
    domain_name: None
    https_url: None
    tlsftp_url: None
    enable_https: Literal[False]
    high_assurance: Literal[False]
    require_high_assurance: Literal[False]
    require_mfa: Literal[False]
    authentication_timeout_mins: None
    authentication_assurance_timeout: None
    restrict_transfers_to_high_assurance: None
    allow_guest_collections: bool
    disable_anonymous_writes: bool
    force_encryption: bool
    force_verify: bool
    disable_verify: bool
    delete_protected: bool
    auto_delete_timeout: None
    acl_expiration_mins: None
    guest_auth_policy_id: None
    user_message: str | None
    user_message_link: str | None
    default_directory: str | None
    collection_base_path: str | None = None
    """For who administers it."""


class RestrictedPaths(Answer):
    """Where guest collections may be made, and with what right."""

    DATA_TYPE: Literal["path_restrictions#1.0.0"]
    read: list[str]
    read_write: list[str]
    none: list[str]


class CollectionPolicies(Answer):
    """Groups of accounts: none are known."""

    DATA_TYPE: Literal["posix_collection_policies#1.0.0"]
    sharing_groups_allow: Nothing
    sharing_groups_deny: Nothing


class MappedCollection(_Collection):
    """A directory of the endpoint's storage. Fields with a default are private policies."""

    collection_type: Literal["mapped"]
    access: Literal["r", "rw"]
    root_path: str | None = None
    sharing_restrict_paths: RestrictedPaths | None = None
    sharing_users_allow: list[str] | None = None
    sharing_users_deny: list[str] | None = None
    policies: CollectionPolicies | None = None


class GuestCollection(_Collection):
    """What somebody shares of a collection."""

    collection_type: Literal["guest"]
    access: None
    mapped_collection_id: UUID | None
    """For who has a role there."""
    user_credential_id: UUID | None
    """For who administers it."""
    skip_auto_delete: Literal[True]
    activity_notification_policy: dict[str, Any] | None


class Collections(Success):
    """Collections that the caller may see."""

    data: list[MappedCollection | GuestCollection]


class GatewayPolicies(Answer):
    """Groups of accounts: none are known."""

    DATA_TYPE: Literal["posix_storage_policies#1.0.0"]
    groups_allow: Nothing
    groups_deny: Nothing


class StorageGateway(Answer):
    """The files of the endpoint's nodes. Fields with a default are private policies."""

    DATA_TYPE: Literal["storage_gateway#1.1.0"]
    id: UUID
    display_name: str
    connector_id: UUID
    allowed_domains: Nothing
    high_assurance: Literal[False]
    require_high_assurance: Literal[False]
    require_mfa: Literal[False]
    authentication_timeout_mins: None
    authentication_assurance_timeout: None
    mapping: None
    root: str | None = None
    identity_mappings: list[dict[str, Any]] | None = None
    users_allow: Nothing | None = None
    users_deny: Nothing | None = None
    restrict_paths: RestrictedPaths | None = None
    policies: GatewayPolicies | None = None


class StorageGateways(Success):
    """The one that there is."""

    data: list[StorageGateway]


class GivenRole(Answer):
    """Who may look after what; at the endpoint, where no collection is named."""

    DATA_TYPE: Literal["role#1.0.0"]
    id: UUID
    collection: UUID | None
    principal: str
    role: str


class Roles(Success):
    """Roles."""

    data: list[GivenRole]


class CredentialPolicies(Answer):
    """There are none."""

    DATA_TYPE: Literal["posix_user_credential_policies#1.0.0"]


class UserCredential(Answer):
    """Which account a person has. `invalid`: the endpoint's rules say another one by now."""

    DATA_TYPE: Literal["user_credential#1.0.0"]
    id: UUID
    identity_id: UUID
    username: str
    display_name: str | None
    storage_gateway_id: UUID
    connector_id: UUID
    policies: CredentialPolicies
    invalid: bool
    provisioned: Literal[True]


class UserCredentials(Success):
    """User credentials."""

    data: list[UserCredential]
