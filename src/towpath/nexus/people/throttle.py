"""How many wrong passwords there may be (OWASP ASVS 5.0, 6.3.1; NIST SP 800-63B-4, 3.2.2).

Three meters, in the database, so that they hold for all processes together:

- an *account*, attempts from browsers in which nobody of that name has logged in before;
- a *known browser* and account: those in which somebody has. Strangers who fill the account's meter
  do not keep its owner out of their own browser (OWASP, "device cookies");
- an *address*, whatever the accounts: one password tried on many names.

A name that nobody has is counted like any other. What was no failure is given back.
"""

import ipaddress
import math
from dataclasses import dataclass
from uuid import UUID

from towpath.nexus.store import throttle as store
from towpath.nexus.store.throttle import Bucket
from towpath.platform.database import Connection

ACCOUNT_SIZE, ACCOUNT_EVERY_S = 10, 900.0
"""Ten typing errors, then one each quarter of an hour: about a hundred guesses a day."""
BROWSER_SIZE, BROWSER_EVERY_S = 10, 60.0
"""The browser has proved itself once; whoever sits before it now types no faster."""
ADDRESS_SIZE, ADDRESS_EVERY_S = 50, 10.0
"""Many people may share an address (NAT): fifty errors at once, and six a minute."""
MAIL_SIZE, MAIL_EVERY_S = 3, 1200.0
"""Mails to one address: three, then one each twenty minutes. Nobody's mailbox is flooded."""
REFUSAL_EVERY_S = 60.0
BROWSERS_KEPT = 20
_IPV6_NETWORK = 64
"""Bits: what one customer gets at least."""


@dataclass(frozen=True)
class Attempt:
    """What an attempt is counted against."""

    buckets: tuple[Bucket, ...]


def place(address: str) -> str:
    """What counts as one place: an IPv4 address, or an IPv6 network."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_NETWORK), strict=False))
    return str(parsed)


def login_attempt(username: str, address: str, browser: str, *, known: bool) -> Attempt:
    """The meters of a login. ``known``: somebody of that name has logged in in that browser."""
    name = username.casefold()
    own = (
        Bucket(f"browser {browser} {name}", BROWSER_SIZE, BROWSER_EVERY_S)
        if known
        else Bucket(f"account {name}", ACCOUNT_SIZE, ACCOUNT_EVERY_S)
    )
    return Attempt((Bucket(f"address {place(address)}", ADDRESS_SIZE, ADDRESS_EVERY_S), own))


def again_attempt(identity_id: UUID) -> Attempt:
    """The meter of somebody who is logged in and proves it again."""
    return Attempt((Bucket(f"again {identity_id}", BROWSER_SIZE, BROWSER_EVERY_S),))


def record_of_refusal(address: str) -> Attempt:
    """The meter of what is recorded of attempts that were refused: one a minute of an address."""
    return Attempt((Bucket(f"refusals {place(address)}", 1, REFUSAL_EVERY_S),))


def mail_attempt(to: str, address: str) -> Attempt:
    """The meters of a mail that anybody may ask for."""
    return Attempt(
        (
            Bucket(f"mail from {place(address)}", ADDRESS_SIZE, ADDRESS_EVERY_S),
            Bucket(f"mail to {to.casefold()}", MAIL_SIZE, MAIL_EVERY_S),
        )
    )


def elsewhere_attempt(address: str) -> Attempt:
    """The meter of what anybody may begin and nothing can be guessed with: a login at an
    institution, a passkey's challenge. It keeps rows and requests few.
    """
    return Attempt((Bucket(f"elsewhere {place(address)}", ADDRESS_SIZE, ADDRESS_EVERY_S),))


async def take(connection: Connection, attempt: Attempt) -> float:
    """Count the attempt; 0 if there may be one, else the seconds until there may be."""
    for number, bucket in enumerate(attempt.buckets):
        wait = await store.take(connection, bucket)
        if wait:
            for taken in attempt.buckets[:number]:
                await store.give_back(connection, taken)
            return wait
    return 0.0


async def give_back(connection: Connection, attempt: Attempt) -> None:
    """It was no failure."""
    for bucket in attempt.buckets:
        await store.give_back(connection, bucket)


def told(wait_s: float) -> str:
    """What the person is told."""
    minutes = math.ceil(wait_s / 60)
    return (
        "Too many attempts. Try again in a minute."
        if minutes <= 1
        else f"Too many attempts. Try again in {minutes} minutes."
    )
