"""The Groups API (v2) as the Globus clients use it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from pydantic import ValidationError

from towpath.nexus.groups import bodies, documents, invitations, service
from towpath.nexus.groups.callers import caller_of
from towpath.nexus.groups.rules import Policies, Right, Status
from towpath.nexus.groups.service import Words
from towpath.nexus.store import groups
from towpath.platform.database import Database
from towpath.platform.errors import GROUPS_ERRORS, ApiError
from towpath.platform.http import new_app
from towpath.platform.mail import Post

PREFIXES = ("/v2/groups", "/v2/preferences", "/v2/subscription_info")
"""The paths on the deployment's origin that are Groups'."""

BODY_LIMIT = 512 * 1024
"""A batch of `BATCH_LIMIT` items, with a reason each, has less."""

INCLUDES = frozenset({"memberships", "my_memberships", "policies", "allowed_actions", "child_ids"})


def create_app(
    database: Database,
    *,
    origin: str = "https://localhost",
    post: Post | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FastAPI:
    """The app, on nexus' own database. `origin` is where people reach the pages; without `post`
    nobody is mailed an invitation.
    """
    app = new_app("groups", GROUPS_ERRORS, max_body_bytes=BODY_LIMIT)

    @app.get("/v2/groups/my_groups")
    async def my_groups(request: Request) -> list[dict[str, Any]]:
        statuses = _statuses(request)
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            found = await groups.my_groups(connection, caller.mine, statuses)
        return [
            documents.group_document(service.Seen.of(group, mine), caller) for group, mine in found
        ]

    @app.get("/v2/groups/statuses")
    async def statuses(request: Request) -> dict[str, dict[str, int]]:
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            found = await groups.status_counts(connection, caller.mine)
        return {
            str(group_id): {str(status): counts.get(status, 0) for status in Status}
            for group_id, counts in found.items()
        }

    @app.post("/v2/groups", status_code=201)
    async def create(request: Request, body: bodies.GroupBody) -> dict[str, Any]:
        policies = None if body.policies is None else body.policies.over(Policies())
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            seen = await service.create(connection, caller, body.words(), body.parent_id, policies)
        return documents.group_document(seen, caller)

    @app.get("/v2/groups/{group_id}")
    async def show(request: Request, group_id: UUID) -> dict[str, Any]:
        include = _include(request)
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            shown = await service.show(connection, caller, group_id, include)
        return documents.shown_document(shown, caller)

    @app.get("/v2/groups/{group_id}/children")
    async def children(request: Request, group_id: UUID) -> dict[str, Any]:
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            shown = await service.show(connection, caller, group_id, ["child_ids"])
            found = [
                await service.see(connection, caller, child.id) for child in shown.children or ()
            ]
        return {"children": [documents.group_document(seen, caller) for seen in found]}

    @app.put("/v2/groups/{group_id}")
    async def update(request: Request, group_id: UUID, body: bodies.UpdateBody) -> dict[str, Any]:
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            seen = await service.see(connection, caller, group_id, lock=True)
            service.require(seen, Right.UPDATE, caller)
            if body.subscription_admin_verified_id is not None:
                raise _no_subscription()
            group = seen.group
            words = Words(group.name, group.description, group.terms_and_conditions)
            seen = await service.update(connection, caller, group_id, body.over(words))
        return documents.group_document(seen, caller)

    @app.delete("/v2/groups/{group_id}")
    async def delete(request: Request, group_id: UUID) -> dict[str, Any]:
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            seen = await service.delete(connection, caller, group_id)
        return documents.group_document(seen, caller)

    @app.post("/v2/groups/{group_id}")
    async def act(request: Request, group_id: UUID, body: bodies.BatchBody) -> dict[str, Any]:
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            done = await service.act(connection, caller, group_id, body.requests())
            letters = await invitations.letters(connection, caller, done, origin)
        if post is not None:
            for letter in letters:
                post.hand_over(letter.to, letter.subject, letter.text)
        return documents.done_document(done)

    @app.get("/v2/groups/{group_id}/policies")
    async def policies(request: Request, group_id: UUID) -> dict[str, Any]:
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            seen = await service.see(connection, caller, group_id)
        return documents.policies_document(seen.group.policies)

    @app.put("/v2/groups/{group_id}/policies")
    async def set_policies(
        request: Request, group_id: UUID, body: bodies.PoliciesBody
    ) -> dict[str, Any]:
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            seen = await service.see(connection, caller, group_id, lock=True)
            changed = await service.set_policies(
                connection, caller, group_id, body.over(seen.group.policies)
            )
        return documents.policies_document(changed)

    @app.get("/v2/groups/{group_id}/membership_fields")
    async def membership_fields(request: Request, group_id: UUID) -> dict[str, Any]:
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            told = await service.signup_fields(connection, caller, group_id)
        return documents.signup_document(told)

    @app.put("/v2/groups/{group_id}/membership_fields")
    async def set_membership_fields(
        request: Request, group_id: UUID, body: dict[str, Any]
    ) -> dict[str, Any]:
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            fields = bodies.signup_fields(body, caller.mine)
            told = await service.set_signup_fields(connection, caller, group_id, fields)
        return documents.signup_document(told)

    @app.put("/v2/groups/{group_id}/subscription_admin_verified")
    async def set_verified(
        request: Request, group_id: UUID, body: bodies.VerifiedBody
    ) -> dict[str, Any]:
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            seen = await service.see(connection, caller, group_id)
            service.require(seen, Right.UPDATE, caller)
        if body.subscription_admin_verified_id is not None:
            raise _no_subscription()
        return {"group_id": str(group_id), "subscription_admin_verified_id": None}

    @app.get("/v2/subscription_info/{subscription_id}")
    async def subscription(
        request: Request,
        subscription_id: UUID,  # noqa: ARG001 - there is none
    ) -> dict[str, Any]:
        async with database.connection() as connection:
            await caller_of(request, connection, now())
        raise _no_subscription()

    @app.get("/v2/preferences")
    async def preferences(request: Request) -> dict[str, Any]:
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            refusing = await groups.refusing_adds(connection, caller.mine)
        return documents.preferences_document(caller.identity_ids, refusing)

    @app.put("/v2/preferences")
    async def set_preferences(request: Request, body: dict[str, Any]) -> dict[str, Any]:
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            try:
                wanted = bodies.preferences(body, caller.mine)
            except ValidationError as error:
                raise ApiError(400, "BAD_REQUEST", "allow_add is true, false or null") from error
            service.require_own(caller, wanted)
            for identity_id, allow in wanted.items():
                await groups.set_allow_add(connection, identity_id, allow=allow)
            refusing = await groups.refusing_adds(connection, caller.mine)
        return documents.preferences_document(caller.identity_ids, refusing)

    return app


def _no_subscription() -> ApiError:
    return ApiError(404, "NOT_FOUND", "this deployment has no subscriptions")


def _listed(request: Request, name: str) -> list[str]:
    """A parameter that is repeated, or separated by commas."""
    return [
        part for value in request.query_params.getlist(name) for part in value.split(",") if part
    ]


def _statuses(request: Request) -> list[Status]:
    try:
        return [Status(one) for one in _listed(request, "statuses")] or [Status.ACTIVE]
    except ValueError as error:
        known = ", ".join(Status)
        raise ApiError(400, "BAD_REQUEST", f"statuses are some of: {known}") from error


def _include(request: Request) -> frozenset[str]:
    wanted = frozenset(_listed(request, "include"))
    if not wanted <= INCLUDES:
        known = ", ".join(sorted(INCLUDES))
        raise ApiError(400, "BAD_REQUEST", f"include is some of: {known}")
    return wanted
