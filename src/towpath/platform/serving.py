"""Serving an ASGI app over TLS, inside a process that has other things to do."""

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

BACKLOG = 1024
KEEP_ALIVE_S = 30
GRACE_S = 5
"""How long requests may take to end when we stop."""

YOUNG_OBJECTS = 5_000
"""At which the collector looks for garbage: what requests that are under way have made is none, and
with Python's 700 it was looked through after every few of them. They take about a megabyte."""


def spare_requests() -> None:
    """Take the collector's work off requests, in a process that is ready to serve: what is there by
    now stays, and is not looked through again and again. It was 6 % of a task's document.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to ``host`` and ``port`` (0: any free one). Raises OSError that names them."""
    try:
        return _bound(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno, f"cannot serve on {host}:{port}: {reason}") from error


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


class _Uvicorn(uvicorn.Server):
    """uvicorn that leaves signals to its host and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()


class HttpsServer:
    """One app on one bound socket, with TLS 1.2 or newer."""

    def __init__(self, app: ASGIApp, bound: socket.socket, *, cert: Path, key: Path) -> None:
        self._socket = bound
        self._cert = cert
        self._key = key
        self._config = uvicorn.Config(
            app,
            ssl_certfile=str(cert),
            ssl_keyfile=str(key),
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            lifespan="off",  # what the apps need is opened by whoever composes them
            log_config=None,  # our own logs have a line for each request
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
        )
        self._server: _Uvicorn | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that is really bound."""
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Serve; returns when connections are answered. Raises OSError, ``ssl.SSLError``."""
        self._config.load()
        self._server = _Uvicorn(self._config)
        self._running = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        listening = asyncio.create_task(self._server.listening.wait())
        await asyncio.wait({self._running, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            listening.cancel()
            await self._running
            raise OSError("the API server ended while it started")

    async def wait(self) -> None:
        """Until the server ends; raises what ended it."""
        assert self._running is not None
        await asyncio.shield(self._running)

    def reload_certificate(self) -> None:
        """Use the certificate files as they are now, for new connections."""
        context = self._config.ssl
        assert isinstance(context, ssl.SSLContext)
        context.load_cert_chain(self._cert, self._key)

    async def stop(self) -> None:
        """Stop listening; requests under way get a few seconds to end."""
        if self._server is not None:
            self._server.should_exit = True
        if self._running is not None:
            await asyncio.wait({self._running})
        self._socket.close()
