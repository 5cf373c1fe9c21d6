"""The one error of the security layer; the client turns it into a `GridFTPError`."""

from collections.abc import Mapping
from enum import StrEnum


class SecurityKind(StrEnum):
    """What went wrong, in the names that `towpath.gridftp.errors.Kind` uses too."""

    AUTHENTICATION = "AUTHENTICATION"
    CREDENTIAL_EXPIRED = "CREDENTIAL_EXPIRED"
    UNTRUSTED_HOST = "UNTRUSTED_HOST"


class SecurityError(Exception):
    """A login or a data channel could not be secured. `message` is for people, without secrets."""

    def __init__(
        self, kind: SecurityKind, message: str, facts: Mapping[str, object] | None = None
    ) -> None:
        """`facts`: as those of a `GridFTPError`."""
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.facts = facts or {}
