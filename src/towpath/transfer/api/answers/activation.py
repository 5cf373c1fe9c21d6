"""Activation of endpoints."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer


class ActivationRequirement(Answer):
    """One thing that an activation of this type takes. `private`: a form hides it."""

    DATA_TYPE: Literal["activation_requirement"]
    type: Literal["myproxy", "delegate_proxy"]
    name: str
    ui_name: str
    description: str
    value: str | None
    private: bool
    required: bool


class _Activation(Answer):
    activated: bool
    expires_in: int
    expire_time: datetime | None
    auto_activation_supported: bool
    oauth_server: None
    length: int
    DATA: list[ActivationRequirement]


class ActivationRequirements(_Activation):
    """What an activation takes. `expires_in`: seconds; -1: it does not expire."""

    DATA_TYPE: Literal["activation_requirements"]


class ActivationResult(_Activation):
    """What became of it."""

    DATA_TYPE: Literal["activation_result"]
    code: Literal[
        "Activated.ClientProxyCredential",
        "Activated.MyProxyCredential",
        "AlreadyActivated",
        "AutoActivated.CachedCredential",
        "AutoActivated.GlobusOnlineCredential",
        "AutoActivationFailed",
    ]
    message: str
    request_id: str
    resource: str
    endpoint: UUID
    subject: str | None


class Deactivated(Answer):
    """That a credential is forgotten."""

    DATA_TYPE: Literal["result"]
    code: Literal["Deactivated"]
    message: str
    request_id: str
    resource: str
