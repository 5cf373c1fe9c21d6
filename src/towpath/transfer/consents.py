"""Whether people let applications use their data in a collection (``data_access``): nexus knows.

A token for Transfer says nothing of it, and clients repeat a request with the one that they have
when the consent has been given. So it is looked up by application, person and collection.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

ROUTE = "/v2/api/data_access"
ASKED_AT_ONCE = 100
"""As many as nexus takes."""
FRESH_S = 5.0
"""A consent that is taken back holds no longer than a token that is revoked (`platform.guard`)."""
STALE_S = 60.0
"""While nexus does not answer, what it said so long ago still holds."""
CACHE_SIZE = 10_000

Ask = Callable[[str, Any], Awaitable[Any]]
"""Gives nexus' answer to a document. Raises ``httpx.HTTPError``, ValueError."""


@dataclass(frozen=True, slots=True)
class DataAccess:
    """That an application uses a person's data in a collection."""

    client_id: UUID
    identity_id: UUID
    collection_id: UUID
    endpoint_id: UUID | None = None
    """To share it, at the Manager of that endpoint; None: at Transfer."""
    root_client_id: UUID | None = None
    """On whose behalf the application does it, if it is a service; None: whoever's."""

    @property
    def required_scope(self) -> str:
        """What the application must ask the person for."""
        above = "urn:globus:auth:scope:transfer.api.globus.org:all"
        optional = "*"
        if self.endpoint_id is not None:
            above = f"urn:globus:auth:scope:{self.endpoint_id}:manage_collections"
            optional = ""
        scope = f"https://auth.globus.org/scopes/{self.collection_id}/data_access"
        return f"{above}[{optional}{scope}]"

    @property
    def advice(self) -> str:
        """For a person whose task waits for it."""
        if self.root_client_id not in (None, self.client_id):
            return (
                "Allow it again, with the application for which a service submitted the task: it"
                f" asks for {self.required_scope} below that service's own scope"
            )
        return (
            "Allow it again, with the application that submitted the task; with the globus command:"
            f" globus session consent '{self.required_scope}'"
        )


class NexusAway(Exception):  # noqa: N818 - a state, named as one
    """Nexus does not answer, and what it said last is too old."""


async def ask(nexus: Ask, asked: Sequence[DataAccess]) -> list[bool]:
    """For each, whether it is allowed. Raises ``httpx.HTTPError``; ValueError, KeyError or
    TypeError for an answer that is none."""
    document = {
        "asked": [
            {
                "client_id": str(one.client_id),
                "identity_id": str(one.identity_id),
                "collection_id": str(one.collection_id),
                "endpoint_id": None if one.endpoint_id is None else str(one.endpoint_id),
                "root_client_id": None if one.root_client_id is None else str(one.root_client_id),
            }
            for one in asked
        ]
    }
    answer = await nexus(ROUTE, document)
    allowed = [one is True for one in answer["allowed"]]
    if len(allowed) != len(asked):
        raise ValueError("nexus answers another question")
    return allowed


class DataConsents:
    """Remembers for a moment what was allowed. What was not is asked again each time: somebody may
    have allowed it since."""

    def __init__(self, nexus: Ask, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._nexus = nexus
        self._monotonic = monotonic
        self._allowed: OrderedDict[DataAccess, float] = OrderedDict()

    async def allowed(self, access: DataAccess) -> bool:
        """Whether it is allowed, as of FRESH_S ago. Raises NexusAway."""
        now = self._monotonic()
        known = self._allowed.get(access)
        if known is not None and now - known <= FRESH_S:
            return True
        try:
            (allowed,) = await ask(self._nexus, [access])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            if known is not None and now - known <= STALE_S:
                return True
            raise NexusAway(str(error)) from error
        self._allowed.pop(access, None)
        if allowed:
            self._allowed[access] = now
            if len(self._allowed) > CACHE_SIZE:
                self._allowed.popitem(last=False)
        return allowed
