"""What is done with accounts: made, suspended, restored, deleted, told."""

import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.store import accounts, identities, passwords, personal_data, sessions, tokens
from towpath.nexus.store.accounts import Account
from towpath.nexus.store.identities import Identity, Provider
from towpath.platform.database import Connection
from towpath.platform.settings import PeopleSettings

USERNAME_RULE = "2 to 64 letters, digits, dots, dashes and underscores, beginning with a letter"
NAME_LIMIT = 200
"""Characters of a person's name, and of an organization's."""
_LOCAL_PART = re.compile(r"[a-z][a-z0-9._-]{1,63}")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


class AccountError(Exception):
    """What cannot be done; the message is for the person who asked."""


@dataclass(frozen=True)
class NewPerson:
    """What a new account is made of."""

    username: str
    """With its domain."""
    name: str
    email: str | None
    email_verified: bool
    organization: str | None = None
    administrator: bool = False
    name_is_meant: bool = False
    """An administrator gave this name to this person."""


def username_of(text: str, domain: str) -> str:
    """``NAME@DOMAIN`` of what was typed: with the domain or without. Raises AccountError."""
    local, _, given = text.strip().casefold().partition("@")
    if _LOCAL_PART.fullmatch(local) is None or (given and given != domain):
        raise AccountError(f"A name has {USERNAME_RULE}.")
    return f"{local}@{domain}"


def default_domain(origin: str) -> str:
    """The domain of a deployment that was given none: the name that people reach it by, or else
    the machine's.
    """
    host = urlsplit(origin).hostname or ""
    if "." in host and not host.replace(".", "").isdigit() and ":" not in host:
        return host.lower()
    named = socket.gethostname().lower()
    return named if _DOMAIN.fullmatch(named) else "localhost"


async def local_provider(connection: Connection, settings: PeopleSettings, origin: str) -> Provider:
    """The deployment's own identity provider, as the settings want it; made at the first call.

    Without ``people.domain`` it keeps the domain that it got then.
    """
    known = await identities.local_provider(connection)
    domain = settings.domain or (known.domains[0] if known else default_domain(origin))
    if known is None or known.domains[0] != domain or known.name != settings.service_name:
        await identities.set_local_provider(
            connection, provider_id=uuid4(), name=settings.service_name, domain=domain
        )
        known = await identities.local_provider(connection)
        assert known is not None
    return known


async def find_local(
    connection: Connection, provider: Provider, typed: str
) -> tuple[str, Identity | None]:
    """Whom somebody means by what they typed as their name: a name with its domain or without, or
    an address of theirs that was verified. Returns the name that attempts are counted under, too.
    """
    text = typed.strip().casefold()[:NAME_LIMIT]
    wanted = [text] if "@" in text else [f"{text}@{domain}" for domain in provider.domains]
    found = {
        one.username.casefold(): one
        for one in await identities.identities_by_username(connection, wanted)
        if one.identity_provider == provider.id
    }
    for name in wanted:
        if name in found:
            return name, found[name]
    if "@" in text:
        own = [
            one
            for one in await identities.identities_by_email(connection, text, limit=10)
            if one.identity_provider == provider.id and one.email_verified
        ]
        if len(own) == 1:
            return own[0].username.casefold(), own[0]
    return wanted[0], None


async def register(
    connection: Connection, provider: Provider, person: NewPerson, password_hash: str | None
) -> UUID:
    """Make the person's account; returns the id of their identity. Call it in a transaction.

    A name that somebody named before (``unused``) goes only to whom it was meant for: who was given
    it by an administrator, or can read mail at exactly that address. Otherwise a stranger could
    sign up as whoever is expected, and find what was shared with them. Raises AccountError.
    """
    taken = AccountError("This name is taken. Choose another one.")
    known = await identities.identities_by_username(connection, [person.username])
    if not known:
        identity_id = uuid4()
        try:
            await identities.add_identity(
                connection,
                identity_id=identity_id,
                username=person.username,
                provider=provider.id,
                name=person.name,
                email=person.email,
                organization=person.organization,
                email_verified=person.email_verified,
            )
        except psycopg.errors.UniqueViolation as error:
            raise taken from error
    else:
        meant = person.name_is_meant or (
            person.email_verified and (person.email or "").casefold() == person.username
        )
        identity_id = known[0].id
        if not meant or not await identities.claim(
            connection,
            identity_id,
            name=person.name,
            email=person.email,
            organization=person.organization,
            email_verified=person.email_verified,
        ):
            raise taken
    account_id = uuid4()
    await accounts.create(
        connection,
        account_id=account_id,
        primary_identity=identity_id,
        administrator=person.administrator,
    )
    if password_hash is not None:
        await passwords.put(connection, identity_id, password_hash)
    await audit.append(
        connection,
        Act(
            "account.created",
            actor=identity_id,
            subject=identity_id,
            details={"account": str(account_id), "administrator": person.administrator},
        ),
    )
    return identity_id


async def suspend(connection: Connection, account_id: UUID, actor: UUID | None = None) -> bool:
    """Let the account do nothing from now on: its sessions and tokens end at once. Whether it was
    not suspended before. Call it in a transaction.
    """
    if not await accounts.set_suspended(connection, account_id, suspended=True):
        return False
    await _end_everything(connection, account_id)
    await accounts.note_change(connection, account_id, "suspended")
    await audit.append(connection, Act("account.suspended", actor=actor, subject=account_id))
    return True


async def restore(connection: Connection, account_id: UUID, actor: UUID | None = None) -> bool:
    """End a suspension; whether there was one. Call it in a transaction."""
    if not await accounts.set_suspended(connection, account_id, suspended=False):
        return False
    await accounts.note_change(connection, account_id, "restored")
    await audit.append(connection, Act("account.restored", actor=actor, subject=account_id))
    return True


async def delete(connection: Connection, account_id: UUID, actor: UUID | None = None) -> None:
    """Forget the person. Their ids stay, as tombstones without a name, so that what others keep
    under them stays readable. Call it in a transaction.
    """
    await accounts.lock(connection, account_id)
    await _end_everything(connection, account_id)
    await accounts.note_change(connection, account_id, "deleted")
    own = [one.id for one in await identities.identities_of_account(connection, account_id)]
    await personal_data.forget(connection, account_id, own)
    await accounts.close(connection, account_id)
    await audit.append(connection, Act("account.deleted", actor=actor, subject=account_id))


async def export(connection: Connection, account: Account) -> dict[str, Any]:
    """All that is kept of a person, table by table, without what only proves something (hashes of
    passwords, cookies and tokens).
    """
    own = [one.id for one in await identities.identities_of_account(connection, account.id)]
    found = await personal_data.collect(connection, account.id, own)
    await audit.append(connection, Act("account.exported", subject=account.id))
    return found


async def _end_everything(connection: Connection, account_id: UUID) -> None:
    await sessions.end_of_account(connection, account_id)
    for one in await identities.identities_of_account(connection, account_id):
        await tokens.revoke_of_identity(connection, one.id)
