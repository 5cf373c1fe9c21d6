"""Who may look after what: the admins of a project, and a client after itself and its children."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request

from towpath.nexus import scopes
from towpath.nexus.oauth.callers import bearer_with, client_by_secret, has_basic
from towpath.nexus.oauth.errors import forbidden, not_found
from towpath.nexus.store import clients, groups, identities, projects
from towpath.nexus.store.clients import Client
from towpath.nexus.store.projects import Project
from towpath.platform.database import Connection


@dataclass(frozen=True)
class Manager:
    """Somebody who looks after things here."""

    identity_id: UUID
    """Who acts, for the audit log."""
    identity_set: Collection[UUID]
    groups: Collection[UUID]
    client: Client | None
    """Set if a client has come by its own secret."""
    token_client: UUID | None = None
    """Through which client a person acts."""

    def looks_after(self, project: Project) -> bool:
        """Whether this is one of the project's admins."""
        return bool(
            set(project.admin_ids) & set(self.identity_set)
            or set(project.admin_group_ids) & set(self.groups)
        )


async def manager(request: Request, connection: Connection, *or_scopes: str) -> Manager:
    """Who calls: a client by its secret, or a token with ``manage_projects`` (or one of some other
    scopes, for what only looks).
    """
    if has_basic(request):
        client = await client_by_secret(request, connection)
        if client.template_id is not None and request.method not in ("GET", "DELETE"):
            # nobody knows who made it: it gets no other place to send people to, and no scopes
            raise forbidden(
                "a program that has registered itself can only be looked at and deleted"
            )
        return Manager(client.id, [client.id], [], client)
    token = await bearer_with(request, connection, scopes.MANAGE_PROJECTS, *or_scopes)
    own = await identities.identity_set(connection, token.identity_id)
    return Manager(
        token.identity_id,
        own,
        await groups.group_ids_of(connection, own),
        None,
        token.client_id,
    )


async def person(request: Request, connection: Connection) -> Manager:
    """Who calls, by a token alone: projects belong to identities, not to secrets."""
    if has_basic(request):
        raise forbidden(f"this needs a token with the scope {scopes.MANAGE_PROJECTS}")
    return await manager(request, connection)


async def own_project(
    connection: Connection, who: Manager, project_id: UUID, *, lock: bool = False
) -> Project:
    """A project that the caller looks after. To others it is not there."""
    found = await projects.find(connection, project_id, lock=lock)
    if found is None or not who.looks_after(found):
        raise not_found(f"there is no project {project_id} that you look after")
    return found


async def own_projects(connection: Connection, who: Manager) -> list[Project]:
    """All of them."""
    return await projects.of_admin(connection, list(who.identity_set), list(who.groups))


async def may_manage(connection: Connection, who: Manager, client: Client) -> bool:
    """Whether the caller looks after the client: it is itself, its parent, or by its project."""
    if who.client is not None and who.client.id in (client.id, client.parent_id):
        return True
    above = client
    if client.parent_id is not None:
        parent = await clients.find(connection, client.parent_id)
        above = parent or client
    if above.project_id is None:
        return False
    project = await projects.find(connection, above.project_id)
    return project is not None and who.looks_after(project)


async def own_client(connection: Connection, who: Manager, client_id: UUID) -> Client:
    """A client that the caller looks after. To others it is not there."""
    found = await clients.find(connection, client_id)
    if found is None or not await may_manage(connection, who, found):
        raise not_found(f"there is no client {client_id} that you look after")
    return found
