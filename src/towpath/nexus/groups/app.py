"""The Groups API (v2) as the Globus clients use it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from towpath.nexus.groups import answers, bodies, documents, invitations, service
from towpath.nexus.groups.callers import caller_of
from towpath.nexus.groups.rules import Policies, Right, Status
from towpath.nexus.groups.service import Words
from towpath.nexus.store import groups
from towpath.platform.database import Database
from towpath.platform.errors import GROUPS_ERRORS, ApiError
from towpath.platform.http import new_app
from towpath.platform.mail import Post
from towpath.platform.openapi import takes

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
    app.router.generate_unique_id_function = lambda route: route.name

    @app.get(
        "/v2/groups/my_groups",
        response_model=answers.GroupList,
        openapi_extra=takes(
            "statuses",
            "With commas: those of the caller's memberships. `active` if it is left out",
        ),
    )
    async def list_my_groups(request: Request) -> JSONResponse:
        """Groups that one of the caller's identities has to do with."""
        statuses = _statuses(request)
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            found = await groups.my_groups(connection, caller.mine, statuses)
        return JSONResponse(
            [
                documents.group_document(service.Seen.of(group, mine), caller)
                for group, mine in found
            ]
        )

    @app.get("/v2/groups/statuses", response_model=answers.StatusCounts)
    async def count_memberships(request: Request) -> JSONResponse:
        """Of the groups that the caller manages, how many memberships have which status."""
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            found = await groups.status_counts(connection, caller.mine)
        return JSONResponse(
            {
                str(group_id): {str(status): counts.get(status, 0) for status in Status}
                for group_id, counts in found.items()
            }
        )

    @app.post("/v2/groups", status_code=201, response_model=answers.ChangedGroup)
    async def create_group(request: Request, body: bodies.GroupBody) -> JSONResponse:
        """Make a group."""
        policies = None if body.policies is None else body.policies.over(Policies())
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            seen = await service.create(connection, caller, body.words(), body.parent_id, policies)
        return JSONResponse(documents.group_document(seen, caller), status_code=201)

    @app.get(
        "/v2/groups/{group_id}",
        response_model=answers.Group,
        openapi_extra=takes(
            "include",
            "What else to tell, with commas: `memberships`, `allowed_actions`, `child_ids`",
        ),
    )
    async def show_group(request: Request, group_id: UUID) -> JSONResponse:
        """A group."""
        include = _include(request)
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            shown = await service.show(connection, caller, group_id, include)
        return JSONResponse(documents.shown_document(shown, caller))

    @app.get("/v2/groups/{group_id}/children", response_model=answers.Subgroups)
    async def list_children(request: Request, group_id: UUID) -> JSONResponse:
        """The subgroups of a group."""
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            shown = await service.show(connection, caller, group_id, ["child_ids"])
            found = [
                await service.see(connection, caller, child.id) for child in shown.children or ()
            ]
        return JSONResponse(
            {"children": [documents.group_document(seen, caller) for seen in found]}
        )

    @app.put("/v2/groups/{group_id}", response_model=answers.ChangedGroup)
    async def update_group(
        request: Request, group_id: UUID, body: bodies.UpdateBody
    ) -> JSONResponse:
        """Change what a group says of itself."""
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            seen = await service.see(connection, caller, group_id, lock=True)
            service.require(seen, Right.UPDATE, caller)
            if body.subscription_admin_verified_id is not None:
                raise _no_subscription()
            group = seen.group
            words = Words(group.name, group.description, group.terms_and_conditions)
            seen = await service.update(connection, caller, group_id, body.over(words))
        return JSONResponse(documents.group_document(seen, caller))

    @app.delete("/v2/groups/{group_id}", response_model=answers.ChangedGroup)
    async def delete_group(request: Request, group_id: UUID) -> JSONResponse:
        """Delete a group."""
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            seen = await service.delete(connection, caller, group_id)
        return JSONResponse(documents.group_document(seen, caller))

    @app.post("/v2/groups/{group_id}", response_model=answers.DoneBatch)
    async def act_on_memberships(
        request: Request, group_id: UUID, body: bodies.BatchBody
    ) -> JSONResponse:
        """Add, invite, approve, remove and so on: a list of identities for each action."""
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            done = await service.act(connection, caller, group_id, body.requests())
            letters = await invitations.letters(connection, caller, done, origin)
        if post is not None:
            for letter in letters:
                post.hand_over(letter.to, letter.subject, letter.text)
        return JSONResponse(documents.done_document(done))

    @app.get("/v2/groups/{group_id}/policies", response_model=answers.Policies)
    async def show_policies(request: Request, group_id: UUID) -> JSONResponse:
        """What a group's members and others may see and do."""
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            seen = await service.see(connection, caller, group_id)
        return JSONResponse(documents.policies_document(seen.group.policies))

    @app.put("/v2/groups/{group_id}/policies", response_model=answers.Policies)
    async def update_policies(
        request: Request, group_id: UUID, body: bodies.PoliciesBody
    ) -> JSONResponse:
        """Change policies; what is left out stays."""
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            seen = await service.see(connection, caller, group_id, lock=True)
            changed = await service.set_policies(
                connection, caller, group_id, body.over(seen.group.policies)
            )
        return JSONResponse(documents.policies_document(changed))

    @app.get("/v2/groups/{group_id}/membership_fields", response_model=answers.SignupFields)
    async def show_membership_fields(request: Request, group_id: UUID) -> JSONResponse:
        """What the caller's identities have told a group."""
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            told = await service.signup_fields(connection, caller, group_id)
        return JSONResponse(documents.signup_document(told))

    @app.put("/v2/groups/{group_id}/membership_fields", response_model=answers.SignupFields)
    async def update_membership_fields(
        request: Request, group_id: UUID, body: dict[str, Any]
    ) -> JSONResponse:
        """Tell a group what it asks for; by identity, or one document for all."""
        async with database.transaction() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            fields = bodies.signup_fields(body, caller.mine)
            told = await service.set_signup_fields(connection, caller, group_id, fields)
        return JSONResponse(documents.signup_document(told))

    @app.put("/v2/groups/{group_id}/subscription_admin_verified", response_model=answers.Verified)
    async def set_subscription_admin_verified(
        request: Request, group_id: UUID, body: bodies.VerifiedBody
    ) -> JSONResponse:
        """There are no subscriptions: null is what every group has."""
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now(), manage=True)
            seen = await service.see(connection, caller, group_id)
            service.require(seen, Right.UPDATE, caller)
        if body.subscription_admin_verified_id is not None:
            raise _no_subscription()
        return JSONResponse({"group_id": str(group_id), "subscription_admin_verified_id": None})

    @app.get("/v2/subscription_info/{subscription_id}", response_model=answers.Verified)
    async def show_subscription(
        request: Request,
        subscription_id: UUID,  # noqa: ARG001 - there is none
    ) -> JSONResponse:
        """There are none: always 404."""
        async with database.connection() as connection:
            await caller_of(request, connection, now())
        raise _no_subscription()

    @app.get("/v2/preferences", response_model=answers.Preferences)
    async def show_preferences(request: Request) -> JSONResponse:
        """Whether others may add the caller's identities to groups."""
        async with database.connection() as connection:
            caller = await caller_of(request, connection, now())
            refusing = await groups.refusing_adds(connection, caller.mine)
        return JSONResponse(documents.preferences_document(caller.identity_ids, refusing))

    @app.put("/v2/preferences", response_model=answers.Preferences)
    async def update_preferences(request: Request, body: dict[str, Any]) -> JSONResponse:
        """Say whether others may add one; by identity, or one document for all."""
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
        return JSONResponse(documents.preferences_document(caller.identity_ids, refusing))

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
