"""Distinguished names as Globus writes them, and whether a certificate speaks for a host."""

import ipaddress
import re

from towpath.gridftp.security.certificates import Certificate, Name

_COMMON_NAME = "2.5.4.3"

# Short names as OpenSSL prints them (crypto/objects); anything else is printed as dotted numbers.
_SHORT_NAMES = {
    "2.5.4.3": "CN",
    "2.5.4.4": "SN",
    "2.5.4.5": "serialNumber",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "street",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.12": "title",
    "2.5.4.13": "description",
    "2.5.4.15": "businessCategory",
    "2.5.4.17": "postalCode",
    "2.5.4.41": "name",
    "2.5.4.42": "GN",
    "2.5.4.43": "initials",
    "2.5.4.44": "generationQualifier",
    "2.5.4.45": "x500UniqueIdentifier",
    "2.5.4.46": "dnQualifier",
    "2.5.4.65": "pseudonym",
    "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
}

# Spellings that older tools wrote into gridmap and signing policy files.
_OLD_SPELLINGS = {"Email": "emailAddress", "E": "emailAddress", "USERID": "UID", "S": "ST"}


def one_line(name: Name) -> str:
    """The name as OpenSSL 3 spells it (`X509_NAME_oneline`), e.g. `/O=Lab/CN=Alice`.

    Odd bytes become `\\xNN`, and `/` and `+` inside a value are escaped by a backslash.
    """
    return "".join(
        f"/{_SHORT_NAMES.get(oid, oid)}={''.join(map(_shown, value))}" for oid, value in name
    )


def _shown(byte: int) -> str:
    if byte in b"/+":
        return "\\" + chr(byte)
    return chr(byte) if 0x20 <= byte <= 0x7E else f"\\x{byte:02X}"


def canonical(one_line_name: str) -> str:
    """A name or pattern out of a written file, in the spelling of `one_line`.

    Older tools had other names for some types and wrote `/CN=host/ftp.example.org` unescaped. An
    escaped slash stays escaped, so that no value can pass for two.
    """
    parts: list[str] = []
    for part in re.split(r"(?<!\\)/", one_line_name):
        kind, equals, value = part.partition("=")
        if equals:
            parts.append(f"{_OLD_SPELLINGS.get(kind, kind)}={value}")
        elif parts and parts[-1].startswith("CN="):
            parts[-1] += f"\\/{part}"
        else:
            parts.append(part)
    return re.sub(r"(?<!\\)\+", r"\\+", "/".join(parts))


def identity(chain: list[Certificate]) -> Certificate:
    """Whose chain this is: its first certificate that is not a proxy. Raises `ValueError`."""
    for certificate in chain:
        if not certificate.is_proxy:
            return certificate
    raise ValueError("the certificate chain holds only proxy certificates")


def speaks_for(certificate: Certificate, host: str) -> bool:
    """Whether the certificate names this host (RFC 6125; common name only without any SAN).

    Historic grid certificates carry the service in the common name: `CN=host/ftp.example.org`.
    Raises `ValueError` when its alternative names make no sense.
    """
    wanted = host.rstrip(".").lower()
    try:
        address = ipaddress.ip_address(wanted).packed
    except ValueError:
        address = None
    names, addresses = certificate.alternative_names()
    if address is not None and address in addresses:
        return True
    if names or addresses:
        return address is None and any(_matches(name, wanted) for name in names)
    return any(_matches(name, wanted) for name in _common_names(certificate))


def _common_names(certificate: Certificate) -> list[str]:
    found: list[str] = []
    for attribute in certificate.subject:
        if attribute.type == _COMMON_NAME and attribute.value.isascii():
            text = attribute.value.decode("ascii")
            _service, slash, host = text.partition("/")
            found.append(host if slash else text)
    return found


def _matches(pattern: str, host: str) -> bool:
    """One DNS name of a certificate against a host; `*` stands for exactly the first label."""
    pattern = pattern.rstrip(".").lower()
    if pattern == host:
        return True
    if not pattern.startswith("*.") or pattern.count(".") < 2:
        return False
    first, dot, rest = host.partition(".")
    return bool(first and dot) and rest == pattern[2:]
