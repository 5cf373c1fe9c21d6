"""A guest collection as one person has it: where it is, with whose login, and what rules allow."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from towpath.grants import Prefix
from towpath.gridftp.wire.rooted import Root
from towpath.platform.database import Connection
from towpath.transfer import names, sharing
from towpath.transfer.rights import Reach, Who
from towpath.transfer.store import endpoints, owners, principals, rights
from towpath.transfer.store.endpoints import Endpoint
from towpath.transfer.unavailable import NoEndpoint, NotShared, SharerMustAct, SharerSuspended


@dataclass(frozen=True, slots=True)
class Guest:
    """What is shared, by whom, and how far it reaches for somebody."""

    endpoint: Endpoint
    """The guest collection."""
    host: Endpoint
    """What it shares a directory of."""
    sharer: Who
    """With whose login at the host it is used."""
    reach: Reach

    @property
    def root(self) -> Root:
        """Where it begins at the host."""
        assert self.endpoint.share_path is not None, "guest collections have one"
        return Root(self.endpoint.share_path, self.reach.readable)

    @property
    def name(self) -> str:
        """As people know it."""
        return self.endpoint.display_name

    def prefixes(self, *, writes: bool) -> tuple[Prefix, ...]:
        """What the server is told of. Raises NotShared: that would be too much."""
        try:
            return sharing.places(self.reach, self.root.path, writes=writes)
        except sharing.TooManyPlaces as error:
            raise NotShared(
                f"the access rules of “{self.name}” name too many places for you: {error}",
                f"ask {self.sharer_name} for a rule for a directory above them",
            ) from None

    @property
    def sharer_name(self) -> str:
        """Of who shares it."""
        return self.sharer.username or self.endpoint.owner_string

    def demand(self, paths: Sequence[str], *, writes: bool) -> None:
        """Hold paths (wire paths, as the person gives them) against the rules. Raises NotShared."""
        demand(self.name, self.reach, [names.absolute(path, "/") for path in paths], writes=writes)

    def must_renew(self, *, what: str) -> SharerMustAct:
        """The credential is of no use: it `what`."""
        return SharerMustAct(self.name, self.sharer_name, what=what)


def demand(name: str, reach: Reach, paths: Sequence[str], *, writes: bool) -> None:
    """Hold absolute wire paths against the rules of a collection. Raises NotShared."""
    outside = sharing.outside(reach, paths, writes=writes)
    if outside is None:
        return
    path = names.to_text(outside)
    if writes and reach.reads(outside):
        raise NotShared(
            f"the access rules of “{name}” let you read {path}, but not change it",
            "ask who shares it for the permission to write",
        )
    raise NotShared(
        f"the access rules of “{name}” do not let you {'change' if writes else 'read'} {path}",
        "ask who shares it for access, or name a path that is shared with you",
    )


async def guest_of(conn: Connection, endpoint: Endpoint, who: Who, now: datetime) -> Guest:
    """Raises NoEndpoint, NotShared, or SharerSuspended."""
    name = endpoint.display_name
    assert endpoint.host_endpoint_id is not None, "guest collections have one"
    host = await endpoints.get(conn, endpoint.host_endpoint_id)
    assert host is not None, "endpoints are never removed from the table"
    if host.deleted_at is not None:
        raise NoEndpoint(
            f"what “{name}” shares a directory of is not registered any more",
            f"ask {endpoint.owner_string}, who shared it",
        )
    state = await owners.state_of(conn, endpoint.owner_id)
    if state == "deleted":
        raise NoEndpoint(
            f"the account of {endpoint.owner_string}, who shared “{name}”, is deleted",
            "ask somebody else to share what you need",
        )
    if state == "suspended":
        raise SharerSuspended(name, endpoint.owner_string)
    reach = (await rights.standing(conn, endpoint, who, now)).reach
    if reach.nothing:
        raise NotShared(
            f"no access rule of “{name}” lets you in",
            f"ask {endpoint.owner_string} for access",
        )
    sharer = await principals.get(conn, endpoint.owner_id)
    return Guest(
        endpoint,
        host,
        sharer or Who.alone(endpoint.owner_id, endpoint.owner_string),
        reach,
    )
