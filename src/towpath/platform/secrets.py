"""Encryption at rest of what users entrust to us (invariant I6).

AES-256-GCM (NIST SP 800-38D). The context (which row, whose) is authenticated with the text, so
that a sealed value moved to another row does not open.
"""

import base64
import binascii
import fcntl
import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from towpath.platform.files import private_directory, write_private

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_ID_BYTES = 8
_FORMAT = b"\x01"
PREFIX_BYTES = len(_FORMAT) + KEY_ID_BYTES
"""A sealed value begins with so many bytes that are the same for all of one key (`key_prefix`)."""


_log = structlog.stdlib.get_logger("towpath.secrets")


class SealError(Exception):
    """A value cannot be opened, or the key file cannot be used."""


class NoKeyError(SealError):
    """A value is sealed under a key that is not in the file, or not yet: whoever looks after the
    deployment can put it there, and until then nothing is to be given up for it.
    """


class Sealer:
    """Seals under the first key of a file and opens what any of its keys sealed.

    The file has one key a line, base64; a new key is put on top (`add_key`), and processes that run
    take it from there. It is made on first use, 0600. Losing it loses the stored credentials, and
    nothing else: their owners give them again. A key that is met and is not there is told of in
    the log, once until it is back.
    """

    def __init__(self, key_file: Path) -> None:
        """Read or make the keys. Raises :class:`SealError`."""
        self._file = key_file
        self._stamp: tuple[int, ...] = ()
        self._ciphers: dict[bytes, AESGCM] = {}
        self._active = b""
        self._missing: set[bytes] = set()
        self._load(_read_or_make)

    def __repr__(self) -> str:
        return f"Sealer({self._active.hex()})"

    @property
    def key_ids(self) -> Sequence[str]:
        """Of the file's keys, that which seals first. An id says nothing of its key."""
        return [key_id.hex() for key_id in self._ciphers]

    @property
    def key_prefix(self) -> bytes:
        """How values begin that the first key sealed."""
        return _FORMAT + self._active

    def seal(self, text: bytes, context: bytes) -> bytes:
        """Encrypt ``text``; it opens only with the same ``context``."""
        self._refresh()
        nonce = os.urandom(NONCE_BYTES)
        prefix = self.key_prefix
        sealed = self._ciphers[self._active].encrypt(nonce, text, prefix + context)
        return prefix + nonce + sealed

    def unseal(self, sealed: bytes, context: bytes, *, from_outside: bool = False) -> bytes:
        """The text. Raises :class:`NoKeyError` while its key is not in the file, and
        :class:`SealError` for another context or a changed byte.

        `from_outside`: anybody may have made it up, so that nobody is told if its key is missing.
        """
        prefix, rest = sealed[:PREFIX_BYTES], sealed[PREFIX_BYTES:]
        if prefix[:1] != _FORMAT or len(rest) < NONCE_BYTES:
            raise SealError("this is not a sealed value")
        key_id = prefix[1:]
        if key_id not in self._ciphers:
            self._refresh()
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            if not from_outside:
                self._tell_missing(key_id)
            raise NoKeyError(f"sealed under the key {key_id.hex()}, which {self._file} has not")
        try:
            return cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], prefix + context)
        except InvalidTag as error:
            raise SealError("a sealed value was changed, or belongs elsewhere") from error

    def _refresh(self) -> None:
        """Take over what was done to the file. While it is away, or cannot be used, as when it is
        half copied, the keys that are known will do.
        """
        try:
            stamp = _stamp(self._file)
        except OSError:
            return
        if stamp == self._stamp:
            return
        try:
            self._load(_read_private)  # one that is moved away just now is not made anew
        except SealError as error:
            self._stamp = stamp  # told once, and looked at again when it is another
            _log.error("secrets.key_file_unusable", error=str(error))

    def _tell_missing(self, key_id: bytes) -> None:
        if key_id not in self._missing:
            self._missing.add(key_id)
            _log.error(
                "secrets.key_missing",
                key=key_id.hex(),
                file=str(self._file),
                advice="what is sealed under it waits: put the key file of the host that has it"
                " here (towpath admin seal-key list)",
            )

    def _load(self, read: Callable[[Path], bytes]) -> None:
        # the stamp first: what comes between is then seen by the next look, and never missed
        stamp: tuple[int, ...] = ()
        try:
            with suppress(FileNotFoundError):
                stamp = _stamp(self._file)
            text = read(self._file)
        except OSError as error:
            raise SealError(f"key file {self._file}: {error}") from error
        keys = _keys(self._file, text)
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        for key_id in self._missing & self._ciphers.keys():
            self._missing.remove(key_id)
            _log.info("secrets.key_is_back", key=key_id.hex())
        self._active = _key_id(keys[0])
        self._stamp = stamp


def add_key(key_file: Path) -> str:
    """Put a new key on top of the file, which seals from now on; its id. Raises SealError."""
    with _held(key_file):
        known = _read(key_file)
        key = os.urandom(KEY_BYTES)
        _write(key_file, [key, *known])
    return _key_id(key).hex()


def forget_keys(key_file: Path, key_ids: Collection[str]) -> None:
    """Take keys out of the file, never the first. What they sealed is lost. Raises SealError."""
    with _held(key_file):
        first, *others = _read(key_file)
        _write(key_file, [first, *(key for key in others if _key_id(key).hex() not in key_ids)])


@contextmanager
def _held(key_file: Path) -> Iterator[None]:
    """One at a time changes the file: a key that another one has just added must not be lost."""
    try:
        descriptor = os.open(key_file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SealError(f"key file {key_file}: {error}") from error


def _read(key_file: Path) -> list[bytes]:
    return _keys(key_file, _read_or_make(key_file))


def _write(key_file: Path, keys: Sequence[bytes]) -> None:
    write_private(key_file, b"".join(base64.b64encode(key) + b"\n" for key in keys))


def _keys(key_file: Path, text: bytes) -> list[bytes]:
    try:
        keys = [base64.b64decode(line, validate=True) for line in text.split()]
    except binascii.Error as error:
        raise SealError(f"key file {key_file}: {error}") from error
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise SealError(f"key file {key_file} must hold {KEY_BYTES}-byte keys in base64")
    return keys


def _stamp(key_file: Path) -> tuple[int, ...]:
    status = key_file.stat()
    return status.st_mtime_ns, status.st_ino, status.st_size


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"towpath key id" + key).digest()[:KEY_ID_BYTES]


def _read_or_make(key_file: Path) -> bytes:
    try:
        return _read_private(key_file)
    except FileNotFoundError:
        private_directory(key_file.parent)
        made = base64.b64encode(os.urandom(KEY_BYTES)) + b"\n"
        write_private(key_file, made)
        return made


def _read_private(key_file: Path) -> bytes:
    found = key_file.read_bytes()
    if key_file.stat().st_mode & 0o077:
        raise OSError("others may read it: chmod 600")
    return found
