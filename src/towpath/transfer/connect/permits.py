"""What a session at a Connect endpoint may do, and the grants that say so."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from towpath.grants import Grant, Prefix, SigningKey, certificate_sha256, mint
from towpath.gridftp.security.certificates import certificates_in
from towpath.gridftp.security.credentials import Credential
from towpath.platform.database import Connection
from towpath.transfer.connect import mapping
from towpath.transfer.connect.keys import ConnectKeys
from towpath.transfer.connect.managed import Root, root_of
from towpath.transfer.guests import Guest
from towpath.transfer.rights import Who
from towpath.transfer.store import connect
from towpath.transfer.store.endpoints import Endpoint, EntityType

RENEW_EVERY_S = 240.0
"""A grant lives for ten minutes: a renewal that fails is repeated before it ends."""


@dataclass(frozen=True, slots=True)
class Permit:
    """What sessions of one login may do; grants are made of it."""

    audience: UUID
    subject: UUID
    account: str | None
    collection: UUID
    prefixes: tuple[Prefix, ...] = (Prefix("/", write=True),)

    @property
    def writes(self) -> bool:
        """Whether anything may be changed."""
        return any(prefix.write for prefix in self.prefixes)

    def same_session(self, other: "Permit") -> bool:
        """Whether a session of the one may go on with grants of the other."""
        return replace(self, prefixes=()) == replace(other, prefixes=())


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no permit."""

    message: str
    advice: str


async def permit_for(
    conn: Connection, endpoint: Endpoint, who: Who, guest: Guest | None = None, *, writes: bool
) -> Permit | Refused:
    """What a user may do at a personal endpoint or a collection; or, by `guest`, at what somebody
    shares of one.

    A person's computer is open to its owner only. At a server's collection the endpoint's rules
    map the user's name to an account; the agents decide by their own rules again. A guest acts
    with the right of who shares, as far as access rules let him. Raises NotShared.
    """
    if guest is not None:
        permit = await permit_for(conn, guest.host, guest.sharer, writes=writes)
        if isinstance(permit, Refused):
            return Refused(
                f"“{endpoint.display_name}” cannot be used: who shares it, {guest.sharer_name}, has"
                " no access there any more",
                f"ask {guest.sharer_name}",
            )
        prefixes = guest.prefixes(writes=permit.writes)
        return replace(permit, subject=who.id, prefixes=prefixes)
    audience = endpoint.connect_id
    if endpoint.entity_type is EntityType.PERSONAL:
        if endpoint.owner_id not in who.identities:
            return Refused(
                f"“{endpoint.display_name}” is {endpoint.owner_string}'s own computer, and only"
                " its owner may use it",
                "ask its owner to transfer for you",
            )
        return Permit(audience, who.id, None, endpoint.id, everywhere(writes=writes))
    documents = await connect.get_mappings(conn, audience)
    account = None
    if who.username is not None:
        account = await mapping.account_by(
            documents, username=who.username, identity_id=str(who.id)
        )
    if account is None:
        return Refused(
            f"“{endpoint.display_name}” has no account for you ({who.username or who.id})",
            "ask its administrator to map your name to an account there",
        )
    writable = endpoint.access != "r"
    if endpoint.made_by_manager:
        root = root_of(
            [Root.from_document(one) for one in await connect.get_roots(conn, audience)],
            endpoint.base_path or "/",
        )
        if root is None:
            return Refused(
                f"“{endpoint.display_name}” cannot be used: the site has closed its directory for"
                " collections that managers make",
                "ask its administrator",
            )
        writable = writable and root.access == "rw"
    prefixes = everywhere(writes=writes and writable)
    return Permit(audience, who.id, account, endpoint.id, prefixes)


def everywhere(*, writes: bool) -> tuple[Prefix, ...]:
    """All of a collection."""
    return (Prefix("/", writes),)


@dataclass(frozen=True, slots=True)
class Grants:
    """Gives grants for a permit, each for one use and a secret (`TokenSource`).

    Equal ones are for the same permit and certificate, whichever key signs.
    """

    issuer: str
    permit: Permit
    certificate_sha256: str
    signer: SigningKey = field(compare=False, repr=False)
    now: Callable[[], float] = field(default=time.time, compare=False, repr=False)

    def __call__(self) -> str:
        """A grant, as it is shown."""
        grant = Grant.issue(
            issuer=self.issuer,
            audience=str(self.permit.audience),
            subject=str(self.permit.subject),
            account=self.permit.account,
            collection=str(self.permit.collection),
            prefixes=self.permit.prefixes,
            certificate_sha256=self.certificate_sha256,
            now=self.now(),
        )
        return mint(grant, self.signer)


async def grants_for(keys: ConnectKeys, permit: Permit, credential: Credential) -> Grants:
    """For who logs in with `credential`."""
    signer = (await keys.keys()).signer
    shown = certificate_sha256(certificates_in(credential.chain_pem.decode("ascii"))[0])
    return Grants(keys.issuer, permit, shown, signer)
