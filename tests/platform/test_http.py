"""Errors in each service's shape, limits, dispatch."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
import structlog
from fastapi import Request, Response
from fastapi.responses import JSONResponse
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from towpath.platform import logs
from towpath.platform.errors import (
    AUTH_ERRORS,
    FLOWS_ERRORS,
    TRANSFER_ERRORS,
    ApiError,
    ErrorShape,
)
from towpath.platform.http import DocumentResponse, PathDispatch, new_app


class Item(BaseModel):
    size: int
    password: str = ""


def client_of(shape: ErrorShape) -> httpx.AsyncClient:
    async def shown(_request: Request, last: str) -> Response:
        return DocumentResponse({"last": last})

    async def fail_directly(_request: Request, how: str) -> Response:
        return await fail(how)

    async def size(request: Request, _last: str) -> Response:
        return DocumentResponse(len(await request.body()))

    direct = {
        ("GET", "/direct/*"): shown,
        ("GET", "/direct/fail/*"): fail_directly,
        ("POST", "/direct/size"): size,
    }
    app = new_app("t", shape, max_body_bytes=1000, direct=direct)

    @app.post("/item")
    async def add(item: Item) -> dict[str, int]:
        return {"size": item.size}

    @app.get("/fail/{how}")
    async def fail(how: str) -> Response:
        raise {
            "api": ApiError.not_found("No such endpoint", code="EndpointNotFound"),
            "bug": RuntimeError("canary in a traceback"),
            "database": psycopg.OperationalError("gone"),
        }[how]

    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://t")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(TRANSFER_ERRORS) as opened:
        yield opened


@pytest.mark.parametrize("before", ["", "/direct"])
async def test_api_error_in_transfers_shape(client: httpx.AsyncClient, before: str) -> None:
    answer = await client.get(f"{before}/fail/api")
    assert answer.status_code == 404
    body = answer.json()
    assert body == {
        "code": "EndpointNotFound",
        "message": "No such endpoint",
        "request_id": answer.headers["x-request-id"],
        "resource": f"{before}/fail/api",
    }
    assert len(body["request_id"]) == 9
    assert body["request_id"].isalnum()
    assert answer.headers["x-transfer-api-error"] == "EndpointNotFound"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "JSON"),
        (b"[" * 900, ""),
        (b"\xff\xfe", ""),
        (b'{"size": "x", "password": "canary"}', "size"),
        (b"[]", ""),
        (b"", "required"),
    ],
)
async def test_bad_bodies_are_400(client: httpx.AsyncClient, body: bytes, said: str) -> None:
    answer = await client.post("/item", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["code"] == "ClientError.BadRequest"
    assert said in answer.json()["message"]
    assert "canary" not in answer.text


async def test_unknown_route_and_method(client: httpx.AsyncClient) -> None:
    answer = await client.get("/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "ClientError.NotFound")
    answer = await client.delete("/item")
    assert (answer.status_code, answer.json()["code"]) == (405, "ClientError.MethodNotAllowed")


async def test_large_bodies_are_refused(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    headers = {"Content-Type": "application/json"}
    for path in ("/item", "/direct/size"):
        for content in (b" " * 1001, chunks()):
            answer = await client.post(path, content=content, headers=headers)
            assert answer.status_code == 413
            assert isinstance(answer.json()["code"], str)
    assert (await client.post("/direct/size", content=b" " * 1000)).json() == 1000


async def test_direct_routes_are_those_and_no_others(client: httpx.AsyncClient) -> None:
    answer = await client.get("/direct/a%20b?fields=x")
    assert (answer.status_code, answer.json()) == (200, {"last": "a b"})
    assert len(answer.headers["x-request-id"]) == 9
    assert answer.headers["content-type"] == "application/json"
    for method, path in (("GET", "/direct/"), ("GET", "/direct/a/b"), ("PUT", "/direct/a")):
        assert (await client.request(method, path)).status_code == 404


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_document_is_what_the_framework_makes_of_it(content: Any) -> None:
    ours, theirs = DocumentResponse(content), JSONResponse(content)
    assert (ours.body, ours.raw_headers) == (theirs.body, theirs.raw_headers)


@pytest.mark.parametrize("before", ["", "/direct"])
async def test_what_escapes_is_500_without_a_traceback(
    client: httpx.AsyncClient, before: str
) -> None:
    answer = await client.get(f"{before}/fail/bug")
    assert answer.status_code == 500
    assert "canary" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("before", ["", "/direct"])
async def test_lost_database_is_503(client: httpx.AsyncClient, before: str) -> None:
    answer = await client.get(f"{before}/fail/database")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_auth_and_flows_shapes() -> None:
    async with client_of(AUTH_ERRORS) as auth, client_of(FLOWS_ERRORS) as flows:
        found: Any = (await auth.get("/nothing")).json()
        assert found["errors"][0]["code"] == "NOT_FOUND"
        assert found["error"] == "not_found"
        found = (await flows.get("/nothing")).json()
        assert found["error"]["code"] == "NOT_FOUND"
        assert isinstance(found["error"]["detail"], str)


@pytest.mark.parametrize("path", ["/direct/who", "/fail/who"])
async def test_who_asked_before_on_a_connection_does_not_ask_now(
    client: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[dict[str, Any]] = []

    def ready(*_: object, **_more: object) -> None:
        logged.append(structlog.contextvars.get_contextvars())

    monkeypatch.setattr(logs, "ready", ready)
    # as of a request that has come while the one before it was served
    with structlog.contextvars.bound_contextvars(request="before", principal="somebody"):
        answer = await client.get(path)
        after = structlog.contextvars.get_contextvars()
    assert logged == [{"request": answer.headers["x-request-id"]}]
    assert after == {"request": "before", "principal": "somebody"}


@pytest.fixture
def names() -> list[str]:
    return []


@pytest.mark.parametrize(
    ("path", "app"),
    [
        ("/a", "a"),
        ("/a/x", "a"),
        ("/a/bx", "a"),
        ("/a/b", "ab"),
        ("/a/b/x", "ab"),
        ("/ab", "default"),
        ("/", "default"),
        ("*", "default"),
    ],
)
async def test_dispatch_by_longest_prefix(path: str, app: str, names: list[str]) -> None:
    def named(name: str) -> Any:
        async def run(_scope: Any, _receive: Any, _send: Any) -> None:
            names.append(name)

        return run

    origin = PathDispatch({"/a": named("a"), "/a/b": named("ab")}, default=named("default"))

    async def nothing(*_: Any) -> Any:
        return {}

    await origin({"type": "http", "path": path}, nothing, nothing)
    assert names == [app]
