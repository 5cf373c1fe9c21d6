"""Serves the built web interface at ``/``: one page for all addresses, and its assets.

The page knows nothing but the service's name and the OAuth client's id; all else it asks the public
APIs. Assets have their content's hash in their name and never change.
"""

import html
import mimetypes
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from uuid import UUID

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse

from towpath.platform.errors import TRANSFER_ERRORS, ApiError
from towpath.platform.http import PAGE_HEADERS, new_app

LOGIN_CALLBACK = "/login/callback"
PAGES = ("/files", "/activity", "/endpoints", LOGIN_CALLBACK)
"""Addresses of pages, and what is below them."""
ASSETS = "/app"
_ASSET_AGE_S = 31_536_000
"""A year, which is as good as for ever (RFC 9111 has no such word)."""
_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))
"""Best first; the build has made them."""
_NO_WEIGHT = re.compile(r"0(\.0{0,3})?")
_MARK = re.compile(r"@(SERVICE|CLIENT|NONCE)@")
_METHODS = ["GET", "HEAD"]
_NOT_BUILT = (
    "The web interface is not in this installation. It is built when the package is: make setup."
)


@dataclass(frozen=True)
class Asset:
    """A file of the build, as it is and compressed by encoding."""

    content: bytes
    media_type: str
    encoded: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """What the build has left."""

    index: str
    assets: Mapping[str, Asset]

    @classmethod
    def read(cls, folder: Traversable) -> "Built | None":
        """From ``folder``; None if nothing was built."""
        index = folder.joinpath("index.html")
        if not index.is_file():
            return None
        found = {entry.name: entry.read_bytes() for entry in folder.joinpath(ASSETS[1:]).iterdir()}
        suffixes = tuple(suffix for _, suffix in _ENCODINGS)
        return cls(
            index.read_text("utf-8"),
            {
                name: Asset(
                    content,
                    mimetypes.guess_type(name)[0] or "application/octet-stream",
                    {
                        encoding: found[name + suffix]
                        for encoding, suffix in _ENCODINGS
                        if name + suffix in found
                    },
                )
                for name, content in found.items()
                if not name.endswith(suffixes)
            },
        )


def create_app(*, service_name: str, client_id: UUID, built: Built | None = None) -> FastAPI:
    """The app. What is no page of it answers 404: with a page to a browser, else as the APIs do."""
    app = new_app("gui", TRANSFER_ERRORS)
    build = built or Built.read(files("towpath.gui").joinpath("built"))

    @app.api_route(ASSETS + "/{name}", methods=_METHODS, include_in_schema=False)
    async def asset(name: str, request: Request) -> Response:
        found = None if build is None else build.assets.get(name)
        if found is None:
            raise ApiError.not_found(f"no asset {name[:100]}")
        headers = {
            "Cache-Control": f"public, max-age={_ASSET_AGE_S}, immutable",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        accepted = _accepted(request.headers.get("Accept-Encoding", ""))
        content = found.content
        for encoding, _ in _ENCODINGS:
            if encoding in accepted and encoding in found.encoded:
                headers["Content-Encoding"] = encoding
                content = found.encoded[encoding]
                break
        return Response(content, media_type=found.media_type, headers=headers)

    @app.api_route("/{path:path}", methods=_METHODS, include_in_schema=False)
    async def page(path: str, request: Request) -> Response:
        address = f"/{path}"
        known = path == "" or any(address == one or address.startswith(one + "/") for one in PAGES)
        if not known and "text/html" not in request.headers.get("Accept", ""):
            raise ApiError.not_found(f"no route {request.method} {address[:200]}")
        if build is None:
            raise ApiError(503, "ServiceUnavailable", _NOT_BUILT)
        nonce = secrets.token_urlsafe(16)
        values = {"SERVICE": service_name, "CLIENT": str(client_id), "NONCE": nonce}
        text = _MARK.sub(lambda mark: html.escape(values[mark[1]]), build.index)
        headers = {
            **PAGE_HEADERS,
            "Content-Security-Policy": _policy(nonce),
            # the page names the assets of one version: a newer one is to be seen at once
            "Cache-Control": "no-cache",
        }
        return HTMLResponse(text, status_code=200 if known else 404, headers=headers)

    return app


def _accepted(header: str) -> set[str]:
    """The encodings of an Accept-Encoding that are wanted at all (RFC 9110, 12.5.3). Which of them
    is wanted most does not matter: the smallest is sent.
    """
    found = set()
    for one in header.split(","):
        name, *parameters = (word.strip().lower() for word in one.split(";"))
        weights = [word[2:] for word in parameters if word.startswith("q=")]
        if not any(_NO_WEIGHT.fullmatch(weight) for weight in weights):
            found.add(name)
    return found


def _policy(nonce: str) -> str:
    """Scripts of ours alone. The nonce is for the few rules that the component library adds."""
    return (
        "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:;"
        f" style-src 'self' 'nonce-{nonce}'; font-src 'self'; form-action 'self';"
        " frame-ancestors 'none'; base-uri 'none'"
    )
