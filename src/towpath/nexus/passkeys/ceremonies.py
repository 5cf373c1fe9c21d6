"""The two ceremonies of WebAuthn Level 3: registration (7.1) and authentication (7.2).

`webauthn` checks what an authenticator signed; here is what is asked of it. A passkey is bound to
the host's name, so a page elsewhere gets nothing from it (13.4.1), and each answer belongs to one
challenge.
"""

import base64
import binascii
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

import webauthn
from webauthn.helpers import options_to_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from towpath.nexus.store.identities import Identity
from towpath.nexus.store.passkeys import Passkey

CHALLENGE_S = 300
"""A person finds the key, touches it and types its PIN in less."""
ANSWER_LIMIT = 32 * 1024
"""Characters; an answer has one or two thousand."""
_TIMEOUT_MS = CHALLENGE_S * 1000
_TRANSPORTS = frozenset(one.value for one in AuthenticatorTransport)


# what documents of another shape than they should have raise, in the library and here
_UNREADABLE = (
    WebAuthnException,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RecursionError,
)


class PasskeyError(Exception):
    """An answer that proves nothing; the message is for the log."""


@dataclass(frozen=True)
class NewPasskey:
    """What a registration made."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: list[str]
    synced: bool


@dataclass(frozen=True)
class Asserted:
    """What an authentication proved."""

    sign_count: int
    synced: bool
    user_verified: bool
    """The authenticator itself asked for a PIN or a finger: a second factor in itself."""


@dataclass(frozen=True)
class RelyingParty:
    """The deployment as authenticators know it."""

    id: str
    """The host's name."""
    origin: str
    name: str

    @classmethod
    def of(cls, origin: str, name: str) -> "RelyingParty | None":
        """None if ``origin`` is an address: passkeys are for names only (WebAuthn, 5.1.2)."""
        host = urlsplit(origin).hostname or ""
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return cls(host, origin, name) if host else None
        return None

    def registration_options(
        self, challenge: bytes, identity: Identity, known: Sequence[Passkey]
    ) -> str:
        """For ``navigator.credentials.create``, as JSON."""
        options = webauthn.generate_registration_options(
            rp_id=self.id,
            rp_name=self.name,
            user_id=identity.id.bytes,
            user_name=identity.username,
            user_display_name=identity.name or identity.username,
            challenge=challenge,
            timeout=_TIMEOUT_MS,
            exclude_credentials=_descriptors(known),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED,
                user_verification=UserVerificationRequirement.PREFERRED,
            ),
        )
        return options_to_json(options)

    def login_options(self, challenge: bytes, known: Sequence[Passkey] = ()) -> str:
        """For ``navigator.credentials.get``, as JSON. Without ``known`` the person chooses among
        what the authenticator has, so that nobody learns who has a passkey (WebAuthn, 14.6.2).
        """
        options = webauthn.generate_authentication_options(
            rp_id=self.id,
            challenge=challenge,
            timeout=_TIMEOUT_MS,
            allow_credentials=_descriptors(known),
            user_verification=UserVerificationRequirement.PREFERRED,
        )
        return options_to_json(options)

    def registered(self, answer: str, challenge: bytes) -> NewPasskey:
        """Check an answer of ``create``. Raises :class:`PasskeyError`."""
        try:
            made = webauthn.verify_registration_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
            )
            told = json.loads(answer).get("response", {}).get("transports") or []
            transports = [one for one in told if one in _TRANSPORTS]
        except _UNREADABLE as error:
            raise PasskeyError(str(error)) from error
        return NewPasskey(
            credential_id=made.credential_id,
            public_key=made.credential_public_key,
            sign_count=made.sign_count,
            transports=transports,
            synced=made.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
        )

    def asserted(self, answer: str, challenge: bytes, passkey: Passkey) -> Asserted:
        """Check an answer of ``get`` by ``passkey``. Raises :class:`PasskeyError`.

        Also if its counter did not rise: then there is a copy of the key (WebAuthn, 6.1.1).
        """
        handle = user_handle(answer)
        if handle is not None and handle != passkey.identity_id:
            raise PasskeyError("the passkey is of somebody else than the answer says")
        try:
            done = webauthn.verify_authentication_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
            )
        except _UNREADABLE as error:
            raise PasskeyError(str(error)) from error
        return Asserted(
            sign_count=done.new_sign_count,
            synced=done.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
            user_verified=done.user_verified,
        )


def challenge_of(answer: str) -> bytes:
    """The challenge that an answer says it is for. Raises :class:`PasskeyError`."""
    client_data = _field(answer, "response", "clientDataJSON")
    try:
        document = json.loads(_decoded(client_data))
        return _decoded(document["challenge"])
    except _UNREADABLE as error:
        raise PasskeyError("the answer has no challenge") from error


def credential_of(answer: str) -> bytes:
    """Which passkey an answer says that it is by. Raises :class:`PasskeyError`."""
    return _decoded(_field(answer, "rawId"))


def user_handle(answer: str) -> UUID | None:
    """The identity that the authenticator keeps for the passkey, if it says so."""
    try:
        return UUID(bytes=_decoded(_field(answer, "response", "userHandle")))
    except (PasskeyError, ValueError):
        return None


def _descriptors(known: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=one.credential_id,
            transports=[AuthenticatorTransport(name) for name in one.transports],
        )
        for one in known
    ]


def _field(answer: str, *path: str) -> str:
    if len(answer) > ANSWER_LIMIT:
        raise PasskeyError("the answer is too long")
    try:
        value = json.loads(answer)
        for name in path:
            value = value[name]
    except _UNREADABLE as error:
        raise PasskeyError(f"the answer has no {path[-1]}") from error
    if not isinstance(value, str):
        raise PasskeyError(f"the answer has no {path[-1]}")
    return value


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise PasskeyError("the answer is not base64url") from error
