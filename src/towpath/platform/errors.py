"""Errors as the Globus APIs say them: one exception, and the document shapes of the services."""

import contextvars
import os
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import uuid4

JSONAPI = "application/vnd.api+json"
"""The media type of JSON:API; clients read errors of this kind only if it is given."""

REQUEST_ID_LENGTH = 9
_LETTERS = string.ascii_letters + string.digits
_ALPHABET = bytes(ord(_LETTERS[byte % len(_LETTERS)]) for byte in range(256))
"""What each byte becomes."""

current_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
"""The id of the request being served; '' outside one."""

current_address: contextvars.ContextVar[str] = contextvars.ContextVar("address", default="")
"""Where the request being served came from, as the connection has it; '' outside one."""


def new_request_id() -> str:
    """Nine letters and digits, as Transfer's. To be told apart, not to be kept secret."""
    return os.urandom(REQUEST_ID_LENGTH).translate(_ALPHABET).decode()


class ApiError(Exception):
    """What an API answers instead of a result.

    ``code`` is the service's own (Transfer: dotted, ``ClientError.NotFound``), ``message`` says
    what failed and what the caller can do; ``extras`` are further keys of the document,
    ``headers`` of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        extras: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.extras = dict(extras or {})
        self.headers = dict(headers or {})

    @classmethod
    def bad_request(cls, message: str, *, reason: str | None = None) -> "ApiError":
        """400; ``reason`` refines the code: ``ClientError.BadRequest.InvalidPath``."""
        suffix = f".{reason}" if reason else ""
        return cls(400, f"ClientError.BadRequest{suffix}", message)

    @classmethod
    def not_authenticated(cls, message: str = "Token is not active") -> "ApiError":
        """401 with the one code that the CLI recognises as 'not logged in'."""
        return cls(
            401,
            "ClientError.AuthenticationFailed",
            message,
            headers={"WWW-Authenticate": 'Bearer realm="towpath"'},
        )

    @classmethod
    def forbidden(cls, message: str) -> "ApiError":
        """403."""
        return cls(403, "PermissionDenied", message)

    @classmethod
    def not_found(cls, message: str, *, code: str = "ClientError.NotFound") -> "ApiError":
        """404."""
        return cls(404, code, message)


@dataclass(frozen=True)
class ErrorDocument:
    """An error ready to be sent."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def transfer_error_document(error: ApiError, request_id: str, resource: str) -> ErrorDocument:
    """The SDK's "type zero": Transfer, Groups, Search; with Transfer's header."""
    body = {
        "code": error.code,
        "message": error.message,
        "request_id": request_id,
        "resource": resource,
        **error.extras,
    }
    headers = {**error.headers, "X-Transfer-API-Error": error.code}
    return ErrorDocument(error.status, body, headers)


def jsonapi_error_document(
    error: ApiError,
    request_id: str,
    resource: str,  # noqa: ARG001 - not part of the shape
) -> ErrorDocument:
    """As JSON:API (1.1, "Error Objects") has it: Transfer's routes under /v2."""
    one = {
        "status": str(error.status),
        "code": error.code,
        "title": HTTPStatus(error.status).phrase,
        "detail": error.message,
        **({"meta": error.extras} if error.extras else {}),
    }
    body = {"errors": [one], "meta": {"request_id": request_id}}
    return ErrorDocument(error.status, body, {**error.headers, "Content-Type": JSONAPI})


def transfer_errors_of_both(error: ApiError, request_id: str, resource: str) -> ErrorDocument:
    """The shape of Transfer's older routes or of those under /v2, by the path of the request."""
    of_version = jsonapi_error_document if resource.startswith("/v2/") else transfer_error_document
    return of_version(error, request_id, resource)


def groups_error_document(error: ApiError, request_id: str, resource: str) -> ErrorDocument:
    """Groups' own: ``code`` and ``detail``; and "type zero"'s ``message``, which the SDK reads."""
    body = {
        "code": error.code,
        "detail": error.message,
        "message": error.message,
        "request_id": request_id,
        "resource": resource,
        **error.extras,
    }
    return ErrorDocument(error.status, body, error.headers)


def auth_error_document(
    error: ApiError,
    request_id: str,  # noqa: ARG001 - Auth names an error by a UUID
    resource: str,  # noqa: ARG001
) -> ErrorDocument:
    """Auth's: ``errors`` with an id each, beside OAuth2's two keys (RFC 6749, 5.2)."""
    one = {
        "id": str(uuid4()),
        "status": str(error.status),
        "code": error.code,
        "title": HTTPStatus(error.status).phrase,
        "detail": error.message,
    }
    body = {
        "errors": [one],
        "error": error.code.lower(),
        "error_description": error.message,
        **error.extras,
    }
    return ErrorDocument(error.status, body, error.headers)


def flows_error_document(
    error: ApiError,
    request_id: str,
    resource: str,  # noqa: ARG001 - not part of the shape
) -> ErrorDocument:
    """Flows' and Timers': the CLI needs ``error.detail``, or it ends in a traceback."""
    inner = {
        "code": error.code,
        "detail": error.message,
        "status": error.status,
        "request_id": request_id,
    }
    return ErrorDocument(error.status, {"error": inner, **error.extras}, error.headers)


def gcs_error_document(error: ApiError, request_id: str, resource: str) -> ErrorDocument:
    """The GCS Manager's: its envelope, with no data. Codes are words in lower case."""
    shared_code = error.code != error.code.lower() and error.code != "ConsentRequired"
    body = {
        "DATA_TYPE": "result#1.0.0",
        "http_response_code": error.status,
        "code": _lower_code(error.status) if shared_code else error.code,
        "detail": None,
        "message": error.message,
        "data": [],
        "has_next_page": False,
        "marker": "",
        "request_id": request_id,
        "resource": resource,
        **error.extras,
    }
    return ErrorDocument(error.status, body, error.headers)


def _dotted_code(status: int) -> str:
    """Transfer's spelling: ``ClientError.NotFound``, ``ServiceUnavailable``."""
    known = {400: "BadRequest", 401: "AuthenticationFailed", 404: "NotFound"}
    name = known.get(status) or HTTPStatus(status).phrase.title().replace(" ", "")
    return f"ClientError.{name}" if status < HTTPStatus.INTERNAL_SERVER_ERROR else name


def _upper_code(status: int) -> str:
    """Everyone else's: ``NOT_FOUND``."""
    return HTTPStatus(status).name


def _lower_code(status: int) -> str:
    """The GCS Manager's: ``not_found``; two have names of their own."""
    known = {403: "permission_denied", 422: "unprocessable_entity"}
    return known.get(status) or HTTPStatus(status).name.lower()


@dataclass(frozen=True)
class ErrorShape:
    """How one service spells the errors that do not come from its own code, and all documents."""

    document: Callable[[ApiError, str, str], ErrorDocument]
    """``(error, request id, path of the request)``."""
    code_of: Callable[[int], str]

    def plain(
        self, status: int, message: str, headers: Mapping[str, str] | None = None
    ) -> ApiError:
        """An error that has nothing but its status to say in its code."""
        return ApiError(status, self.code_of(status), message, headers=headers)


TRANSFER_ERRORS = ErrorShape(transfer_errors_of_both, _dotted_code)
AUTH_ERRORS = ErrorShape(auth_error_document, _upper_code)
FLOWS_ERRORS = ErrorShape(flows_error_document, _upper_code)
GROUPS_ERRORS = ErrorShape(groups_error_document, _upper_code)
SEARCH_ERRORS = ErrorShape(transfer_error_document, _upper_code)
GCS_ERRORS = ErrorShape(gcs_error_document, _lower_code)
