"""The documents of the GCS Manager API. What this deployment has not is null, false or empty."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid5

from towpath import __version__
from towpath.transfer import names
from towpath.transfer.api.documents import GCS_VERSION, NETWORK_NUMBERS, manager_url
from towpath.transfer.connect.managed import TEXTS
from towpath.transfer.manager.envelope import JsonObject
from towpath.transfer.rights import Standing
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.store.user_credentials import UserCredential

POSIX = "145812c8-decc-41f1-83cf-bb2a85a2a70b"
"""The connector of files of a machine, as the clients know it."""
API_VERSION = "1.29.0"
CONTROL_PORT = 443
"""What a Connect Server says of its control channel. Agents are reached through relays."""
CONTACT = (
    "description",
    "organization",
    "department",
    "contact_email",
    "contact_info",
    "info_link",
)
_HIDDEN = ("sharing_restrict_paths", "sharing_users_allow", "sharing_users_deny")
SWITCHES = (
    "allow_guest_collections",
    "disable_anonymous_writes",
    "force_encryption",
    "force_verify",
    "disable_verify",
    "delete_protected",
)
"""Of collections: false unless somebody has set them."""


def gateway_id(endpoint_id: UUID) -> UUID:
    """Of the one storage gateway that an endpoint has: its nodes' files."""
    return uuid5(endpoint_id, "storage gateway")


def info(endpoint_id: UUID, host: str) -> list[JsonObject]:
    """What is told without a token. It is the same for any id: who may not see an endpoint does not
    learn by it whether there is one."""
    return [
        {
            "DATA_TYPE": "info#1.0.0",
            "endpoint_id": str(endpoint_id),
            "client_id": str(endpoint_id),
            "domain_name": host,
            "api_version": API_VERSION,
            "manager_version": f"{GCS_VERSION}-towpath-{__version__}",
        },
        {
            "DATA_TYPE": "connector#1.1.0",
            "id": POSIX,
            "display_name": "POSIX",
            "is_baa": False,
            "is_ha": False,
        },
    ]


def _keywords(endpoint: Endpoint) -> list[str]:
    text = endpoint.details.get("keywords") or ""
    return [word for part in text.split(",") if (word := part.strip())]


def endpoint_document(endpoint: Endpoint, origin: str) -> JsonObject:
    """An endpoint."""
    return {
        "DATA_TYPE": "endpoint#1.2.0",
        "id": str(endpoint.id),
        "display_name": endpoint.display_name,
        "public": endpoint.public,
        **{name: endpoint.details.get(name) for name in CONTACT},
        "keywords": _keywords(endpoint),
        "network_use": endpoint.details.get("network_use") or "normal",
        **{name: endpoint.managed.get(name) for name in NETWORK_NUMBERS},
        "allow_udt": False,
        "gridftp_control_channel_port": CONTROL_PORT,
        "gcs_manager_url": manager_url(origin, endpoint.id),
        "subscription_id": None,
        "earliest_last_access": None,
    }


def shown_path(collection: Endpoint) -> str:
    """Where a collection is in the endpoint's storage, or a guest collection in what it shares."""
    if collection.share_path is not None:
        return names.to_text(collection.share_path) or "/"
    return collection.base_path or "/"


