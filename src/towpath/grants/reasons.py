"""Why a grant, or a pass, is not taken."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One word, as it stands in replies (`530 GRANT <reason>: ...`) and in logs."""

    EXPIRED = "expired"
    CLOCK = "clock"
    """Issued in the future: the clocks here and there are not the same."""
    AUDIENCE = "audience"
    """Made for another endpoint."""
    ISSUER = "issuer"
    """Made by another deployment."""
    KEY = "key"
    """Signed with a key that is not known here, or not any more."""
    ALTERED = "altered"
    """Not what was signed, or nothing that the service would sign."""
    REPLAYED = "replayed"
    CERTIFICATE = "certificate"
    """Shown by somebody whose certificate it was not made for."""
    SESSION = "session"
    """A renewal for another identity, account or collection than the session is for."""
    ACCOUNT = "account"
    """The local account does not exist, or may not be used."""
    PREFIX = "prefix"
    """The path is outside of what the grant names."""
    READ_ONLY = "read-only"
    """The grant lets the path be read only."""
