"""The frame of every page: rendering, cookies, and what keeps forms and frames honest.

Two cookies, both ``__Host-`` (RFC 6265bis, 4.1.3.2: ours alone, not to be set by a neighbouring
host): the *browser* cookie, which every browser has from its first page on, and the *session*
cookie of a browser in which somebody is logged in.

A form carries a token that only a page of ours in the same browser and session can know (OWASP
ASVS 5.0, 3.5.1): an HMAC under the cookie, which no script and no other site can read. Besides, the
browser must say that the form was sent from our own origin.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException

from towpath.nexus.store import sessions
from towpath.nexus.store.sessions import Session
from towpath.platform.database import Connection
from towpath.platform.errors import ApiError, current_request_id
from towpath.platform.http import PAGE_HEADERS
from towpath.platform.settings import PeopleSettings

BROWSER_COOKIE = "__Host-towpath-browser"
SESSION_COOKIE = "__Host-towpath-session"
PAGE_PREFIXES = ("/v2/web", "/account", "/groups")
"""Where errors are pages, too."""
STATIC = "/v2/web/static"
BROWSER_KNOWN_S = 180 * 86_400
"""Half a year: who comes back rarely is still no stranger."""
FIELDS_LIMIT = 100
COOKIE_LIMIT = 200
"""Characters; ours have 43."""
CSRF_FIELD = "csrf"
_CSRF_CONTEXT = b"towpath form"
_STATIC_AGE_S = 31_536_000
"""A year: the address of a file changes with its content."""
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FIXED_HEADERS = {**PAGE_HEADERS, "Cache-Control": "no-store"}


class PageError(Exception):
    """What a person is told instead of the page; ``message`` says what they can do."""

    def __init__(self, status: int, title: str, message: str) -> None:
        super().__init__(f"{status} {title}: {message}")
        self.status = status
        self.title = title
        self.message = message


@dataclass(frozen=True)
class Frame:
    """What all pages of a deployment have in common; kept in ``app.state.frame``."""

    origin: str
    """Where people reach it: ``https://HOST:PORT``."""
    service_name: str
    session_idle_s: float
    session_lifetime_s: float

    @classmethod
    def of(cls, origin: str, people: PeopleSettings) -> "Frame":
        """The frame that the settings ask for."""
        return cls(
            origin=origin,
            service_name=people.service_name,
            session_idle_s=people.session_idle_h * 3600,
            session_lifetime_s=people.session_lifetime_h * 3600,
        )


@dataclass(frozen=True)
class _Static:
    content: bytes
    media_type: str
    digest: str


def _static_files() -> dict[str, _Static]:
    found = {}
    for entry in files("towpath.nexus.pages").joinpath("static").iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        if suffix in _MEDIA_TYPES:
            content = entry.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:16]
            found[entry.name] = _Static(content, _MEDIA_TYPES[suffix], digest)
    return found


_STATIC_FILES = _static_files()


def _static_url(name: str) -> str:
    return f"{STATIC}/{name}?{_STATIC_FILES[name].digest}"


