"""Who is let in: the service, by a grant, within what the owner of this agent has chosen."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Final

from towpath.connect.choices import WRITE, Choices, Collection, Root
from towpath.connect.logins import Place
from towpath.grants import Grant, GrantRefused, Reason

FIRST_PERSON: Final = 1000
"""Accounts of people begin here (Debian, Red Hat: UID_MIN); below it are those of programs."""
NOBODY: Final = 65534

COLLECTION: Final = "collection"
BASE: Final = "base"
ACCESS: Final = "access"
ROOT: Final = "root"
"""Keys of `Opening.extra`: which collection a session is in, where that is, how it may be used; and
if managers have made it at the service, the directory that it must lie in."""


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


def own_home() -> Path:
    """Where its person is at home: where `HOME` says, as a shell has it."""
    return Path.home().resolve()


PlaceOf = Callable[[Grant], Place]
"""Says what a grant opens here. Blocks. Raises `GrantRefused`."""


def in_own_files(endpoint_id: str) -> PlaceOf:
    """A personal endpoint: one collection, its owner's account, all of the machine's paths."""

    def find(grant: Grant) -> Place:
        if grant.collection != endpoint_id:
            raise GrantRefused(
                Reason.AUDIENCE, "it was made for another collection", grant.grant_id
            )
        own = own_account()
        if grant.account not in (None, own.pw_name):
            raise GrantRefused(
                Reason.ACCOUNT, f"this agent serves {own.pw_name} only", grant.grant_id
            )
        return Place(own.pw_name, str(own_home()))

    return find


FindCollection = Callable[[str], tuple[Collection, Root | None] | None]
"""A collection by its id at the service, as far as it is allowed here; and the root in which it
lies, if managers have made it at the service. In a login's thread."""


def in_collections(find_collection: FindCollection, *, only: str | None) -> PlaceOf:
    """A server: the collection that is named."""

    def find(grant: Grant) -> Place:
        found = find_collection(grant.collection)
        if found is None:
            raise GrantRefused(
                Reason.AUDIENCE, "this collection does not exist here", grant.grant_id
            )
        collection, root = found
        if grant.account is None:
            raise GrantRefused(Reason.ACCOUNT, "it names no account", grant.grant_id)
        try:
            entry = account_for(grant.account, collection.accounts, only=only)
        except AccountRefused as refusal:
            raise GrantRefused(Reason.ACCOUNT, str(refusal), grant.grant_id) from None
        return Place(
            entry.pw_name,
            home_in(collection, entry.pw_dir),
            {
                COLLECTION: collection.name,
                BASE: collection.base_path,
                ACCESS: "RW" if collection.access == WRITE else "R",
                **({} if root is None else {ROOT: root.path}),
            },
        )

    return find


def home_in(collection: Collection, home: str) -> str:
    """Where a session starts: at home, if that is in the collection, else at its top."""
    place, base = PurePosixPath(home), PurePosixPath(collection.base_path)
    return str(PurePosixPath("/") / place.relative_to(base)) if place.is_relative_to(base) else "/"


def may_open(account: str, choices: Choices) -> bool:
    """Whether any collection lets an account in; for who starts processes."""
    places: tuple[Collection | Root, ...] = (*choices.collections, *choices.roots)
    for place in places:
        try:
            account_for(account, place.accounts)
        except AccountRefused:
            continue
        return True
    return False
