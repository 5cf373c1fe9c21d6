"""Requests that nobody would think of, made up from the documents of the APIs: a whole deployment
answers all of them as the documents say, and none with an error of its own. Each operation is
reached: it does what it is for at least once, and invented requests are bent from that one, too.
"""

import copy
import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from plugins.sound_requests import CANNOT, SOUND, Scene, scene, who_asks
from towpath.demo.authority import Domain
from towpath.demo.deployment import Deployment
from towpath.demo.gct import GctServer

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

CALLS = int(os.environ.get("TOWPATH_TEST_CALLS", "20000"))
REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
DOCUMENTS = {
    "openapi.json": "",
    "openapi-timers.json": "",
    "openapi-manager.json": "manager.",
    "openapi-groups.json": "groups.",
}
"""By document: what the names of its operations begin with here."""
SLOW = ("/operation/", "test", "myproxy", "plan", "activate", "cancel", "/timer", "/resume")
"""Words in paths of routes that ask servers, or wait: they get a tenth of the others' share."""
ENDLESS = ("/task_progress",)
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
SEED = 7
CALL_S = 60
ID_FIELDS = {
    "endpoint": "endpoint_id",
    "source_endpoint": "endpoint_id",
    "destination_endpoint": "endpoint_id",
    "source_endpoint_id": "endpoint_id",
    "destination_endpoint_id": "endpoint_id",
    "host_endpoint": "endpoint_id",
    "filter_endpoint": "endpoint_id",
    "filter_host_endpoint": "endpoint_id",
    "task_id_list": "task_id",
    "filter_task_id": "task_id",
}
"""Fields and parameters that hold ids of what a parameter of paths is called."""
SETTINGS = {
    "TOWPATH_GRIDFTP__CONNECT_S": "2",
    "TOWPATH_GRIDFTP__LOGIN_S": "3",
    "TOWPATH_LIMITS__REQUESTS_PER_OWNER": "10000000",
    "TOWPATH_LIMITS__PLANS_PER_OWNER": "1000",
}


@pytest.fixture(scope="module")
def target(
    tmp_path_factory: pytest.TempPathFactory, domain_a: Domain, server_a: GctServer
) -> Iterator[Scene]:
    root = tmp_path_factory.mktemp("invented")
    with (
        Deployment.start(root / "data", SETTINGS) as deployment,
        scene(deployment, root, domain_a, server_a) as made,
    ):
        yield made


def _operations() -> dict[str, schemathesis.APIOperation]:
    """By name."""
    found = {}
    for name, prefix in DOCUMENTS.items():
        document = json.loads((REFERENCE / name).read_text())
        for result in schemathesis.openapi.from_dict(document).get_all_operations():
            one = result.ok()
            found[f"{prefix}{one.definition.raw['operationId']}"] = one
    return found


