"""The document of a collection, as it is created and changed."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from towpath.transfer.api.bodies import ApiPath, Document, Text
from towpath.transfer.connect.managed import TEXTS
from towpath.transfer.manager.bodies import (
    MAX_LIST,
    AbsolutePath,
    Contact,
    LongText,
    Name,
    Names,
    keyword_text,
    typed,
)
from towpath.transfer.manager.documents import SWITCHES
from towpath.transfer.manager.envelope import unprocessable

Paths = Annotated[list[AbsolutePath], Field(max_length=MAX_LIST)]


class PathRestrictions(Document):
    """Where guest collections may be made, and with what right: the longest path that leads to a
    place decides; where none does, nothing is shared."""

    DATA_TYPE: Annotated[str, typed("path_restrictions")] = "path_restrictions#1.0.0"
    read: Paths | None = None
    read_write: Paths | None = None
    none: Paths | None = None

    def kept(self) -> dict[str, Any]:
        """As it is stored and shown."""
        return {
            "DATA_TYPE": "path_restrictions#1.0.0",
            **{name: getattr(self, name) or [] for name in ("read", "read_write", "none")},
        }


class CollectionDocument(Contact):
    """What may be said of a collection. Absent fields keep their value, null clears."""

    DATA_TYPE: Annotated[str, typed("collection")]
    collection_type: Literal["mapped", "guest"] | None = None
    display_name: Name | None = None
    public: bool | None = None
    identity_id: UUID | None = None
    storage_gateway_id: UUID | None = None
    connector_id: UUID | None = None
    collection_base_path: AbsolutePath | None = None
    mapped_collection_id: UUID | None = None
    user_credential_id: UUID | None = None
    default_directory: ApiPath | None = None
    user_message: LongText | None = None
    user_message_link: LongText | None = None
    access: Literal["r", "rw"] | None = None
    allow_guest_collections: bool | None = None
    disable_anonymous_writes: bool | None = None
    force_encryption: bool | None = None
    force_verify: bool | None = None
    disable_verify: bool | None = None
    delete_protected: bool | None = None
    sharing_restrict_paths: PathRestrictions | None = None
    sharing_users_allow: Names | None = None
    sharing_users_deny: Names | None = None
    activity_notification_policy: Annotated[dict[Text, Names], Field(max_length=10)] | None = None
    enable_https: bool | None = None
    domain_name: Text | None = None
    high_assurance: bool | None = None
    require_mfa: bool | None = None
    policies: dict[Text, Any] | None = None
    authentication_timeout_mins: int | None = None
    auto_delete_timeout: int | None = None
    acl_expiration_mins: int | None = None
    guest_auth_policy_id: Text | None = None
    restrict_transfers_to_high_assurance: Text | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that are kept as managers set them (`transfer.connect.managed`)."""
        found: dict[str, Any] = {}
        for name in (*TEXTS, *SWITCHES, "display_name", "public", "access", *_SHARING):
            if name in self.model_fields_set:
                found[name] = getattr(self, name)
        if "keywords" in found:
            found["keywords"] = keyword_text(self.keywords)
        if self.sharing_restrict_paths is not None:
            found["sharing_restrict_paths"] = self.sharing_restrict_paths.kept()
        # a name or a switch that is null is one that was not given
        return {
            name: value
            for name, value in found.items()
            if value is not None or name in TEXTS or name in _SHARING
        }

    def check(self) -> None:
        """Refuse what would not be kept. Raises ApiError 422."""
        for name, why in _NOT_OFFERED.items():
            if getattr(self, name):
                raise unprocessable(f"{name}: {why}")
        if self.force_verify and self.disable_verify:
            raise unprocessable("force_verify and disable_verify: only one of them can be true")
        if self.policies and any(_names_groups(self.policies)):
            raise unprocessable(
                "policies: which POSIX groups an account is in is not known here; name accounts in"
                " sharing_users_allow or sharing_users_deny"
            )


_SHARING = (
    "sharing_restrict_paths",
    "sharing_users_allow",
    "sharing_users_deny",
    "activity_notification_policy",
)
_NOT_OFFERED: Mapping[str, str] = {
    "enable_https": "access over HTTPS is not offered for collections of agents; leave it false",
    "domain_name": "collections have no host names of their own; leave it out",
    "high_assurance": "high assurance is not offered; leave it false",
    "require_mfa": "it is not asked for a collection; leave it false",
    "authentication_timeout_mins": "logins do not time out for a collection; leave it out",
    "auto_delete_timeout": "guest collections are not deleted by themselves; leave it out",
    "acl_expiration_mins": "access rules end when they say, and not by a collection's setting;"
    " leave it out",
    "guest_auth_policy_id": "guest collections have no authentication policy; leave it out",
    "restrict_transfers_to_high_assurance": "high assurance is not offered; leave it out",
}


def _names_groups(policies: Mapping[str, Any]) -> list[Any]:
    return [value for name, value in policies.items() if name != "DATA_TYPE" and value]
