"""What became of people's accounts, as nexus tells the deployment's services."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import httpx

ROUTE = "/v2/api/account_changes"

What = Literal["suspended", "restored", "deleted"]


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What became of an account, by nexus' number."""

    n: int
    identity_ids: Sequence[UUID]
    what: What


async def changes_after(
    http: httpx.AsyncClient, login: httpx.Auth, after: int
) -> Sequence[AccountChange]:
    """A page of them, oldest first; empty: there are no more for now.

    Raises ``httpx.HTTPError``, and ValueError, KeyError or TypeError for an answer that is none.
    """
    answer = await http.get(ROUTE, params={"after": after}, auth=login)
    document = answer.raise_for_status().json()
    return [_change(one) for one in document["account_changes"]]


def _change(document: Mapping[str, Any]) -> AccountChange:
    what = document["what"]
    if what not in ("suspended", "restored", "deleted"):
        raise ValueError(f"an account was {what!r}")
    return AccountChange(
        n=int(document["n"]),
        identity_ids=[UUID(one) for one in document["identity_ids"]],
        what=what,
    )
