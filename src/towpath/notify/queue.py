"""The outbox as who delivers it sees it, and how a delivery ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import UUID


class Hook(Protocol):
    """A webhook."""

    @property
    def id(self) -> UUID:
        """Of the webhook, not of a delivery."""

    @property
    def url(self) -> str:
        """Where to."""

    @property
    def authority(self) -> str | None:
        """Certificates, PEM, to trust beside the system's."""

    @property
    def secrets(self) -> Sequence[bytes]:
        """Each signs; two while one replaces the other."""


class Delivery(Protocol):
    """One message for one target, ours for a while."""

    @property
    def id(self) -> int:
        """Of this delivery."""

    @property
    def message_id(self) -> UUID:
        """Of what is told: the same with every attempt."""

    @property
    def topic(self) -> str:
        """What it is about."""

    @property
    def recipient_id(self) -> UUID:
        """The identity that is told."""

    @property
    def document(self) -> Mapping[str, Any]:
        """What there is to tell."""

    @property
    def more(self) -> int:
        """Messages after this one that are not told, because so many waited."""

    @property
    def created_at(self) -> datetime:
        """When it happened."""

    @property
    def attempt(self) -> int:
        """1 for the first."""

    @property
    def age_s(self) -> float:
        """Since it happened."""

    @property
    def hook(self) -> Hook | None:
        """None: by mail."""


class Trouble(Protocol):
    """How long a webhook has failed."""

    @property
    def failures_in_a_row(self) -> int:
        """Without one that came through."""

    @property
    def failing_s(self) -> float:
        """Since the first of them."""


D = TypeVar("D", bound=Delivery)
"""A delivery as its outbox knows it."""


class Outbox(Protocol[D]):
    """What waits to be delivered. All of it is safe for several who deliver side by side."""

    async def take(
        self, *, by_mail: bool, most: int, per_target: int, lease_s: float
    ) -> Sequence[D]:
        """What is due: ours until `lease_s` from now, then anybody's again."""

    async def delivered(self, delivery: D, status: int | None) -> None:
        """It has arrived."""

    async def again(
        self, delivery: D, *, after_s: float, status: int | None, error: str
    ) -> Trouble | None:
        """It has not, and is tried again; of a webhook: how long it has failed."""

    async def give_up(self, delivery: D, *, status: int | None, error: str) -> None:
        """It never will."""

    async def disable(self, hook_id: UUID, because: str) -> None:
        """Switch a webhook off, forget what waits for it, and tell its owner by mail."""

    async def sweep(self) -> None:
        """Forget what is over and old."""


@dataclass(eq=False)
class NotDelivered(Exception):  # noqa: N818 - an outcome, as often as not
    """An attempt that failed. `error` is for the eyes of who is told, or of the operator."""

    error: str
    status: int | None = None
    """What the server answered, if it did."""
    permanent: bool = False
    """Whether there is no sense in trying again."""
    gone: bool = False
    """Whether the receiver wants nothing any more."""


class Sender(Protocol):
    """A way to deliver."""

    async def send(self, delivery: Delivery) -> int | None:
        """Returns the server's status, if there is one. Raises `NotDelivered`."""