_templates = Environment(
    loader=PackageLoader("towpath.nexus.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["static"] = _static_url
_templates.filters["when"] = lambda at: f"{at:%Y-%m-%d %H:%M} UTC"


def install(app: FastAPI, frame: Frame) -> None:
    """Give ``app`` the frame: its state, the static files, and errors of pages as pages."""
    app.state.frame = frame
    # what a page cannot say better goes the way of the app's other errors
    elsewhere = {
        kind: app.exception_handlers[kind]
        for kind in (ApiError, HTTPException, RequestValidationError)
    }

    async def on_page_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, PageError)
        return _error_page(request, error)

    async def on_api_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        if is_page(request):
            return _error_page(request, PageError(error.status, "This did not work", error.message))
        answer: Response = await elsewhere[ApiError](request, error)  # type: ignore[misc]
        return answer

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if is_page(request):
            missing = error.status_code in (404, 405)
            title = "There is no such page" if missing else "This did not work"
            message = (
                "The address may be mistyped, or the page may be gone."
                if missing
                else str(error.detail)
            )
            return _error_page(request, PageError(error.status_code, title, message))
        answer: Response = await elsewhere[HTTPException](request, error)  # type: ignore[misc]
        return answer

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        if is_page(request):  # an id in the address that is none
            return await on_http_exception(request, HTTPException(404))
        answer: Response = await elsewhere[RequestValidationError](request, error)  # type: ignore[misc]
        return answer

    app.add_exception_handler(PageError, on_page_error)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(HTTPException, on_http_exception)

    @app.get(STATIC + "/{name}", include_in_schema=False)
    async def static(name: str) -> Response:
        found = _STATIC_FILES.get(name)
        if found is None:
            raise HTTPException(404)
        headers = {
            "Cache-Control": f"public, max-age={_STATIC_AGE_S}, immutable",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(found.content, media_type=found.media_type, headers=headers)


def frame_of(request: Request) -> Frame:
    """The deployment's frame."""
    frame = request.app.state.frame
    assert isinstance(frame, Frame)
    return frame


def is_page(request: Request) -> bool:
    """Whether a person looks at the answer."""
    path = request.url.path
    return any(path == prefix or path.startswith(prefix + "/") for prefix in PAGE_PREFIXES)


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    form_targets: Sequence[str] = (),
    **context: Any,
) -> HTMLResponse:
    """The page. ``context`` is the template's; every page has ``service``, ``csrf`` (the hidden
    field that every form needs) and ``person`` (who is logged in, see :func:`show_person`).

    ``form_targets`` are the origins (``https://host:port``) or schemes (``app.name:``) outside to
    which the answer to one of the page's forms may redirect: browsers hold CSP's ``form-action``
    against redirects, too.
    """
    text = _templates.get_template(template).render(
        service=frame_of(request).service_name,
        csrf=Markup('<input type="hidden" name="{}" value="{}">').format(
            CSRF_FIELD, csrf_token(request)
        ),
        person=getattr(request.state, "person", None),
        administrator=getattr(request.state, "administrator", False),
        path=request.url.path,
        **context,
    )
    answer = HTMLResponse(text, status_code=status, headers=_FIXED_HEADERS)
    answer.headers["Content-Security-Policy"] = _policy(form_targets)
    _set_cookies(request, answer)
    return answer


def redirect(request: Request, path: str) -> RedirectResponse:
    """To a page of ours, by GET. ``path`` is made by us: nothing from outside but ids."""
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    answer = RedirectResponse(path, status_code=303, headers=_FIXED_HEADERS)
    _set_cookies(request, answer)
    return answer


def leave(request: Request, uri: str) -> RedirectResponse:
    """To an application, by GET. ``uri`` begins with a redirect URI that is registered for it."""
    headers = _FIXED_HEADERS | {"Referrer-Policy": "no-referrer"}
    answer = RedirectResponse(uri, status_code=303, headers=headers)
    _set_cookies(request, answer)
    return answer


def address_of(request: Request) -> str:
    """Whence the request comes, as far as that is known."""
    return request.client.host if request.client else ""


def id_of(text: str) -> UUID:
    """An id of a form. Raises :class:`PageError`."""
    try:
        return UUID(text)
    except ValueError as error:
        raise PageError(400, "This form cannot be read", "Go back and send it again.") from error


def show_person(request: Request, name: str, *, administrator: bool = False) -> None:
    """Who is logged in, for the head of the page; administrators are shown their own pages, too."""
    request.state.person = name
    request.state.administrator = administrator


async def current_session(request: Request, connection: Connection) -> Session | None:
    """Who is logged in in this browser; None if nobody is."""
    value = _cookie(request, SESSION_COOKIE)
    if value is None:
        return None
    return await sessions.find(connection, value, idle_s=frame_of(request).session_idle_s)


def browser_value(request: Request) -> str:
    """The secret that this browser has from its first page on; made now if it has none."""
    known = _cookie(request, BROWSER_COOKIE)
    if known is not None:
        return known
    made = secrets.token_urlsafe(32)
    set_cookie(request, BROWSER_COOKIE, made, max_age_s=BROWSER_KNOWN_S)
    return made


def new_session_value(request: Request) -> str:
    """A new value of the session cookie, which this answer gives to the browser."""
    made = secrets.token_urlsafe(32)
    set_cookie(request, SESSION_COOKIE, made, max_age_s=None)
    return made


def forget_session(request: Request) -> None:
    """Take the session cookie from the browser."""
    set_cookie(request, SESSION_COOKIE, "", max_age_s=0)


def set_cookie(request: Request, name: str, value: str, *, max_age_s: int | None) -> None:
    """Set a ``__Host-`` cookie with the answer that :func:`render` or :func:`redirect` makes.

    Without ``max_age_s`` it ends with the browser; with 0 it is removed.
    """
    assert name.startswith("__Host-")
    _pending(request)[name] = (value, max_age_s)


def drop_cookies(request: Request) -> None:
    """What this request would set is void: the transaction that it belongs to was rolled back."""
    _pending(request).clear()


def csrf_token(request: Request) -> str:
    """The token of this browser's forms; another one when somebody has logged in or out."""
    secret = _cookie(request, SESSION_COOKIE) or browser_value(request)
    return hmac.new(secret.encode(), _CSRF_CONTEXT, hashlib.sha256).hexdigest()


async def checked_form(request: Request) -> Mapping[str, str]:
    """The form, if a page of ours in this browser and session sent it.

    Raises :class:`PageError`.
    """
    _check_origin(request)
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_LIMIT)
    except ValueError as error:
        raise PageError(400, "This form cannot be read", "Go back and send it again.") from error
    form = dict(pairs)
    if len(form) != len(pairs) or any("\0" in value for value in form.values()):
        raise PageError(400, "This form cannot be read", "Go back and send it again.")
    given = form.pop(CSRF_FIELD, "")
    if not hmac.compare_digest(given.encode(), csrf_token(request).encode()):
        raise PageError(
            403,
            "This page was too old",
            "Somebody logged in or out in this browser since it was shown, or cookies are off."
            " Go back, reload the page, and send it again.",
        )
    return form


