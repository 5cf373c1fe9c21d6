"""Who may log in, and as which local account."""

from __future__ import annotations

import pwd
from collections.abc import Callable
from typing import NamedTuple

from towpath.gridftp.errors import printable
from towpath.gridftp.server.gridmap import Gridmap

ANONYMOUS_NAMES = ("anonymous", "ftp")

PasswordCheck = Callable[[str, str], str | None]
"""Takes user and password, gives the account, or None. May block; called in a thread."""


class LoginRefused(Exception):  # noqa: N818 - reads as what it says
    """Nobody is let in; the text is for the client."""


class Account(NamedTuple):
    """A local account."""

    name: str
    home: str
    """Where its sessions start."""


class Accounts:
    """The rules of one server. Its calls may block (files, name services): use a thread."""

    def __init__(
        self,
        gridmap: Gridmap | None,
        *,
        only: str | None,
        anonymous: str | None = None,
        password: PasswordCheck | None = None,
    ) -> None:
        """`only`: the account that the server runs as when it cannot become another.
        `anonymous`: the account of those who do not say who they are; None: not let in.
        """
        self._gridmap = gridmap
        self._only = only
        self._anonymous = anonymous
        self._password = password

    @property
    def take_clear_text(self) -> bool:
        """Whether anyone may log in without GSI."""
        return self._anonymous is not None or self._password is not None

    def of_subject(self, subject: str, wanted: str | None) -> Account:
        """For a certificate's name (one line). `wanted`: the account asked for, None: the usual.

        Raises `LoginRefused`.
        """
        try:
            allowed = () if self._gridmap is None else self._gridmap.accounts(subject)
        except (OSError, ValueError) as error:
            raise LoginRefused(f"the gridmap cannot be read ({type(error).__name__})") from error
        if wanted is None and allowed:
            wanted = allowed[0]
        if wanted is None or wanted not in allowed:
            # In the words of GCT, by which clients know this case.
            to = "" if wanted is None else f" to {printable(wanted, 100)}"
            raise LoginRefused(f"Gridmap lookup failure: Could not map {subject}{to}")
        return self._account(wanted)

    def of_password(self, user: str, password: str) -> Account:
        """For a login in clear text. Raises `LoginRefused`."""
        if self._anonymous is not None and user in ANONYMOUS_NAMES:
            return self._account(self._anonymous)
        name = None if self._password is None else self._password(user, password)
        if name is None:
            raise LoginRefused("Invalid user.")
        return self._account(name)

    def _account(self, name: str) -> Account:
        try:
            entry = pwd.getpwnam(name)
        except (KeyError, ValueError):
            raise LoginRefused(f"the account {printable(name, 100)} does not exist here") from None
        if self._only is not None:
            if name != self._only:
                raise LoginRefused(f"this server serves no account but its own, {self._only}")
        elif entry.pw_uid == 0:
            raise LoginRefused("root is not let in")
        return Account(name, entry.pw_dir)
