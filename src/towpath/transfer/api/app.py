"""Puts the routes together: the Transfer API under /v0.10."""

from fastapi import FastAPI, Request, Response

from towpath.platform.errors import TRANSFER_ERRORS
from towpath.platform.http import DEFAULT_BODY_LIMIT, add_routes, new_app
from towpath.transfer.api import (
    access,
    activation,
    agents,
    bookmarks,
    bookmarks_v2,
    credentials,
    endpoint_manager,
    endpoint_tests,
    endpoints,
    explain,
    manifests,
    operations,
    pause_rules,
    plans,
    progress,
    relays,
    roles,
    servers,
    shared_endpoints,
    submissions,
    subscriptions,
    tasks,
    webhooks,
)
from towpath.transfer.api.service import PREFIX, TransferService, caller_of


def create_app(transfer: TransferService, *, max_body_bytes: int = DEFAULT_BODY_LIMIT) -> FastAPI:
    """The API of `transfer`; its routes have their full paths (`/v0.10/task_list`)."""

    async def show_task(request: Request, task_id: str) -> Response:
        caller = await caller_of(request, transfer)
        asked = request.scope["query_string"]
        fields = request.query_params.get("fields") if asked else None
        return await tasks.show_task(task_id, caller, transfer, fields)

    async def submit_transfer(request: Request, _last: str) -> Response:
        caller = await caller_of(request, transfer)
        return await submissions.submit_transfer(request, caller, transfer)

    app = new_app(
        "transfer",
        TRANSFER_ERRORS,
        max_body_bytes=max_body_bytes,
        direct={
            ("GET", f"{PREFIX}/task/*"): show_task,
            ("POST", f"{PREFIX}/transfer"): submit_transfer,
        },
    )
    app.state.transfer = transfer
    for routes in (
        access,
        activation,
        agents,
        bookmarks,
        credentials,
        endpoint_manager,
        endpoint_tests,
        endpoints,
        explain,
        manifests,
        operations,
        pause_rules,
        plans,
        progress,
        relays,
        roles,
        shared_endpoints,
        servers,
        submissions,
        subscriptions,
        tasks,
        webhooks,
        bookmarks_v2,
    ):
        add_routes(app, routes.router)
    return app
