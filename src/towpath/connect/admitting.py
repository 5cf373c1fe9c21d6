"""Who is let in: the service, by a grant, within what the owner of this agent has chosen."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from towpath.connect.choices import WRITE, Choices, Collection
from towpath.grants import SKEW_S, Grant, GrantRefused, KeySet, Reason, Verifier
from towpath.gridftp.server.permission import Admission, Permission, TokenRefused

FIRST_PERSON: Final = 1000
"""Accounts of people begin here (Debian, Red Hat: UID_MIN); below it are those of programs."""
NOBODY: Final = 65534

COLLECTION: Final = "collection"
BASE: Final = "base"
ACCESS: Final = "access"
"""Keys of `Opening.extra`: which collection a session is in, where that is, how it may be used."""


class AccountRefused(Exception):  # noqa: N818 - reads as what it says
    """An account may not be used; the text says why."""


def account_for(name: str, allowed: Iterable[str], *, only: str | None = None) -> pwd.struct_passwd:
    """An account that somebody may be given. Blocks. Raises `AccountRefused`.

    `allowed`: named by the owner; nobody named: everybody who is a person. `only`: the one account
    that this process can serve.
    """
    named = tuple(allowed)
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise AccountRefused(f"the account {name[:100]!r} does not exist here") from None
    if entry.pw_uid == 0:
        raise AccountRefused("root is not let in")
    if only is not None and name != only:
        raise AccountRefused(f"this agent runs as {only} and serves no other account")
    if named and name not in named:
        raise AccountRefused(f"the account {name!r} is not let in here")
    if not named and only is None and not FIRST_PERSON <= entry.pw_uid < NOBODY:
        raise AccountRefused(f"the account {name!r} is none of a person, and not let in by name")
    return entry


def own_account() -> pwd.struct_passwd:
    """Whose process this is."""
    return pwd.getpwuid(os.geteuid())


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a grant opens."""

    account: str
    home: str
    extra: dict[str, str]


Find = Callable[[Grant], Place]
"""Says what a grant opens here. Blocks. Raises `TokenRefused`."""


class Admitting:
    """See `Tokens`: grants, verified here and by nobody else."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        keys: Callable[[], KeySet],
        find: Find,
        fetch_keys: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`fetch_keys`: asks the service for its keys, at most now and then, and waits for them;
        for a grant that is signed with one that is not known here."""
        self._verifier = Verifier(issuer=issuer, audience=audience, keys=keys, now=now)
        self._find = find
        self._fetch_keys = fetch_keys

    def log_in(self, token: str, certificate_sha256: str) -> Admission:
        """See `Tokens`."""
        try:
            try:
                grant = self._verifier.verify(token, certificate_sha256)
            except GrantRefused as refusal:
                if refusal.reason is not Reason.KEY:
                    raise
                self._fetch_keys()
                grant = self._verifier.verify(token, certificate_sha256)
        except GrantRefused as refusal:
            raise _refused(refusal) from None
        try:
            place = self._find(grant)
        except TokenRefused as refusal:
            raise TokenRefused(refusal.reason, refusal.sentence, grant.grant_id) from None
        return Admission(
            account=place.account,
            home=place.home,
            permission=permission_of(grant),
            extra=place.extra,
            token=grant,
        )

    def renew(self, token: str, certificate_sha256: str, current: Admission) -> Permission:
        """See `Tokens`."""
        assert isinstance(current.token, Grant)
        try:
            grant = self._verifier.verify_renewal(token, certificate_sha256, current.token)
        except GrantRefused as refusal:
            raise _refused(refusal) from None
        return permission_of(grant)


def permission_of(grant: Grant) -> Permission:
    """The same in the server's words."""
    return Permission(
        permission_id=grant.grant_id,
        rules=tuple(("RW" if write else "R", path) for path, write in grant.prefixes),
        expires=float(grant.expires + SKEW_S),
    )


def in_own_files(endpoint_id: str) -> Find:
    """A personal endpoint: one collection, its owner's account, all of the machine's paths."""

    def find(grant: Grant) -> Place:
        if grant.collection != endpoint_id:
            raise TokenRefused(Reason.AUDIENCE, "it was made for another collection")
        own = own_account()
        if grant.account not in (None, own.pw_name):
            raise TokenRefused(Reason.ACCOUNT, f"this agent serves {own.pw_name} only")
        return Place(account=own.pw_name, home=str(Path(own.pw_dir).resolve()), extra={})

    return find


def in_collections(
    choices: Callable[[], Choices],
    name_of: Callable[[str], str | None],
    *,
    only: str | None,
) -> Find:
    """A server: the collection that is named, as it is set here. `name_of`: of its id."""

    def find(grant: Grant) -> Place:
        name = name_of(grant.collection)
        collection = None if name is None else choices().collection(name)
        if collection is None:
            raise TokenRefused(Reason.AUDIENCE, "this collection does not exist here")
        if grant.account is None:
            raise TokenRefused(Reason.ACCOUNT, "it names no account")
        try:
            entry = account_for(grant.account, collection.accounts, only=only)
        except AccountRefused as refusal:
            raise TokenRefused(Reason.ACCOUNT, str(refusal)) from None
        return Place(
            account=entry.pw_name,
            home=home_in(collection, entry.pw_dir),
            extra={
                COLLECTION: collection.name,
                BASE: collection.base_path,
                ACCESS: "RW" if collection.access == WRITE else "R",
            },
        )

    return find


def home_in(collection: Collection, home: str) -> str:
    """Where a session starts: at home, if that is in the collection, else at its top."""
    place, base = PurePosixPath(home), PurePosixPath(collection.base_path)
    return str(PurePosixPath("/") / place.relative_to(base)) if place.is_relative_to(base) else "/"


def may_open(account: str, choices: Choices) -> bool:
    """Whether any collection lets an account in; for who starts processes."""
    for collection in choices.collections:
        try:
            account_for(account, collection.accounts)
        except AccountRefused:
            continue
        return True
    return False


def _refused(refusal: GrantRefused) -> TokenRefused:
    return TokenRefused(refusal.reason.value, refusal.sentence, refusal.statement_id)
