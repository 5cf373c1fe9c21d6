"""What all answers are made of."""

from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """Every field is always there, and no other."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Error(Answer):
    """What a route answers instead, with status 400 and above."""

    code: str
    message: str
    request_id: str
    resource: str
    required_scopes: list[str] = []
    """Only of ConsentRequired: what the person must allow the application."""


class _Result(Answer):
    code: str
    message: str
    request_id: str
    resource: str


class Result(_Result):
    """That something was done."""

    DATA_TYPE: Literal["result"]


class Link(Answer):
    """Where the task is."""

    DATA_TYPE: Literal["link"]
    href: str
    rel: str
    resource: str
    title: str


class EndpointCreated(_Result):
    """A new endpoint."""

    DATA_TYPE: Literal["endpoint_create_result"]
    id: UUID
    globus_connect_setup_key: str | None


class DirectoryCreated(_Result):
    """A new directory."""

    DATA_TYPE: Literal["mkdir_result"]


class SubmissionId(Answer):
    """A fresh id for a submission."""

    DATA_TYPE: Literal["submission_id"]
    value: UUID


class Submitted(_Result):
    """A task that was accepted, now or before."""

    DATA_TYPE: Literal["transfer_result", "delete_result"]
    code: Literal["Accepted", "Duplicate"]
    submission_id: UUID
    task_id: UUID
    task_link: Link


AGAIN: dict[int | str, dict[str, Any]] = {
    200: {"model": Submitted, "description": "It was accepted before"}
}
"""Of routes that accept a task: what a repetition is answered (`responses`)."""


def reads(model: type[BaseModel]) -> dict[str, Any]:
    """For a route that reads its body itself: what that is (`openapi_extra`)."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}
