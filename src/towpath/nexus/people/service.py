"""What the pages for people stand on, and the acts that need more than the database."""

import secrets
from dataclasses import dataclass
from uuid import UUID

from towpath.nexus import audit
from towpath.nexus.audit import Act
from towpath.nexus.people import accounts, throttle
from towpath.nexus.people.passwords import Passwords, problem
from towpath.nexus.store import accounts as stored_accounts
from towpath.nexus.store import identities, links, passwords, sessions
from towpath.nexus.store import throttle as stored_throttle
from towpath.nexus.store.identities import Identity, Provider
from towpath.nexus.store.links import Purpose
from towpath.platform.database import Connection, Database
from towpath.platform.mail import Post
from towpath.platform.settings import PeopleSettings

INVITATION_S = 7 * 86_400
"""A week: people read their mail after a holiday."""
VERIFICATION_S = 86_400
RESET_S = 1800
"""Half an hour: mail arrives within minutes (OWASP ASVS 5.0, 6.4.3)."""
PATHS: dict[Purpose, str] = {
    "invitation": "/v2/web/welcome",
    "verification": "/v2/web/verify",
    "reset": "/v2/web/reset",
}
WRONG = "The name or the password is not right."
"""The same for a name that nobody has."""


@dataclass(frozen=True)
class LoggedIn:
    """The password is the identity's."""

    identity: Identity


@dataclass(frozen=True)
class NotLoggedIn:
    """``told`` is for the person; ``wait_s`` is more than 0 if there were too many attempts."""

    told: str
    wait_s: float = 0.0