def test_nothing_is_answered_that_is_not_documented(target: Scene) -> None:
    operations = _operations()
    assert operations.keys() == SOUND.keys() | CANNOT.keys(), "each is reached, or it says why not"
    assert not SOUND.keys() & CANNOT.keys()
    inventing = Inventing(target)
    for name in SOUND:
        inventing.ask_soundly(name, operations[name])
    invented = {n: one for n, one in operations.items() if not one.path.endswith(ENDLESS)}
    shares = {
        name: 1 if any(word in one.path for word in SLOW) else 10 for name, one in invented.items()
    }
    for name, operation in invented.items():
        count = -(-CALLS * shares[name] // sum(shares.values()))
        inventing.invent(name, operation, count)
    told = [f"{name}: {one}" for name, them in inventing.wrong.items() for one in them]
    assert not told, "\n\n".join(told)
    assert inventing.made.total() >= CALLS
    refused = [name for name in SOUND if not inventing.done[name]]
    assert not refused, f"never done: {refused}"
    for log in (target.deployment.data_dir / "log").iterdir():
        assert "Traceback" not in log.read_text(), log


def _servers_error(answer: requests.Response) -> str | None:
    """An error of the service's own. That a server of somebody's does not do what is asked is none,
    and has a code that says so."""
    of_others = answer.status_code == 502 and '"code":"ExternalError.' in answer.text
    return f"{answer.status_code}" if answer.status_code >= 500 and not of_others else None


def _checks(answer: requests.Response) -> list[Any]:
    """Of a stream of events the schema says what the data of each are, by the event's name."""
    kind = answer.headers.get("content-type", "")
    stream = "".join(kind).startswith("text/event-stream")
    return [check for check in CHECKS if not stream or check is not response_schema_conformance]


class Inventing:
    """Makes up requests, and looks at what they are answered."""

    def __init__(self, target: Scene) -> None:
        self.made: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        """That were answered with success."""
        self.wrong: dict[str, list[str]] = {}
        self._target = target
        self._chance = random.Random(SEED)

    def ask_soundly(self, name: str, operation: schemathesis.APIOperation) -> None:
        """What the operation is for."""
        answer = self._ask(name, operation.Case(**self._sound(name)))
        if answer.status_code not in SOUND[name].then:
            told = self.wrong.setdefault(name, [])
            told.append(f"the sound request: {answer.status_code} {answer.text[:500]}")

    def _sound(self, name: str) -> dict[str, Any]:
        target, sound = self._target, SOUND[name]
        made = {} if sound.makes is None else sound.makes(target)
        found: dict[str, Any] = {
            "path_parameters": {**target.filled(sound.path), **made},
            "query": target.filled(sound.query),
        }
        if sound.body is not None:
            found |= {"body": target.filled(sound.body), "media_type": "application/json"}
        return found

    def invent(self, name: str, operation: schemathesis.APIOperation, count: int) -> None:
        """So many requests."""
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            self._some(name, operation, mode, count // 2 + 1)
        # an operation with few parameters has few different requests: the same ones again
        while self.made[name] < count:
            before = self.made[name]
            self._some(name, operation, GenerationMode.POSITIVE, count - self.made[name])
            assert self.made[name] > before, name

    def _some(
        self, name: str, operation: schemathesis.APIOperation, mode: GenerationMode, count: int
    ) -> None:
        try:
            strategy = operation.as_strategy(generation_mode=mode)
        except Exception:  # what has no parameters cannot be asked wrongly
            if mode is GenerationMode.NEGATIVE:
                return
            raise

        @hypothesis.seed(SEED + self.made.total())
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
            self._aim(name, case)
            self._ask(name, case)

        try:
            ask()
        except hypothesis.errors.Unsatisfiable:
            if mode is GenerationMode.POSITIVE:
                raise

    def _ask(self, name: str, case: schemathesis.Case) -> requests.Response:
        session = self._target.sessions[who_asks(name)]
        self.made[name] += 1
        answer = case.call(
            base_url=self._target.deployment.url,
            session=session,
            verify=session.verify,
            timeout=CALL_S,
        )
        self.done[name] += answer.status_code < 300
        told = self.wrong.setdefault(name, [])
        try:
            assert _servers_error(answer) is None
            case.validate_response(answer, checks=_checks(answer))
        except (AssertionError, BaseExceptionGroup) as error:
            causes = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
            text = f"{answer.status_code} {'; '.join(map(str, causes))}\n{answer.text[:500]}"
            if len(told) < 3:
                told.append(f"{case.as_curl_command()}\n{text}")
        response: requests.Response = answer
        return response

    # -- at what

    def _aim(self, name: str, case: schemathesis.Case) -> None:
        """At things that there are, three times of four, and every other time with most of what a
        sound request has; but nothing that is needed later is deleted.

        With the parameter `fields` answers are parts of documents, which have no schemas.
        """
        chance = self._chance
        if case.query:
            case.query.pop("fields", None)
        if case.method == "DELETE" or "progress" in case.path or chance.random() < 0.25:
            return
        for parameter in case.path_parameters or {}:
            if (known := self._known(case, parameter)) is not None:
                case.path_parameters[parameter] = chance.choice(known)
        if name in SOUND and chance.random() < 0.5:
            self._be_nearly_sound(case, name)
        self._aim_fields(case, case.query)
        self._aim_fields(case, case.body)

    def _known(self, case: schemathesis.Case, name: str) -> list[str] | None:
        if case.path.startswith("/gcs/"):
            name = f"manager.{name}"
        changes = case.method != "GET" and "/operation/" not in case.path
        if name == "endpoint_id" and changes:
            return self._target.spoiled
        return self._target.ids.get(name)

    def _be_nearly_sound(self, case: schemathesis.Case, name: str) -> None:
        sound = SOUND[name]
        for parameter, value in sound.query.items():
            if self._chance.random() < 0.7:
                case.query = {**(case.query or {}), parameter: self._target.filled(value)}
        if sound.body and isinstance(case.body, Mapping):
            case.body = self._bent(self._target.filled(sound.body), case.body)

    def _bent(self, sound: Mapping[str, Any], invented: Mapping[str, Any]) -> dict[str, Any]:
        """The sound document with a part or two of the invented one."""
        bent = copy.deepcopy(dict(sound))
        names = sorted(map(str, invented))
        for name in self._chance.sample(names, min(len(names), self._chance.randrange(3))):
            here, there = bent.get(name), invented[name]
            if isinstance(here, dict) and isinstance(there, Mapping):
                bent[name] = self._bent(here, there)
            else:
                bent[name] = there
        return bent

    def _aim_fields(self, case: schemathesis.Case, part: Any) -> None:
        """Ids inside of documents."""
        if isinstance(part, list):
            for one in part:
                self._aim_fields(case, one)
        if not isinstance(part, dict):
            return
        for name, value in part.items():
            known = self._known(case, ID_FIELDS.get(name, name))
            if known is not None and isinstance(value, str) and self._is_invented(value):
                part[name] = self._chance.choice(known)
            elif known is not None and isinstance(value, list) and value:
                part[name] = [self._chance.choice(known), *value[1:]]
            else:
                self._aim_fields(case, value)

    def _is_invented(self, value: str) -> bool:
        """Not one that a sound request has put there."""
        return value not in self._target.names.values()
