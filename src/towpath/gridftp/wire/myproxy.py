"""MyProxy messages, version 2: requests out, responses and certificates in, from any portions.

A request and a response are lines `KEY=value`, ended by a NUL. Certificates and requests for them
are DER without a frame of their own. Facts: myproxy.c and gsi_socket.c of MyProxy 6.2.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Final

from towpath.gridftp.errors import GridFTPError, Kind

DEFAULT_PORT: Final = 7512

VALUE_LIMIT_BYTES: Final = 1024
"""Longest value sent: the server's own buffer for a pass phrase."""

MESSAGE_LIMIT_BYTES: Final = 256 * 1024
"""Longest message taken: a chain of ten RSA-4096 certificates is 20 KiB, a hundred stored
credentials 30 KiB."""

TRUST_ROOTS_LIMIT_BYTES: Final = 64 << 20
"""The same with trust roots in it: a hundred authorities, some with revocation lists of MiB."""

LINES_LIMIT: Final = 20_000
"""Lines in one response: a hundred authorities have six files each."""

_VERSION: Final = b"MYPROXYv2"

# The server looks for its keys anywhere in a request, so no value may hold one (myproxy.c,
# convert_message; myproxy_constants.h).
_KEYS: Final = re.compile(
    r"(?:VERSION|COMMAND|USERNAME|PASSPHRASE|NEW_PHRASE|LIFETIME|RETRIEVER|RETRIEVER_TRUSTED"
    r"|KEYRETRIEVERS|RENEWER|CRED_NAME|CRED_DESC|TRUSTED_CERTS|VONAME|VOMSES)="
)

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names of trust root files that are taken: they can neither leave a directory nor hide in it."""

_SECONDS: Final = re.compile(rb"[0-9]{1,11}")
"""Until the year 5138."""


class Command(IntEnum):
    """What is asked for."""

    GET = 0
    """A proxy of a stored credential, or a certificate of an online authority."""
    PUT = 1
    """Take a proxy of mine, and keep it."""
    INFO = 2
    DESTROY = 3
    CHANGE_PASSPHRASE = 4
    GET_TRUST_ROOTS = 7


@dataclass(frozen=True)
class Request:
    """One request; a connection carries one. Empty values are left out where they may be."""

    command: Command
    username: str = ""
    passphrase: str = field(default="", repr=False)
    new_passphrase: str = field(default="", repr=False)
    lifetime_s: int = 0
    """Of what GET gives; after PUT, the longest that will be given. 0: the server's maximum."""
    credential_name: str = ""
    """Which of the user's credentials; empty: the one without a name."""
    description: str = ""

    def encode(self) -> bytes:
        """The message. Raises GridFTPError(LOGIN) for a value that it cannot carry."""
        lines = [
            b"VERSION=" + _VERSION,
            b"COMMAND=%d" % self.command,
            b"USERNAME=" + _value("user name", self.username),
            b"PASSPHRASE=" + _value("pass phrase", self.passphrase),
        ]
        if self.new_passphrase:
            lines.append(b"NEW_PHRASE=" + _value("new pass phrase", self.new_passphrase))
        lines.append(b"LIFETIME=%d" % self.lifetime_s)
        if self.credential_name:
            lines.append(b"CRED_NAME=" + _value("credential's name", self.credential_name))
        if self.description:
            lines.append(b"CRED_DESC=" + _value("description", self.description))
        return b"\n".join(lines) + b"\n\0"


def _value(what: str, text: str) -> bytes:
    try:
        value = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise GridFTPError(Kind.LOGIN, f"the {what} cannot be encoded", "") from None
    if len(value) > VALUE_LIMIT_BYTES:
        raise GridFTPError(Kind.LOGIN, f"the {what} is too long for MyProxy", "")
    if "\n" in text or "\r" in text or "\0" in text:
        raise GridFTPError(Kind.LOGIN, f"the {what} has a line break or NUL in it", "")
    if _KEYS.search(text):
        raise GridFTPError(
            Kind.LOGIN, f"the {what} has a word of the protocol in it, such as LIFETIME=", ""
        )
    return value


class Status(IntEnum):
    """What kind of response it is."""

    OK = 0
    REFUSED = 1
    CHALLENGE = 2
    """The server wants another proof than the pass phrase."""


@dataclass(frozen=True)
class StoredCredential:
    """What the server tells of a credential that it keeps."""

    name: str
    """Empty for the one without a name."""
    owner: str
    """Who stored it: a one-line name."""
    starts_unix_s: int
    ends_unix_s: int
    description: str = ""
    locked: str = ""
    """Why an administrator has locked it; empty when it is not."""


@dataclass(frozen=True)
class Response:
    """One response."""

    status: Status
    errors: tuple[str, ...] = ()
    """The server's lines of text, when it refuses."""
    credentials: tuple[StoredCredential, ...] = ()
    trust_roots: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """File name to content. Names that no trust directory has are left out."""


