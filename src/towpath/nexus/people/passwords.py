"""Passwords: which are good enough (NIST SP 800-63B-4, 3.1.1.2), and how they are kept.

Argon2id (RFC 9106) with 19 MiB, two passes, one lane: the least that the OWASP Password Storage
Cheat Sheet takes. About 20 ms of a core and no more memory than a small machine has to spare for
every login at once; with the length that is asked for, guessing a stolen hash is hopeless already.
"""

import asyncio
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from typing import ParamSpec, Protocol, TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from towpath.platform.errors import ApiError

P = ParamSpec("P")
T = TypeVar("T")

MEMORY_KIB = 19_456
PASSES = 2
LANES = 1
LONGEST = 256
"""Characters. A passphrase has 30; the body limit would let 60,000 through."""
WAITING_LIMIT = 200
"""Logins that wait for a core at once: five seconds' worth. More are told to come back."""
_SHORTEST_NAME = 4
"""A shorter name is in many a good password by chance."""
_ROWS = ("abcdefghijklmnopqrstuvwxyz", "0123456789", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiop")


class Hasher(Protocol):
    """The slow part; tests count its calls."""

    def hash(self, password: str) -> str:
        """A new hash, with its parameters and salt in it (a PHC string)."""

    def verify(self, hash: str, password: str) -> bool:  # noqa: A002 - argon2-cffi's name
        """True. Raises ``argon2.exceptions.VerificationError``."""

    def check_needs_rehash(self, hash: str) -> bool:  # noqa: A002
        """Whether the hash was made with other parameters."""


def argon2id() -> Hasher:
    """The hasher with this module's parameters."""
    return argon2.PasswordHasher(
        time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=argon2.Type.ID
    )


def normalized(password: str) -> str:
    """The same password typed on another keyboard is the same (NIST SP 800-63B-4, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)


class Passwords:
    """Hashes and checks in threads, a few at once."""

    def __init__(self, at_once: int, hasher: Hasher | None = None) -> None:
        self._hasher = hasher or argon2id()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="password")
        self._waiting = 0
        self._nobody: str | None = None

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """What is stored. Raises :class:`ApiError` (503) when too many wait."""
        return await self._run(self._hasher.hash, normalized(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether ``password`` is the one that ``stored`` was made of.

        Without ``stored`` (there is no such account) it is False after the same work, so that the
        time says nothing. Raises :class:`ApiError` (503) when too many wait.
        """
        if len(password) > LONGEST:
            password = ""  # none is so long or so short: the same work, and no more
        if self._nobody is None:  # at the first login of all, whoever it is
            self._nobody = await self._run(self._hasher.hash, "nobody's password")
        right = await self._run(self._checked, stored or self._nobody, normalized(password))
        return right and stored is not None

    def is_old(self, stored: str) -> bool:
        """Whether the hash should be made anew at the next login: the parameters have changed."""
        return self._hasher.check_needs_rehash(stored)

    def _checked(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
        if self._waiting >= WAITING_LIMIT:
            raise ApiError(
                503,
                "SERVICE_UNAVAILABLE",
                "Very many people are logging in just now. Try again in a few seconds.",
                headers={"Retry-After": "5"},
            )
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, partial(work, *arguments))
        finally:
            self._waiting -= 1


def problem(password: str, *, shortest: int, words: Sequence[str] = ()) -> str | None:
    """What is wrong with a new password, as told to the person; None if nothing is.

    ``words`` are the person's and the service's own: names and addresses. By NIST SP 800-63B-4 no
    kinds of characters are asked for, and no change without a reason.
    """
    text = normalized(password)
    if len(text) < shortest:
        return f"Use at least {shortest} characters. Four or five words that do not belong together are easy to keep in mind."  # noqa: E501
    if len(text) > LONGEST:
        return f"Use at most {LONGEST} characters."
    folded = "".join(text.casefold().split())
    if folded in _COMMON or _is_repeated(folded) or _is_a_row(folded):
        return "This is one of the passwords that are tried first. Choose another one."
    for word in words:
        for part in (word.casefold(), *word.casefold().split("@")):
            # a name with a few digits is not a password
            if len(part) >= _SHORTEST_NAME and len(folded.replace(part, "")) < shortest // 2:
                return "This is too close to your name or to the service's. Choose another one."
    return None


def _is_repeated(text: str) -> bool:
    """``aaaaaaaa``, ``abcabcabc``, ``passwordpassword``: a short beginning, over and over."""
    return any(
        (text[:length] * (len(text) // length + 1))[: len(text)] == text
        for length in range(1, min(len(text) // 2, 10) + 1)
    )


def _is_a_row(text: str) -> bool:
    """Along the alphabet or a keyboard, forwards or backwards, perhaps more than once."""
    return any(
        text in row * (len(text) // len(row) + 2) for one in _ROWS for row in (one, one[::-1])
    )


def _common() -> frozenset[str]:
    text = files("towpath.nexus.people").joinpath("common_passwords.txt").read_text("utf-8")
    return frozenset(line.strip() for line in text.splitlines() if line.strip())


_COMMON = _common()
