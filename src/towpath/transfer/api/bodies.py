"""Reads request documents: strict types, our own limits, refusals that say what is wrong where."""

import asyncio
from typing import Annotated, TypeVar

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticCustomError

from towpath.platform.errors import ApiError
from towpath.transfer import names

INLINE_BYTES = 64 * 1024
"""Larger documents are parsed in a thread: a batch of 100,000 items takes most of a second."""

MAX_ERRORS_TOLD = 3

# Our own refusals, by the type of the pydantic error, and the end of the answer's code.
_REASONS = {
    "invalid_path": "InvalidPath",
    "not_supported": "NotSupported",
    "no_transfer_items": "NoTransferItems",
    "invalid_credential": "InvalidCredential",
}


class Document(BaseModel):
    """A request document. Unknown fields are ignored (Transfer API, "common")."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


_D = TypeVar("_D", bound=Document)


def refuse(kind: str, message: str) -> PydanticCustomError:
    """An error to raise in a validator; `kind` is a key of the reasons above or any word."""
    # The message goes through a template: braces of the user's text must not be taken for fields.
    return PydanticCustomError(kind, "{text}", {"text": message})


def not_supported(what: str) -> PydanticCustomError:
    """For what the API knows and we do not do yet: refused, never ignored."""
    return refuse("not_supported", f"{what} is not supported by this service yet: leave it out")


def _clean(text: str) -> str:
    if "\0" in text:
        raise refuse("invalid_text", "the text must not hold a NUL")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise refuse("invalid_text", "the text is not valid Unicode") from None
    return text


def _path(text: str) -> str:
    try:
        names.check_path(text)
    except names.InvalidPathError as error:
        raise refuse("invalid_path", str(error)) from None
    return text


Text = Annotated[str, AfterValidator(_clean)]
"""Text that the database can keep."""

ApiPath = Annotated[str, AfterValidator(_path)]
"""A path that may be used, in the API's spelling."""


async def read_document(request: Request, model: type[_D]) -> _D:
    """The request's body as `model`. Raises ApiError 400 `ClientError.BadRequest...`."""
    raw = await request.body()
    if len(raw) > INLINE_BYTES:
        return await asyncio.to_thread(parse_document, raw, model)
    return parse_document(raw, model)


def parse_document(raw: bytes, model: type[_D]) -> _D:
    """As `read_document`, from bytes."""
    try:
        return model.model_validate_json(raw)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False, include_context=False, include_input=False)
    first = errors[0]
    if first["type"] == "json_invalid":
        raise ApiError.bad_request(f"The body is not JSON: {first['msg']}", reason="InvalidJSON")
    told = "; ".join(
        f"{'.'.join(map(str, error['loc']))}: {error['msg']}" if error["loc"] else error["msg"]
        for error in errors[:MAX_ERRORS_TOLD]
    )
    more = len(errors) - MAX_ERRORS_TOLD
    raise ApiError.bad_request(
        told + (f"; and {more} more" if more > 0 else ""), reason=_REASONS.get(first["type"])
    )
