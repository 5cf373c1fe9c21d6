"""Where a person may be sent back to with a code (RFC 6749, 3.1.2; RFC 8252, 7; RFC 9700, 4.1)."""

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from towpath.nexus.store.clients import INSTALLED, Client

URI_LIMIT = 2048
"""Characters; what browsers and proxies take."""
COUNT_LIMIT = 50
"""URIs of a client."""
AUTH_CODE_PAGE = "/v2/web/auth-code"
"""Shows the code, to be copied into a terminal."""
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


def fault(uri: str, *, public: bool) -> str | None:
    """Why ``uri`` cannot be registered; None if it can.

    https, http to the own machine, or for installed programs a scheme of their own, which must
    have a dot in it (RFC 8252, 7.1): ``javascript:`` and the like have none.
    """
    parts = _split(uri)
    if parts is None or len(uri) > URI_LIMIT:
        return "it is not a URI"
    if "#" in uri:
        return "it must not have a fragment"  # RFC 6749, 3.1.2
    if parts.netloc and not _HOST.fullmatch(parts.netloc):
        return "its host is not a name or an address"
    if parts.scheme == "https" and parts.hostname:
        return None
    if parts.scheme == "http" and parts.hostname in _LOOPBACK_HOSTS:
        return None
    if public and "." in parts.scheme and "*" not in uri:
        return None
    return "it must be https, http to localhost, or (public clients) a private scheme with a dot"


def allowed(client: Client, uri: str, issuer: str) -> bool:
    """Whether the client may have its answers at ``uri``: compared as text, and nothing else.

    The exceptions: the auth-code page for programs that people install, and there any port of the
    own machine, because such a program takes a free one (RFC 8252, 7.3).
    """
    if uri in client.redirect_uris:
        return fault(uri, public=client.public) is None
    installed = client.client_type == INSTALLED or client.template_id is not None
    if not installed:
        return False
    if uri == f"{issuer}{AUTH_CODE_PAGE}":
        return True
    registered = (
        ["http://localhost", "http://127.0.0.1"]
        if client.template_id is not None
        else client.redirect_uris
    )
    return _is_loopback_of(uri, registered)


def _is_loopback_of(uri: str, registered: Sequence[str]) -> bool:
    without = _without_port(uri)
    return without is not None and any(without == _without_port(one) for one in registered)


def _without_port(uri: str) -> tuple[str, str, str] | None:
    """What must be the same of two loopback URIs; None if it is not one."""
    parts = _split(uri)
    if parts is None or parts.scheme != "http" or parts.hostname not in _LOOPBACK_HOSTS:
        return None
    if "#" in uri or "@" in parts.netloc:
        return None
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else str(parts.hostname)
    if parts.netloc not in (host, f"{host}:{parts.port}"):
        return None  # another spelling of the same is another text
    return host, parts.path, parts.query


def _split(uri: str) -> SplitResult | None:
    if not uri.isascii() or any(character <= " " or character in '\\<>"' for character in uri):
        return None  # browsers and libraries read these differently
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts if parts.scheme else None


def is_shown(uri: str, issuer: str) -> bool:
    """Whether a person copies the code from our page."""
    return uri == f"{issuer}{AUTH_CODE_PAGE}"


def proves_the_client(uri: str, issuer: str) -> bool:
    """Whether only the real client can receive what is sent there: its own https."""
    return uri.startswith("https://") and not is_shown(uri, issuer)