def check_same_origin(request: Request) -> None:
    """For what a script of ours sends as JSON: that it came from our own page, with its token in
    the header ``X-CSRF-Token``. Raises :class:`PageError`.
    """
    _check_origin(request)
    given = request.headers.get("X-CSRF-Token", "")
    if not hmac.compare_digest(given.encode(), csrf_token(request).encode()):
        raise PageError(403, "This page was too old", "Reload the page and try again.")


def _check_origin(request: Request) -> None:
    origin = frame_of(request).origin
    said = request.headers.get("Origin")
    if said is None:
        parts = urlsplit(request.headers.get("Referer", ""))
        said = f"{parts.scheme}://{parts.netloc}"
    if said != origin:
        raise PageError(
            403,
            "This form was not sent from here",
            f"The service is at {origin}: open it there and try again.",
        )


def _policy(form_targets: Sequence[str]) -> str:
    targets = " ".join(("'self'", *form_targets))
    assert not {";", ","} & set(targets)
    return (
        "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self';"
        f" connect-src 'self'; form-action {targets}; frame-ancestors 'none'; base-uri 'none'"
    )


def _error_page(request: Request, error: PageError) -> HTMLResponse:
    return render(
        request,
        "error.html",
        status=error.status,
        title=error.title,
        message=error.message,
        request_id=current_request_id.get(),
    )


def _pending(request: Request) -> dict[str, tuple[str, int | None]]:
    """Cookies that go with the answer, by name: value, and seconds that they live."""
    if not hasattr(request.state, "cookies"):
        request.state.cookies = {}
    pending: dict[str, tuple[str, int | None]] = request.state.cookies
    return pending


def _cookie(request: Request, name: str) -> str | None:
    """As the browser has it when it has this answer."""
    value = _pending(request)[name][0] if name in _pending(request) else request.cookies.get(name)
    return value if value and len(value) <= COOKIE_LIMIT else None


def _set_cookies(request: Request, answer: Response) -> None:
    for name, (value, max_age_s) in _pending(request).items():
        answer.set_cookie(
            name, value, max_age=max_age_s, path="/", secure=True, httponly=True, samesite="lax"
        )
