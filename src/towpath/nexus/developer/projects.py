"""``/v2/api/projects`` and ``/v2/api/policies``."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from towpath.nexus import audit
from towpath.nexus.developer.bodies import PolicyBody, PolicyFields, ProjectBody
from towpath.nexus.developer.documents import policy_document, project_document
from towpath.nexus.developer.managers import Manager, own_project, own_projects, person
from towpath.nexus.oauth.core import Core
from towpath.nexus.oauth.errors import invalid, not_found
from towpath.nexus.people import profile
from towpath.nexus.store import identities, policies, projects
from towpath.nexus.store.policies import Policy
from towpath.nexus.store.projects import Project
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError

PROJECTS_LIMIT = 100
"""Of one person."""
POLICIES_LIMIT = 100
"""Of a project."""


def add_project_routes(app: FastAPI, core: Core) -> None:
    """``/v2/api/projects``."""

    @app.post("/v2/api/projects", status_code=201)
    async def create(request: Request, body: ProjectBody) -> JSONResponse:
        fields = body.project
        if fields.display_name is None or fields.contact_email is None:
            raise invalid("display_name and contact_email must be there")
        async with core.database.transaction() as connection:
            who = await person(request, connection)
            if len(await own_projects(connection, who)) >= PROJECTS_LIMIT:
                raise ApiError(409, "CONFLICT", f"you look after {PROJECTS_LIMIT} already")
            admins = {
                "admin_ids": fields.admin_ids or [],
                "admin_group_ids": fields.admin_group_ids or [],
            }
            await _check_admins(connection, who, admins)
            if not any(admins.values()):
                raise invalid("a project needs an admin")
            made = await projects.add(
                connection,
                {
                    "display_name": fields.display_name,
                    "contact_email": fields.contact_email,
                    **admins,
                },
            )
            await _note(connection, "project.added", who, made)
            document = await _shown(connection, who, made)
        return JSONResponse({"project": document}, status_code=201)

    @app.get("/v2/api/projects")
    async def show_all(request: Request) -> dict[str, Any]:
        async with core.database.connection() as connection:
            who = await person(request, connection)
            found = await own_projects(connection, who)
            documents = await _project_documents(connection, who, found)
        return {"projects": documents}

    @app.get("/v2/api/projects/{project_id}")
    async def show(request: Request, project_id: UUID) -> dict[str, Any]:
        async with core.database.connection() as connection:
            who = await person(request, connection)
            found = await own_project(connection, who, project_id)
            documents = await _project_documents(connection, who, [found])
        return {"project": documents[0]}

    @app.put("/v2/api/projects/{project_id}")
    async def update(request: Request, project_id: UUID, body: ProjectBody) -> dict[str, Any]:
        given = {name: value for name, value in body.project.given().items() if value is not None}
        async with core.database.transaction() as connection:
            who = await person(request, connection)
            found = await own_project(connection, who, project_id, lock=True)
            await _check_admins(connection, who, given, found.admin_group_ids)
            if not given.get("admin_ids", found.admin_ids) and not given.get(
                "admin_group_ids", found.admin_group_ids
            ):
                raise invalid("a project needs an admin")
            await projects.update(connection, project_id, given)
            await _note(connection, "project.changed", who, project_id, sorted(given))
            return {"project": await _shown(connection, who, project_id)}

    @app.delete("/v2/api/projects/{project_id}")
    async def delete(request: Request, project_id: UUID) -> dict[str, Any]:
        async with core.database.connection() as connection:
            try:
                async with connection.transaction():
                    who = await person(request, connection)
                    await own_project(connection, who, project_id, lock=True)
                    document = await _shown(connection, who, project_id)
                    await projects.delete(connection, project_id)
                    await _note(connection, "project.removed", who, project_id)
            except psycopg.errors.RestrictViolation as error:
                raise ApiError(409, "CONFLICT", "delete the project's clients first") from error
        return {"project": document}


def add_policy_routes(app: FastAPI, core: Core) -> None:
    """``/v2/api/policies``."""

    @app.post("/v2/api/policies", status_code=201)
    async def create(request: Request, body: PolicyBody) -> JSONResponse:
        fields = body.policy
        if fields.project_id is None or fields.display_name is None or fields.description is None:
            raise invalid("project_id, display_name and description must be there")
        async with core.database.transaction() as connection:
            who = await person(request, connection)
            await own_project(connection, who, fields.project_id, lock=True)
            if len(await policies.of_projects(connection, [fields.project_id])) >= POLICIES_LIMIT:
                raise ApiError(409, "CONFLICT", f"the project has {POLICIES_LIMIT} already")
            made = await policies.add(connection, _columns(fields))
            await _note(connection, "policy.added", who, made)
            (policy,) = await policies.by_id(connection, [made])
        return JSONResponse({"policy": policy_document(policy)}, status_code=201)

    @app.get("/v2/api/policies")
    async def show_all(request: Request) -> dict[str, Any]:
        async with core.database.connection() as connection:
            who = await person(request, connection)
            own = [one.id for one in await own_projects(connection, who)]
            found = await policies.of_projects(connection, own)
        return {"policies": [policy_document(one) for one in found]}

    @app.get("/v2/api/policies/{policy_id}")
    async def show(request: Request, policy_id: UUID) -> dict[str, Any]:
        async with core.database.connection() as connection:
            who = await person(request, connection)
            found = await _own_policy(connection, who, policy_id)
        return {"policy": policy_document(found)}

    @app.put("/v2/api/policies/{policy_id}")
    async def update(request: Request, policy_id: UUID, body: PolicyBody) -> dict[str, Any]:
        async with core.database.transaction() as connection:
            who = await person(request, connection)
            await _own_policy(connection, who, policy_id)
            columns = _columns(body.policy)
            if "project_id" in columns:
                await own_project(connection, who, columns["project_id"])
            await policies.update(connection, policy_id, columns)
            await _note(connection, "policy.changed", who, policy_id, sorted(columns))
            (policy,) = await policies.by_id(connection, [policy_id])
        return {"policy": policy_document(policy)}

    @app.delete("/v2/api/policies/{policy_id}")
    async def delete(request: Request, policy_id: UUID) -> dict[str, Any]:
        async with core.database.transaction() as connection:
            who = await person(request, connection)
            found = await _own_policy(connection, who, policy_id)
            await policies.delete(connection, policy_id)
            await _note(connection, "policy.removed", who, policy_id)
        return {"policy": policy_document(found)}


async def _check_admins(
    connection: Connection, who: Manager, given: dict[str, Any], known_groups: Sequence[UUID] = ()
) -> None:
    ids, group_ids = given.get("admin_ids", ()), given.get("admin_group_ids", ())
    if len(await identities.identities_by_id(connection, ids)) != len(set(ids)):
        raise invalid("an identity of admin_ids does not exist")
    # whose names the document tells: only the caller's own
    if not set(group_ids) <= {*who.groups, *known_groups}:
        raise invalid("a group of admin_group_ids is none that you are in")


async def _shown(connection: Connection, who: Manager, project_id: UUID) -> dict[str, Any]:
    found = await projects.find(connection, project_id)
    assert found is not None
    return (await _project_documents(connection, who, [found]))[0]


async def _project_documents(
    connection: Connection, who: Manager, found: Sequence[Project]
) -> list[dict[str, Any]]:
    ids = {one for project in found for one in project.admin_ids}
    group_ids = {one for project in found for one in project.admin_group_ids}
    known_admins = await identities.identities_by_id(connection, list(ids))
    admins = {one.id: one for one in known_admins}
    seen = await profile.visible(connection, list(who.identity_set), known_admins)
    known = await projects.groups_named(connection, list(group_ids))
    return [project_document(one, admins, seen, known) for one in found]


async def _own_policy(connection: Connection, who: Manager, policy_id: UUID) -> Policy:
    found = await policies.by_id(connection, [policy_id])
    if found:
        project = await projects.find(connection, found[0].project_id)
        if project is not None and who.looks_after(project):
            return found[0]
    raise not_found(f"there is no policy {policy_id} that you look after")


def _columns(fields: PolicyFields) -> dict[str, Any]:
    given = fields.given()
    for name in ("project_id", "display_name", "description"):
        if given.get(name, "") is None:
            raise invalid(f"{name} must not be null")
    return given


async def _note(
    connection: Connection,
    kind: audit.Kind,
    who: Manager,
    subject: UUID,
    what: Sequence[str] = (),
) -> None:
    act = audit.Act(
        kind,
        actor=who.identity_id,
        subject=subject,
        client=who.token_client,
        details={"what": list(what)} if what else {},
    )
    await audit.append(connection, act)
