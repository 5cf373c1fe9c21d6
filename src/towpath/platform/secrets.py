"""Encryption at rest of what users entrust to us (invariant I6).

AES-256-GCM (NIST SP 800-38D). The context (which row, whose) is authenticated with the text, so
that a sealed value moved to another row does not open.
"""

import base64
import binascii
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from towpath.platform.files import private_directory, write_private

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_ID_BYTES = 8
_FORMAT = b"\x01"


class SealError(Exception):
    """A value cannot be opened, or the key file cannot be used."""


class Sealer:
    """Seals under the first key of a file and opens what any of its keys sealed.

    The file has one key a line, base64; a new key is put on top. It is made on first use, 0600.
    Losing it loses the stored credentials, and nothing else: their owners give them again.
    """

    def __init__(self, key_file: Path) -> None:
        """Read or make the keys. Raises :class:`SealError`."""
        try:
            text = _read_or_make(key_file)
            keys = [base64.b64decode(line, validate=True) for line in text.split()]
        except (OSError, binascii.Error) as error:
            raise SealError(f"key file {key_file}: {error}") from error
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise SealError(f"key file {key_file} must hold {KEY_BYTES}-byte keys in base64")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._active = _key_id(keys[0])

    def __repr__(self) -> str:
        return f"Sealer({self._active.hex()})"

    def seal(self, text: bytes, context: bytes) -> bytes:
        """Encrypt ``text``; it opens only with the same ``context``."""
        nonce = os.urandom(NONCE_BYTES)
        prefix = _FORMAT + self._active
        sealed = self._ciphers[self._active].encrypt(nonce, text, prefix + context)
        return prefix + nonce + sealed

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """The text. Raises :class:`SealError` for another context, key, or a changed byte."""
        prefix, rest = sealed[: 1 + KEY_ID_BYTES], sealed[1 + KEY_ID_BYTES :]
        cipher = self._ciphers.get(prefix[1:])
        if prefix[:1] != _FORMAT or cipher is None or len(rest) < NONCE_BYTES:
            raise SealError("sealed under a key that this deployment does not have")
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], prefix + context)
        except InvalidTag as error:
            raise SealError("a sealed value was changed, or belongs elsewhere") from error


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"towpath key id" + key).digest()[:KEY_ID_BYTES]


def _read_or_make(key_file: Path) -> bytes:
    try:
        found = key_file.read_bytes()
    except FileNotFoundError:
        private_directory(key_file.parent)
        made = base64.b64encode(os.urandom(KEY_BYTES)) + b"\n"
        write_private(key_file, made)
        return made
    if key_file.stat().st_mode & 0o077:
        raise OSError("others may read it: chmod 600")
    return found
