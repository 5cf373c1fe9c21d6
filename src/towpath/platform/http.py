"""How every service speaks HTTP: request ids, errors in its own shape, limits, one origin.

A client never sees a traceback; the log has it, under the request id that the client was given.
"""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import quote

import orjson
import psycopg
import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from towpath.platform import logs
from towpath.platform.errors import (
    ApiError,
    ErrorShape,
    current_address,
    current_request_id,
    new_request_id,
)
from towpath.platform.secrets import NoKeyError

DEFAULT_BODY_LIMIT = 32 * 1024 * 1024
DATABASE_RETRY_AFTER_S = 5
NO_KEY_RETRY_AFTER_S = 60
"""Somebody has to copy a file."""
PAGE_HEADERS: Mapping[str, str] = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # not no-referrer: browsers then hide the origin of our own forms, too (Fetch, 3.2)
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every page for people, whichever service it is of; each adds its content security policy."""
ERRORS_SHOWN = 3
"""Of a body's mistakes; the first ones say enough."""
INPUT_SHOWN = 200

_log = structlog.stdlib.get_logger("towpath.http")
_request_log = logging.getLogger("towpath.http")

_NOBODY: Mapping[str, Any] = {"principal": ..., "node": ...}
"""Who asks, before that is known: not who asked before on the same connection, whose context a
request has that came while the one before it was served. `...` is how structlog unbinds."""


Direct = Callable[[Request, str], Awaitable[Response]]
"""Answers a request; the text is the last part of its path."""


class DocumentResponse(JSONResponse):
    """A JSONResponse, for what is asked often: made in a tenth of the time.

    It is the same to the byte, but for some floats (`1e16` for `1e+16`).
    """

    def render(self, content: Any) -> bytes:
        """Raises TypeError, ValueError, as JSONResponse."""
        try:
            return orjson.dumps(content)
        except TypeError:  # such as an integer of more than 64 bits, which JSON may have
            return super().render(content)

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """The two that there are without others."""
        if headers is not None:
            super().init_headers(headers)
            return
        self.raw_headers = [
            (b"content-length", str(len(self.body)).encode()),
            (b"content-type", b"application/json"),
        ]


class _App(FastAPI):
    """A FastAPI app, and before it routes that are answered without it."""

    def __init__(self, title: str, direct: Mapping[tuple[str, str], ASGIApp]) -> None:
        super().__init__(
            title=title, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
        )
        self._direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._direct_for(scope) or super().__call__)(scope, receive, send)

    def _direct_for(self, scope: Scope) -> ASGIApp | None:
        if scope["type"] != "http":
            return None
        method, path = scope["method"], scope["path"]
        above, _, last = path.rpartition("/")
        found = self._direct.get((method, path))
        return self._direct.get((method, above + "/*")) if found is None and last else found


def new_app(
    name: str,
    error_shape: ErrorShape,
    *,
    max_body_bytes: int = DEFAULT_BODY_LIMIT,
    direct: Mapping[tuple[str, str], Direct] | None = None,
) -> FastAPI:
    """A FastAPI app whose every error is a document in ``error_shape`` with a request id.

    Raise :class:`ApiError` in a route. Unknown routes, malformed JSON and validation answer 400 and
    404 in shape, a lost database 503, anything else that escapes 500. Each answer carries the
    request id in ``X-Request-Id``. Routes keep their full paths (``/v0.10/task``).

    ``direct``: routes, by method and path (``/*`` at its end: whatever is there), that are answered
    without FastAPI, because they are asked so often that it would be most of their cost. They are
    declared in it all the same, for the document of the API.
    """
    around = partial(_RequestScope, name=name, shape=error_shape, max_body_bytes=max_body_bytes)
    app = _App(name, {key: around(_DirectRoute(one)) for key, one in (direct or {}).items()})

    def answer(request: Request, error: ApiError) -> JSONResponse:
        return _answer(error_shape, error, request.url.path)

    async def on_api_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return answer(request, error)

    async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message = str(error.detail)
        if error.status_code == 404:
            message = f"no route {request.method} {request.url.path[:INPUT_SHOWN]}"
        return answer(request, error_shape.plain(error.status_code, message, error.headers))

    async def on_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return answer(request, error_shape.plain(400, _validation_message(error)))

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_middleware(around)
    return app


def new_router(prefix: str = "") -> APIRouter:
    """For routes below `prefix`; the document of the API calls each as its function is called."""
    return APIRouter(prefix=prefix, generate_unique_id_function=_function_name)


