"""Collections of a server endpoint: what its agents report becomes endpoints of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import uuid4

from towpath.platform.database import Connection
from towpath.transfer.connect.managed import agents_name, overlaid
from towpath.transfer.store import connect, endpoints
from towpath.transfer.store.endpoints import Endpoint, EntityType

POLICIES = (
    "description",
    "organization",
    "department",
    "keywords",
    "info_link",
    "default_directory",
)
"""What policies may say for people; `public` and `allow_guest_collections` besides. The rest is the
agents' own affair."""
MAX_POLICY_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Reported:
    """A collection as an agent has it."""

    name: str
    base_path: str
    access: Literal["r", "rw"]
    policies: Mapping[str, Any]


async def take_over(conn: Connection, host: Endpoint, reported: Sequence[Reported]) -> None:
    """Make the collections of `host` those that are reported. In a transaction.

    One is known by its name and directory there: what has moved is another one, since tasks that
    run have claimed their paths in the old place (I9). A collection that is not there any more is
    deleted; when it is reported again it is another one. What managers have set stays
    (`connect.managed`), and so do collections that they have made.
    """
    await connect.lock_endpoint(conn, host.id)
    known = {
        (agents_name(one), one.base_path): one
        for one in await endpoints.collections(conn, host.id)
        if not one.made_by_manager
    }
    for one in {one.name: one for one in reported}.values():
        before = known.pop((one.name, one.base_path), None)
        after = overlaid(
            Endpoint(
                id=uuid4() if before is None else before.id,
                owner_id=host.owner_id,
                owner_string=host.owner_string,
                display_name=one.name,
                host=host.host,
                port=host.port,
                subject=None,
                data_hosts=(),
                public=host.public,
                details={},
                entity_type=EntityType.COLLECTION,
                host_endpoint_id=host.id,
                base_path=one.base_path,
                access=one.access,
                managed={} if before is None else before.managed,
                reported={
                    "name": one.name,
                    "access": one.access,
                    "public": one.policies.get("public", host.public) is True,
                    "details": _details(one.policies),
                },
            )
        )
        if before is None:
            await endpoints.insert(conn, after, {})
        elif replace(before, deleted_at=None) != after:
            await endpoints.update(conn, after, None)
    for gone in known.values():
        await endpoints.mark_deleted(conn, gone.id)


def _details(policies: Mapping[str, Any]) -> dict[str, Any]:
    details: dict[str, Any] = {
        name: text[:MAX_POLICY_CHARACTERS]
        for name in POLICIES
        if isinstance(text := policies.get(name), str) and "\0" not in text
    }
    if policies.get("allow_guest_collections") is False:
        details["shareable"] = False
    return details