class MessageReader:
    """What a server sends on one connection, message by message.

    Each method gives the next message if it is whole, None while it is not, and raises
    GridFTPError(PROTOCOL) when it cannot become one.
    """

    __slots__ = ("_data", "_limit", "_scanned")

    def __init__(self, limit_bytes: int = MESSAGE_LIMIT_BYTES) -> None:
        self._data = bytearray()
        self._limit = limit_bytes
        self._scanned = 0

    def feed(self, data: bytes) -> None:
        """Take what has arrived."""
        self._data += data
        if len(self._data) > self._limit:
            raise _nonsense("the server sent a message without end")

    def response(self) -> Response | None:
        """A response."""
        end = self._data.find(b"\0", self._scanned)
        while end == 0:  # a GSI acceptor with nothing to say ends its handshake with one NUL
            del self._data[:1]
            end = self._data.find(b"\0")
        if end < 0:
            self._scanned = len(self._data)
            return None
        return _parse(self._take(end + 1)[:-1])

    def certificates(self) -> tuple[bytes, ...] | Response | None:
        """A chain, DER, the new certificate first; or a response: why there is none."""
        if self._holds_text():
            return self.response()
        if not self._data:
            return None
        count, start = self._data[0], 1
        if count == 0:
            raise _nonsense("the server sent no certificate")
        ends = [start]
        for _ in range(count):
            end = self._element_end(ends[-1])
            if end is None:
                return None
            ends.append(end)
        message = self._take(ends[-1])
        return tuple(message[a:b] for a, b in pairwise(ends))

    def certificate_request(self) -> bytes | Response | None:
        """A PKCS#10 request, DER; or a response: why there is none."""
        if self._holds_text():
            return self.response()
        end = self._element_end(0)
        return None if end is None else self._take(end)

    def _holds_text(self) -> bool:
        # 86 certificates would begin with a V too; but no certificate begins with an E.
        return bool(self._data) and b"VE".startswith(self._data[:2])

    def _element_end(self, start: int) -> int | None:
        """Where the DER element that starts there ends; None when it is not whole."""
        head = self._data[start : start + 6]
        if not head:
            return None
        if head[0] != 0x30:
            raise _nonsense("the server sent something else than a certificate")
        if len(head) < 2:
            return None
        length, size = head[1], 2
        if length & 0x80:
            digits = length & 0x7F
            if not 1 <= digits <= 4:
                raise _nonsense("the server sent a certificate without end")
            size += digits
            if len(head) < size:
                return None
            length = int.from_bytes(head[2:size], "big")
        end = start + size + length
        if end > self._limit:
            raise _nonsense("the server sent a certificate that is too large")
        return end if end <= len(self._data) else None

    def _take(self, size: int) -> bytes:
        message = bytes(self._data[:size])
        del self._data[:size]
        self._scanned = 0
        return message


def encode_certificates(chain: Sequence[bytes]) -> bytes:
    """A chain (DER, the new certificate first) as one message. At most 255 certificates."""
    return bytes([len(chain)]) + b"".join(chain)


def _nonsense(message: str) -> GridFTPError:
    return GridFTPError(Kind.PROTOCOL, message, "")


def _parse(text: bytes) -> Response:
    if text.count(b"\n") > LINES_LIMIT:
        raise _nonsense("the server's response has too many lines")
    fields: dict[bytes, bytes] = {}
    errors: list[str] = []
    for line in text.split(b"\n"):
        key, equals, value = line.partition(b"=")
        if key == b"ERROR":
            errors.append(_text(value))
        elif equals:
            fields.setdefault(key, value)
    if fields.get(b"VERSION") != _VERSION:
        raise _nonsense("the server does not speak MyProxy, version 2")
    status = fields.get(b"RESPONSE", b"")
    if status not in (b"0", b"1", b"2"):
        raise _nonsense("the server's response is none")
    return Response(Status(int(status)), tuple(errors), _credentials(fields), _files(fields))


def _credentials(fields: Mapping[bytes, bytes]) -> tuple[StoredCredential, ...]:
    if b"CRED_START_TIME" not in fields:
        return ()
    found = [_credential(fields, b"CRED_", fields.get(b"CRED_NAME", b""))]
    more = fields.get(b"ADDL_CREDS", b"")
    found += [
        _credential(fields, b"CRED_" + name + b"_", name) for name in more.split(b",") if name
    ]
    return tuple(found)


def _credential(fields: Mapping[bytes, bytes], prefix: bytes, name: bytes) -> StoredCredential:
    return StoredCredential(
        _text(name),
        _text(fields.get(prefix + b"OWNER", b"")),
        _seconds(fields.get(prefix + b"START_TIME", b"")),
        _seconds(fields.get(prefix + b"END_TIME", b"")),
        _text(fields.get(prefix + b"DESC", b"")),
        _text(fields.get(prefix + b"LOCKMSG", b"")),
    )


def _seconds(value: bytes) -> int:
    if not _SECONDS.fullmatch(value):
        raise _nonsense("the server's response has a time that is none")
    return int(value)


def _files(fields: Mapping[bytes, bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for key, value in fields.items():
        prefix, _, name = _text(key).partition("_")
        if prefix == "FILEDATA" and _FILE_NAME.fullmatch(name):
            try:
                found[name] = a2b_base64(value, strict_mode=True)
            except Base64Error:
                raise _nonsense("the server's trust roots are garbled") from None
    return found


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
