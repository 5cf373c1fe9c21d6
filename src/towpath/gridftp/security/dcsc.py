"""A throw-away credential that both ends of a data channel are given (DCSC, "data channel
security context"), so that servers which trust different authorities can trust each other."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Final, Literal, NamedTuple

from towpath.gridftp.security.certificates import certificates_in, encode, to_pem
from towpath.gridftp.security.credentials import Credential, load_key

CLOCK_SKEW = timedelta(hours=1)
"""Starts this much in the past: two servers and we each have a clock of our own."""

LIFETIME = timedelta(hours=6)
"""Longest life of one; it must outlive the channels opened with it, not the task."""

# DER, as far as a certificate of our own needs it: tags, and what is always the same.
_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_OCTET_STRING: Final = 0x04
_UTF8_STRING: Final = 0x0C
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_EC_PUBLIC_KEY: Final = 0xA1
_ZERO: Final = bytes.fromhex("020100")
_ONE: Final = bytes.fromhex("020101")
_VERSION_3: Final = bytes.fromhex("a003020102")
_ORGANIZATION: Final = bytes.fromhex("060355040a")
_COMMON_NAME: Final = bytes.fromhex("0603550403")
_P_256: Final = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
_ECDSA_WITH_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")
_RSA_WITH_SHA256: Final = bytes.fromhex("300d06092a864886f70d01010b0500")


class DataCredential:
    """A self-signed certificate with its key, for one pair of endpoints and one owner."""

    def __init__(self, credential: Credential) -> None:
        self.credential = credential

    def __repr__(self) -> str:
        return f"DataCredential({self.credential!r})"

    @classmethod
    def create(
        cls,
        now: datetime,
        lifetime: timedelta = LIFETIME,
        key_type: Literal["ec", "rsa"] = "ec",
    ) -> DataCredential:
        """Make one: below 1 ms for `ec` (P-256); about 150 ms for `rsa`, so in a thread.

        The first one of a process has to import for 8 ms more: in a thread, too, while the logins
        are under way. Servers before GCT 6 may know only RSA keys.
        """
        key = _new_ec_key() if key_type == "ec" else _new_rsa_key()
        common_name = f"data channel {os.urandom(16).hex()}"
        name = encode(
            _SEQUENCE,
            _name_part(_ORGANIZATION, "Towpath"),
            _name_part(_COMMON_NAME, common_name),
        )
        not_after = now + lifetime
        to_be_signed = encode(
            _SEQUENCE,
            _VERSION_3,
            encode(_INTEGER, b"\x40" + os.urandom(15)),  # a positive serial number
            key.signs_with,
            name,
            encode(_SEQUENCE, _time(now - CLOCK_SKEW), _time(not_after)),
            name,
            key.public,
        )
        signature = encode(_BIT_STRING, b"\0", key.sign(to_be_signed))
        return cls(
            Credential(
                to_pem(encode(_SEQUENCE, to_be_signed, key.signs_with, signature)),
                # GCT reads an elliptic-curve key only as PKCS#8, and RSA keys of either form.
                to_pem(key.private, "PRIVATE KEY"),
                f"/O=Towpath/CN={common_name}",
                not_after.replace(microsecond=0),
            )
        )

    @cached_property
    def blob(self) -> str:
        """The argument of `DCSC P`: certificate, key, and the certificate again. A secret.

        What follows the key is also the trust store; without the repetition GCT refuses the peer
        as self-signed.
        """
        pem = self.credential.to_pem() + self.credential.chain_pem
        return base64.b64encode(pem).decode("ascii")

    @cached_property
    def client_context(self) -> ssl.SSLContext:
        """For the side that connects the data channel."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        return self._equip(context)

    @cached_property
    def server_context(self) -> ssl.SSLContext:
        """For the side that accepts it. No session tickets: a peer that goes back to clear text
        after the handshake (PROT C) would take them for file data."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0
        return self._equip(context)

    def _equip(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self._der)
        load_key(context, self.credential.to_pem())
        return context

    @cached_property
    def _der(self) -> bytes:
        return certificates_in(self.credential.chain_pem.decode("ascii"))[0]

    def is_peer(self, certificate_der: bytes | None) -> bool:
        """Whether a peer showed this very certificate."""
        return certificate_der == self._der


class _Key(NamedTuple):
    public: bytes
    """SubjectPublicKeyInfo."""
    private: bytes
    """PKCS#8."""
    signs_with: bytes
    """AlgorithmIdentifier."""
    sign: Callable[[bytes], bytes]


def _new_ec_key() -> _Key:
    """On the curve P-256. Most of its time goes into importing, so only what makes keys and signs
    is imported. `cryptography` could write the keys as DER too, for 4 ms more."""
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - see `certificates`
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    class EcdsaWithSha256(ec.ECDSA):
        """Its own constructor imports every cipher, for 6 ms, to refuse what is not asked for."""

        def __init__(self) -> None:
            pass

        @property
        def algorithm(self) -> hashes.HashAlgorithm:
            return hashes.SHA256()

        @property
        def deterministic_signing(self) -> bool:
            return False

    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.private_numbers()
    place = numbers.public_numbers
    point = encode(_BIT_STRING, b"\0\x04", place.x.to_bytes(32, "big"), place.y.to_bytes(32, "big"))
    secret = encode(_OCTET_STRING, numbers.private_value.to_bytes(32, "big"))
    private = encode(_SEQUENCE, _ONE, secret, encode(_EC_PUBLIC_KEY, point))
    return _Key(
        public=encode(_SEQUENCE, _P_256, point),
        private=encode(_SEQUENCE, _ZERO, _P_256, encode(_OCTET_STRING, private)),
        signs_with=_ECDSA_WITH_SHA256,
        sign=lambda data: key.sign(data, EcdsaWithSha256()),
    )


def _new_rsa_key() -> _Key:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return _Key(
        public=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        private=key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        signs_with=_RSA_WITH_SHA256,
        sign=lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256()),
    )


def _name_part(kind: bytes, text: str) -> bytes:
    return encode(_SET, encode(_SEQUENCE, kind, encode(_UTF8_STRING, text.encode())))


def _time(moment: datetime) -> bytes:
    text = moment.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode()
    # RFC 5280, 4.1.2.5: two digits of the year up to 2049.
    return encode(_UTC_TIME, text[2:]) if text < b"2050" else encode(_GENERALIZED_TIME, text)
