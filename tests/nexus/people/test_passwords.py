"""Which passwords are good enough, and how they are kept."""

import asyncio
import threading

import pytest
from argon2.exceptions import VerifyMismatchError

from towpath.nexus.people import passwords
from towpath.nexus.people.passwords import Passwords, problem
from towpath.platform.errors import ApiError


@pytest.mark.parametrize(
    "password",
    [
        "seven slow barges",
        "correct horse battery staples",
        "пятнадцать букв",
        "🐎🐎 horses and more",
        "Tr0ub4dor&3 is not long",
    ],
)
def test_good(password: str) -> None:
    assert problem(password, shortest=15, words=["ada@mill.example", "Ada", "Towpath"]) is None


@pytest.mark.parametrize(
    ("password", "told"),
    [
        ("", "at least 15"),
        ("fourteen chars", "at least 15"),
        ("x" * 257, "at most 256"),
        ("aaaaaaaaaaaaaaaaaa", "tried first"),
        ("abcabcabcabcabcabc", "tried first"),
        ("123456789012345678", "tried first"),
        ("Qwertyuiop Asdfghjkl", "tried first"),
        ("zyxwvutsrqponmlkjihg", "tried first"),
        ("Correct Horse Battery Staple", "tried first"),
        ("cecily.turing@mill.example1", "too close"),
        ("Cecily Turing 1912", "too close"),
    ],
)
def test_bad(password: str, told: str) -> None:
    words = ["cecily.turing@mill.example", "cecilyturing"]
    found = problem(password, shortest=15, words=words)
    assert found is not None
    assert told in found


def test_common_ones_of_any_length() -> None:
    assert problem("password1", shortest=8) is not None
    assert problem("liverpool", shortest=8) is not None


async def test_argon2id_as_told() -> None:
    one = Passwords(1)
    stored = await one.hash("Å seven slow barges")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await one.verify(stored, "Å seven slow barges"), "the same letter, composed"
    assert not await one.verify(stored, "A seven slow barges")
    assert not await one.verify(None, "nobody's password")
    assert not await one.verify("no hash at all", "x")
    assert not one.is_old(stored)
    assert one.is_old(stored.replace("m=19456", "m=1024"))
    one.close()


class Slow:
    """Counts how many are checked at once."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.go = threading.Event()

    def hash(self, password: str) -> str:
        return password

    def verify(self, hash: str, password: str) -> bool:  # noqa: A002, ARG002
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.go.wait(10)
        with self.lock:
            self.now -= 1
        raise VerifyMismatchError

    def check_needs_rehash(self, hash: str) -> bool:  # noqa: A002, ARG002
        return False


async def test_a_crowd_waits_and_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "WAITING_LIMIT", 10)
    slow = Slow()
    some = Passwords(2, slow)
    await some.hash("x")
    tasks = [asyncio.create_task(some.verify("y", "x")) for _ in range(10)]
    await asyncio.sleep(0)
    while slow.most < 2:
        await asyncio.sleep(0.01)
    with pytest.raises(ApiError) as refused:
        await some.verify("y", "x")
    assert refused.value.status == 503
    slow.go.set()
    assert not any(await asyncio.gather(*tasks))
    assert slow.most == 2
    some.close()
