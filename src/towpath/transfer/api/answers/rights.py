"""Roles, access rules, and lists of what is shared."""

from typing import Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer, _Result
from towpath.transfer.api.answers.endpoints import Endpoint
from towpath.transfer.rights import PrincipalType, Role


class GivenRole(Answer):
    """A role that an identity or a group has at an endpoint."""

    DATA_TYPE: Literal["role"]
    id: UUID
    principal_type: Literal[PrincipalType.IDENTITY, PrincipalType.GROUP]
    principal: UUID
    role: Role


class RoleList(Answer):
    """Those given at the endpoint itself."""

    DATA_TYPE: Literal["role_list"]
    DATA: list[GivenRole]


class Access(Answer):
    """An access rule; or what a role gives, with `role_type`, which has no `id`."""

    DATA_TYPE: Literal["access"]
    id: UUID | None
    principal_type: PrincipalType
    principal: str
    path: str
    permissions: Literal["r", "rw"]
    create_time: str | None
    expiration_date: str | None
    role_id: UUID | None
    role_type: Role | None


class AccessList(Answer):
    """All rules of a guest collection, those of roles first."""

    DATA_TYPE: Literal["access_list"]
    endpoint: UUID
    length: int
    DATA: list[Access]


class AccessCreated(_Result):
    """A new rule."""

    DATA_TYPE: Literal["access_create_result"]
    access_id: UUID


class SharedEndpoints(Answer):
    """Guest collections of a host that the caller looks after."""

    DATA_TYPE: Literal["endpoint_list"]
    DATA: list[Endpoint]  # type: ignore[valid-type]


class SharedEndpoint(Answer):
    """The id of a guest collection."""

    id: UUID


class SharedEndpointPage(Answer):
    """A page of the guest collections of a host. `next_token`: for the next one; null: there is
    none."""

    DATA_TYPE: Literal["shared_endpoint_list"]
    shared_endpoints: list[SharedEndpoint]
    next_token: str | None
