"""Puts the routes together: the Transfer API under /v0.10."""

from fastapi import FastAPI
from fastapi.routing import APIRoute

from towpath.platform.errors import TRANSFER_ERRORS
from towpath.platform.http import new_app
from towpath.transfer.api import (
    access,
    agents,
    bookmarks,
    credentials,
    endpoint_tests,
    endpoints,
    explain,
    manifests,
    operations,
    progress,
    relays,
    roles,
    shared_endpoints,
    submissions,
    tasks,
    webhooks,
)
from towpath.transfer.api.service import TransferService

PREFIX = "/v0.10"


def create_app(transfer: TransferService, *, max_body_bytes: int | None = None) -> FastAPI:
    """The API of `transfer`; its routes have their full paths (`/v0.10/task_list`)."""
    if max_body_bytes is None:
        app = new_app("transfer", TRANSFER_ERRORS)
    else:
        app = new_app("transfer", TRANSFER_ERRORS, max_body_bytes=max_body_bytes)
    app.state.transfer = transfer
    for routes in (
        access,
        agents,
        bookmarks,
        credentials,
        endpoint_tests,
        endpoints,
        explain,
        manifests,
        operations,
        progress,
        relays,
        roles,
        shared_endpoints,
        submissions,
        tasks,
        webhooks,
    ):
        app.include_router(routes.router, prefix=PREFIX, generate_unique_id_function=_operation_id)
    return app


def _operation_id(route: APIRoute) -> str:
    """What the document of the API calls a route: as its function here."""
    return route.name
