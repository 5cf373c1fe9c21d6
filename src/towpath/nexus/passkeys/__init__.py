"""Passkeys: WebAuthn credentials of local identities."""
