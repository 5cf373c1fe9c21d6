"""Request documents about what is shared: guest collections, roles and access rules."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, model_validator

from towpath.transfer import names, times
from towpath.transfer.api.bodies import ApiPath, Document, Text, refuse
from towpath.transfer.api.endpoint_bodies import EndpointDocument
from towpath.transfer.rights import PrincipalType, Role

MAX_MESSAGE_CHARACTERS = 2048
"""As the clients' documentation has it."""
MAX_RULE_PATH_BYTES = 2048
"""Of the directory of an access rule: the database keeps one rule for each, by an index whose
entries have 2,700 bytes at most."""
MAX_ADDRESS_CHARACTERS = 254
"""Of mail (RFC 5321, 4.5.3.1, as corrected)."""


def _time(text: str) -> str:
    try:
        times.parse(text)
    except ValueError as error:
        raise refuse("invalid_time", str(error)) from None
    return text


def _address(text: str) -> str:
    name, at, domain = text.rpartition("@")
    plain = text.isprintable() and " " not in text and len(text) <= MAX_ADDRESS_CHARACTERS
    if not (name and at and domain and plain and "," not in text):
        raise refuse("invalid_address", "this is not the address of a mailbox")
    return text


def _message(text: str) -> str:
    if len(text) > MAX_MESSAGE_CHARACTERS:
        raise refuse("too_long", f"at most {MAX_MESSAGE_CHARACTERS} characters")
    return text


Permissions = Literal["r", "rw"]
_Time = Annotated[Text, AfterValidator(_time)]


class SharedEndpointDocument(EndpointDocument):
    """Body of POST /shared_endpoint: a directory of another collection, to be shared."""

    host_endpoint: UUID
    host_path: ApiPath

    @model_validator(mode="after")
    def _of_a_host(self) -> Self:
        if self.has_server or self.connect_kind is not None:
            raise refuse("server", "what is shared has no server of its own")
        return self


class RoleDocument(Document):
    """Body of POST .../role."""

    principal_type: Literal[PrincipalType.IDENTITY, PrincipalType.GROUP]
    principal: UUID
    role: Role


def _rule_path(text: str) -> str:
    if len(text.encode()) > MAX_RULE_PATH_BYTES:
        raise refuse(
            "invalid_path",
            f"the path of an access rule has at most {MAX_RULE_PATH_BYTES} bytes: make one for a"
            " directory above, or share the directory itself",
        )
    return text


class AccessDocument(Document):
    """Body of POST .../access."""

    principal_type: PrincipalType
    principal: Text | None = None
    path: Annotated[ApiPath, AfterValidator(_rule_path)]
    permissions: Permissions
    expiration_date: _Time | None = None
    notify_email: Annotated[Text, AfterValidator(_address)] | None = None
    notify_message: Annotated[Text, AfterValidator(_message)] | None = None

    @model_validator(mode="after")
    def _whom(self) -> Self:
        named = self.principal_type in (PrincipalType.IDENTITY, PrincipalType.GROUP)
        if not named and self.principal:
            raise refuse("principal", "a rule for everybody names nobody: leave principal empty")
        if named:
            try:
                UUID(self.principal or "")
            except ValueError:
                raise refuse("principal", "principal is the id of an identity or group") from None
        return self

    def whom(self) -> UUID | None:
        """The identity or group; None: everybody."""
        return UUID(self.principal) if self.principal else None

    def directory(self) -> str:
        """The path as rules have it: absolute, without `.`, with a slash at the end."""
        tidy = names.absolute(names.to_wire(self.path), "")
        return tidy if tidy == "/" else tidy + "/"

    def expires_at(self) -> datetime | None:
        """Until when it holds; None: for good."""
        return None if self.expiration_date is None else times.parse(self.expiration_date)


class AccessChanges(Document):
    """Body of PUT .../access/<id>: what is left out stays; null takes the end away."""

    permissions: Permissions | None = None
    expiration_date: _Time | None = None

    def expires_at(self, before: datetime | None) -> datetime | None:
        """Until when it holds from now on."""
        if "expiration_date" not in self.model_fields_set:
            return before
        return None if self.expiration_date is None else times.parse(self.expiration_date)
