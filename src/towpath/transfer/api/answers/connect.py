"""What agents and relays are answered."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from towpath.transfer.api.answers.base import Answer, _Result


class RelayPlace(Answer):
    """Where a relay is, and by which SSH host key it is known."""

    host: str
    port: int
    host_key: str


class Collection(Answer):
    """A collection of a server endpoint, with the id that it has got."""

    id: UUID
    name: str
    base_path: str
    access: Literal["r", "rw"]


class Versions(Answer):
    """Of the service, and which agents it serves."""

    service: str
    oldest_served: str
    warning: str | None


class Configuration(Answer):
    """All that an agent needs to know of the service. `keys` is a JWK set."""

    DATA_TYPE: Literal["connect_configuration"]
    issuer: str
    audience: UUID
    kind: Literal["personal", "server"]
    display_name: str
    keys: dict[str, Any]
    authority: str
    service_subject: str
    host: str
    host_certificate: str
    relays: list[RelayPlace]
    collections: list[Collection]
    managed_collections: list[Collection]
    versions: Versions
    interval_s: int


class Owner(Answer):
    """Whose an endpoint is."""

    id: UUID
    username: str


class Setup(Answer):
    """A node that has been set up."""

    DATA_TYPE: Literal["connect_setup"]
    endpoint_id: UUID
    node_id: UUID
    kind: Literal["personal", "server"]
    display_name: str
    owner: Owner
    agent_token: str
    configuration: Configuration


class SetupKey(_Result):
    """A new setup key, told once."""

    DATA_TYPE: Literal["setup_key_result"]
    globus_connect_setup_key: str
    expiration_time: datetime


class Relay(Answer):
    """What a relay is told at each heartbeat; `cut`: nodes whose tunnels are to be cut."""

    DATA_TYPE: Literal["relay"]
    relay_id: UUID
    issuer: str
    keys: dict[str, Any]
    interval_s: int
    cut: list[UUID]


class RelayLimits(Answer):
    """Of one agent at a relay."""

    control_channels: int
    data_connections: int
    listeners: int


class RelayAgent(Answer):
    """Whose agent it is."""

    DATA_TYPE: Literal["relay_agent"]
    endpoint_id: UUID
    kind: Literal["personal", "server"]
    limits: RelayLimits


class Presence(Answer):
    """That presence was taken over; `cut` as in heartbeats."""

    DATA_TYPE: Literal["relay_presence"]
    cut: list[UUID]


class RelayDial(Answer):
    """Whether a relay may dial there for an agent, and why not."""

    DATA_TYPE: Literal["relay_dial"]
    allowed: bool
    message: str
