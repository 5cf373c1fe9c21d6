"""The reference of the APIs: a document of each for programs (`/openapi.json`), and a page of each
for people (`/docs`), from which one comes to the others. No token is needed: it tells nothing of
this deployment. The pages have no scripts, and load nothing from elsewhere.
"""

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from towpath.platform.errors import TRANSFER_ERRORS
from towpath.platform.http import PAGE_HEADERS, new_app

_BY_BACKTICK = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class DescribedApi:
    """One of the APIs. `slug` is its name in addresses; the first one has none."""

    name: str
    slug: str
    document: Callable[[], dict[str, Any]]
    """Of OpenAPI; asked for once, when somebody wants it."""

    @property
    def document_path(self) -> str:
        """Where its document is."""
        return f"/openapi-{self.slug}.json" if self.slug else "/openapi.json"

    @property
    def page_path(self) -> str:
        """Where its page is."""
        return f"/docs/{self.slug}" if self.slug else "/docs"


def paths(apis: Sequence[DescribedApi]) -> list[str]:
    """The paths on the deployment's origin that are the reference's."""
    return [path for one in apis for path in (one.document_path, one.page_path)]


def create_reference(apis: Sequence[DescribedApi]) -> FastAPI:
    """The app of all documents and pages."""
    app = new_app("reference", TRANSFER_ERRORS)
    for api in apis:
        _add(app, _Reference(api, apis))
    return app


def _add(app: FastAPI, reference: "_Reference") -> None:
    async def document() -> Response:
        headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        text = await asyncio.to_thread(lambda: reference.json)
        return Response(text, media_type="application/json", headers=headers)

    async def page() -> Response:
        headers = {
            **PAGE_HEADERS,
            "Content-Security-Policy": reference.policy,
            "Cache-Control": "no-cache",
        }
        text = await asyncio.to_thread(lambda: reference.page)
        return Response(text, media_type="text/html", headers=headers)

    app.add_api_route(reference.api.document_path, document)
    app.add_api_route(reference.api.page_path, page)


class _Reference:
    """Both forms of one API, made when they are asked for first."""

    def __init__(self, api: DescribedApi, apis: Sequence[DescribedApi]) -> None:
        self.api = api
        self._apis = apis

    @cached_property
    def _document(self) -> dict[str, Any]:
        return self.api.document()

    @cached_property
    def json(self) -> bytes:
        """The document."""
        return json.dumps(self._document, ensure_ascii=False).encode()

    @cached_property
    def _style(self) -> str:
        return files("towpath.platform").joinpath("pages", "reference.css").read_text("utf-8")

    @property
    def policy(self) -> str:
        """The page's: its own styles, and the sheet of colours that all pages share."""
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        return (
            f"default-src 'none'; style-src 'self' 'sha256-{digest}'; form-action 'none';"
            " frame-ancestors 'none'; base-uri 'none'"
        )

    @cached_property
    def page(self) -> str:
        """The page."""
        templates = Environment(
            loader=PackageLoader("towpath.platform", "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
        )
        templates.filters |= {
            "code": _with_code,
            "json": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
            "kind": _kind,
            "resolved": self._resolved,
            "slug": lambda name: f"group-{name.lower().replace(' ', '-')}",
        }
        operations = [
            (path, method, _Soft(operation))
            for path, methods in self._document["paths"].items()
            for method, operation in methods.items()
        ]
        # the style is ours, and has none of the signs that are escaped: its digest is in the policy
        return templates.get_template("reference.html").render(
            document=_Soft(self._document),
            operations=operations,
            style=self._style,
            api=self.api,
            apis=self._apis,
        )

    def _resolved(self, answer: Mapping[str, Any]) -> "_Soft":
        name = answer.get("$ref")
        if name is None:
            return _Soft(answer)
        return _Soft(self._document["components"]["responses"][name.rpartition("/")[2]])


class _Soft(dict[str, Any]):
    """A part of the document for the template: what is not there is None."""

    def __getitem__(self, key: str) -> Any:
        found = self.get(key)
        if isinstance(found, dict):
            return _Soft(found)
        if isinstance(found, list):
            return [_Soft(one) if isinstance(one, dict) else one for one in found]
        return found

    def items(self) -> Any:
        """Of parts, too."""
        return [(key, self[key]) for key in self]


def _with_code(text: str) -> Markup:
    """Words in backticks as code."""
    parts = _BY_BACKTICK.split(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def _kind(schema: Mapping[str, Any]) -> Markup:
    """What a value is, in a few words; documents by name, with the way to them."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        return Markup('<a href="#document-{0}">{0}</a>').format(name)
    for together in ("anyOf", "oneOf", "allOf"):
        if schema.get(together):
            return Markup(" or ").join(_kind(one) for one in schema[together])
    if "const" in schema:
        return Markup("<code>{}</code>").format(schema["const"])
    if schema.get("enum"):
        return Markup(", ").join(Markup("<code>{}</code>").format(one) for one in schema["enum"])
    kind = schema.get("type") or "anything"
    if kind == "array":
        return Markup("list of {}").format(_kind(schema.get("items") or {}))
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return Markup("object of {}").format(_kind(schema["additionalProperties"]))
    told = escape(schema.get("format") or kind)
    limits = [
        f"{word} {schema[key]}"
        for key, word in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("minLength", "at least"),
            ("maxLength", "at most"),
        )
        if schema.get(key) is not None
    ]
    if schema.get("default") not in (None, ""):
        limits.append(f"default {schema['default']}")
    return Markup("{}, {}").format(told, ", ".join(limits)) if limits else told
