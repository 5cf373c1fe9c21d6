"""What it takes a service to know whom a token stands for."""

import itertools
from functools import partial

from bench.measure import BenchError
from bench.nexus_setting import Service, Setting, rate_of, spread, timed
from towpath.nexus.bootstrap import OPERATOR, TRANSFER
from towpath.nexus.scopes import TRANSFER_ALL
from towpath.platform.guard import Guard

WARM = 200_000
COLD = 2_000
TOKENS = 1_000
"""Different ones, so that the warm figures are not those of one entry."""


def measure(setting: Setting) -> dict[str, float]:
    """A warm check, a cold one, and how many cold ones a second one process answers."""
    return setting.run(partial(_measure, setting))


async def _measure(setting: Setting, service: Service) -> dict[str, float]:
    transfer = service.clients[TRANSFER]
    tokens = [await _token(service) for _ in range(setting.count(TOKENS))]

    def new_guard() -> Guard:
        return Guard(service.http, transfer.client_id, transfer.client_secret)

    async def known(guard: Guard, token: str) -> None:
        if TRANSFER_ALL not in (await guard.principal(token)).scopes:
            raise BenchError("a token lost its scope")

    # answers are kept for five seconds: a guard whose clock stands still keeps them
    warm = Guard(service.http, transfer.client_id, transfer.client_secret, monotonic=lambda: 0.0)
    for token in tokens:
        await known(warm, token)
    turns = itertools.cycle(tokens)
    checks = await timed(lambda: known(warm, next(turns)), setting.count(WARM))
    colds = await timed(lambda: known(new_guard(), next(turns)), setting.count(COLD))
    rate, cpu_s = await rate_of(lambda: known(new_guard(), next(turns)), setting.count(COLD))
    return {
        **spread("token_check_warm", checks),
        **spread("introspection_cold", colds),
        "introspections_per_s": round(rate),
        "introspection_cpu_ms": round(cpu_s * 1000, 3),
    }


async def _token(service: Service) -> str:
    operator = service.clients[OPERATOR]
    answer = await service.http.post(
        "/v2/oauth2/token",
        data={"grant_type": "client_credentials", "scope": TRANSFER_ALL},
        auth=(str(operator.client_id), operator.client_secret),
    )
    return str(answer.raise_for_status().json()["access_token"])
