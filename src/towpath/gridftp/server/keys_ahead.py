"""Keys for delegated credentials, made before they are asked for: making one takes 0.1 s and more,
and globus-url-copy delegates at every login."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric import rsa

from towpath.gridftp.security.acceptor import new_key
from towpath.gridftp.server.limits import KEYS_AHEAD


class KeysAhead:
    """Gives each key to one login only. Safe to use from several threads.

    Nothing is made, and no thread is started, before the first is taken: a server that nobody
    delegates to spends nothing.
    """

    def __init__(self, make: Callable[[], rsa.RSAPrivateKey] = new_key) -> None:
        """`make` makes a key."""
        self._make = make
        self._ready: deque[rsa.RSAPrivateKey] = deque(maxlen=KEYS_AHEAD)
        self._thread = ThreadPoolExecutor(1, "keys")

    def take(self) -> rsa.RSAPrivateKey:
        """One that is ready, else a new one."""
        try:
            key = self._ready.popleft()
        except IndexError:
            key = self._make()
        self._thread.submit(self._fill)
        return key

    def _fill(self) -> None:
        while len(self._ready) < KEYS_AHEAD:
            self._ready.append(self._make())
