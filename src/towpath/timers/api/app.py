"""Puts the routes together. Errors are `{"error": {...}}`; of documents `{"detail": [...]}`."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from towpath.platform.errors import FLOWS_ERRORS
from towpath.platform.http import add_routes, new_app
from towpath.timers.api import routes
from towpath.timers.api.service import InvalidError, TimersService

PREFIXES = ("/jobs", "/v2/timer")
"""The paths on the deployment's origin that are Timers'."""
BODY_LIMIT = 1024 * 1024
"""A thousand items with long paths; read on the event loop, in some 10 ms."""
MISTAKES_SHOWN = 10


def create_app(timers: TimersService) -> FastAPI:
    """The API of `timers`; its routes have their full paths."""
    app = new_app("timers", FLOWS_ERRORS, max_body_bytes=BODY_LIMIT)
    app.state.timers = timers
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(ValidationError, _on_invalid)
    app.add_exception_handler(InvalidError, _on_invalid)
    add_routes(app, routes.router)
    return app


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    """422. Never the input itself, which may be long."""
    if isinstance(error, InvalidError):
        found: Sequence[Any] = [error.mistake]
    elif isinstance(error, RequestValidationError):
        found = error.errors()
    else:
        assert isinstance(error, ValidationError)
        found = error.errors(include_url=False, include_context=False, include_input=False)
    return JSONResponse({"detail": [_told(one) for one in found[:MISTAKES_SHOWN]]}, status_code=422)


def _told(one: Any) -> dict[str, Any]:
    # the SDK shows a mistake only if its place is made of words
    place = [str(part) for part in one["loc"]]
    if one["type"] == "missing":  # in the words of the API's own examples
        return {"loc": place, "msg": "field required", "type": "value_error.missing"}
    return {"loc": place, "msg": str(one["msg"]), "type": one["type"]}
