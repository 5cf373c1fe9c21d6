"""What a request needs to be allowed: its scopes, and all that their services need in turn."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from towpath.nexus.scopes import COUNT_LIMIT, DEPTH_LIMIT, ScopeError, ScopeNode, names
from towpath.nexus.store import clients, scopes
from towpath.nexus.store import consents as store
from towpath.nexus.store.consents import Consent
from towpath.nexus.store.scopes import Dependency, Scope
from towpath.nexus.well_known import STORAGE_SERVICE, may_depend, scope_id, storage_scope
from towpath.platform.database import Connection


@dataclass(frozen=True)
class Wanted:
    """A scope that is to be allowed, and what its service is to be allowed for it."""

    scope: Scope
    allows_refresh: bool
    needs: "Sequence[Wanted]" = field(default=())


async def plan(
    connection: Connection, trees: Mapping[str, ScopeNode], *, offline: bool
) -> list[Wanted]:
    """The whole tree of a request: what it names, and what scopes need without being named.

    Raises :class:`ScopeError` for a scope that does not exist, or that may not stand where it does.
    """
    strings = list(dict.fromkeys(names(list(trees.values()))))
    known, needs = await scopes.closure(connection, strings, DEPTH_LIMIT)
    known |= await _of_storage(connection, [one for one in strings if one not in known])
    return planned(trees, known, needs, offline=offline)


async def _of_storage(connection: Connection, strings: Sequence[str]) -> dict[str, Scope]:
    """Scopes of endpoints and collections: to ask for one, no row is needed."""
    named = [one for one in map(storage_scope, strings) if one is not None]
    # ids of others' clients are not endpoints, and a token must not be for both
    taken = {one.id for one in await clients.find_all(connection, [one.server for one in named])}
    return {
        one.scope.scope: Scope(
            id=scope_id(one.scope.scope),
            client_id=one.client_id,
            scope_string=one.scope.scope,
            name=one.scope.name,
            description=one.scope.description,
            advertised=False,
            allows_refresh_token=True,
            required_domains=[],
            resource_server=str(one.server),
            service=STORAGE_SERVICE,
        )
        for one in named
        if one.server not in taken
    }


def planned(
    trees: Mapping[str, ScopeNode],
    known: Mapping[str, Scope],
    needs: Mapping[UUID, Sequence[Dependency]],
    *,
    offline: bool,
) -> list[Wanted]:
    """As :func:`plan`, of what the database says."""
    by_id = {one.id: one for one in known.values()}
    count = 0

    def build(node: ScopeNode, above: frozenset[str], *, refresh: bool) -> Wanted:
        nonlocal count
        count += 1
        if count > COUNT_LIMIT:
            raise ScopeError(f"with all that they need these are more than {COUNT_LIMIT} scopes")
        scope = known.get(node.scope)
        if scope is None:
            raise ScopeError(f"there is no scope {node.scope[:200]!r} in this deployment")
        registered = {
            by_id[one.depends_on].scope_string: one
            for one in needs.get(scope.id, ())
            if one.depends_on in by_id  # not what is below the depth that is looked at
        }
        for named in node.dependencies:
            if named not in registered and not may_depend(node.scope, named):
                raise ScopeError(f"{node.scope[:200]!r} does not depend on {named[:200]!r}")
        wanted = dict(node.dependencies)
        here = above | {node.scope}
        for name, one in registered.items():
            if not one.optional and name not in here and len(here) <= DEPTH_LIMIT:
                wanted.setdefault(name, ScopeNode(name))
        below = [
            build(
                child,
                here,
                refresh=refresh or (name in registered and registered[name].requires_refresh_token),
            )
            for name, child in wanted.items()
        ]
        return Wanted(scope, refresh, below)

    return [build(node, frozenset(), refresh=offline) for node in trees.values()]


def missing(wanted: Sequence[Wanted], given: Sequence[Consent]) -> bool:
    """Whether anything wanted was not allowed yet, or not for as long."""
    by_place = {(one.parent_id, one.scope_id): one for one in given}

    def lacks(one: Wanted, parent: int | None) -> bool:
        found = by_place.get((parent, one.scope.id))
        if found is None or (one.allows_refresh and not found.allows_refresh):
            return True
        return any(lacks(child, found.id) for child in one.needs)

    return any(lacks(one, None) for one in wanted)


async def record(
    connection: Connection,
    wanted: Sequence[Wanted],
    *,
    identity_id: UUID,
    client_id: UUID,
    auto_approved: bool = False,
) -> list[int]:
    """Note that the identity allows all this. Returns the roots, one for each scope asked for.

    Earlier consents are added to, and never narrowed. In a transaction: requests of one client for
    one identity come one after the other, or two would wait for each other's rows.
    """
    await _keep_storage_scopes(connection, wanted)
    await store.hold(connection, identity_id, client_id)

    async def put(one: Wanted, parent: int | None, asker: UUID) -> int:
        made = await store.put(
            connection,
            identity_id=identity_id,
            root_client_id=client_id,
            parent=parent,
            client_id=asker,
            scope_id=one.scope.id,
            allows_refresh=one.allows_refresh,
            auto_approved=auto_approved,
        )
        for child in one.needs:
            await put(child, made, one.scope.client_id)
        return made

    return [await put(one, None, client_id) for one in wanted]


async def _keep_storage_scopes(connection: Connection, wanted: Sequence[Wanted]) -> None:
    """What somebody allows has rows, in one order for all who allow the same just now."""
    owners = {one.scope.scope_string: one.scope.client_id for one in flattened(wanted)}
    for string in sorted(owners):
        found = storage_scope(string)
        if found is not None and found.client_id == owners[string]:
            await scopes.keep_storage(
                connection,
                scope_id=scope_id(string),
                client_id=found.client_id,
                server=found.server,
                service=STORAGE_SERVICE,
                scope_string=string,
                name=found.scope.name,
                description=found.scope.description,
            )


def flattened(wanted: Sequence[Wanted]) -> Iterator[Wanted]:
    """All of it, parents before children."""
    for one in wanted:
        yield one
        yield from flattened(one.needs)
