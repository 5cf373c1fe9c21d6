"""Puts the routes together: the GCS Manager API of each endpoint, under /gcs/<endpoint id>/api."""

from fastapi import FastAPI

from towpath.platform.errors import GCS_ERRORS
from towpath.platform.http import add_routes, new_app
from towpath.transfer.api.service import TransferService
from towpath.transfer.manager import collections, credentials, endpoint, gateways, roles

BODY_LIMIT = 1024 * 1024
"""The largest documents name a thousand accounts or paths."""


def create_app(transfer: TransferService) -> FastAPI:
    """The API; its routes have their full paths."""
    app = new_app("manager", GCS_ERRORS, max_body_bytes=BODY_LIMIT)
    app.state.transfer = transfer
    for routes in (collections, credentials, endpoint, gateways, roles):
        add_routes(app, routes.router)
    return app
