"""Names of users and groups, as the machine knows them."""

from __future__ import annotations

import grp
import pwd
import time
from typing import Final

MAX_CACHED_NAMES: Final = 4096
"""Users and groups whose names are remembered; a directory service has more."""

NAMES_S: Final = 300.0
"""How long names are remembered."""


class Names:
    """Names of users and groups, remembered for a while."""

    def __init__(self) -> None:
        """None are known."""
        self._users: dict[int, str] = {}
        self._groups: dict[int, str] = {}
        self._until = 0.0

    def forget_old(self) -> None:
        """To be called now and then: an account may get another name."""
        now = time.monotonic()
        if now >= self._until:
            self._users.clear()
            self._groups.clear()
            self._until = now + NAMES_S

    def user(self, uid: int) -> str:
        """A user's name; the number, if there is none."""
        name = self._users.get(uid)
        if name is None:
            try:
                name = pwd.getpwuid(uid).pw_name
            except KeyError:
                name = str(uid)
            _remember(self._users, uid, name)
        return name

    def group(self, gid: int) -> str:
        """A group's name; the number, if there is none."""
        name = self._groups.get(gid)
        if name is None:
            try:
                name = grp.getgrgid(gid).gr_name
            except KeyError:
                name = str(gid)
            _remember(self._groups, gid, name)
        return name


def _remember(names: dict[int, str], number: int, name: str) -> None:
    if len(names) >= MAX_CACHED_NAMES:
        names.clear()
    names[number] = name
