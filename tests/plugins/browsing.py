"""A browser without a screen: cookies, forms with their hidden fields, an Origin header."""

import re
from html import unescape

import httpx

_FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')
_FORM = re.compile(r'<form method="post" action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)
_REFRESH = re.compile(r'http-equiv="refresh" content="0; url=([^"]+)"')


class Browser:
    """One browser at an app. Redirects are not followed: tests say where they go."""

    def __init__(self, app: object, origin: str) -> None:
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app),  # type: ignore[arg-type]
            base_url=origin,
        )
        self.origin = origin
        self.page = ""

    async def get(self, path: str) -> httpx.Response:
        """A page."""
        answer = await self.http.get(path)
        self.page = answer.text
        return answer

    async def send(self, action: str, **fields: str) -> httpx.Response:
        """Send the form of the page that has this action, with its hidden fields and ``fields``."""
        forms = {unescape(found[0]): found[1] for found in _FORM.findall(self.page)}
        hidden = {name: unescape(value) for name, value in _FIELD.findall(forms[action])}
        return await self.post(action, **hidden, **fields)

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """Send a form that no page has."""
        answer = await self.http.post(path, data=fields, headers={"Origin": self.origin})
        self.page = answer.text
        return answer

    async def ask(self, path: str, token: str) -> httpx.Response:
        """As a script of ours does."""
        headers = {"Origin": self.origin, "X-CSRF-Token": token}
        return await self.http.post(path, headers=headers)

    def onward(self) -> str:
        """Where the page refreshes to."""
        return unescape(_REFRESH.findall(self.page)[0])

    async def close(self) -> None:
        """Close it."""
        await self.http.aclose()