@dataclass(frozen=True)
class People:
    """The parts."""

    database: Database
    settings: PeopleSettings
    passwords: Passwords
    post: Post
    origin: str

    async def provider(self, connection: Connection) -> Provider:
        """The deployment's own identity provider."""
        return await accounts.local_provider(connection, self.settings, self.origin)

    async def log_in(
        self, typed: str, password: str, *, address: str, browser: str
    ) -> LoggedIn | NotLoggedIn:
        """Check a name and a password.

        The attempt is counted before it is looked at, so that many at once find no gap. What is
        done, and said, is the same whether the name is somebody's or nobody's.
        """
        async with self.database.transaction() as connection:
            provider = await self.provider(connection)
            name, found = await accounts.find_local(connection, provider, typed)
            known = await stored_throttle.browser_is_known(connection, browser, name)
            attempt = throttle.login_attempt(name, address, browser, known=known)
            wait_s = await throttle.take(connection, attempt)
            stored = None if found is None else await passwords.of(connection, found.id)
            if wait_s:
                # who hammers on must not fill the log, which is kept for ever
                if not await throttle.take(connection, throttle.record_of_refusal(address)):
                    subject = None if found is None else found.id
                    await audit.append(connection, Act("login.throttled", subject=subject))
                return NotLoggedIn(throttle.told(wait_s), wait_s)
        right = await self.passwords.verify(stored, password)
        async with self.database.transaction() as connection:
            if found is None or stored is None or not right:
                subject = None if found is None else found.id
                await audit.append(
                    connection, Act("login.failed", subject=subject, details={"amr": ["pwd"]})
                )
                return NotLoggedIn(WRONG)
            await throttle.give_back(connection, attempt)
        if self.passwords.is_old(stored):
            anew = await self.passwords.hash(password)
            async with self.database.connection() as connection:
                await passwords.rehash(connection, found.id, stored, anew)
        return LoggedIn(found)

    async def has_password(self, identity: Identity, password: str) -> bool:
        """Whether it is the identity's, for somebody who is logged in; counted like a login."""
        async with self.database.transaction() as connection:
            attempt = throttle.again_attempt(identity.id)
            if await throttle.take(connection, attempt):
                return False
            stored = await passwords.of(connection, identity.id)
        right = await self.passwords.verify(stored, password)
        if right:
            async with self.database.connection() as connection:
                await throttle.give_back(connection, attempt)
        return right

    def problem(self, password: str, *words: str | None) -> str | None:
        """What is wrong with a new password; ``words`` are the person's own."""
        known = [word for word in (*words, self.settings.service_name) if word]
        return problem(password, shortest=self.settings.password_length, words=known)

    async def set_password(
        self, connection: Connection, identity: Identity, stored: str, *, keep: UUID | None
    ) -> None:
        """Replace a password, end the account's sessions but ``keep``, and tell the person.

        ``stored`` is the new password's hash, made outside of the transaction.
        """
        await passwords.put(connection, identity.id, stored)
        await links.withdraw(connection, identity.id, "reset")
        if identity.account_id is not None:
            for ended in await sessions.end_of_account(connection, identity.account_id, but=keep):
                await audit.append(
                    connection,
                    Act(
                        "session.ended",
                        actor=identity.id,
                        subject=ended,
                        details={"how": "new password"},
                    ),
                )
        await audit.append(connection, Act("password.set", actor=identity.id, subject=identity.id))
        if identity.email:
            self.post.hand_over(
                identity.email,
                f"Your password for {self.settings.service_name} was changed",
                f"The password of {identity.username} has just been changed, and all other browsers"
                " were logged out.\n\nIf that was not you, set a new one at once:\n"
                f"{self.origin}/v2/web/forgot\n",
            )

    async def ask_for_reset(self, typed: str, *, address: str) -> float:
        """Mail a link to set a new password, if there is whom to mail it to.

        Returns 0, or the seconds to wait if there were too many; the same whoever is named.
        """
        async with self.database.transaction() as connection:
            provider = await self.provider(connection)
            name, found = await accounts.find_local(connection, provider, typed)
            wait_s = await throttle.take(connection, throttle.mail_attempt(name, address))
            if wait_s:
                return wait_s
            await audit.append(
                connection,
                Act("password.reset_asked", subject=None if found is None else found.id),
            )
            if found is None or found.email is None or not found.email_verified:
                return 0.0
            link = await self.new_link(
                connection, "reset", lifetime_s=RESET_S, identity_id=found.id
            )
        self.post.hand_over(
            found.email,
            f"A new password for {self.settings.service_name}",
            f"Somebody, probably you, asked for a new password for {found.username}.\n\n"
            f"This link sets it. It works once, for half an hour:\n{link}\n\n"
            "If it was not you, do nothing: your password stays as it is.\n",
        )
        return 0.0

    async def ask_to_sign_up(self, email: str, *, address: str) -> float:
        """Mail a link to make an account, or say that there is one; 0, or the seconds to wait."""
        async with self.database.transaction() as connection:
            wait_s = await throttle.take(connection, throttle.mail_attempt(email, address))
            if wait_s:
                return wait_s
            provider = await self.provider(connection)
            there = [
                one.username
                for one in await identities.identities_by_email(connection, email, limit=10)
                if one.identity_provider == provider.id and one.email_verified
            ]
            link = await self.new_link(
                connection,
                "invitation",
                lifetime_s=VERIFICATION_S,
                details={"email": email, "email_verified": True},
            )
        text = (
            f"Somebody, probably you, wants to make an account at {self.origin}.\n\n"
            f"This link begins it. It works once, for a day:\n{link}\n\n"
            "If it was not you, do nothing.\n"
        )
        if there:
            text += (
                f"\nYou have an account already: {', '.join(there)}."
                f" If you forgot its password:\n{self.origin}/v2/web/forgot\n"
            )
        self.post.hand_over(email, f"Your account at {self.settings.service_name}", text)
        return 0.0

    async def ask_to_verify(
        self, connection: Connection, identity_id: UUID, email: str, *, address: str
    ) -> float:
        """Mail a link that makes ``email`` the identity's address; 0, or the seconds to wait."""
        wait_s = await throttle.take(connection, throttle.mail_attempt(email, address))
        if wait_s:
            return wait_s
        link = await self.new_link(
            connection,
            "verification",
            lifetime_s=VERIFICATION_S,
            identity_id=identity_id,
            details={"email": email},
        )
        self.post.hand_over(
            email,
            f"Is this your address? ({self.settings.service_name})",
            f"Somebody, probably you, gave this address for an account at {self.origin}.\n\n"
            f"Confirm it with this link, within a day:\n{link}\n\n"
            "If it was not you, do nothing.\n",
        )
        return 0.0

    async def new_link(
        self,
        connection: Connection,
        purpose: Purpose,
        *,
        lifetime_s: float,
        identity_id: UUID | None = None,
        details: dict[str, object] | None = None,
    ) -> str:
        """The address of a page that works once."""
        return await new_link(
            connection,
            self.origin,
            purpose,
            lifetime_s=lifetime_s,
            identity_id=identity_id,
            details=details,
        )


async def new_link(
    connection: Connection,
    origin: str,
    purpose: Purpose,
    *,
    lifetime_s: float,
    identity_id: UUID | None = None,
    details: dict[str, object] | None = None,
) -> str:
    """The address of a page that works once."""
    value = secrets.token_urlsafe(32)
    await links.add(
        connection,
        value,
        purpose,
        lifetime_s=lifetime_s,
        identity_id=identity_id,
        details=details,
    )
    return f"{origin}{PATHS[purpose]}?link={value}"


async def first_administrator_link(connection: Connection, origin: str) -> str | None:
    """A link that makes the first administrator's account; None if there is an administrator.

    The links of earlier starts are worth nothing any more. Call it in a transaction.
    """
    if await stored_accounts.there_are_administrators(connection):
        return None
    await links.withdraw_first_administrator(connection)
    return await new_link(
        connection,
        origin,
        "invitation",
        lifetime_s=INVITATION_S,
        details={"administrator": True, "first": True},
    )
