"""Refusals as OAuth 2.0 words them (RFC 6749, 5.2), in the Auth API's document."""

from collections.abc import Mapping
from typing import Any

from towpath.platform.errors import ApiError

NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}  # RFC 6749, 5.1


def oauth_error(
    status: int, error: str, description: str, extras: Mapping[str, Any] | None = None
) -> ApiError:
    """``error`` is one of the RFC's names."""
    return ApiError(
        status,
        error.upper(),
        description,
        extras={"error": error, **(extras or {})},
        headers=NO_STORE,
    )


def invalid_grant() -> ApiError:
    """A code or token that is not good, whatever the reason: who guesses learns nothing.

    401 and the bare word as its message are what the Globus clients know.
    """
    return ApiError(
        401,
        "INVALID_GRANT",
        "invalid_grant",
        extras={"error": "invalid_grant"},
        headers=NO_STORE,
    )


def unauthorized(message: str, **extras: str) -> ApiError:
    """The one Auth code that the CLI takes for 'not logged in'."""
    return ApiError(
        401,
        "UNAUTHORIZED",
        message,
        extras=extras,
        headers={"WWW-Authenticate": 'Basic realm="towpath"'},
    )


def unknown_client() -> ApiError:
    """The same for an id that does not exist and a secret that is wrong."""
    return unauthorized("the client is unknown or its secret is wrong", error="invalid_client")


def forbidden(message: str) -> ApiError:
    """The caller is known, and may not."""
    return ApiError(403, "FORBIDDEN", message)


def invalid(message: str) -> ApiError:
    """A parameter of the Auth API that cannot be used."""
    return ApiError(400, "INVALID_PARAMETERS", message)


def not_found(message: str) -> ApiError:
    """There is no such thing, or the caller may not know of it."""
    return ApiError(404, "NOT_FOUND", message)
