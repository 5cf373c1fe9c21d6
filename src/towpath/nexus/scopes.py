"""The grammar of scope strings: scopes separated by spaces, each perhaps with ``*`` before it
(optional) and ``[dependent scopes]`` after it, nested.

The strings are fixed inside the Globus clients, with ``globus.org`` in them on any deployment:
opaque identifiers, never rewritten. Which there are is in the database, and the fixed ones in
`towpath.nexus.well_known`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

AUTH = "auth.globus.org"
TRANSFER = "transfer.api.globus.org"
GROUPS = "groups.api.globus.org"

OPENID = "openid"
PROFILE = "profile"
EMAIL = "email"
OFFLINE_ACCESS = "offline_access"
"""OpenID Connect's way to ask for refresh tokens (Core 1.0, 11); the Globus clients have
``access_type``."""
TRANSFER_ALL = f"urn:globus:auth:scope:{TRANSFER}:all"
GROUPS_ALL = f"urn:globus:auth:scope:{GROUPS}:all"
GROUPS_VIEW = f"urn:globus:auth:scope:{GROUPS}:view_my_groups_and_memberships"
VIEW_IDENTITY_SET = f"urn:globus:auth:scope:{AUTH}:view_identity_set"
VIEW_CONSENTS = f"urn:globus:auth:scope:{AUTH}:view_consents"
VIEW_CLIENTS = f"urn:globus:auth:scope:{AUTH}:view_clients"
VIEW_CLIENTS_AND_SCOPES = f"urn:globus:auth:scope:{AUTH}:view_clients_and_scopes"
MANAGE_PROFILE = f"urn:globus:auth:scope:{AUTH}:manage_profile"
"""Not one of Globus' own."""
MANAGE_PROJECTS = f"urn:globus:auth:scope:{AUTH}:manage_projects"

SCOPE_LIMIT = 16_384
"""Characters of a request's scope string."""
COUNT_LIMIT = 500
"""Scopes of a request, dependent ones too: a person must read what they consent to."""
DEPTH_LIMIT = 10
_TOKEN = re.compile(r"\s+|\[|\]|[^\s\[\]]+")
_NOT_A_SCOPE = re.compile(r"[^\x21\x23-\x5b\x5d-\x7e]|\*")  # RFC 6749, 3.3; and our own '*'


class ScopeError(ValueError):
    """A scope string that is not in the grammar, or a scope that does not exist."""


@dataclass
class ScopeNode:
    """A scope, with the scopes that its own service is to have elsewhere."""

    scope: str
    optional: bool = False
    dependencies: "dict[str, ScopeNode]" = field(default_factory=dict)

    def __str__(self) -> str:
        inner = " ".join(map(str, self.dependencies.values()))
        return f"{'*' if self.optional else ''}{self.scope}" + (f"[{inner}]" if inner else "")

    def merge(self, other: "ScopeNode") -> None:
        """Take in the same scope from another tree. What one of them needs is not optional."""
        self.optional = self.optional and other.optional
        for scope, dependency in other.dependencies.items():
            add(self.dependencies, dependency, scope)


def add(trees: dict[str, ScopeNode], node: ScopeNode, scope: str) -> None:
    """Put ``node`` among ``trees``, or merge it with the one for the same scope."""
    if scope in trees:
        trees[scope].merge(node)
    else:
        trees[scope] = node


def parse(text: str) -> dict[str, ScopeNode]:
    """The scopes of ``text`` in order, each once, with their dependencies merged.

    Raises :class:`ScopeError`.
    """
    if len(text) > SCOPE_LIMIT:
        raise ScopeError("the scope string is too long")
    trees: dict[str, ScopeNode] = {}
    open_nodes: list[ScopeNode] = []
    siblings: list[list[ScopeNode]] = [[]]  # merged only when complete
    last: ScopeNode | None = None  # a bracket must follow a scope at once
    count = 0
    for part in _TOKEN.findall(text):
        if part == "[":
            if last is None or len(open_nodes) == DEPTH_LIMIT:
                raise ScopeError("a '[' does not follow a scope, or is nested too deeply")
            open_nodes.append(last)
            siblings.append([])
        elif part == "]":
            if not open_nodes:
                raise ScopeError("a ']' without its '['")
            node = open_nodes.pop()
            for child in siblings.pop():
                add(node.dependencies, child, child.scope)
        elif not part.isspace():
            name = part.removeprefix("*")
            if not name or _NOT_A_SCOPE.search(name):
                raise ScopeError("a scope has characters that no scope has")
            count += 1
            if count > COUNT_LIMIT:
                raise ScopeError(f"more than {COUNT_LIMIT} scopes")
            last = ScopeNode(name, optional=part.startswith("*"))
            siblings[-1].append(last)
            continue
        last = None
    if open_nodes:
        raise ScopeError("a '[' without its ']'")
    for node in siblings[0]:
        add(trees, node, node.scope)
    return trees


def top_level(text: str) -> list[str]:
    """The scopes of ``text`` without their dependencies, in order, each once.

    Raises :class:`ScopeError`.
    """
    return list(parse(text))


def names(trees: Sequence[ScopeNode]) -> Iterator[str]:
    """Every scope in ``trees``, at any depth; some may come twice."""
    for node in trees:
        yield node.scope
        yield from names(list(node.dependencies.values()))