def collection_document(
    collection: Endpoint, origin: str, standing: Standing, *, private: bool = False
) -> JsonObject:
    """A collection, for somebody with this standing: who administers it sees where it is in the
    endpoint's storage; with whom something is shared, need not know of what it is a part (I7).
    `private`: for who administers the endpoint, and has asked for it, who may share what."""
    managed, guest = collection.managed, collection.is_guest
    path = shown_path(collection)
    document: JsonObject = {
        "DATA_TYPE": "collection#1.14.0",
        "id": str(collection.id),
        "display_name": collection.display_name,
        "collection_type": "guest" if guest else "mapped",
        "identity_id": str(collection.owner_id),
        "public": collection.public,
        "storage_gateway_id": str(gateway_id(collection.connect_id)),
        "connector_id": POSIX,
        "manager_url": manager_url(origin, collection.connect_id),
        "domain_name": None,
        "https_url": None,
        "tlsftp_url": None,
        "enable_https": False,
        "high_assurance": False,
        "require_high_assurance": False,
        "require_mfa": False,
        "authentication_timeout_mins": None,
        "authentication_assurance_timeout": None,
        "restrict_transfers_to_high_assurance": None,
        **{name: bool(managed.get(name)) for name in SWITCHES},
        "allow_guest_collections": collection.shareable,
        "auto_delete_timeout": None,
        "acl_expiration_mins": None,
        "guest_auth_policy_id": None,
        "keywords": _keywords(collection),
        **{name: collection.details.get(name) for name in TEXTS if name != "keywords"},
        "access": collection.access,
    }
    if standing.administers:
        document["collection_base_path"] = path
    if guest:
        document |= {
            "mapped_collection_id": str(collection.host_endpoint_id)
            if standing.effective_roles
            else None,
            "user_credential_id": str(credential_id(collection.connect_id, collection.owner_id))
            if standing.administers
            else None,
            "skip_auto_delete": True,
            "activity_notification_policy": managed.get("activity_notification_policy"),
        }
    elif private:
        document |= {
            "root_path": path,
            **{name: managed.get(name) for name in _HIDDEN},
            "policies": {
                "DATA_TYPE": "posix_collection_policies#1.0.0",
                "sharing_groups_allow": [],
                "sharing_groups_deny": [],
            },
        }
    return document


def gateway_document(
    endpoint: Endpoint,
    mappings: Sequence[Any],
    roots: Sequence[Mapping[str, Any]],
    *,
    private: bool,
) -> JsonObject:
    """An endpoint's one storage gateway. `private`: with the rules that make accounts of people,
    and where its managers may make collections."""
    name = endpoint.managed.get("storage_gateway") or f"{endpoint.display_name} (POSIX)"
    document: JsonObject = {
        "DATA_TYPE": "storage_gateway#1.1.0",
        "id": str(gateway_id(endpoint.id)),
        "display_name": name,
        "connector_id": POSIX,
        "allowed_domains": [],
        "high_assurance": False,
        "require_high_assurance": False,
        "require_mfa": False,
        "authentication_timeout_mins": None,
        "authentication_assurance_timeout": None,
        "mapping": None,
    }
    if private:
        document |= {
            "root": "/",
            "identity_mappings": list(mappings),
            "users_allow": [],
            "users_deny": [],
            "restrict_paths": {
                "DATA_TYPE": "path_restrictions#1.0.0",
                "read": [one["path"] for one in roots if one["access"] == "r"],
                "read_write": [one["path"] for one in roots if one["access"] == "rw"],
                "none": [],
            },
            "policies": {
                "DATA_TYPE": "posix_storage_policies#1.0.0",
                "groups_allow": [],
                "groups_deny": [],
            },
        }
    return document


def credential_id(endpoint_id: UUID, identity_id: UUID) -> UUID:
    """Of the one user credential that a person has at an endpoint."""
    return uuid5(gateway_id(endpoint_id), str(identity_id))


def credential_document(credential: UserCredential, *, invalid: bool) -> JsonObject:
    """A user credential. `invalid`: the rules give that person another account by now."""
    return {
        "DATA_TYPE": "user_credential#1.0.0",
        "id": str(credential.id),
        "identity_id": str(credential.identity_id),
        "username": credential.username,
        "display_name": credential.display_name,
        "storage_gateway_id": str(gateway_id(credential.endpoint_id)),
        "connector_id": POSIX,
        "policies": {"DATA_TYPE": "posix_user_credential_policies#1.0.0"},
        "invalid": invalid,
        "provisioned": True,
    }
