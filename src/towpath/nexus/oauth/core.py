"""What the routes of nexus share."""

from dataclasses import dataclass

from towpath.nexus.oauth.keys import KeyRing
from towpath.platform.database import Database


@dataclass(frozen=True)
class Core:
    """One deployment's identity service."""

    database: Database
    issuer: str
    """The deployment's origin."""
    keys: KeyRing
