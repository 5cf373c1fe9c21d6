"""Requests that nobody would think of, made up from the document of the API: a whole deployment
answers all of them as the document says, and none with an error of its own.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import globus_sdk
import hypothesis
import pytest
import requests
import schemathesis
from globus_sdk.scopes import TransferScopes
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer
from towpath.nexus.store import clients
from towpath.platform.database import Database
from towpath.platform.settings import DataDirectory

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

CALLS = int(os.environ.get("TOWPATH_TEST_CALLS", "20000"))
SLOW = ("/operation/", "test", "myproxy", "plan", "activate", "cancel")
"""Words in paths of routes that ask servers, or wait: they get a tenth of the others' share."""
ENDLESS = ("/task_progress",)
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SEED = 7
CALL_S = 60
SETTINGS = {
    "TOWPATH_GRIDFTP__CONNECT_S": "2",
    "TOWPATH_GRIDFTP__LOGIN_S": "3",
    "TOWPATH_LIMITS__REQUESTS_PER_OWNER": "10000000",
}


@dataclass
class Target:
    """A service, somebody's login, and what is his."""

    deployment: Deployment
    session: requests.Session
    ids: dict[str, list[str]]
    """By the name of a parameter of paths."""


@pytest.fixture(scope="module")
def target(
    tmp_path_factory: pytest.TempPathFactory, domain_a: Domain, server_a: GctServer
) -> Iterator[Target]:
    root = tmp_path_factory.mktemp("invented")
    with Deployment.start(root / "data", SETTINGS) as deployment, ExitStack() as stack:
        user = (str(uuid4()), str(uuid4()) * 2)
        url = DataDirectory(root / "data").read_state()["database_url"]
        asyncio.run(_add_client(url, *user))
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in deployment.environment().items():
            patched.setenv(name, value)
        auth = globus_sdk.ConfidentialAppAuthClient(*user)
        tokens = auth.oauth2_client_credentials_tokens(TransferScopes.all)
        session = stack.enter_context(requests.Session())
        session.verify = str(root / "data" / "tls" / "ca.pem")
        session.trust_env = False
        token = tokens.by_resource_server["transfer.api.globus.org"]["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        target = Target(deployment, session, {})
        endpoints = [_endpoint(target, domain_a, server_a) for _ in range(3)]
        target.ids["endpoint_id"] = endpoints
        bookmark = {"name": "b", "endpoint_id": endpoints[0], "path": "/tmp/"}
        target.ids["bookmark_id"] = [_post(target, "bookmark", bookmark)["id"]]
        target.ids["task_id"] = [_task(target, endpoints, root) for _ in range(3)]
        yield target


async def _add_client(url: str, client_id: str, secret: str) -> None:
    async with Database(url, schema="nexus", max_size=1) as pool, pool.transaction() as connection:
        await clients.add_client(
            connection,
            client_id=UUID(client_id),
            name="Somebody",
            secret=secret,
            administrator=False,
        )


def _post(target: Target, route: str, document: dict[str, Any]) -> dict[str, Any]:
    answer = target.session.post(f"{target.deployment.url}/v0.10/{route}", json=document)
    assert answer.ok, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _endpoint(target: Target, domain: Domain, server: GctServer) -> str:
    document = {
        "DATA_TYPE": "endpoint",
        "display_name": "lake",
        "DATA": [{"DATA_TYPE": "server", "uri": f"gsiftp://localhost:{server.port}"}],
        "trust_roots": dict(domain.trust.files),
    }
    made = str(_post(target, "endpoint", document)["id"])
    answer = target.session.put(
        f"{target.deployment.url}/v0.10/endpoint/{made}/credential",
        json={"proxy": domain.proxy_file.read_text()},
    )
    assert answer.ok, answer.text
    return made


def _task(target: Target, endpoints: list[str], root: Path) -> str:
    document = {
        "DATA_TYPE": "transfer",
        "submission_id": str(uuid4()),
        "source_endpoint": endpoints[0],
        "destination_endpoint": endpoints[1],
        "DATA": [{"source_path": f"{root}/none", "destination_path": f"{root}/copy"}],
    }
    return str(_post(target, "transfer", document)["task_id"])


def test_nothing_is_answered_that_is_not_documented(target: Target) -> None:
    document = target.session.get(f"{target.deployment.url}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    operations = [result.ok() for result in schema.get_all_operations()]
    operations = [one for one in operations if not one.path.endswith(ENDLESS)]
    shares = [1 if any(word in one.path for word in SLOW) else 10 for one in operations]
    made: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    for operation, share in zip(operations, shares, strict=True):
        name = operation.definition.raw["operationId"]
        count = -(-CALLS * share // sum(shares))
        told = wrong.setdefault(name, [])
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _invent(target, operation, mode, count // 2 + 1, made, told)
        # an operation with few parameters has few different requests: the same ones again
        while made[name] < count:
            before = made[name]
            _invent(target, operation, GenerationMode.POSITIVE, count - made[name], made, told)
            assert made[name] > before, name
    told = [f"{name}: {one}" for name, them in wrong.items() for one in them]
    assert not told, "\n\n".join(told)
    assert made.total() >= CALLS
    for log in (target.deployment.data_dir / "log").iterdir():
        assert "Traceback" not in log.read_text(), log


def _invent(
    target: Target,
    operation: schemathesis.APIOperation,
    mode: GenerationMode,
    count: int,
    made: Counter[str],
    wrong: list[str],
) -> None:
    chance = random.Random(SEED + made.total())
    name = operation.definition.raw["operationId"]
    try:
        strategy = operation.as_strategy(generation_mode=mode)
    except Exception:  # what has no parameters cannot be asked wrongly
        if mode is GenerationMode.NEGATIVE:
            return
        raise

    @hypothesis.seed(SEED + made.total())
    @hypothesis.given(case=strategy)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
    )
    def ask(case: schemathesis.Case) -> None:
        _aim(target, case, chance)
        made[name] += 1
        answer = case.call(
            base_url=target.deployment.url,
            session=target.session,
            verify=target.session.verify,
            timeout=CALL_S,
        )
        try:
            case.validate_response(answer, checks=CHECKS)
        except (AssertionError, BaseExceptionGroup) as error:
            causes = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
            text = f"{answer.status_code} {'; '.join(map(str, causes))}\n{answer.text[:500]}"
            if len(wrong) < 3:
                wrong.append(f"{case.as_curl_command()}\n{text}")

    try:
        ask()
    except hypothesis.errors.Unsatisfiable:
        if mode is GenerationMode.POSITIVE:
            raise


def _aim(target: Target, case: schemathesis.Case, chance: random.Random) -> None:
    """At things that there are, three times of four; but nothing that is needed later is deleted.

    With the parameter `fields` answers are parts of documents, which have no schemas.
    """
    if case.query:
        case.query.pop("fields", None)
    if case.method == "DELETE" or "progress" in case.path or chance.random() < 0.25:
        return
    for name in case.path_parameters or {}:
        if name in target.ids:
            case.path_parameters[name] = chance.choice(target.ids[name])
