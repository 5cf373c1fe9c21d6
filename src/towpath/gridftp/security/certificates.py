"""The few facts of a certificate that a login needs, read from its DER (RFC 5280).

A command that moves one small file mostly imports, and importing `cryptography.x509` alone would be
a quarter of its time; so it is left to those who sign and to revocation lists. Nothing is trusted
because of what is read here: OpenSSL has verified a peer's chain before anyone looks into it.
What does not follow the rules is refused, not guessed at.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from datetime import UTC, datetime
from typing import Final, NamedTuple

_PEM: Final = re.compile(
    r"-----BEGIN (X509 CRL|(?:X509 )?CERTIFICATE)-----([A-Za-z0-9+/=\s]+)-----END \1-----"
)

_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_OCTET_STRING: Final = 0x04
_OBJECT_IDENTIFIER: Final = 0x06
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_UNIVERSAL_STRING: Final = 0x1C
_BMP_STRING: Final = 0x1E
_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_VERSION: Final = 0xA0
_EXTENSIONS: Final = 0xA3
_DNS_NAME: Final = 0x82
_IP_ADDRESS: Final = 0x87

SUBJECT_ALTERNATIVE_NAME: Final = "2.5.29.17"
PROXY_CERT_INFO: Final = "1.3.6.1.5.5.7.1.14"  # RFC 3820


class Attribute(NamedTuple):
    """One part of a name: its type in dotted numbers, its text as UTF-8 or whatever bytes it is."""

    type: str
    value: bytes


Name = tuple[Attribute, ...]


class Certificate:
    """One certificate. Raises `ValueError` when it is none."""

    def __init__(self, der: bytes) -> None:
        self.der = der
        body, _algorithm, _signature = _parts(_only(der, _SEQUENCE), 3)
        fields = _elements(_expect(body, _SEQUENCE))
        if fields and fields[0].tag == _VERSION:
            del fields[0]
        if len(fields) < 6:
            raise ValueError("parts of the certificate are missing")
        serial, _algorithm, issuer, validity, subject, key = fields[:6]
        self.serial = int.from_bytes(_expect(serial, _INTEGER), "big", signed=True)
        self.issuer: Name = _name(issuer)
        self.subject: Name = _name(subject)
        self.not_before, self.not_after = map(_time, _parts(_expect(validity, _SEQUENCE), 2))
        self.key_algorithm = _key_algorithm(key)
        """Of the public key, in dotted numbers."""
        self.extensions: dict[str, bytes] = {}
        """Contents by type in dotted numbers."""
        for field in fields[6:]:
            if field.tag == _EXTENSIONS:
                self.extensions = _extensions(field)

    @property
    def is_proxy(self) -> bool:
        """Whether this is an RFC 3820 proxy certificate."""
        return PROXY_CERT_INFO in self.extensions

    def alternative_names(self) -> tuple[list[str], list[bytes]]:
        """The host names and the IP addresses (4 or 16 bytes) it is for. Raises `ValueError`."""
        names: list[str] = []
        addresses: list[bytes] = []
        content = self.extensions.get(SUBJECT_ALTERNATIVE_NAME)
        if content is not None:
            for item in _elements(_only(content, _SEQUENCE)):
                if item.tag == _DNS_NAME:
                    names.append(item.content.decode("ascii"))
                elif item.tag == _IP_ADDRESS:
                    if len(item.content) not in (4, 16):
                        raise ValueError("an address in the certificate is none")
                    addresses.append(item.content)
        return names, addresses


def issuer_of_revocation_list(der: bytes) -> Name:
    """Who has issued it. Raises `ValueError`."""
    body, _algorithm, _signature = _parts(_only(der, _SEQUENCE), 3)
    fields = _elements(_expect(body, _SEQUENCE))
    if fields and fields[0].tag == _INTEGER:
        del fields[0]
    if len(fields) < 3:
        raise ValueError("parts of the revocation list are missing")
    return _name(fields[1])


def certificates_in(text: str) -> list[bytes]:
    """The certificates (DER) of a PEM file. Raises `ValueError` when there are none."""
    return _pem_blocks(text, "CERTIFICATE")


def revocation_lists_in(text: str) -> list[bytes]:
    """The revocation lists (DER) of a PEM file. Raises `ValueError` when there are none."""
    return _pem_blocks(text, "CRL")


def _pem_blocks(text: str, what: str) -> list[bytes]:
    try:
        found = [a2b_base64(block[2]) for block in _PEM.finditer(text) if block[1].endswith(what)]
    except Base64Error as error:
        raise ValueError(f"the base64 of the file is broken: {error}") from None
    if not found:
        raise ValueError(f"there is no {what.lower()} in the file")
    return found


def proxy_path_length(content: bytes) -> int | None:
    """How many proxies may be below one with this ProxyCertInfo; None: any. Raises `ValueError`."""
    for item in _elements(_only(content, _SEQUENCE)):
        if item.tag == _INTEGER:
            return int.from_bytes(item.content, "big", signed=True)
    return None


# -- DER


class _Element(NamedTuple):
    tag: int
    content: bytes


def _elements(data: bytes) -> list[_Element]:
    """What the data consists of. Only the definite lengths of DER, and tags of one byte."""
    found: list[_Element] = []
    at, end = 0, len(data)
    while at < end:
        if end - at < 2:
            raise ValueError("the data ends within an element")
        tag, length = data[at], data[at + 1]
        at += 2
        if tag & 0x1F == 0x1F:
            raise ValueError("an element of unknown kind")
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[at : at + size], "big")
            if not 1 <= size <= 4 or size > end - at or length < 0x80 or not data[at]:
                raise ValueError("the length of an element is not in its shortest form")
            at += size
        if length > end - at:
            raise ValueError("the data ends within an element")
        found.append(_Element(tag, data[at : at + length]))
        at += length
    return found


def _expect(element: _Element, tag: int) -> bytes:
    if element.tag != tag:
        raise ValueError(f"an element {element.tag:#x} where {tag:#x} was expected")
    return element.content


def _parts(data: bytes, count: int) -> list[_Element]:
    found = _elements(data)
    if len(found) != count:
        raise ValueError(f"{len(found)} elements where {count} were expected")
    return found


def _only(data: bytes, tag: int) -> bytes:
    (element,) = _parts(data, 1)
    return _expect(element, tag)


def _name(element: _Element) -> Name:
    found: list[Attribute] = []
    for group in _elements(_expect(element, _SEQUENCE)):
        for attribute in _elements(_expect(group, _SET)):
            kind, value = _parts(_expect(attribute, _SEQUENCE), 2)
            content = value.content
            if value.tag == _BMP_STRING:
                content = content.decode("utf-16-be").encode()
            elif value.tag == _UNIVERSAL_STRING:
                content = content.decode("utf-32-be").encode()
            elif value.tag == _BIT_STRING:
                content = content[1:]  # without the count of its unused bits
            found.append(Attribute(_dotted(kind), content))
    return tuple(found)


def _dotted(element: _Element) -> str:
    content = _expect(element, _OBJECT_IDENTIFIER)
    if not content or content[-1] & 0x80:
        raise ValueError("an object identifier ends too early")
    numbers: list[int] = []
    number = 0
    for byte in content:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))


def _time(element: _Element) -> datetime:
    text = element.content.decode("ascii")
    if element.tag == _UTC_TIME:
        text = ("19" if text >= "5" else "20") + text
    elif element.tag != _GENERALIZED_TIME:
        raise ValueError("a time of unknown form")
    if len(text) != 15 or not text[:14].isdigit() or text[14] != "Z":
        raise ValueError("a time of unknown form")
    month, day, hour, minute, second = (int(text[at : at + 2]) for at in range(4, 14, 2))
    return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC)


def _key_algorithm(key: _Element) -> str:
    algorithm, _bits = _parts(_expect(key, _SEQUENCE), 2)
    kind, *_parameters = _elements(_expect(algorithm, _SEQUENCE))
    return _dotted(kind)


def _extensions(field: _Element) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for item in _elements(_only(field.content, _SEQUENCE)):
        kind, *_critical, value = _elements(_expect(item, _SEQUENCE))
        dotted = _dotted(kind)
        if dotted in found:
            raise ValueError("an extension is in the certificate twice")
        found[dotted] = _expect(value, _OCTET_STRING)
    return found
