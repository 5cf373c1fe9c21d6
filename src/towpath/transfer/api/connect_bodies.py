"""Documents that agents and relays send."""

import ipaddress
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from towpath.transfer.api.bodies import ApiPath, Document, Text, refuse
from towpath.transfer.api.endpoint_bodies import host_name
from towpath.transfer.connect import mapping
from towpath.transfer.connect.managed import MAX_ROOTS
from towpath.transfer.connect.versions import NotAVersion, parse

MAX_NAME_CHARACTERS = 128
MAX_KEY_CHARACTERS = 1024
"""An ssh-ed25519 key has 80; RSA keys are not taken."""
MAX_REQUEST_CHARACTERS = 16 * 1024
MAX_FOLDERS = 1000
MAX_MAPPINGS_CHARACTERS = 128 * 1024
"""All rules that are taken, written at length, have half of it."""
MAX_COLLECTIONS = 1000
MAX_NODES_TOLD = 10_000
"""Of one relay, in one message: 2 MB."""
MAX_ADDRESSES = 64


def _printable(text: str) -> str:
    if not text.strip() or len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise refuse(
            "invalid_name", f"a name is 1 to {MAX_NAME_CHARACTERS} printable characters on one line"
        )
    return text.strip()


def _version(text: str) -> str:
    try:
        parse(text)
    except NotAVersion as error:
        raise refuse("invalid_version", str(error)) from None
    return text


def _ssh_key(text: str) -> str:
    kind, _, rest = text.strip().partition(" ")
    if kind != "ssh-ed25519" or not rest or len(text) > MAX_KEY_CHARACTERS:
        raise refuse("invalid_key", "a key is one line: ssh-ed25519 AAAA...")
    return f"{kind} {rest.split(' ')[0]}"


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise refuse("invalid_address", "this is not an IP address") from None


def _mappings(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(json.dumps(documents)) > MAX_MAPPINGS_CHARACTERS:
        raise refuse("too_long", f"mappings have up to {MAX_MAPPINGS_CHARACTERS} characters in all")
    try:
        mapping.rules_in(documents)
    except mapping.BadMapping as error:
        raise refuse("invalid_mapping", str(error)) from None
    return documents


def _in_utc(moment: datetime) -> datetime:
    """The database knows no offsets of 16 hours and more, which ISO 8601 has. Without one it is
    UTC."""
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise refuse("invalid_time", "the time is outside of the calendar") from None


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise refuse("invalid_path", "the path is absolute")
    return path.rstrip("/") or "/"


Name = Annotated[Text, AfterValidator(_printable)]
Version = Annotated[Text, AfterValidator(_version)]
SshKey = Annotated[Text, AfterValidator(_ssh_key)]
IpAddress = Annotated[Text, AfterValidator(_address)]
Access = Literal["r", "rw"]
Request = Annotated[Text, Field(max_length=MAX_REQUEST_CHARACTERS)]
BasePath = Annotated[ApiPath, AfterValidator(_absolute)]
Port = Annotated[int, Field(ge=1, le=65535)]
When = Annotated[datetime, Field(strict=False), AfterValidator(_in_utc)]


class SetupDocument(Document):
    """A new node shows a setup key's secret."""

    setup_key: Annotated[Text, Field(max_length=256, repr=False)]
    tunnel_key: SshKey
    certificate_request: Request
    version: Version
    node_name: Name


class CertificateDocument(Document):
    """A node's key, for which it wants another certificate."""

    certificate_request: Request


class FolderDocument(Document):
    """What a personal endpoint shares."""

    path: Annotated[Text, Field(max_length=4096)]
    access: Access


class CollectionDocument(Document):
    """A part of a server's storage."""

    name: Name
    base_path: BasePath
    access: Access = "rw"
    policies: dict[Text, Any] = Field(default_factory=dict)


class RootDocument(Document):
    """A directory below which managers of the endpoint may make collections."""

    path: BasePath
    access: Access = "rw"


class ReportDocument(Document):
    """What a node tells of itself. Without `collections`, `mappings` or `roots` those stay as they
    are."""

    version: Version
    node_name: Name
    paused: bool = False
    draining: bool = False
    folders: list[FolderDocument] = Field(default_factory=list, max_length=MAX_FOLDERS)
    collections: Annotated[list[CollectionDocument], Field(max_length=MAX_COLLECTIONS)] | None = (
        None
    )
    mappings: Annotated[list[dict[str, Any]], AfterValidator(_mappings)] | None = None
    roots: Annotated[list[RootDocument], Field(max_length=MAX_ROOTS)] | None = None


class RelayDocument(Document):
    """A relay is there."""

    host: Annotated[Text, AfterValidator(host_name)]
    port: Port
    host_key: SshKey
    data_addresses: Annotated[list[IpAddress], Field(max_length=MAX_ADDRESSES)]
    version: Version
    agents: Annotated[int, Field(ge=0)] = 0
    draining: bool = False


class RelayAgentDocument(Document):
    """An agent shows a key to a relay."""

    node_id: Annotated[UUID, Field(strict=False)]
    tunnel_key: SshKey
    address: IpAddress | None = None


class ConnectedDocument(Document):
    """A node whose tunnel is at the relay."""

    node_id: Annotated[UUID, Field(strict=False)]
    address: IpAddress | None = None
    version: Version | None = None
    direct_address: IpAddress | None = None
    since: When | None = None


class LostDocument(Document):
    """A node whose tunnel has ended."""

    node_id: Annotated[UUID, Field(strict=False)]
    heard_at: When | None = None


class PresenceDocument(Document):
    """Who came and who went. With `all`, whoever is not named is not there."""

    all: bool = False
    connected: list[ConnectedDocument] = Field(default_factory=list, max_length=MAX_NODES_TOLD)
    lost: list[LostDocument] = Field(default_factory=list, max_length=MAX_NODES_TOLD)


class DialDocument(Document):
    """Where an agent wants its relay to dial."""

    node_id: Annotated[UUID, Field(strict=False)]
    host: IpAddress
    port: Port
