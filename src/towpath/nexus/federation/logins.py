"""A login at an upstream from its begin to what it opens: the parts that touch the database."""

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import UUID, uuid4

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.federation import linking
from towpath.nexus.federation.attempts import LIFETIME_S, derive
from towpath.nexus.federation.errors import FederationError, NotOursError
from towpath.nexus.federation.linking import Create, Open, Refuse, TakeOver
from towpath.nexus.federation.providers import Upstream
from towpath.nexus.federation.relying_party import Proof, RelyingParty, Wish
from towpath.nexus.store import accounts, federation, identities, sessions, tokens
from towpath.nexus.store.federation import AttemptRow, UpstreamRow
from towpath.platform.database import Connection, Database
from towpath.platform.secrets import Sealer


class RefusedError(FederationError):
    """The proof is good, and opens nothing here."""

    def __init__(self, refusal: Refuse) -> None:
        super().__init__(refusal.reason)
        self.told = refusal.told


class Logins:
    """Begins logins at upstreams and settles what comes back. ``origin`` is the deployment's."""

    def __init__(
        self,
        database: Database,
        party: RelyingParty,
        sealer: Sealer,
        origin: str,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._party = party
        self._sealer = sealer
        self._origin = origin
        self._clock = clock

    async def begin(self, browser: str, attempt: AttemptRow, wish: Wish) -> str:
        """The URL that the browser goes to. Raises :class:`FederationError`."""
        upstream = await self._upstream(attempt.provider_id)
        state = secrets.token_urlsafe(32)
        url = await self._party.authorization_url(
            upstream,
            redirect_uri=redirect_uri(self._origin, upstream.id),
            state=state,
            derived=derive(browser, state),
            wish=wish,
        )
        async with self._database.transaction() as connection:
            await federation.begin(connection, state, browser, attempt, lifetime_s=LIFETIME_S)
        return url

    async def finish(
        self, browser: str, provider_id: UUID, answer: Mapping[str, str]
    ) -> tuple[AttemptRow, Proof]:
        """What the browser brought back from an upstream proves.

        It works once, in the browser that began. Raises :class:`FederationError`.
        """
        state = answer.get("state", "")
        async with self._database.transaction() as connection:
            attempt = await federation.take(connection, state, browser, lifetime_s=LIFETIME_S)
        if attempt is None:
            raise NotOursError("no login of this state was begun in this browser")
        if attempt.provider_id != provider_id:
            raise NotOursError("the answer came to another upstream's redirect URI")  # mix-up
        proof = await self._party.redeem(
            await self._upstream(provider_id),
            answer,
            redirect_uri=redirect_uri(self._origin, provider_id),
            derived=derive(browser, state),
            fresh_since=attempt.begun_at if attempt.fresh else None,
        )
        return attempt, proof

    async def _upstream(self, provider_id: UUID) -> Upstream:
        async with self._database.connection() as connection:
            row = await federation.upstream(connection, provider_id)
        if row is None:
            raise NotOursError(f"there is no upstream {provider_id}")
        return unsealed(row, self._sealer)


def redirect_uri(origin: str, provider_id: UUID) -> str:
    """Where an upstream sends browsers back: one for each (RFC 9700, 4.4.2.2)."""
    return f"{origin}/v2/web/upstream/{provider_id}/callback"


def secret_context(provider_id: UUID) -> bytes:
    """What an upstream's client secret is sealed for."""
    return f"upstream {provider_id}".encode()


def unsealed(row: UpstreamRow, sealer: Sealer) -> Upstream:
    """The upstream with its secret. Raises ``SealError``."""
    secret = None
    if row.client_secret is not None:
        secret = sealer.unseal(row.client_secret, secret_context(row.id)).decode()
    return Upstream(
        id=row.id,
        name=row.name,
        issuer=row.issuer,
        client_id=row.client_id,
        client_secret=secret,
        domains=tuple(row.domains),
        username_claim=row.username_claim,
        authority=row.authority,
    )


async def settle_login(connection: Connection, proof: Proof) -> UUID:
    """The identity that ``proof`` is of, with an account; both are made where there are none.

    In ``connection``'s transaction. Raises :class:`RefusedError`.
    """
    await federation.lock_accounts(connection)
    subject = await federation.known_subject(connection, proof.upstream_id, proof.subject)
    namesake = await federation.known_username(connection, proof.username)
    decision = linking.login(proof, subject, namesake)
    if isinstance(decision, Refuse):
        raise RefusedError(decision)
    identity_id = await _identity(connection, proof, decision)
    if not isinstance(decision, Open) or decision.account_id is None:
        await _new_account(connection, identity_id)
    return identity_id


async def settle_link(connection: Connection, proof: Proof, account_id: UUID) -> UUID:
    """The identity of ``proof``, which is one of ``account_id``'s now.

    The caller knows that the account's owner asked for it, in the browser that brought the proof.
    In ``connection``'s transaction. Raises :class:`RefusedError`.
    """
    await federation.lock_accounts(connection)
    subject = await federation.known_subject(connection, proof.upstream_id, proof.subject)
    namesake = await federation.known_username(connection, proof.username)
    decision = linking.link(proof, subject, namesake, account_id)
    if isinstance(decision, Refuse):
        raise RefusedError(decision)
    if isinstance(decision, Open):  # it is linked already
        return await _identity(connection, proof, decision)
    identity_id = await _identity(connection, proof, decision.identity)
    await accounts.link(connection, account_id=account_id, identity_id=identity_id)
    if decision.empties is not None:
        await federation.end_emptied(connection, decision.empties, identity_id)
    await audit.append(
        connection,
        Act(
            "identity.linked",
            actor=identity_id,
            subject=account_id,
            details={"emptied": str(decision.empties)} if decision.empties else {},
        ),
    )
    return identity_id


async def unlink(connection: Connection, account_id: UUID, identity_id: UUID) -> bool:
    """Take an identity, not the primary one, out of the account; it is alone in one of its own.

    Whoever was logged in to the account by it alone is so no longer, nor are the applications that
    they allowed. In ``connection``'s transaction. Returns whether it was there.
    """
    await federation.lock_accounts(connection)
    await accounts.lock(connection, account_id)
    if not await accounts.unlink(connection, account_id=account_id, identity_id=identity_id):
        return False
    for ended in await sessions.forget_identity(connection, account_id, identity_id):
        await audit.append(
            connection,
            Act("session.ended", actor=identity_id, subject=ended, details={"how": "unlinked"}),
        )
    await tokens.revoke_of_identity(connection, identity_id)
    await tokens.revoke_without_login(connection, account_id)
    await _new_account(connection, identity_id)
    await audit.append(connection, Act("identity.unlinked", actor=identity_id, subject=account_id))
    return True


async def _identity(
    connection: Connection, proof: Proof, decision: Create | TakeOver | Open
) -> UUID:
    """The identity as the upstream describes it now."""
    username = None
    if isinstance(decision, Open):
        identity_id = decision.identity_id
        if await federation.known_username(connection, proof.username) is None:
            username = proof.username  # the upstream renamed it, and the name is free
    elif isinstance(decision, TakeOver):
        identity_id = decision.identity_id
    else:
        identity_id = uuid4()
        await identities.add_identity(
            connection,
            identity_id=identity_id,
            username=proof.username,
            provider=proof.upstream_id,
        )
    if not isinstance(decision, Open):
        await federation.set_subject(
            connection,
            provider_id=proof.upstream_id,
            subject=proof.subject,
            identity_id=identity_id,
        )
    await federation.describe(
        connection,
        identity_id,
        username=username,
        name=proof.name,
        email=proof.email,
        email_verified=proof.email_verified,
        organization=proof.organization,
    )
    return identity_id


async def _new_account(connection: Connection, identity_id: UUID) -> UUID:
    account_id = uuid4()
    await accounts.create(connection, account_id=account_id, primary_identity=identity_id)
    await audit.append(connection, Act("account.created", actor=identity_id, subject=account_id))
    return account_id
