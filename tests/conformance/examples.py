"""The example answers that the SDK ships with, and the requests that it makes for them."""

import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import globus_sdk
import requests
import responses
from globus_sdk.experimental import TransferClientV2
from globus_sdk.testing import RegisteredResponse, get_response_set

SERVICES = ("auth", "groups")


@dataclass(frozen=True)
class Example:
    """One answer: of which method, and in which case."""

    service: str
    method: str
    case: str
    response: RegisteredResponse

    @property
    def name(self) -> str:
        """As a test or a table names it."""
        return f"{self.service}.{self.method}.{self.case}"

    @property
    def facts(self) -> dict[str, Any]:
        """What the example says of itself: ids, and what the method was called with."""
        return dict(self.response.metadata or {})

    @property
    def arguments(self) -> dict[str, Any]:
        """What the method was called with."""
        return dict(self.facts.get("args", {}))


def examples(services: Sequence[str] = SERVICES) -> Iterator[Example]:
    """All of those services, in order."""
    for service in services:
        package = import_module(f"globus_sdk.testing.data.{service}")
        modules = pkgutil.iter_modules(package.__path__)
        names = sorted(module.name for module in modules if not module.ispkg)
        for method in names:
            if method.startswith("_"):
                continue
            found = get_response_set(f"{service}.{method}")
            for case in found.cases():
                answer = found.lookup(case)
                assert isinstance(answer, RegisteredResponse)
                yield Example(service, method, case, answer)


@dataclass(frozen=True)
class Sdk:
    """The SDK's clients, as programs use them; where their requests go is caught."""

    auth: globus_sdk.AuthClient
    application: globus_sdk.ConfidentialAppAuthClient
    native: globus_sdk.NativeAppAuthClient
    groups: globus_sdk.GroupsClient
    transfer: globus_sdk.TransferClient
    transfer_v2: TransferClientV2
    timers: globus_sdk.TimersClient
    manager: globus_sdk.GCSClient

    @classmethod
    def make(cls) -> "Sdk":
        """With credentials that nobody looks at."""
        bearer = globus_sdk.AccessTokenAuthorizer("a token")
        return cls(
            auth=globus_sdk.AuthClient(authorizer=bearer),
            application=globus_sdk.ConfidentialAppAuthClient("an id", "a secret"),
            native=globus_sdk.NativeAppAuthClient("an id"),
            groups=globus_sdk.GroupsClient(authorizer=bearer),
            # where the examples are, whatever the environment says
            transfer=globus_sdk.TransferClient(
                authorizer=bearer, base_url="https://transfer.api.globus.org/"
            ),
            transfer_v2=TransferClientV2(
                authorizer=bearer, base_url="https://transfer.api.globus.org/"
            ),
            timers=globus_sdk.TimersClient(
                authorizer=bearer, base_url="https://timer.automate.globus.org/"
            ),
            manager=globus_sdk.GCSClient("abc.xyz.data.globus.org", authorizer=bearer),
        )


def request_of(
    example: Example, call: Callable[[Sdk], object], sdk: Sdk
) -> requests.PreparedRequest:
    """The request that the SDK makes when it is called so; it is answered with the example."""
    with responses.RequestsMock() as caught:
        example.response.add(requests_mock=caught)
        try:
            call(sdk)
        except globus_sdk.GlobusAPIError:
            assert example.response.status >= 400
        request: requests.PreparedRequest = caught.calls[0].request
    return request
