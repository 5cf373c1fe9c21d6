"""What every answer is wrapped in, and how lists are cut into pages."""

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from fastapi.responses import JSONResponse

from towpath.platform.errors import ApiError

JsonObject = dict[str, Any]

PAGE_MOST = 1000
PAGE_USUAL = 100

_Item = TypeVar("_Item")


def success(
    data: Sequence[JsonObject] = (),
    *,
    message: str = "Operation successful",
    status: int = 200,
    marker: str = "",
) -> JSONResponse:
    """An answer. `marker`: where the next page begins, if there is one."""
    return JSONResponse(
        {
            "DATA_TYPE": "result#1.0.0",
            "http_response_code": status,
            "code": "success",
            "detail": "success",
            "message": message,
            "data": list(data),
            "has_next_page": bool(marker),
            "marker": marker,
        },
        status_code=status,
    )


def unprocessable(message: str) -> ApiError:
    """422: the request is understood, and cannot be done so; the message says what can."""
    return ApiError(422, "unprocessable_entity", message)


def not_found(what: str, text: object) -> ApiError:
    """404."""
    return ApiError(404, "not_found", f"There is no {what} {str(text)[:80]} that you may see here")


def page(
    items: Sequence[tuple[UUID, _Item]], marker: str | None, size: int
) -> tuple[list[_Item], str]:
    """A page of items that are in the order of their ids, and the marker of the next one: the id
    of the last one here, so that nothing is missed or told twice whatever comes and goes."""
    after = None if marker is None else parsed_id(marker, "marker")
    rest = [(id_, item) for id_, item in items if after is None or id_ > after]
    told = rest[:size]
    return [item for _, item in told], str(told[-1][0]) if len(rest) > size else ""


def parsed_id(text: str, what: str) -> UUID:
    """An id that a parameter gives. 422 if it is none."""
    try:
        return UUID(text)
    except ValueError:
        raise unprocessable(f"{what}: this is not an id") from None


def words(text: str | None, known: frozenset[str], what: str) -> frozenset[str]:
    """A parameter that is a list of words. 422 for one that is not known."""
    found = frozenset(part.strip() for part in (text or "").split(",") if part.strip())
    if unknown := found - known:
        told = ", ".join(sorted(known))
        raise unprocessable(f"{what}: {min(unknown)[:40]!r} is none of {told}")
    return found
