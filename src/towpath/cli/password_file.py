"""Accounts that log in by password: a file of lines ``USER:ACCOUNT:HASH`` (Argon2id).

For services without certificates; both password and commands go over the network in clear text.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from towpath.platform.files import write_private

MAX_BYTES: Final = 1 << 20
"""Some 7,000 users; with more, use certificates."""

_hasher: Final = PasswordHasher()
_NOBODY: Final = _hasher.hash("")
"""What the password of a user who is not there is compared with, so that it takes as long."""


class PasswordFile:
    """Checks passwords; the file is read anew for each, so that a change counts at once."""

    def __init__(self, path: Path) -> None:
        """Read it once, to see that it can be: OSError, ValueError."""
        self._path = path
        self._read()

    def check(self, user: str, password: str) -> str | None:
        """The account of a user whose password it is; None otherwise. Takes some 50 ms."""
        try:
            account, wanted = self._read().get(user, ("", _NOBODY))
        except (OSError, ValueError):
            return None
        try:
            _hasher.verify(wanted, password)
        except (VerifyMismatchError, InvalidHashError, UnicodeEncodeError):
            return None
        return account or None

    def names_account(self, account: str) -> bool:
        """Whether any user may have this account. OSError, ValueError."""
        return any(account == known for known, _ in self._read().values())

    def _read(self) -> dict[str, tuple[str, str]]:
        return _read(self._path)


def set_password(path: Path, user: str, account: str, password: str) -> None:
    """Write a user's line, or replace it; make the file if it is not there. OSError, ValueError."""
    for name in (user, account):
        if not name or any(character in name for character in ":\r\n") or name.startswith("#"):
            raise ValueError(f"{name!r}: a name holds no colon and no line end")
    try:
        users = _read(path)
    except FileNotFoundError:
        users = {}
    users[user] = (account, _hasher.hash(password))
    lines = [f"{name}:{of}:{hashed}\n" for name, (of, hashed) in users.items()]
    owner = path.stat() if path.exists() else None
    write_private(path, "".join(lines).encode())
    if owner is not None and os.geteuid() == 0:  # the server's user goes on reading it
        os.chown(path, owner.st_uid, owner.st_gid)


def _read(path: Path) -> dict[str, tuple[str, str]]:
    """Account and hash by user."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} is longer than {MAX_BYTES} bytes")
    users: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(content.decode().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, _, rest = line.partition(":")
        account, _, hashed = rest.partition(":")
        if not (user and account and hashed.startswith("$argon2")):
            raise ValueError(f"{path}: line {number} is not USER:ACCOUNT:HASH")
        users[user] = (account, hashed)
    return users
