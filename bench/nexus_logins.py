"""What a login with a name and a password takes, and how many there can be."""

import re
import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

import httpx

from bench.measure import BenchError
from bench.nexus_setting import ISSUER, Service, Setting, rate_of, spread, timed
from towpath.nexus.people import accounts
from towpath.nexus.people.accounts import NewPerson
from towpath.nexus.people.passwords import argon2id
from towpath.platform.settings import PeopleSettings

LOGINS = 400
PASSWORD = "seven slow barges"
_CSRF = re.compile(r'name="csrf" value="([0-9a-f]{64})"')


def measure(setting: Setting) -> dict[str, float]:
    """One login after the other, then several at once; and what the password's part of it is."""
    return setting.run(partial(_measure, setting))


async def _measure(setting: Setting, service: Service) -> dict[str, float]:
    stored = argon2id().hash(PASSWORD)
    async with service.database.transaction() as connection:
        provider = await accounts.local_provider(connection, PeopleSettings(), ISSUER)
        name = f"somebody-{uuid4().hex[:8]}"
        person = NewPerson(f"{name}@{provider.domains[0]}", "Some Body", None, False)
        await accounts.register(connection, provider, person, stored)
    page = await service.http.get("/v2/web/login")
    # the browser cookie goes along by hand: each login is a browser's first, as the costliest one
    browser = page.cookies["__Host-towpath-browser"]
    match = _CSRF.search(page.text)
    if match is None:
        raise BenchError("the login page has no form")
    csrf = match[1]

    async def log_in() -> None:
        service.http.cookies.clear()
        answer = await service.http.post(
            "/v2/web/login",
            data={"csrf": csrf, "username": name, "password": PASSWORD},
            headers={"Origin": ISSUER, "Cookie": f"__Host-towpath-browser={browser}"},
        )
        if answer.status_code != httpx.codes.SEE_OTHER:
            raise BenchError(f"a login was answered {answer.status_code}")

    await log_in()
    count = setting.count(LOGINS)
    took = await timed(log_in, count)
    rate, cpu_s = await rate_of(log_in, count)
    hashed = sorted(_seconds(partial(argon2id().verify, stored, PASSWORD)) for _ in range(count))
    return {
        **spread("login", took),
        "logins_per_s": round(rate, 1),
        "login_cpu_ms": round(cpu_s * 1000, 2),
        "login_password_cpu_ms": round(hashed[len(hashed) // 2] * 1000, 2),
    }


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