def _function_name(route: APIRoute) -> str:
    return route.name


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Serve the routes of `router`, which have their full paths.

    FastAPI's `include_router` would make each of them anew for each app, which is half of what the
    start of a service takes, and would ask router by router for that of a request.
    """
    app.router.routes.extend(router.routes)


def absent_app(name: str, error_shape: ErrorShape, what: str) -> FastAPI:
    """In place of a service that a deployment does not have: all is answered 404, in
    ``error_shape``, and says so. ``what``: the service's name.
    """
    app = new_app(name, error_shape)

    async def nothing() -> None:
        raise error_shape.plain(404, f"this deployment has no {what} service")

    methods = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
    app.add_api_route("/{path:path}", nothing, methods=methods)
    return app


def _answer(shape: ErrorShape, error: ApiError, path: str) -> JSONResponse:
    document = shape.document(error, current_request_id.get(), path)
    return JSONResponse(document.body, status_code=document.status, headers=document.headers)


def _validation_message(error: RequestValidationError) -> str:
    """The first mistakes by place; never the input itself, which may hold a secret."""
    found = error.errors()
    parts = []
    for one in found[:ERRORS_SHOWN]:
        place = ".".join(str(part) for part in one["loc"] if part != "body")
        parts.append(f"{place[:INPUT_SHOWN]}: {one['msg']}" if place else str(one["msg"]))
    if len(found) > ERRORS_SHOWN:
        parts.append(f"and {len(found) - ERRORS_SHOWN} more")
    return "; ".join(parts)


class _RequestScope:
    """Around each request: its id, its log line, the body limit, and what escapes the routes."""

    def __init__(self, app: ASGIApp, *, name: str, shape: ErrorShape, max_body_bytes: int) -> None:
        self._app = app
        self._name = name
        self._shape = shape
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_request_id()
        client = scope.get("client")
        token = current_request_id.set(request_id)
        address = current_address.set(str(client[0]) if client else "")
        bound = structlog.contextvars.bind_contextvars(request=request_id, **_NOBODY)
        began = time.monotonic()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            try:
                self._check_declared_size(scope)
                await self._app(scope, self._limited(receive), sending)
            except Exception as error:
                if status:  # too late for a document
                    _log.exception("request.broken", service=self._name)
                    raise
                response = _answer(self._shape, self._escaped(error), scope["path"])
                await response(scope, receive, sending)
            logs.ready(
                _request_log,
                "request",
                service=self._name,
                method=scope["method"],
                path=str(logs.scrub(scope["path"])),
                status=status,
                ms=round((time.monotonic() - began) * 1000, 1),
            )
        finally:
            structlog.contextvars.reset_contextvars(**bound)
            current_address.reset(address)
            current_request_id.reset(token)

    def _escaped(self, error: Exception) -> ApiError:
        if isinstance(error, ApiError):
            return error
        if isinstance(error, HTTPException):
            return self._shape.plain(error.status_code, str(error.detail), error.headers)
        if isinstance(error, psycopg.OperationalError):
            _log.warning("request.no_database", error=str(error))
            return self._shape.plain(
                503,
                "the service's database does not answer; try again",
                {"Retry-After": str(DATABASE_RETRY_AFTER_S)},
            )
        if isinstance(error, NoKeyError):
            _log.warning("request.no_key", error=str(error))
            return self._shape.plain(
                503,
                "the service misses a key that this needs, which its operator is told; try again",
                {"Retry-After": str(NO_KEY_RETRY_AFTER_S)},
            )
        _log.error("request.failed", service=self._name, exc_info=error)
        return self._shape.plain(
            500, "internal error; the operator finds it in the log by its request id"
        )

    def _too_large(self) -> str:
        return f"the body is larger than {self._max_body_bytes} bytes"

    def _check_declared_size(self, scope: Scope) -> None:
        for name, value in scope["headers"]:
            if name == b"content-length":
                with contextlib.suppress(ValueError):
                    if int(value) > self._max_body_bytes:
                        raise self._shape.plain(413, self._too_large())

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def receiving() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_body_bytes:
                    # FastAPI turns any other exception of a body into a 400
                    raise HTTPException(413, self._too_large())
            return message

        return receiving


class _DirectRoute:
    """A route without FastAPI."""

    def __init__(self, answer: Direct) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        last = scope["path"].rpartition("/")[2]
        response = await self._answer(Request(scope, receive, send), last)
        await response(scope, receive, send)


class PathDispatch:
    """Several apps on one origin: the longest matching path prefix decides.

    The apps see the full path. ``default`` answers what no prefix claims.
    """

    def __init__(self, apps: Mapping[str, ASGIApp], default: ASGIApp) -> None:
        self._apps: dict[str, list[tuple[str, ASGIApp]]] = {}
        """By the first part of their prefixes, the longest prefix first."""
        for prefix, app in sorted(apps.items(), key=lambda one: len(one[0]), reverse=True):
            self._apps.setdefault(_first_part(prefix), []).append((prefix.rstrip("/"), app))
        self._default = default

    def _app_for(self, path: str) -> ASGIApp:
        for prefix, app in self._apps.get(_first_part(path), ()):
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                return app
        return self._default

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        await self._app_for(scope["path"])(scope, receive, send)


def _first_part(path: str) -> str:
    return path[1:].partition("/")[0]


def origin_of(host: str, port: int) -> str:
    """``https://HOST:PORT``, with brackets around an IPv6 address."""
    shown = f"[{quote(host, safe=':')}]" if ":" in host else host
    return f"https://{shown}:{port}"
