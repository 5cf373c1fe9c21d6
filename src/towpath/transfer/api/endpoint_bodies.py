"""Request documents about endpoints."""

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from towpath.gridftp.security.authority import as_trust_files
from towpath.gridftp.security.trust import TrustRoots
from towpath.transfer.api.bodies import ApiPath, Document, Text, not_supported, refuse
from towpath.transfer.api.documents import DETAIL_TEXTS
from towpath.tunnel.names import endpoint_of_host

DEFAULT_PORT = 2811
"""GridFTP's registered port."""

MAX_NAME_CHARACTERS = 128
MAX_TEXT_CHARACTERS = 4096
MAX_SUBJECT_CHARACTERS = 1024
MAX_DATA_HOSTS = 256
MAX_TRUST_FILES = 2000
"""The largest grid distributions have some 300 files."""
MAX_TRUST_FILE_CHARACTERS = 1024 * 1024
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_-]+)*\.?")
_REVOCATIONS = re.compile(r".*\.r[0-9]")
_TRUST_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(signing_policy|r?[0-9])")


def is_revocations(name: str) -> bool:
    """Whether a file of a trusted-certificates directory is what an authority has revoked."""
    return _REVOCATIONS.fullmatch(name) is not None


def host_name(text: str) -> str:
    """A host name or an address. Raises a validation error."""
    bare = text.removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if _HOST.fullmatch(text) is None:
            raise refuse("invalid_host", "this is neither a host name nor an address") from None
        if endpoint_of_host(text) is not None:
            raise refuse("invalid_host", "agents are reached through their endpoint only") from None
        return text.lower()


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise refuse("invalid_address", "data_hosts holds IP addresses") from None


def _trust_roots(files: dict[str, str]) -> dict[str, str]:
    if len(files) > MAX_TRUST_FILES:
        raise refuse("too_many", f"at most {MAX_TRUST_FILES} files")
    for name, text in files.items():
        if _TRUST_FILE.fullmatch(name) is None:
            raise refuse(
                "invalid_trust",
                f"{name[:80]!r} is not a file of a trusted-certificates directory:"
                " <hash>.0, <hash>.signing_policy, <hash>.r0",
            )
        if len(text) > MAX_TRUST_FILE_CHARACTERS:
            raise refuse("too_long", f"{name} is too large")
    try:
        TrustRoots.from_files(files)
    except ValueError as error:
        raise refuse("invalid_trust", str(error)) from None
    return files


def _ca_certificates(texts: list[str]) -> list[str]:
    if sum(map(len, texts)) > MAX_TRUST_FILE_CHARACTERS:
        raise refuse("too_long", f"at most {MAX_TRUST_FILE_CHARACTERS} characters in all")
    try:
        as_trust_files(texts)
    except ValueError as error:
        raise refuse("invalid_trust", f"{error}: give certificates in PEM") from None
    return texts


def _details(text: str) -> str:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise refuse("too_long", f"at most {MAX_TEXT_CHARACTERS} characters")
    return text


def _name(text: str) -> str:
    if not text.strip() or len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise refuse(
            "invalid_name", f"a name is 1 to {MAX_NAME_CHARACTERS} printable characters on one line"
        )
    return text.strip()


def _subject(text: str) -> str:
    if not text.startswith("/") or len(text) > MAX_SUBJECT_CHARACTERS or not text.isprintable():
        raise refuse("invalid_subject", "a subject looks like /O=Grid/CN=host.example.org")
    return text


DetailText = Annotated[Text, AfterValidator(_details)]


class ServerDocument(Document):
    """The GridFTP server of an endpoint: `uri`, or hostname with port and scheme."""

    uri: Text | None = None
    hostname: Text | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    scheme: Text | None = None
    subject: Annotated[Text, AfterValidator(_subject)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self.address()
        return self

    def address(self) -> tuple[str, int]:
        """Host and port. Raises a validation error."""
        if self.uri is None:
            if self.hostname is None:
                raise refuse("missing", "a server has a 'uri' or a 'hostname'")
            if self.scheme not in (None, "gsiftp"):
                raise not_supported(f"scheme {self.scheme[:20]!r}")
            return host_name(self.hostname), self.port or DEFAULT_PORT
        try:
            if not self.uri.isprintable() or " " in self.uri:
                raise ValueError("urlsplit would drop line ends")
            parts = urlsplit(self.uri)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise refuse("invalid_uri", "this is not a URI") from None
        if parts.scheme != "gsiftp":
            raise refuse("invalid_uri", "the URI of a server looks like gsiftp://host:2811")
        if not host or parts.username is not None or parts.path not in ("", "/") or parts.query:
            raise refuse("invalid_uri", "the URI of a server has a host and a port, nothing else")
        return host_name(host), port or DEFAULT_PORT


class EndpointDocument(Document):
    """What an owner may set. Absent fields keep their value, null clears."""

    display_name: Annotated[Text, AfterValidator(_name)] | None = None
    public: bool | None = None
    DATA: list[ServerDocument] | None = None
    trust_roots: Annotated[dict[Text, Text], AfterValidator(_trust_roots)] | None = None
    ca_certificates: (
        Annotated[list[Text], Field(max_length=MAX_TRUST_FILES), AfterValidator(_ca_certificates)]
        | None
    ) = None
    data_hosts: (
        Annotated[list[Annotated[str, AfterValidator(_address)]], Field(max_length=MAX_DATA_HOSTS)]
        | None
    ) = None
    is_globus_connect: bool = False
    connect: Literal["server"] | None = None
    description: DetailText | None = None
    organization: DetailText | None = None
    department: DetailText | None = None
    keywords: DetailText | None = None
    contact_email: DetailText | None = None
    contact_info: DetailText | None = None
    info_link: DetailText | None = None
    user_message: DetailText | None = None
    user_message_link: DetailText | None = None
    default_directory: ApiPath | None = None
    location: DetailText | None = None
    network_use: DetailText | None = None
    shareable: bool | None = None

    @model_validator(mode="after")
    def _supported(self) -> Self:
        if self.connect_kind is not None and self.has_server:
            raise refuse("connect", "an endpoint with agents has no server of its own")
        if self.DATA is not None and len(self.DATA) != 1:
            raise not_supported("an endpoint with other than exactly one server")
        return self

    @property
    def has_server(self) -> bool:
        """Whether it says anything of a server: where it is, or how it is known."""
        server = (self.DATA, self.trust_roots, self.ca_certificates, self.data_hosts)
        return any(part is not None for part in server)

    @property
    def connect_kind(self) -> Literal["personal", "server"] | None:
        """Which agents it is to have, if any."""
        return "personal" if self.is_globus_connect else self.connect

    def trust_files(self) -> dict[str, str] | None:
        """Those of `trust_roots`, and `ca_certificates` under the names that they have in such a
        directory; None to leave what is there.
        """
        if self.trust_roots is None and self.ca_certificates is None:
            return None
        return as_trust_files(self.ca_certificates or []) | (self.trust_roots or {})

    def details(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """The free texts and preferences, changed."""
        changed = dict(before)
        for name in (*DETAIL_TEXTS, "network_use", "shareable"):
            if name in self.model_fields_set:
                changed[name] = getattr(self, name)
        return {name: value for name, value in changed.items() if value is not None}


class EndpointTestDocument(EndpointDocument):
    """An endpoint that is to be tried before it is registered, with a credential if there is one:
    a proxy, in PEM."""

    proxy: Text | None = None
