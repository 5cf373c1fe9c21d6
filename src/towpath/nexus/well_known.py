"""What the Globus clients take for granted: templates of clients, services, and their scopes.

The ids and strings are literals inside those clients; see docs/reference/auth.md.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

from towpath.nexus.scopes import (
    AUTH,
    EMAIL,
    GROUPS,
    GROUPS_ALL,
    GROUPS_VIEW,
    OPENID,
    PROFILE,
    TRANSFER,
    TRANSFER_ALL,
)
from towpath.nexus.store.clients import Client

SCOPE_BASE = "https://auth.globus.org/scopes"
"""How scopes of clients begin, on any deployment."""

CLI_TEMPLATES: Mapping[UUID, str] = {
    UUID(one): "Globus CLI"
    for one in (
        "95fdeba8-fac2-42bd-a357-e068d82ff78e",  # production, and any other name
        "33b6a241-bce4-4359-9c6d-09f88b3c9eef",  # sandbox
        "e0c31fd1-663b-44e1-840f-f4304bb9ee7a",  # integration
        "0ebfd058-452f-40c3-babf-5a6b16a7b337",  # test
        "3029c3cb-c8d9-4f2b-979c-c53330aa7327",  # staging
        "b2867dbb-0846-4579-8486-dc70763d700b",  # preview
    )
}
"""Programs that register a client of their own at each installation, without logging in."""

WEB_CLIENT = uuid5(NAMESPACE_URL, "towpath:web")
"""The deployment's own web interface: a public client, but part of the deployment."""

WEB_SCOPES = frozenset({OPENID, PROFILE, EMAIL, TRANSFER_ALL})
"""What it may ask for. Nobody is asked whether it may, so it has no more: neither another scope nor
a refresh token, whoever begins the request (any page can send a browser here).
"""

SEARCH = "search.api.globus.org"
TIMERS = "524230d7-ea86-4a52-8312-86065a9e0417"
TIMERS_CLIENT = UUID(TIMERS)
"""The name of this resource server is its client's id."""
TIMER = f"{SCOPE_BASE}/{TIMERS}/timer"
ACTIONS = "actions.globus.org"
TRANSFER_ACTION = f"{SCOPE_BASE}/{ACTIONS}/transfer/transfer"
"""What stood between Timers and Transfer once: older ``globus`` commands (3.28) name it when they
log in. Timers here has no need of it."""
FLOWS = "flows.globus.org"
NEXUS = "nexus.api.globus.org"
_FLOWS_CLIENT = UUID("eec9b274-0c81-4334-bdc2-54e90e689b9a")

MANAGE_COLLECTIONS = "manage_collections"
DATA_ACCESS = "data_access"
STORAGE_SERVICE = "Towpath Connect"
"""What the consent page calls the service of scopes of endpoints and collections."""
_ID = "(?P<id>[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_OF_ENDPOINT = re.compile(rf"urn:globus:auth:scope:{_ID}:(?P<name>{MANAGE_COLLECTIONS})")
_OF_COLLECTION = re.compile(rf"{re.escape(SCOPE_BASE)}/{_ID}/(?P<name>{DATA_ACCESS}|https)")


@dataclass(frozen=True)
class FixedScope:
    """A scope of one of the services, as the consent page words it."""

    scope: str
    name: str
    description: str
    needs: tuple[str, ...] = ()
    """Scopes that the service itself must have elsewhere to do this."""


@dataclass(frozen=True)
class Service:
    """A resource server that is part of the deployment, or that the clients think is."""

    resource_server: str
    name: str
    scopes: tuple[FixedScope, ...]
    role: str | None = None
    """Whose client is made at the first start; see `towpath.nexus.bootstrap`."""
    client_id: UUID | None = None

    @property
    def fixed_client_id(self) -> UUID:
        """Its client's id, unless a role says it."""
        return self.client_id or uuid5(NAMESPACE_URL, f"towpath:{self.resource_server}")


def scope_id(scope: str) -> UUID:
    """A fixed scope's id, the same on every deployment."""
    return uuid5(NAMESPACE_URL, f"towpath:scope:{scope}")


def _urn(server: str, name: str) -> str:
    return f"urn:globus:auth:scope:{server}:{name}"


def _flows(name: str, title: str, description: str) -> FixedScope:
    return FixedScope(f"{SCOPE_BASE}/{_FLOWS_CLIENT}/{name}", title, description)


