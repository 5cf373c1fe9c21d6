"""Credentials: never themselves, but whose they are and until when."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer

CredentialState = Literal["none", "valid", "expiring", "expired", "moved", "managed"]


class _Credential(Answer):
    DATA_TYPE: Literal["credential"]
    endpoint_id: UUID
    state: CredentialState
    subject: str | None
    expiration_time: datetime | None
    stored_time: datetime | None


class Credential(_Credential):
    """The caller's for an endpoint. `managed`: the service makes one whenever it is needed."""


class ListedCredential(_Credential):
    """The same with the endpoint's name."""

    endpoint_display_name: str


class CredentialList(Answer):
    """All of the caller's, and the managed ones."""

    DATA_TYPE: Literal["credential_list"]
    DATA: list[ListedCredential]


class CredentialStored(Answer):
    """A credential that is kept from now on."""

    DATA_TYPE: Literal["credential_result"]
    code: str
    message: str
    request_id: str
    resource: str
    subject: str
    expiration_time: datetime
