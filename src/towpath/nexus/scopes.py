"""Scope strings: their grammar, and which resource server each belongs to.

The strings are fixed inside the Globus clients, with ``globus.org`` in them on any deployment:
opaque identifiers, never rewritten. Grammar: scopes separated by spaces, each perhaps with ``*``
before it (optional) and ``[dependent scopes]`` after it, nested.
"""

import re

AUTH = "auth.globus.org"
TRANSFER = "transfer.api.globus.org"
GROUPS = "groups.api.globus.org"
SEARCH = "search.api.globus.org"
TIMERS = "524230d7-ea86-4a52-8312-86065a9e0417"
FLOWS = "flows.globus.org"
_FLOWS_CLIENT = "eec9b274-0c81-4334-bdc2-54e90e689b9a"

OPENID = "openid"
TRANSFER_ALL = f"urn:globus:auth:scope:{TRANSFER}:all"
GROUPS_ALL = f"urn:globus:auth:scope:{GROUPS}:all"
GROUPS_VIEW = f"urn:globus:auth:scope:{GROUPS}:view_my_groups_and_memberships"
_AUTH_NAMES = (
    "manage_projects",
    "view_authentications",
    "view_clients",
    "view_clients_and_scopes",
    "view_consents",
    "view_identities",
    "view_identity_set",
)
_FLOWS_NAMES = ("all", "manage_flows", "view_flows", "run", "run_status", "run_manage")

RESOURCE_SERVERS: dict[str, str] = {
    **dict.fromkeys((OPENID, "profile", "email"), AUTH),
    **{f"urn:globus:auth:scope:{AUTH}:{name}": AUTH for name in _AUTH_NAMES},
    TRANSFER_ALL: TRANSFER,
    GROUPS_ALL: GROUPS,
    GROUPS_VIEW: GROUPS,
    f"urn:globus:auth:scope:{SEARCH}:all": SEARCH,
    f"urn:globus:auth:scope:{SEARCH}:search": SEARCH,
    f"https://auth.globus.org/scopes/{TIMERS}/timer": TIMERS,
    **{f"https://auth.globus.org/scopes/{_FLOWS_CLIENT}/{name}": FLOWS for name in _FLOWS_NAMES},
}
"""Every scope that can be granted, with the resource server of its token."""

SCOPE_LIMIT = 16_384
"""Characters of a request's scope string."""
DEPTH_LIMIT = 10
_TOKEN = re.compile(r"\s+|\[|\]|[^\s\[\]]+")


class ScopeError(ValueError):
    """A scope string that is not in the grammar, or a scope that does not exist."""


def top_level(text: str) -> list[str]:
    """The scopes of ``text`` without their dependencies, in order, each once.

    Raises :class:`ScopeError`.
    """
    if len(text) > SCOPE_LIMIT:
        raise ScopeError("the scope string is too long")
    found: list[str] = []
    depth = 0
    may_open = False  # a bracket must follow a scope at once
    for part in _TOKEN.findall(text):
        if part == "[":
            if not may_open or depth == DEPTH_LIMIT:
                raise ScopeError("a '[' does not follow a scope, or is nested too deeply")
            depth += 1
        elif part == "]":
            depth -= 1
            if depth < 0:
                raise ScopeError("a ']' without its '['")
        elif not part.isspace() and depth == 0:
            found.append(part.removeprefix("*"))
        may_open = part not in ("[", "]") and not part.isspace()
    if depth:
        raise ScopeError("a '[' without its ']'")
    return list(dict.fromkeys(found))


def by_resource_server(scopes: list[str]) -> dict[str, list[str]]:
    """``scopes`` grouped by the resource server of the token they go into; Auth's comes first.

    Raises :class:`ScopeError` for a scope that does not exist here.
    """
    grouped: dict[str, list[str]] = {}
    for scope in scopes:
        server = RESOURCE_SERVERS.get(scope)
        if server is None:
            raise ScopeError(f"there is no scope {scope[:200]!r} in this deployment")
        grouped.setdefault(server, []).append(scope)
    return dict(sorted(grouped.items(), key=lambda item: item[0] != AUTH))