SERVICES = (
    Service(
        AUTH,
        "Towpath identities",
        (
            FixedScope("openid", "Know who you are", "Your identity's id"),
            FixedScope("profile", "View your profile", "Your name, user name and organization"),
            FixedScope("email", "View your e-mail address", "The address of your identity"),
            FixedScope(
                _urn(AUTH, "view_identity_set"),
                "View your linked identities",
                "All identities linked to yours: their names and e-mail addresses",
            ),
            FixedScope(
                _urn(AUTH, "view_identities"),
                "Look up identities",
                "Find identities by name or id",
            ),
            FixedScope(
                _urn(AUTH, "view_authentications"),
                "View your logins",
                "When and how you have logged in",
            ),
            FixedScope(
                _urn(AUTH, "view_consents"),
                "View your consents",
                "Which applications you have allowed what",
            ),
            FixedScope(
                _urn(AUTH, "manage_profile"),
                "Manage your profile",
                "Phone, address, SSH keys and who sees them; view and change",
            ),
            FixedScope(
                _urn(AUTH, "manage_projects"),
                "Manage your projects",
                "Create, change and delete projects, their applications, scopes and policies",
            ),
            FixedScope(
                _urn(AUTH, "view_clients"), "View your applications", "The clients of your projects"
            ),
            FixedScope(
                _urn(AUTH, "view_clients_and_scopes"),
                "View your applications and scopes",
                "The clients and scopes of your projects",
            ),
        ),
    ),
    Service(
        TRANSFER,
        "Towpath transfer",
        (
            FixedScope(
                TRANSFER_ALL,
                "Manage your data",
                "List, transfer and delete files on your endpoints, and manage endpoints and tasks",
            ),
            FixedScope(
                _urn(TRANSFER, "gcp_install"),
                "Set up Connect on a computer",
                "Create an endpoint for a computer of yours",
            ),
        ),
        role="transfer",
    ),
    Service(
        GROUPS,
        "Towpath groups",
        (
            FixedScope(
                GROUPS_ALL,
                "Manage your groups",
                "View, create, change and delete groups and memberships",
            ),
            FixedScope(
                GROUPS_VIEW,
                "View your groups",
                "The groups that you are in, and your role in each",
            ),
        ),
    ),
    Service(
        SEARCH,
        "Search",
        (
            FixedScope(_urn(SEARCH, "all"), "Search and manage indices", "Everything in Search"),
            FixedScope(_urn(SEARCH, "search"), "Search", "Search indices that you may see"),
        ),
    ),
    Service(
        TIMERS,
        "Timers",
        (
            FixedScope(
                TIMER,
                "Manage your timers",
                "Transfer data for you at the times that you set",
                needs=(TRANSFER_ALL,),
            ),
        ),
        client_id=TIMERS_CLIENT,
    ),
    Service(
        ACTIONS,
        "Timers, as older commands know them",
        (
            FixedScope(
                TRANSFER_ACTION,
                "Transfer data for your timers",
                "What your timers do, at the times that you set",
                needs=(TRANSFER_ALL,),
            ),
        ),
    ),
    Service(
        FLOWS,
        "Flows",
        (
            _flows("all", "Use Flows", "Everything in Flows"),
            _flows("manage_flows", "Manage your flows", "Create, change and delete flows"),
            _flows("view_flows", "View flows", "Flows that you may see"),
            _flows("run", "Run flows", "Start flows for you"),
            _flows("run_status", "View runs", "How runs of flows are going"),
            _flows("run_manage", "Manage runs", "Cancel and change runs"),
        ),
        client_id=_FLOWS_CLIENT,
    ),
    Service(
        NEXUS,
        "Towpath groups, as before 2020",
        (FixedScope(_urn(NEXUS, "groups"), "View your groups", "The groups that you are in"),),
    ),
)


def shown_name(client: Client) -> str:
    """What pages call a client. One that registered itself may have given itself any name."""
    if client.template_id is not None:
        return CLI_TEMPLATES.get(client.template_id, "A program")
    return client.name


@dataclass(frozen=True)
class StorageScope:
    """A scope of an endpoint or a collection of Connect, which is a resource server by its id.

    They come and go at Transfer, and nobody registers them here: a scope of this form is there for
    any id. What a token with it opens is Transfer's to say, who knows which ids there are.
    """

    server: UUID
    scope: FixedScope

    @property
    def client_id(self) -> UUID:
        """Of the client whose scope it is."""
        return uuid5(NAMESPACE_URL, f"towpath:{self.server}")


_STORAGE_WORDS: Mapping[str, tuple[str, str]] = {
    MANAGE_COLLECTIONS: (
        "Manage an endpoint's collections",
        "Of the endpoint {}: view, create, change and delete collections, roles and settings",
    ),
    DATA_ACCESS: (
        "Use your data in a collection",
        "In the collection {}: list, read and write your files",
    ),
    "https": (
        "Use your data in a collection over HTTPS",
        "In the collection {}: read and write your files",
    ),
}


def storage_scope(scope: str) -> StorageScope | None:
    """The scope of an endpoint or a collection that ``scope`` is, if it is one."""
    found = _OF_ENDPOINT.fullmatch(scope) or _OF_COLLECTION.fullmatch(scope)
    if found is None:
        return None
    name, description = _STORAGE_WORDS[found["name"]]
    return StorageScope(UUID(found["id"]), FixedScope(scope, name, description.format(found["id"])))


def manage_scope(endpoint_id: UUID) -> str:
    """What the Manager of an endpoint takes tokens with."""
    return f"urn:globus:auth:scope:{endpoint_id}:{MANAGE_COLLECTIONS}"


def data_access_scope(collection_id: UUID) -> str:
    """What Transfer must be allowed before it touches a person's files in a collection."""
    return f"{SCOPE_BASE}/{collection_id}/{DATA_ACCESS}"


def may_depend(scope: str, dependency: str) -> bool:
    """Whether a request may put ``dependency`` below ``scope`` though it is not registered there.

    Transfer asks any collection for its data, and collections come and go. So does who manages an
    endpoint, to share what a person has there (``globus login --gcs ENDPOINT:COLLECTION``). Older
    commands name the action between Timers and Transfer.
    """
    if (scope, dependency) == (TIMER, TRANSFER_ACTION):
        return True
    below = _OF_COLLECTION.fullmatch(dependency)
    if below is None or below["name"] != DATA_ACCESS:
        return False
    return scope == TRANSFER_ALL or _OF_ENDPOINT.fullmatch(scope) is not None
