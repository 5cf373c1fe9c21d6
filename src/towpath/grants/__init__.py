"""Grants: signed, short-lived permissions for one session at a Connect endpoint. A leaf, no I/O.

The service mints them (`mint`), an endpoint decides by them (`Verifier`). What is in one, and why,
is in docs/reference/grants.md.
"""

from towpath.grants.grant import (
    LIFETIME_S,
    Grant,
    GrantRefused,
    Prefix,
    Verifier,
    certificate_sha256,
    mint,
)
from towpath.grants.judge import SKEW_S
from towpath.grants.keys import KeySet, SigningKey
from towpath.grants.reasons import Reason

__all__ = [
    "LIFETIME_S",
    "SKEW_S",
    "Grant",
    "GrantRefused",
    "KeySet",
    "Prefix",
    "Reason",
    "SigningKey",
    "Verifier",
    "certificate_sha256",
    "mint",
]
