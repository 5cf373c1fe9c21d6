"""Endpoints and what is there: files and directories."""

from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

from pydantic import create_model

from towpath.transfer.api.answers.base import Answer
from towpath.transfer.api.documents import (
    DETAIL_TEXTS,
    FALSE_ENDPOINT_FIELDS,
    NETWORK_NUMBERS,
    NULL_ENDPOINT_FIELDS,
)
from towpath.transfer.browse import endpoint_test
from towpath.transfer.rights import Role
from towpath.transfer.store.endpoints import EntityType


class Server(Answer):
    """The GridFTP server of an endpoint."""

    DATA_TYPE: Literal["server"]
    id: int
    hostname: str
    port: int
    scheme: Literal["gsiftp"]
    uri: str
    subject: str | None
    is_connected: bool | None
    is_paused: bool | None
    incoming_data_port_start: None
    incoming_data_port_end: None
    outgoing_data_port_start: None
    outgoing_data_port_end: None


class ServerList(Answer):
    """The servers of an endpoint, of which there is one."""

    DATA_TYPE: Literal["endpoint_server_list"]
    endpoint: str
    length: int
    DATA: list[Server]


class _Endpoint(Answer):
    DATA_TYPE: Literal["endpoint"]
    id: UUID
    entity_type: EntityType
    display_name: str
    canonical_name: str
    name: str
    username: str
    owner_id: UUID
    owner_string: str
    public: bool
    is_globus_connect: bool
    non_functional: bool
    non_functional_endpoint_id: UUID | None
    non_functional_endpoint_display_name: str | None
    host_endpoint: str | None
    host_endpoint_id: UUID | None
    host_endpoint_display_name: str | None
    host_path: str | None
    mapped_collection_id: UUID | None
    mapped_collection_display_name: str | None
    sharing_target_endpoint: str | None
    sharing_target_root_path: str | None
    shareable: bool
    acl_available: bool
    acl_editable: bool
    gcp_connected: bool | None
    gcp_paused: bool | None
    gcs_manager_url: str | None
    gcs_version: str | None
    network_use: str
    expires_in: int
    expire_time: datetime | None
    my_effective_roles: list[Role]
    DATA: list[Server]
    data_hosts: list[str]


Endpoint = create_model(
    "Endpoint",
    __base__=_Endpoint,
    __doc__="An endpoint, with its one server, as the caller sees it.",
    __module__=__name__,
    **cast(
        "dict[str, Any]",
        dict.fromkeys(DETAIL_TEXTS, (str | None, ...))
        | dict.fromkeys(FALSE_ENDPOINT_FIELDS, (bool, ...))
        | dict.fromkeys(NETWORK_NUMBERS, (int | None, ...))
        | dict.fromkeys(NULL_ENDPOINT_FIELDS, (None, ...)),
    ),
)


class EndpointList(Answer):
    """A page of what was found."""

    DATA_TYPE: Literal["endpoint_list"]
    DATA: list[Endpoint]  # type: ignore[valid-type]
    limit: int
    offset: int
    has_next_page: bool


class File(Answer):
    """A file, a directory, or something else that has a name."""

    DATA_TYPE: Literal["file"]
    name: str
    type: Literal["file", "dir", "invalid_symlink", "other"]
    size: int
    permissions: str | None
    user: str | None
    group: str | None
    last_modified: str | None
    link_target: str | None
    link_size: None
    link_user: None
    link_group: None
    link_last_modified: None


class FileList(Answer):
    """A page of a directory."""

    DATA_TYPE: Literal["file_list"]
    endpoint: UUID
    path: str
    absolute_path: str
    rename_supported: bool
    symlink_supported: bool
    length: int
    total: int
    limit: int
    offset: int
    DATA: list[File]


class EndpointTestStep(Answer):
    """What was tried, what became of it, and what to do. `details` has the server's own words."""

    step: endpoint_test.Step
    state: endpoint_test.State
    message: str
    details: str | None
    advice: str | None
    ms: int


class EndpointTest(Answer):
    """All steps, in order. After one that failed or could not be tried the rest are skipped."""

    DATA_TYPE: Literal["endpoint_test"]
    ok: bool
    host_subject: str | None
    host_proven: bool
    features: list[str]
    DATA: list[EndpointTestStep]
