"""Credentials that this deployment issues itself, for endpoints that trust its word.

To everybody else's endpoints users bring their own.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

from towpath.gridftp.security.authority import Authority
from towpath.platform.database import Connection
from towpath.platform.secrets import Sealer
from towpath.transfer.store import credentials
from towpath.transfer.store.credentials import StoredCredential

LIFETIME = timedelta(days=30)
RENEW_BEFORE = timedelta(days=10)
"""A task that begins with one has as long as any task needs."""


class Issuing:
    """Knows which endpoints users need no credential of their own for."""

    def __init__(
        self,
        sealer: Sealer,
        authorities: Mapping[UUID, Authority],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`authorities`: by the endpoint that trusts it."""
        self._sealer = sealer
        self._authorities = authorities
        self._now = now

    def issues(self, endpoint_id: UUID) -> bool:
        """Whether a credential for an endpoint is issued to whoever needs one."""
        return endpoint_id in self._authorities

    async def credential(
        self, conn: Connection, endpoint_id: UUID, owner_id: UUID
    ) -> StoredCredential | None:
        """A user's credential for an endpoint: his own, or one that is issued now."""
        stored = await credentials.get(conn, endpoint_id, owner_id)
        authority = self._authorities.get(endpoint_id)
        if authority is None:
            return stored
        now = self._now()
        if (
            stored is not None
            and stored.not_after - now > RENEW_BEFORE
            and stored.updated_at >= authority.created  # else another one, that is lost, issued it
        ):
            return stored
        made = authority.issue(str(owner_id), now, LIFETIME)
        context = credentials.seal_context(endpoint_id, owner_id)
        await credentials.put(
            conn,
            endpoint_id=endpoint_id,
            owner_id=owner_id,
            sealed=self._sealer.seal(made.to_pem(), context),
            subject=made.subject,
            not_after=made.not_after,
        )
        return await credentials.get(conn, endpoint_id, owner_id)
