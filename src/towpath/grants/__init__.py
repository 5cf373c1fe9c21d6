"""Grants: signed, short-lived permissions for one session at a Connect endpoint. A leaf, no I/O."""
