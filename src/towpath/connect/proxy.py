"""Ways out of a network that lets only its HTTP proxy out (CONNECT, RFC 9110 9.3.6)."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

ANSWER_BYTES: Final = 16 * 1024
"""Of a proxy's answer: a status line and some headers."""
DEFAULT_PORT: Final = 8080
"""Where proxies usually are."""


class ProxyError(OSError):
    """The proxy did not make the connection."""


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)
    """Of the header; a secret."""

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """From ``http://[user:password@]host[:port]``. Raises ValueError."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError("a proxy is named as http://HOST:PORT")
        authorization = None
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + b64encode(user.encode()).decode("ascii")
        return cls(parts.hostname, parts.port or DEFAULT_PORT, authorization)

    def request(self, host: str, port: int) -> bytes:
        """What is asked of it."""
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.authorization is not None:
            lines.append(f"Proxy-Authorization: {self.authorization}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def from_environment(host: str) -> str | None:
    """The URL of the proxy that the environment names for https to this host (``HTTPS_PROXY``,
    ``NO_PROXY``), if it names one. To this machine no proxy leads."""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    if urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get("https")


async def connect(host: str, port: int, proxy: Proxy | None) -> socket.socket:
    """A non-blocking TCP connection to there, if need be through a proxy. Raises `OSError`; who
    calls says how long it may take."""
    way = (host, port) if proxy is None else (proxy.host, proxy.port)
    connection = await dial(*way)
    try:
        if proxy is not None:
            await _ask(connection, proxy, host, port)
    except BaseException:
        connection.close()
        raise
    return connection


async def dial(host: str, port: int) -> socket.socket:
    """A non-blocking TCP connection, to the first address of a name that answers. Raises
    `OSError`."""
    loop = asyncio.get_running_loop()
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _name, address in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure


async def read_line(connection: socket.socket, limit_bytes: int) -> bytes:
    """A line with its end, and no byte after it: what follows belongs to somebody else. Raises
    `OSError` when there is none."""
    loop = asyncio.get_running_loop()
    line = b""
    while not line.endswith(b"\n"):
        part = await loop.sock_recv(connection, 1)
        if not part:
            raise ConnectionError("the connection was closed before it was made")
        line += part
        if len(line) > limit_bytes:
            raise ConnectionError("what was answered is no line of this protocol")
    return line


async def _ask(connection: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    await asyncio.get_running_loop().sock_sendall(connection, proxy.request(host, port))
    status = await read_line(connection, ANSWER_BYTES)
    taken = len(status)
    while (line := await read_line(connection, ANSWER_BYTES)) not in (b"\r\n", b"\n"):
        taken += len(line)
        if taken > ANSWER_BYTES:
            raise ProxyError(f"the proxy {proxy.host}:{proxy.port} answers without end")
    words = status.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or words[1] != b"200":
        told = status.decode("latin-1").strip()[:200]
        raise ProxyError(f"the proxy {proxy.host}:{proxy.port} does not connect: {told}")
