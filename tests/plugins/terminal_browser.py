"""A browser without a window, at a deployment in another process: cookies, forms, redirects."""

import re
import ssl
from html import unescape
from urllib.parse import urlsplit

import httpx

_FORM = re.compile(r'<form method="post" action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')
STEPS = 10


class TerminalBrowser:
    """One person's."""

    def __init__(self, origin: str, trust: ssl.SSLContext, username: str, password: str) -> None:
        self._http = httpx.Client(
            base_url=origin, verify=trust, headers={"Origin": origin}, trust_env=False
        )
        self._origin = origin
        self._login = {"username": username, "password": password}

    def allow(self, url: str) -> str:
        """Log in and allow what an application asks for at ``url``; the answer's address, or for
        one that is shown the code.
        """
        answer = self._http.get(url)
        for _ in range(STEPS):
            if answer.is_redirect:
                place = answer.headers["location"]
                if urlsplit(place).netloc not in ("", urlsplit(self._origin).netloc):
                    return place
                answer = self._http.get(place)
                continue
            if code := re.search(r'<code id="code">([^<]+)</code>', answer.text):
                return code[1]
            forms: dict[str, str] = dict(_FORM.findall(answer.text))
            for action, fields in (
                ("/v2/web/login", self._login),
                ("/v2/oauth2/authorize/consent", {"decision": "allow"}),
            ):
                if action in forms:
                    hidden = {
                        name: unescape(value) for name, value in _HIDDEN.findall(forms[action])
                    }
                    answer = self._http.post(action, data=hidden | fields)
                    break
            else:
                raise AssertionError(f"{answer.status_code}: {answer.text}")
        raise AssertionError("it does not come to an end")

    def close(self) -> None:
        """Close it."""
        self._http.close()
