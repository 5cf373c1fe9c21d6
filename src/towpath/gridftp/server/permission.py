"""Logins by token: what a session may do, for how long, and who decides it.

What a token is, and how it is signed, is not known here. `Tokens` takes one and says who logs in
(`Admission`); the session gets a `Permission`, which a later token (`SITE GRANT`) replaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from towpath.dsi.rules import Rules

OVERTIME_S: Final = 300.0
"""How long what runs already may go on after its permission has ended: a transfer whose renewal is
late is not lost for it. Then it is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What a session may do."""

    permission_id: str
    """For logs."""
    rules: tuple[tuple[str, str], ...]
    """Letters (R or RW) and a path of the storage, each; see `towpath.dsi.rules`. What no path
    covers may not be touched."""
    expires: float
    """Unix seconds, by this machine's clock: no command begins after it."""

    def to_rules(self) -> Rules:
        """As storages want them. Raises ValueError."""
        return Rules.of(self.rules)

    @classmethod
    def from_fields(cls, fields: Any) -> Permission:
        """As `dataclasses.asdict` and JSON have left it. Raises ValueError."""
        try:
            made = cls(
                permission_id=str(fields["permission_id"]),
                rules=tuple((str(letters), str(path)) for letters, path in fields["rules"]),
                expires=float(fields["expires"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"a permission that makes no sense: {error!r}") from None
        made.to_rules()
        return made


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Who has logged in by a token."""

    account: str
    """The local account."""
    home: str
    """Where the session starts: an absolute path of its storage."""
    permission: Permission
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    """For whoever runs the session (`Opening.extra`): which storage it has, its secrets."""
    token: object = field(default=None, repr=False)
    """What the token said, for `Tokens.renew`; nobody else looks at it."""


class TokenRefused(Exception):  # noqa: N818 - reads as what it says
    """A token is not taken. Never holds the token."""

    def __init__(self, reason: str, sentence: str, token_id: str | None = None) -> None:
        """`reason`: one word, which clients read. `token_id`: for the log."""
        super().__init__(f"{reason}: {sentence}")
        self.reason: Final = reason
        self.sentence: Final = sentence
        self.token_id: Final = token_id


class Tokens(Protocol):
    """Takes tokens, for one server. Both raise `TokenRefused`.

    `certificate_sha256` (hex): of the certificate with which the client has proven who it is.
    """

    def log_in(self, token: str, certificate_sha256: str) -> Admission:
        """Called in a thread: may look up accounts."""

    def renew(self, token: str, certificate_sha256: str, current: Admission) -> Permission:
        """For a session that `current` was given at its login. Called in the event loop, for it
        must take effect before what comes behind it: it must not wait for anything."""


def refused_reply_text(reason: str, sentence: str) -> str:
    """What clients are told, behind the code."""
    return f"GRANT {reason}: {sentence}"
